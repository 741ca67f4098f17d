package pg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// Prepare implements spool.Owner.
func (o *owner) Prepare(ctx context.Context, e spool.Entry) (spool.Prepared, error) {
	p := &prepared{o: o, e: e, variants: map[string]bool{}}
	if o.over() {
		return nil, fmt.Errorf("prepare entry %s: %w", e.ID, spool.ErrFenced)
	}
	return p, nil
}

// nextNumber is for a post of which something goes to the database before the commit, or in a
// form that wants to know it. Of others the commit makes it.
func nextNumber(ctx context.Context, on querier) (number int64, err error) {
	err = on.QueryRow(ctx, `SELECT nextval('spool_post_numbers')`).Scan(&number)
	return number, err
}

// newNumber and thisNumber are the number in parameter $1, or where that is 0, one that newNumber
// makes.
const (
	newNumber  = `coalesce(nullif($1::bigint, 0), nextval('spool_post_numbers'))`
	thisNumber = `coalesce(nullif($1::bigint, 0), currval('spool_post_numbers'))`
)

// needNumber sees to it that the number is known.
func (p *prepared) needNumber(ctx context.Context, on querier) (err error) {
	if p.number == 0 {
		p.number, err = nextNumber(ctx, on)
	}
	return err
}

// prepared implements spool.Prepared. Contents and chunks go to the database as they come,
// under a number to which no post belongs yet; the commit makes the post.
type prepared struct {
	o        *owner
	e        spool.Entry
	number   int64           // 0 as long as nobody needs it
	variants map[string]bool // whether their contents are there
	contents []*content      // small ones, which are not in the database yet
	wanted   []string        // variants of the chunks
	chunks   int
	waiting  [][]any // rows of chunks that are not in the database yet
	octets   int     // in them
	entries  []newEntry
	stored   bool // some of it is in the database
	ended    bool
}

type newEntry struct {
	spool.Entry
	buffer *buffer
}

const (
	// Chunks are written when so many of them, or octets, have come together.
	chunkRows   = 64
	chunkOctets = 1 << 20
	// smallContent is how large a content may be that is written by the commit: it costs no
	// round trips and no sync of its own then.
	smallContent = 64 << 10
	// fewChunks is how many chunks are written by the commit together with all else.
	fewChunks = 4
)

// Content implements spool.Prepared.
func (p *prepared) Content(variant string) (io.WriteCloser, error) {
	if _, there := p.variants[variant]; there {
		return nil, fmt.Errorf("content %s of entry %s is there already", variant, p.e.ID)
	}
	p.variants[variant] = false
	return &content{p: p, variant: variant, buffer: buffer{temp: p.o.s.temp}}, nil
}

type content struct {
	buffer
	p       *prepared
	variant string
	closed  bool
}

// Close writes the content to the database, or leaves that to the commit.
func (c *content) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	if c.isSmall() && c.size <= smallContent {
		c.p.contents = append(c.p.contents, c)
		c.p.variants[c.variant] = true
		return nil
	}
	defer c.buffer.Close()
	c.p.stored = true
	ctx := c.p.o.s.work // io.Closer has none; the lease's end, or Close, ends it
	err := c.p.o.change(ctx, func(tx pgx.Tx) error {
		if err := c.p.needNumber(ctx, tx); err != nil {
			return err
		}
		return addContent(ctx, tx, c.p.number, c.variant, &c.buffer)
	})
	if err != nil {
		return fmt.Errorf("write content %s of entry %s: %w", c.variant, c.p.e.ID, err)
	}
	c.p.variants[c.variant] = true
	return nil
}

// addContent stores what was written as a content of a post.
func addContent(ctx context.Context, tx pgx.Tx, post int64, variant string, b *buffer) error {
	body, err := addBody(ctx, tx, b)
	if err == nil {
		_, err = tx.Exec(ctx, `INSERT INTO spool_contents (post, variant, body) VALUES ($1, $2, $3)`, post, variant, body)
	}
	return err
}

// chunkHead is what a chunk has beside its recipients and what columns tell.
type chunkHead struct {
	List, Variant, Sender     string
	Flags                     []string
	Created                   time.Time
	ReturnKey, UnsubscribeKey string
	Slots                     []spool.Slot
	Sign                      []spool.SignKey
}

