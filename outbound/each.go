package outbound

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/oneclick"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/verp"
	"github.com/mlist/mlist/outbound/sender"
)

const (
	// turn is how long the copies of one chunk may keep a connection. What is done is
	// recorded, so that the rest costs no more than being read again: a few milliseconds' worth
	// of copies, which is why a turn is not much shorter even if another post waits.
	turn      = 200 * time.Millisecond
	shortTurn = 10 * time.Millisecond
	// inMemory is how large a content may be that is read once and not again for each copy.
	inMemory = 256 << 10
)

// individual tells whether each recipient of a chunk gets a copy of their own.
func individual(c *spool.Chunk) bool { return c.ReturnKey != "" || len(c.Slots) > 0 }

// returnPaths makes the return paths of a chunk's copies, or nil if all have Sender.
func (d *Daemon) returnPaths(c *spool.Chunk) (*verp.Encoder, error) {
	if c.ReturnKey == "" {
		return nil, nil
	}
	key, err := verp.ParseKey(c.ReturnKey)
	if err != nil {
		return nil, err
	}
	list, err := address.Parse(c.List)
	if err != nil {
		return nil, err
	}
	return verp.NewEncoder(key, list, d.now()), nil
}

// tokens makes the tokens of one-click unsubscription of a chunk's copies, or nil if they
// have none.
func (d *Daemon) tokens(c *spool.Chunk) (*oneclick.Sealer, error) {
	if !slices.ContainsFunc(c.Slots, func(s spool.Slot) bool { return s.Field == unsubscribeField }) {
		return nil, nil
	}
	key, err := oneclick.ParseKey(c.UnsubscribeKey)
	if err != nil {
		return nil, err
	}
	return oneclick.NewSealer(key, d.now()), nil
}

// together finds those to whom one transaction can bring copies that differ in the return
// path alone, made by the MTA (XVERP): all whose return path keeps to the length of a local
// part. sender is "" if it cannot be done at all, or is not wanted.
func (d *Daemon) together(ctx context.Context, c *spool.Chunk, all []string) (sender string, some, rest []string) {
	if len(c.Slots) > 0 || has(c.Flags, spool.FlagOwnPaths) || !d.mta.offersXVERP(ctx) {
		return "", nil, nil
	}
	enc, err := d.returnPaths(c)
	if err != nil {
		return "", nil, nil // each tells of it
	}
	path, keyed := enc.Batch()
	if !keyed {
		return "", nil, nil
	}
	room := address.MaxLocal - len("+=") - bytes.LastIndexByte([]byte(path), '@') + len("@")
	for _, r := range all {
		if len(r) <= room && plain(r) {
			some = append(some, r)
		} else {
			rest = append(rest, r)
		}
	}
	if len(some) == 0 {
		return "", nil, nil
	}
	return path, some, rest
}

// plain tells whether an address can be part of another's local part as it is.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' {
			return false
		}
	}
	return true
}

// offersXVERP asks a connection that is at hand, or a new one.
func (m *mta) offersXVERP(ctx context.Context) bool {
	c, err := m.get(ctx, false)
	if err != nil {
		return false // what is sent next finds that out, too
	}
	defer m.put(c)
	return c.XVERP()
}

// each sends copies one by one, until all have been or the chunk's turn is over.
func (d *Daemon) each(ctx context.Context, c *spool.Chunk, before []refusal) (*outcome, error) {
	msg, err := d.owner.Content(ctx, c)
	switch {
	case ctx.Err() != nil, errors.Is(err, spool.ErrFenced):
		if err == nil {
			_ = msg.Close() // read only
		}
		d.owner.Release(c, time.Time{})
		return nil, err
	case err != nil:
		return d.unreadable(c, err), nil
	}
	defer msg.Close()
	run := &copies{d: d, c: c, out: &outcome{deferred: before}, begun: time.Now()}
	if err := run.prepare(msg); err != nil {
		return d.unreadable(c, err), nil
	}
	conn, err := d.sendEach(ctx, run)
	if conn == nil {
		d.owner.Release(c, time.Time{}) // the dispatcher waits for the MTA
		return nil, err
	}
	return d.ended(ctx, run, conn, err)
}

// sendEach is send for copies.
func (d *Daemon) sendEach(ctx context.Context, run *copies) (*conn, error) {
	c, err := d.mta.get(ctx, false)
	if err != nil {
		return nil, err
	}
	err = c.SendEach(ctx, run)
	var e *sender.Error
	if c.rested && run.told == 0 && errors.As(err, &e) && e.Untouched() && ctx.Err() == nil {
		d.mta.put(c)
		if c, err = d.mta.get(ctx, true); err != nil {
			return nil, err
		}
		run.next = 0
		err = c.SendEach(ctx, run)
	}
	return c, err
}

