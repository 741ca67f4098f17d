package pipeline

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// noteOnce is the note in which rule approved leaves the hash of the one-time password that
// the post used.
const noteOnce = "approved.once"

// plain is the variant that every regular member gets.
const plain = "plain"

// ready is an accepted post of which everything is written, but not visible.
type ready struct {
	p       *post
	prep    spool.Prepared
	filing  store.Post
	number  int64
	result  host.Result
	sender  string // of the envelope
	written written
	others  int64 // recipients of what stages submitted
	new     []newEntry
	keep    errgroup.Group // puts it into the archive, and writes it, meanwhile
}

// abort ends a post that is not to be committed.
func (r *ready) abort() {
	_ = r.keep.Wait() // nobody cares for it any more
	_ = r.prep.Abort()
	r.p.msg.Close()
}

// deliver turns an accepted post into an outgoing one. It is put into the archive while its
// content and chunks are written, which most posts leave to be done while the stages run on
// the next, and committed with what comes behind it on its list; if nothing does, at once.
func (d *Daemon) deliver(ctx context.Context, p *post, hp *host.Post, filing store.Post, number int64, result host.Result) error {
	own, err := d.individual(ctx, p, hp, number)
	if err != nil {
		return err
	}
	prep, err := p.owner.Prepare(ctx, p.entry)
	if err != nil {
		return err
	}
	r := &ready{p: p, prep: prep, filing: filing, number: number, result: result, sender: address.Sub(p.list.Address, address.RoleBounces).String()}
	r.filing.Approval = hp.Notes[noteOnce]
	r.filing.State, r.filing.StateLimits = stateEdits(hp.State), d.cfg.Load().StateLimits
	p.ready = true
	r.keep.Go(func() (err error) {
		r.filing.Kept, err = d.keep(ctx, p, hp)
		return err
	})
	main := mailing{plain, hp.Header, hp.Body, hp.Rules, r.sender, own}
	if number > 0 && len(hp.Submissions) == 0 && r.filing.Approval == "" {
		p.train.write(r, func() (err error) {
			r.written, err = d.write(ctx, p, prep, main)
			return err
		})
		return nil
	}
	r.written, err = d.write(ctx, p, prep, main)
	var submitted written
	if err == nil {
		submitted, err = d.submit(ctx, p, prep, hp.Submissions)
		r.others, r.new = submitted.recipients, submitted.entries
	}
	if err != nil {
		r.abort()
		return err
	}
	p.train.add(r)
	_ = p.train.drain() // it is the train's to give back
	return nil
}

// toNobody tells whether a post is for nobody: it counts, and nothing goes out.
func (r *ready) toNobody() bool { return r.written.recipients+r.others == 0 && len(r.new) == 0 }

// commit commits posts of one list, in their order, and ends them all. It returns how many
// were committed; the error is that of the one after them.
func (d *Daemon) commit(ctx context.Context, owner spool.Owner, group []*ready) (int, error) {
	whole, stop := whole(group)
	n, err := d.step(ctx, owner, group[:whole])
	if err == nil {
		err = stop
	}
	for _, r := range group[whole:] {
		r.abort()
	}
	if n > 0 {
		d.meter.Trouble(nil)
	}
	for _, r := range group[:n] {
		d.meter.Accepted(r.p.entry.List, d.now().Sub(r.p.entry.Received), r.written.recipients)
		if forDigest(r.filing.Kept) {
			d.digestGrew(ctx, r.p)
		}
		if r.toNobody() {
			d.note(r.p, trace.Done, "reason", "nobody is to receive it", "number", r.number)
			r.p.log.Info("post accepted, and nobody to receive it")
			continue
		}
		d.noteCommitted(r.p)
		r.p.log.Info("post accepted", "number", r.number, "sender", r.p.entry.Sender, "recipients", r.written.recipients,
			"stages", stageTimes(r.result.Stages), "took", d.now().Sub(r.p.started).Round(10*time.Microsecond))
	}
	return n, err
}

// whole waits until posts are in the archive and written, and returns how many are; the error is
// that of the one after them.
func whole(group []*ready) (int, error) {
	for i, r := range group {
		if err := r.keep.Wait(); err != nil {
			return i, err
		}
	}
	return len(group), nil
}