func headOf(c *spool.Chunk) chunkHead {
	return chunkHead{c.List, c.Variant, c.Sender, c.Flags, c.Created, c.ReturnKey, c.UnsubscribeKey, c.Slots, c.Sign}
}

// people are the recipients of a chunk, and their names or none.
type people struct{ Recipients, Names []string }

// AddChunk implements spool.Prepared.
func (p *prepared) AddChunk(ctx context.Context, c spool.Chunk) error {
	if len(c.Recipients) == 0 {
		return nil
	}
	if len(c.Names) > 0 && len(c.Names) != len(c.Recipients) {
		return fmt.Errorf("a chunk of entry %s has %d names for %d recipients", p.e.ID, len(c.Names), len(c.Recipients))
	}
	p.chunks++
	c.Name = fmt.Sprintf("%06d", p.chunks)
	c.Key, c.Due, c.Tries, c.Reason = segment.KeyOf(string(p.e.ID), c.Name), time.Time{}, 0, ""
	row, octets, err := chunkRow(p.number, &c)
	if err != nil {
		return err
	}
	if !slices.Contains(p.wanted, c.Variant) {
		p.wanted = append(p.wanted, c.Variant)
	}
	p.waiting = append(p.waiting, row)
	if p.octets += octets; len(p.waiting) >= chunkRows || p.octets >= chunkOctets {
		return p.flush(ctx)
	}
	return nil
}

// flush writes chunks, outside of the transaction of the commit: that is short however many
// there are.
func (p *prepared) flush(ctx context.Context) error {
	p.stored = true
	err := p.o.change(ctx, func(tx pgx.Tx) error { return p.copyChunks(ctx, tx) })
	if err != nil {
		return fmt.Errorf("write chunks of entry %s: %w", p.e.ID, err)
	}
	p.waiting, p.octets = p.waiting[:0], 0
	return nil
}

// chunkFields are the columns of a row that waits.
var chunkFields = []string{"post", "name", "key", "due", "tries", "reason", "head", "recipients", "people", "came"}

var insertChunk = `INSERT INTO spool_chunks (` + strings.Join(chunkFields, ", ") + `) VALUES (` + thisNumber + `, $2, $3, $4, $5, $6, $7, $8, $9, $10)`

// chunkRow is a chunk as chunkFields has it, and how large that is.
func chunkRow(post int64, c *spool.Chunk) (row []any, octets int, err error) {
	head, err1 := encode(headOf(c))
	to, err2 := encode(people{c.Recipients, c.Names})
	return []any{post, c.Name, int32(c.Key), micros(c.Due), int32(c.Tries), []byte(c.Reason), head, to, int32(len(c.Recipients)), micros(c.Created)}, len(head) + len(to), errors.Join(err1, err2)
}

func (p *prepared) copyChunks(ctx context.Context, tx pgx.Tx) error {
	if err := p.needNumber(ctx, tx); err != nil {
		return err
	}
	for _, row := range p.waiting {
		row[0] = p.number
	}
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"spool_chunks"}, chunkFields, pgx.CopyFromRows(p.waiting))
	return err
}

// AddEntry implements spool.Prepared.
func (p *prepared) AddEntry(_ context.Context, env spool.Envelope, message ...[]byte) (spool.ID, error) {
	if env.List != p.e.List {
		return "", fmt.Errorf("a new entry of entry %s is for list %s: want %s", p.e.ID, env.List, p.e.List)
	}
	n := newEntry{spool.Entry{ID: p.o.s.newID(), Queue: spool.Incoming, Envelope: env}, &buffer{temp: p.o.s.temp}}
	for _, piece := range message {
		if _, err := n.buffer.Write(piece); err != nil {
			return "", errors.Join(err, n.buffer.Close())
		}
	}
	n.Size = n.buffer.size
	p.entries = append(p.entries, n)
	return n.ID, nil
}

// Commit implements spool.Prepared.
func (p *prepared) Commit(ctx context.Context) error {
	_, err := p.o.Commit(ctx, p)
	return err
}

