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

// deliver turns an accepted post into an outgoing one. The journal is written while
// the spool syncs: both are done before the commit, which alone makes anything visible.
func (d *Daemon) deliver(ctx context.Context, p *post, hp *host.Post, filing store.Post, number int64, result host.Result) error {
	own, err := d.individual(ctx, p, hp, number)
	if err != nil {
		return err
	}
	prep, err := p.owner.Prepare(ctx, p.entry)
	if err != nil {
		return err
	}
	var w, submitted written
	bounces := address.Sub(p.list.Address, address.RoleBounces).String()
	filing.Approval = hp.Notes[noteOnce]
	filing.State, filing.StateLimits = stateEdits(hp.State), d.cfg.Load().StateLimits
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		var err error
		if filing.Kept, err = d.keep(gctx, p, hp); err != nil {
			return err
		}
		record, err := d.fileAs(gctx, p, filing, number > 0)
		if err != nil {
			return err
		}
		if record.Number != number || record.Duplicate {
			return fmt.Errorf("post number %d was taken while the post was prepared", number)
		}
		return nil
	})
	g.Go(func() error {
		var err error
		if w, err = d.write(gctx, p, prep, mailing{plain, hp.Header, hp.Body, hp.Rules, bounces, own}); err != nil {
			return err
		}
		submitted, err = d.submit(gctx, p, prep, hp.Submissions)
		return err
	})
	if err := g.Wait(); err != nil {
		prep.Abort()
		return err
	}
	if w.recipients+submitted.recipients == 0 && len(submitted.entries) == 0 {
		p.log.Info("post accepted, and nobody to receive it")
		d.note(p, trace.Done, "reason", "nobody is to receive it", "number", number)
		prep.Abort()
		err := p.owner.Done(ctx, p.entry)
		if err == nil && forDigest(filing.Kept) {
			d.digestGrew(ctx, p)
		}
		return err
	}
	d.notePrepared(p, p.entry.Role, number, bounces, w)
	d.noteEntries(p, submitted.entries)
	if err := prep.Commit(ctx); err != nil {
		return err
	}
	d.noteCommitted(p)
	if forDigest(filing.Kept) {
		d.digestGrew(ctx, p)
	}
	p.log.Info("post accepted", "number", number, "sender", p.entry.Sender, "recipients", w.recipients,
		"stages", stageTimes(result.Stages), "took", d.now().Sub(p.started).Round(10*time.Microsecond))
	return nil
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
	return d.write(ctx, p, prep, mailing{plain, h, b, rules, sender, individual{}})
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