// step makes posts visible, and enters them into the journal: together, where that is possible.
// Else, or if that fails, the journal comes before the spool, whose commit alone makes anything visible. A
// post that is in the journal already keeps its number when it is tried again.
func (d *Daemon) step(ctx context.Context, owner spool.Owner, group []*ready) (n int, err error) {
	preps := make([]spool.Prepared, len(group))
	for i, r := range group {
		preps[i] = r.prep
		defer r.p.msg.Close()
	}
	if d.together != nil && len(group) > 0 {
		d.notePosts(group)
		if err := d.asOne(ctx, owner, group, preps); err == nil {
			return len(group), nil
		} else if ctx.Err() == nil {
			d.log.Warn("posts are not committed as one transaction, but step by step", "list", group[0].p.entry.List, "posts", len(group), "err", err)
		}
	}
	filed, stop := d.journal(ctx, group)
	if d.together == nil {
		d.notePosts(group[:filed])
	}
	for _, r := range group[filed:] {
		_ = r.prep.Abort()
	}
	if n, err = owner.Commit(ctx, preps[:filed]...); err == nil {
		err = stop
	}
	return n, err
}

// asOne commits posts and what the journal says of them as one transaction.
func (d *Daemon) asOne(ctx context.Context, owner spool.Owner, group []*ready, preps []spool.Prepared) error {
	s := &share{ctx: ctx, owner: owner, posts: preps}
	for _, r := range group {
		s.filings, s.numbers = append(s.filings, r.filing), append(s.numbers, r.number)
	}
	if group[0].p.isDigest() { // which comes alone
		d.issues.Lock()
		defer d.issues.Unlock()
	}
	return d.together.do(s)
}

// notePosts notes posts that are about to be visible.
func (d *Daemon) notePosts(group []*ready) {
	for _, r := range group {
		if r.toNobody() {
			continue
		}
		d.notePrepared(r.p, r.p.entry.Role, r.number, r.sender, r.written)
		d.noteEntries(r.p, r.new)
	}
}

// journal enters posts into the journal, and returns how many have the numbers that they were
// prepared with; the error is that of the one after them.
func (d *Daemon) journal(ctx context.Context, group []*ready) (int, error) {
	var records []store.PostRecord
	var err error
	switch len(group) {
	case 0:
		return 0, nil
	case 1:
		var record store.PostRecord
		if record, err = d.fileAs(ctx, group[0].p, group[0].filing, group[0].number > 0); err == nil {
			records = append(records, record)
		}
	default:
		filings := make([]store.Post, len(group))
		for i, r := range group {
			filings[i] = r.filing
		}
		records, err = d.store.FilePosts(ctx, filings, duplicateWindow)
		err = filingFailed(group[0].p, err)
	}
	for i, record := range records {
		if record.Number != group[i].number || record.Duplicate {
			return i, fmt.Errorf("post number %d was taken while the post was prepared", group[i].number)
		}
	}
	return len(records), err
}

// stageTimes prints what each stage took, in the order in which they ran.
func stageTimes(stages []host.StageTime) string {
	var b []byte
	for i, s := range stages {
		if i > 0 {
			b = append(b, ' ')
		}
		b = fmt.Appendf(b, "%s=%s", s.Stage, s.Took.Round(time.Microsecond))
	}
	return string(b)
}

// writeAs writes the content of a post and the chunks of those whom the rules choose,
// with the given envelope sender, and returns how much that was.
func (d *Daemon) writeAs(ctx context.Context, p *post, prep spool.Prepared, h *message.Header, b *message.Body, rules []sdk.Rule, sender string) (written, error) {
	return d.write(ctx, p, prep, mailing{plain, h, b, rules, sender, d.ownMail(p, h)})
}

// mailing is one of the contents of an outgoing post, and who gets it.
type mailing struct {
	variant string
	header  *message.Header
	body    *message.Body
	rules   []sdk.Rule
	sender  string // of the envelope
	individual
}