// Commit implements spool.Owner: all that can be are one transaction.
func (o *owner) Commit(ctx context.Context, posts ...spool.Prepared) (int, error) {
	all, err := o.own(posts)
	if err != nil {
		return 0, err
	}
	good := len(all)
	for i, p := range all {
		if err = p.check(); err != nil {
			good = i
			break
		}
	}
	done := all[:good]
	if together := o.commitAll(ctx, done, nil); together != nil {
		done, err = o.commitEach(ctx, done, together)
	}
	o.committed(ctx, done)
	for i, p := range all[len(done):] {
		// Of a commit that failed nobody knows whether it is under way still, and will make a
		// post of what is there: that is for the reaper.
		p.end(ctx, len(done)+i >= good)
	}
	if err != nil {
		err = fmt.Errorf("commit entry %s: %w", all[len(done)].e.ID, err)
	}
	return len(done), err
}

// own are posts as what they are.
func (o *owner) own(posts []spool.Prepared) ([]*prepared, error) {
	all := make([]*prepared, len(posts))
	for i, post := range posts {
		p, ours := post.(*prepared)
		if !ours || p.o != o {
			return nil, errors.New("commit a post that another owner prepared")
		}
		all[i] = p
	}
	return all, nil
}

// committed ends posts of which a commit has been made.
func (o *owner) committed(ctx context.Context, posts []*prepared) {
	chunks, entries := 0, 0
	for _, p := range posts {
		p.ended = true
		p.closeEntries()
		chunks, entries = chunks+p.chunks, entries+len(p.entries)
		o.Release(p.e)
		if p.chunks == 0 && p.stored {
			p.clean(ctx) // contents that nobody gets
		}
	}
	if chunks > 0 {
		o.s.ring(spool.Outgoing)
	}
	if entries > 0 {
		o.s.ring(spool.Incoming)
	}
}

// check tells what is wrong with a post before anything is done.
func (p *prepared) check() error {
	if p.ended {
		return errors.New("it was ended before")
	}
	for _, v := range p.wanted {
		if !p.variants[v] {
			return fmt.Errorf("content %s is missing", v)
		}
	}
	return nil
}

// commitAll commits all posts or none, and what join does with them.
func (o *owner) commitAll(ctx context.Context, posts []*prepared, join Join) error {
	if len(posts) == 0 {
		return nil
	}
	if o.over() {
		return spool.ErrFenced
	}
	o.tried(posts)
	return o.s.change(ctx, func(tx pgx.Tx) error {
		var all pgx.Batch // one round trip, whatever there is to do
		o.fence(&all)
		if join != nil {
			if err := join(ctx, tx, &all); err != nil {
				return err
			}
		}
		for _, p := range posts {
			if err := p.commit(ctx, tx, &all); err != nil {
				return err
			}
		}
		return tx.SendBatch(ctx, &all).Close()
	})
}

// tried notes that what is known of entries may be no longer true.
func (o *owner) tried(posts []*prepared) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range posts {
		if out := o.out[p.e.ID]; out != nil {
			out.tried = true
		}
	}
}

// commitEach finds the one that failed, and commits those before it.
func (o *owner) commitEach(ctx context.Context, posts []*prepared, together error) (done []*prepared, err error) {
	if errors.Is(together, spool.ErrFenced) || ctx.Err() != nil {
		return nil, together
	}
	for i := range posts {
		if err = together; len(posts) > 1 {
			err = o.commitAll(ctx, posts[i:i+1], nil)
		}
		if err != nil && !o.went(ctx, posts[i:i+1]) {
			return posts[:i], err
		}
	}
	return posts, nil
}

// went tells whether posts are committed, although an answer said otherwise, or none came: a
// server that commits as the connection breaks has done it, and whoever tries again finds
// that the entry is gone. If that cannot be found out now, then no: the entry is still there, or it
// is not, for whoever looks next.
func (o *owner) went(ctx context.Context, posts []*prepared) bool {
	ids := make([]string, len(posts))
	for i, p := range posts {
		ids[i] = string(p.e.ID)
	}
	ctx, cancel := context.WithTimeout(ctx, o.s.opts.Answer)
	defer cancel()
	var n int
	err := o.s.pool.QueryRow(ctx, `SELECT count(*) FROM spool_finished WHERE id = ANY ($1)`, ids).Scan(&n)
	return err == nil && n == len(posts)
}