// ended says what follows from how a run of copies ended.
func (d *Daemon) ended(ctx context.Context, run *copies, conn *conn, err error) (*outcome, error) {
	c, out := run.c, run.out
	for _, i := range run.todo[run.told:] {
		out.rest = append(out.rest, c.Recipients[i])
	}
	var e *sender.Error
	switch {
	case run.failed != nil:
		// What was accepted and could not be noted is known to finish, which does not give up.
		d.mta.put(conn)
		d.log.Error("outbound: cannot note that a copy was accepted", "entry", c.Post, "chunk", c.Name, "list", c.List, "err", run.failed)
		return out, nil
	case err == nil && run.bad != nil && run.told == 0:
		d.mta.put(conn)
		return d.unreadable(c, run.bad), nil
	case err == nil:
		d.mta.worked()
		out.conn = conn
	case !errors.As(err, &e):
		e = &sender.Error{Kind: sender.Lost, Op: "MAIL", Err: err} // SendEach promises otherwise
	}
	if e != nil {
		d.mta.put(conn) // closes it
		switch {
		case ctx.Err() != nil && run.told == 0:
			d.owner.Release(c, time.Time{})
			return nil, err
		case e.Kind == sender.Withheld && run.told == 0:
			d.owner.Release(c, time.Time{})
			return nil, nil
		case e.Kind == sender.Content && run.told == 0: // else the next run tells
			return d.unreadable(c, err), nil
		case e.Kind == sender.Unknown:
			d.log.Warn("outbound: no reply to a copy; it is sent again later", "entry", c.Post, "chunk", c.Name, "list", c.List, "err", err)
			d.mta.failed(err, false)
		case run.told == 0:
			d.mta.failed(err, e.Kind == sender.Unavailable)
			return d.nothing(c, e), nil
		default:
			d.mta.worked()
		}
	}
	if len(out.rest) > 0 && run.refusals == 0 {
		d.owner.Release(c, time.Time{})
		out.released = true
	}
	return out, nil
}

// copies are those of one chunk, as a sender wants them.
type copies struct {
	d      *Daemon
	c      *spool.Chunk
	out    *outcome
	begun  time.Time
	render *renderer
	paths  *verp.Encoder
	tokens *oneclick.Sealer // nil if no copy has one
	todo   []int            // numbers of the recipients
	next   int              // in todo
	told   int              // in todo: of those before it is known what became of them

	refusals int   // and deferrals
	failed   error // of noting that a copy was accepted
	bad      error // a copy cannot be made
}

// prepare finds out all that the copies have in common.
func (r *copies) prepare(content spool.Message) (err error) {
	keys, err := r.d.keys.load(r.c.Sign, time.Now())
	if err != nil {
		return err
	}
	if r.render, err = newRenderer(r.c, content, content.Size(), keys); err != nil {
		return err
	}
	if r.paths, err = r.d.returnPaths(r.c); err != nil {
		return err
	}
	if r.tokens, err = r.d.tokens(r.c); err != nil {
		return err
	}
	deferred := make(map[string]bool, len(r.out.deferred))
	for _, x := range r.out.deferred {
		deferred[x.recipient] = true
	}
	for i, to := range r.c.Recipients {
		if !deferred[to] {
			r.todo = append(r.todo, i)
		}
	}
	return nil
}

// Next implements sender.Each.
func (r *copies) Next() *sender.Transaction {
	if r.next == len(r.todo) || r.next > 0 && r.over() {
		return nil
	}
	i := r.todo[r.next]
	to := member{address: r.c.Recipients[i], returnPath: r.c.Sender}
	if r.paths != nil {
		to.returnPath, _ = r.paths.Recipient(to.address)
	}
	if r.tokens != nil {
		to.token = r.tokens.Token(to.address)
	}
	if len(r.c.Names) > 0 {
		to.name = r.c.Names[i]
	}
	content, err := r.render.copy(to)
	if err != nil {
		r.bad = err
		return nil
	}
	r.next++
	return &sender.Transaction{
		From: to.returnPath, Recipients: r.c.Recipients[i : i+1 : i+1], Content: content, Size: content.Size(),
		SMTPUTF8: has(r.c.Flags, spool.FlagSMTPUTF8), Body8BitMIME: has(r.c.Flags, spool.Flag8BitMIME) || r.render.eightBit(),
		Confirm: r.d.owner.Holds,
	}
}

// over tells whether the turn is over, or the daemon is to stop.
func (r *copies) over() bool {
	if r.d.owner.Holds() != nil {
		return true
	}
	select {
	case <-r.d.stopping:
		return true
	default:
		took := time.Since(r.begun)
		return took >= turn || took >= shortTurn && r.d.owner.Others(r.c)
	}
}

// Done implements sender.Each.
func (r *copies) Done(res sender.Recipient) error {
	i := r.todo[r.told]
	to := r.c.Recipients[i]
	r.told++
	switch res.Outcome {
	case sender.Accepted:
		r.out.accepted++
		if err := r.d.owner.Progress(r.c, i); err != nil {
			r.failed = err
			return err
		}
		return nil
	case sender.Deferred:
		r.out.deferred = append(r.out.deferred, refusal{recipient: to, reply: res.Reply, message: res.Message})
	case sender.Refused:
		r.out.refused = append(r.out.refused, refusal{recipient: to, reply: res.Reply, message: res.Message})
	default:
		r.out.deferred = append(r.out.deferred, refusal{recipient: to, reply: noReply(unknownReason + "no reply"), message: true})
	}
	r.refusals++
	return nil
}