// write is writeAs for one of several mailings of an outgoing post.
func (d *Daemon) write(ctx context.Context, p *post, prep spool.Prepared, m mailing) (written, error) {
	w, err := prep.Content(m.variant)
	if err != nil {
		return written{}, err
	}
	find := &slotFinder{w: w, mark: []byte(m.mark)}
	eight, err := writeMessage(find, m.header, m.body)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return written{}, fmt.Errorf("write the content: %w", err)
	}
	c := &chunker{
		prep: prep,
		size: d.cfg.Load().RecipientsPerChunk,
		chunk: spool.Chunk{
			List:    p.list.Address.String(),
			Variant: m.variant,
			Sender:  m.sender,
			Created: p.entry.Received,

			ReturnKey: m.returnKey, Slots: find.slots, Sign: m.sign,
		},
	}
	if wants(find.slots, sdk.FieldUnsubscribe) {
		if c.chunk.UnsubscribeKey, err = d.oneClickKey(ctx, p.list.Address); err != nil {
			return written{}, err
		}
	}
	if wants(find.slots, sdk.FieldName, sdk.FieldNameOrAddress) {
		c.names = func(all []string) ([]string, error) { return d.names(ctx, p.list.ID, all) }
	}
	if eight {
		c.chunk.Flags = append(c.chunk.Flags, spool.Flag8BitMIME)
	}
	if m.returnKey != "" && p.list.Settings.BounceUnkeyed == "ignore" {
		c.chunk.Flags = append(c.chunk.Flags, spool.FlagOwnPaths)
	}
	// RFC 6531: only mail that needs it should ask for SMTPUTF8, since a next hop
	// without it must refuse.
	c.utf8 = !isASCII(m.header.Bytes()) && hasFlag(p.entry.Flags, spool.FlagSMTPUTF8) || !p.list.Address.IsASCII()
	add := func(addr string) error { return c.add(ctx, addr) }
	if err := d.choose(ctx, p.list.ID, m.rules, add); err != nil {
		return written{}, err
	}
	if m.variant == plain && p.isDigest() {
		if err := d.chooseOwed(ctx, p, add); err != nil {
			return written{}, err
		}
	}
	err = c.close(ctx)
	return c.total, err
}

// writeMessage writes header block, empty line and body, and tells whether the body
// has 8-bit bytes.
func writeMessage(w io.Writer, h *message.Header, b *message.Body) (eight bool, err error) {
	bw := bufio.NewWriterSize(w, 64<<10)
	block := h.Bytes()
	eol := "\r\n"
	if n := len(block); n > 0 && block[n-1] == '\n' && (n < 2 || block[n-2] != '\r') {
		eol = "\n"
	}
	bw.Write(block)
	bw.WriteString(eol)
	if err := bw.Flush(); err != nil {
		return false, err
	}
	scan := &eightBitScanner{w: w}
	if _, err := b.WriteTo(scan); err != nil {
		return false, err
	}
	return scan.found || !isASCII(block), nil
}

// eightBitScanner passes bytes on and remembers whether one had its high bit set.
type eightBitScanner struct {
	w     io.Writer
	found bool
}

func (s *eightBitScanner) Write(p []byte) (int, error) {
	s.found = s.found || !isASCII(p)
	return s.w.Write(p)
}

func isASCII[T []byte | string](s T) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// chunker gathers recipients into chunks. Those whose address needs SMTPUTF8 go
// into chunks of their own, so that an MTA that cannot do it refuses only them.
type chunker struct {
	prep  spool.Prepared
	size  int
	chunk spool.Chunk // what all chunks share
	utf8  bool        // every chunk needs SMTPUTF8
	total written
	plain []string
	inter []string
	names func(recipients []string) ([]string, error) // nil if no copy has any
}

func (c *chunker) add(ctx context.Context, addr string) error {
	c.total.recipients++
	if isASCII(addr) {
		c.plain = append(c.plain, addr)
		if len(c.plain) < c.size {
			return nil
		}
		full := c.plain
		c.plain = make([]string, 0, c.size)
		return c.put(ctx, full, c.utf8)
	}
	c.inter = append(c.inter, addr)
	if len(c.inter) < c.size {
		return nil
	}
	full := c.inter
	c.inter = nil
	return c.put(ctx, full, true)
}

func (c *chunker) put(ctx context.Context, recipients []string, utf8 bool) error {
	if len(recipients) == 0 {
		return nil
	}
	c.total.chunks++
	chunk := c.chunk
	chunk.Recipients = recipients
	if c.names != nil {
		var err error
		if chunk.Names, err = c.names(recipients); err != nil {
			return err
		}
	}
	if utf8 {
		chunk.Flags = append(chunk.Flags[:len(chunk.Flags):len(chunk.Flags)], spool.FlagSMTPUTF8)
	}
	return c.prep.AddChunk(ctx, chunk)
}

// close puts what is left.
func (c *chunker) close(ctx context.Context) error {
	if err := c.put(ctx, c.plain, c.utf8); err != nil {
		return err
	}
	return c.put(ctx, c.inter, true)
}