func (p *prepared) commit(ctx context.Context, tx pgx.Tx, all *pgx.Batch) error {
	few := len(p.waiting) <= fewChunks
	if !few {
		if err := p.copyChunks(ctx, tx); err != nil {
			return err
		}
	}
	if p.chunks > 0 {
		all.Queue(`INSERT INTO spool_posts (number, id, paused) VALUES (`+newNumber+`, $2, false)`, p.number, string(p.e.ID))
		for _, c := range p.contents {
			all.Queue(smallContentOf, p.number, c.variant, c.size, c.memory.Bytes())
		}
	}
	for _, row := range p.waiting {
		if few {
			row[0] = p.number
			all.Queue(insertChunk, row...)
		}
	}
	if p.stored {
		p.checkStored(all)
	}
	for _, n := range p.entries {
		body, err := addBody(ctx, tx, n.buffer)
		if err != nil {
			return err
		}
		if _, err := insertEntry(ctx, tx, n.Entry, body); err != nil {
			return err
		}
	}
	all.Queue(`INSERT INTO spool_finished (id) VALUES ($1) ON CONFLICT DO NOTHING`, string(p.e.ID))
	all.Queue(takeEntry, string(p.e.Queue), string(p.e.ID)).QueryRow(func(row pgx.Row) error {
		var there bool
		if err := row.Scan(&there); err != nil {
			return err
		}
		if !there {
			return spool.ErrNotFound // an operator removed it
		}
		return nil
	})
	return nil
}

// checkStored has a commit fail when something is gone of what was written before it, by whose
// mistake ever: else recipients would be lost, and nobody would know.
func (p *prepared) checkStored(all *pgx.Batch) {
	all.Queue(`SELECT (SELECT count(*) FROM spool_chunks WHERE post = $1), (SELECT count(*) FROM spool_contents WHERE post = $1 AND variant = ANY ($2))`,
		p.number, p.wanted).QueryRow(func(row pgx.Row) error {
		var chunks, contents int
		err := row.Scan(&chunks, &contents)
		if err == nil && (chunks != p.chunks || contents != len(p.wanted)) {
			err = fmt.Errorf("%d chunks of %d and %d contents of %d are in the database", chunks, p.chunks, contents, len(p.wanted))
		}
		return err
	})
}

// Abort implements spool.Prepared.
func (p *prepared) Abort() error {
	p.end(p.o.s.work, true)
	return nil
}

// end gives a post up, and throws away what was written, or leaves it to the reaper.
func (p *prepared) end(ctx context.Context, clean bool) {
	if p.ended {
		return
	}
	p.ended = true
	p.closeEntries()
	if clean && p.stored {
		p.clean(ctx)
	}
}

func (p *prepared) closeEntries() {
	for _, n := range p.entries {
		n.buffer.Close() // a file without a name
	}
}

func (p *prepared) clean(ctx context.Context) {
	err := p.o.s.change(context.WithoutCancel(ctx), func(tx pgx.Tx) error { return dropPost(ctx, tx, p.number) })
	if err != nil {
		p.o.s.opts.Log.Debug("spool: what an entry's commit has left is removed later", "entry", p.e.ID, "post", strconv.FormatInt(p.number, 10), "err", err)
	}
}

// dropPost removes a post, or what would have become one.
func dropPost(ctx context.Context, tx pgx.Tx, number int64) error {
	for _, text := range []string{`DELETE FROM spool_posts WHERE number = $1`, `DELETE FROM spool_chunks WHERE post = $1`} {
		if _, err := tx.Exec(ctx, text, number); err != nil {
			return err
		}
	}
	rows, err := tx.Query(ctx, `DELETE FROM spool_contents WHERE post = $1 RETURNING body`, number)
	if err != nil {
		return err
	}
	bodies, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return err
	}
	return dropBodies(ctx, tx, bodies...)
}
