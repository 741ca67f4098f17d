package pg

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mlist/mlist/internal/spool"
)

// notes is where an owner of outgoing writes down what the MTA has accepted. All that comes
// while the server is busy with what came before is one statement, and one round trip, so
// that what a recipient costs falls with what there is to do. Nothing waits for the disk: a
// power cut may undo the notes of the last moments.
type notes struct {
	o     *outgoing
	todo  chan *note
	ended chan struct{}
}

// note is one thing to be written down.
type note struct {
	at    place
	place int32 // of a recipient, or whole
	last  bool  // of whole: as far as is known the post has no other chunk
	err   error // about this one alone
	done  chan error
}

const (
	// whole is the place of a note that says that a chunk is done.
	whole = -1
	// notesOnce is how many notes a statement takes.
	notesOnce = 256
)

func newNotes(o *outgoing) *notes {
	return &notes{o: o, todo: make(chan *note, notesOnce), ended: make(chan struct{})}
}

// write waits until a note is in the database.
func (n *notes) write(it note) error {
	it.done = make(chan error, 1)
	select {
	case n.todo <- &it:
	case <-n.o.ended:
		return spool.ErrFenced
	}
	select {
	case err := <-it.done:
		return err
	case <-n.ended: // the statement that it was in may have been its last
		select {
		case err := <-it.done:
			return err
		default:
			return spool.ErrFenced
		}
	}
}

// run writes until the lease ends.
func (n *notes) run() {
	defer close(n.ended)
	for {
		select {
		case first := <-n.todo:
			runtime.Gosched() // those who were told of the last statement have more: let them come
			n.together(n.gather(first))
		case <-n.o.ended:
			return
		}
	}
}

func (n *notes) gather(first *note) []*note {
	all := []*note{first}
	for len(all) < notesOnce {
		select {
		case next := <-n.todo:
			all = append(all, next)
		default:
			return all
		}
	}
	return all
}

func (n *notes) together(all []*note) {
	ctx, cancel := context.WithTimeout(n.o.s.work, n.o.s.opts.Answer)
	defer cancel()
	err := n.o.put(ctx, all)
	if isState(err, foreignKey) { // an operator removed a post at this moment
		for _, it := range all {
			if err = n.o.put(ctx, []*note{it}); isState(err, foreignKey) {
				err = spool.ErrNotFound
			}
			it.done <- errors.Join(err, it.err)
		}
		return
	}
	for _, it := range all {
		it.done <- errors.Join(err, it.err)
	}
}

// dontWait is the part of a statement by which its transaction does not wait for the disk. Who has
// a synchronous standby, though, wants nobody to get a post twice when that takes over. It is
// no setting of the connection: a pooler may hand that to somebody to whom 250 was promised.
const dontWait = `soon AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true) WHERE current_setting('synchronous_standby_names') = '')`

// putNotes enters recipients, and removes chunks, if the lease lasts: its row is locked until
// the end of the transaction, which the statement is. It tells the numbers of those recipients whose chunk is
// not there.
var putNotes = `WITH ` + dontWait + `, own AS MATERIALIZED (SELECT epoch FROM spool_owners WHERE epoch = $1 FOR KEY SHARE),
	noted AS (INSERT INTO spool_progress (post, name, place)
		SELECT c.post, c.name, n.place FROM own, unnest($2::bigint[], $3::text[], $4::int[]) AS n (post, name, place)
		JOIN spool_chunks c ON c.post = n.post AND c.name = n.name ON CONFLICT DO NOTHING),
	ended AS (DELETE FROM spool_chunks c USING own, unnest($5::bigint[], $6::text[]) AS e (post, name) WHERE c.post = e.post AND c.name = e.name)
	SELECT (SELECT count(*) FROM own WHERE (SELECT count(*) FROM soon) >= 0), ARRAY(SELECT n.number FROM unnest($2::bigint[], $3::text[]) WITH ORDINALITY AS n (post, name, number)
		WHERE NOT EXISTS (SELECT 1 FROM spool_chunks c WHERE c.post = n.post AND c.name = n.name))`

func (o *outgoing) put(ctx context.Context, all []*note) error {
	var posts, endedPosts, last []int64
	var names, endedNames []string
	var places []int32
	var recipients []*note
	for _, it := range all {
		it.err = nil
		if it.place == whole {
			endedPosts, endedNames = append(endedPosts, it.at.post), append(endedNames, it.at.name)
			if it.last {
				last = append(last, it.at.post)
			}
			continue
		}
		recipients = append(recipients, it)
		posts, names, places = append(posts, it.at.post), append(names, it.at.name), append(places, it.place)
	}
	var owners int
	var missing []int64
	if err := o.s.soon.QueryRow(ctx, putNotes, o.epoch, posts, names, places, endedPosts, endedNames).Scan(&owners, &missing); err != nil {
		return err
	}
	for _, number := range missing {
		recipients[number-1].err = spool.ErrNotFound
	}
	if owners == 0 {
		o.end()
		return spool.ErrFenced
	}
	if len(last) > 0 {
		// In a transaction of its own, which sees what others have removed: of two who remove
		// the last two chunks together, one finds none.
		if err := dropEmpty(ctx, o.s.soon, last); err != nil {
			o.s.opts.Log.Debug("spool: posts that are done are removed later", "err", err)
		}
	}
	return nil
}

// dropEmpty removes those of the posts that have no chunks left, with all that is only theirs.
func dropEmpty(ctx context.Context, on execer, posts []int64) error {
	_, err := on.Exec(ctx, `WITH `+dontWait+`, gone AS (DELETE FROM spool_posts p WHERE number = ANY ($1) AND (SELECT count(*) FROM soon) >= 0
			AND NOT EXISTS (SELECT 1 FROM spool_chunks c WHERE c.post = p.number) RETURNING number),
		contents AS (DELETE FROM spool_contents WHERE post IN (SELECT number FROM gone) RETURNING post, body)
		DELETE FROM spool_bodies b USING contents WHERE b.id = contents.body AND NOT EXISTS (SELECT 1 FROM spool_entries e WHERE e.body = b.id)
			AND NOT EXISTS (SELECT 1 FROM spool_contents c WHERE c.body = b.id AND c.post NOT IN (SELECT post FROM contents))`, posts)
	return err
}

// Settle implements spool.OutgoingOwner.
func (o *outgoing) Settle(ctx context.Context, c *spool.Chunk, r spool.Settlement) error {
	h, err := o.handedOut(c)
	switch {
	case err != nil:
	case len(r.Deferred) > 0:
		err = o.change(ctx, func(tx pgx.Tx) error { return o.deferChunk(ctx, tx, c, h, r) })
	default:
		err = o.notes.write(note{at: h.place, place: whole, last: !o.knowsMore(h.post)})
	}
	if err != nil {
		return fmt.Errorf("settle chunk %s: %w", c.ID(), err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.out, c)
	delete(o.held, h.place)
	return nil
}

// knowsMore tells whether a post has chunks that wait to be handed out, as far as is known
// here. Whoever knows of none looks.
func (o *outgoing) knowsMore(post int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range o.turns {
		if t.post == post {
			return true
		}
	}
	return false
}

// Progress implements spool.OutgoingOwner.
func (o *outgoing) Progress(c *spool.Chunk, i int) error {
	h, err := o.handedOut(c)
	if err == nil {
		// The server has it when this returns, and its disk soon after.
		err = o.notes.write(note{at: h.place, place: int32(h.places[i])})
	}
	if err != nil {
		return fmt.Errorf("record progress of chunk %s: %w", c.ID(), err)
	}
	return nil
}

// execer is a pool, a connection or a transaction.
type execer interface {
	Exec(ctx context.Context, text string, args ...any) (pgconn.CommandTag, error)
}
