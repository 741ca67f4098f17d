package outbound

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/outbound/sender"
)

// refusal is a recipient that the MTA did not take, and why.
type refusal struct {
	recipient string
	reply     sender.Reply
	message   bool      // the reply was to the message, not to the recipient
	expired   bool      // a deferral that went on for too long: the last reply of many
	until     time.Time // of a deferral: not to be tried again before; zero if that is not decided
}

// status is what the refusal means (RFC 3463), which is more than the reply said if that
// was the last of many.
func (r refusal) status() sender.Enhanced {
	if r.expired {
		return sender.Enhanced{4, 4, 7}
	}
	return r.reply.Status()
}

// outcome is what came of one transaction of a chunk. The recipients in none of the
// lists were accepted.
type outcome struct {
	accepted int
	refused  []refusal
	deferred []refusal
	rest     []string     // not tried yet: for the next transaction, at once
	conn     *conn        // not to be used again before this is settled; or nil
	final    sender.Reply // to the content; zero if there was none
	released bool         // what came of it is noted, and the chunk given back
}

// partial remembers, between two transactions of one chunk, what must not be tried
// again in the second. A crash loses it, and with it only some waiting.
type partial struct {
	tries    int // of the chunk, as it was settled: with others, another daemon has had it meanwhile
	rounds   int // settlements that were no failed tries
	deferred map[string]refusal
}

const (
	strikesFree   = 3 // transactions that may come to nothing before a try is charged
	strikeFirst   = 250 * time.Millisecond
	strikeMost    = time.Minute
	strikesKept   = 10_000 // chunks whose strikes are remembered
	settleFirst   = 100 * time.Millisecond
	settleMost    = 30 * time.Second
	unknownReason = "the connection was lost after the message; the MTA may have taken it: "
)

// deliver sends one transaction of a chunk and settles it, or releases the chunk when
// nothing came of it. An error means that the daemon must stop.
func (d *Daemon) deliver(ctx context.Context, c *spool.Chunk) error {
	if due, all := d.allAside(c); all {
		d.log.Debug("outbound: the destinations of a chunk are left alone", "entry", c.Post, "chunk", c.Name, "list", c.List, "until", due)
		d.owner.Release(c, due) // which charges no try
		return nil
	}
	start := d.now()
	d.posts.begin(c)
	j := d.loads.begin()
	out, err := d.transact(ctx, c)
	if out == nil {
		d.meter.Nothing()
		d.loads.end(j, 0, 0, d.cfg.Load().Connections)
		d.posts.end(c, outcome{})
		if errors.Is(err, spool.ErrFenced) {
			return err
		}
		return nil
	}
	if reply, ok := overloaded(out); ok {
		d.mta.ease(reply)
	}
	if !out.released {
		err = d.finish(ctx, c, out)
	}
	if out.conn != nil {
		d.mta.put(out.conn)
	}
	d.loads.end(j, out.accepted+len(out.refused), len(out.deferred), d.cfg.Load().Connections)
	d.posts.end(c, *out)
	d.count(out, d.now().Sub(start), d.now().Sub(c.Created))
	if err == nil {
		d.traceTurn(c, out, d.now().Sub(start))
	}
	d.log.Debug("outbound: chunk", "entry", c.Post, "chunk", c.Name, "list", c.List, "accepted", out.accepted,
		"deferred", len(out.deferred), "refused", len(out.refused), "rest", len(out.rest), "ms", d.now().Sub(start).Milliseconds())
	return err
}

// transact sends. Without an outcome the chunk has been released.
func (d *Daemon) transact(ctx context.Context, c *spool.Chunk) (*outcome, error) {
	now, rest, before := d.plan(c)
	from := c.Sender
	if individual(c) && len(now) > 0 {
		path, some, others := d.together(ctx, c, now)
		if path == "" {
			return d.each(ctx, c, before)
		}
		from, now, rest = path, some, append(others, rest...)
	}
	out := &outcome{rest: rest, deferred: before}
	if len(now) == 0 {
		return out, nil
	}
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
	content, err := d.signed(c, msg)
	if err != nil {
		return d.unreadable(c, err), nil
	}
	t := &sender.Transaction{
		From: from, XVERP: individual(c), Recipients: now, Content: content, Size: content.Size(),
		SMTPUTF8: has(c.Flags, spool.FlagSMTPUTF8), Body8BitMIME: has(c.Flags, spool.Flag8BitMIME), Confirm: d.owner.Holds,
	}
	conn, res, err := d.send(ctx, t)
	if conn == nil {
		d.owner.Release(c, time.Time{}) // the dispatcher waits for the MTA
		return nil, err
	}
	var e *sender.Error
	if err != nil && !errors.As(err, &e) {
		e = &sender.Error{Kind: sender.Lost, Op: "MAIL", Err: err} // Send promises otherwise
	}
	progress := out.add(now, res, e)
	out.final = res.Final
	if err == nil {
		d.mta.worked()
		// Kept until this is settled: what the MTA hears next on it must mean that a
		// kill can no longer repeat this transaction.
		out.conn = conn
		return out, nil
	}
	d.mta.put(conn) // closes it
	switch {
	case ctx.Err() != nil && !progress:
		if e.Kind == sender.Unknown {
			d.log.Warn("outbound: stopped while the MTA was taking a message; it is sent again later",
				"entry", c.Post, "chunk", c.Name, "list", c.List, "recipients", len(now))
		}
		d.owner.Release(c, time.Time{})
		return nil, err
	case e.Kind == sender.Content:
		return d.unreadable(c, err), nil
	case e.Kind == sender.Withheld:
		d.log.Warn("outbound: the lease of the segments may be out: nothing is sent", "entry", c.Post, "chunk", c.Name, "list", c.List)
		d.owner.Release(c, time.Time{})
		return nil, nil
	case e.Kind == sender.Unknown:
		d.log.Warn("outbound: no reply to a message; it is sent again later", "entry", c.Post, "chunk", c.Name, "list", c.List,
			"recipients", len(now), "err", err)
		d.mta.failed(err, false)
		return out, nil
	case progress:
		d.mta.worked()
		return out, nil
	}
	d.mta.failed(err, e.Kind == sender.Unavailable)
	return d.nothing(c, e), nil
}

// sized is what is sent.
type sized interface {
	io.ReaderAt
	Size() int64
}

// signed is the content that all recipients of a transaction get, with its signatures if it
// was left to us to make them.
func (d *Daemon) signed(c *spool.Chunk, msg spool.Message) (sized, error) {
	if len(c.Sign) == 0 {
		return msg, nil
	}
	keys, err := d.keys.load(c.Sign, time.Now())
	if err != nil {
		return nil, err
	}
	r, err := newRenderer(c, msg, msg.Size(), keys)
	if err != nil {
		return nil, err
	}
	return r.copy(member{})
}

// send makes the transaction on a connection that is at hand. If that has been closed by
// the MTA while it was idle, a new one is made.
func (d *Daemon) send(ctx context.Context, t *sender.Transaction) (*conn, sender.Result, error) {
	c, err := d.mta.get(ctx, false)
	if err != nil {
		return nil, sender.Result{}, err
	}
	res, err := c.Send(ctx, t)
	var e *sender.Error
	if c.rested && errors.As(err, &e) && e.Untouched() && ctx.Err() == nil {
		d.mta.put(c)
		if c, err = d.mta.get(ctx, true); err != nil {
			return nil, sender.Result{}, err
		}
		res, err = c.Send(ctx, t)
	}
	return c, res, err
}

// unreadable defers a chunk whose content cannot be read: others go on, and an operator
// has until its age runs out to mend it.
func (d *Daemon) unreadable(c *spool.Chunk, err error) *outcome {
	d.log.Error("outbound: cannot read the content of a chunk", "entry", c.Post, "chunk", c.Name, "list", c.List, "err", err)
	return d.deferAll(c, fmt.Sprintf("content: %v", err))
}

// nothing is for a transaction that came to nothing. At first the chunk is only kept
// back for a moment; when that has happened several times the chunk itself may be the
// cause, and a try is charged, so that it ends some day. An MTA that calls itself
// unavailable is believed for as long as the chunk is not too old.
func (d *Daemon) nothing(c *spool.Chunk, e *sender.Error) *outcome {
	d.mu.Lock()
	if len(d.strikes) >= strikesKept {
		clear(d.strikes)
	}
	d.strikes[c.ID()]++
	n := d.strikes[c.ID()]
	d.mu.Unlock()
	old := d.now().Sub(c.Created) >= d.cfg.Load().MaxAge
	if n > strikesFree && (e.Kind == sender.Lost || old) {
		return d.deferAll(c, e.Error())
	}
	if n == 1 { // and not each time, while an MTA is down
		d.trace.Trace(string(c.Post), c.List, trace.Waits, "chunk", c.Name, "reason", e)
	}
	var due time.Time
	if n > 1 {
		due = d.now().Add(jitter(doubled(strikeFirst, strikeMost, n-1)))
	}
	d.log.Debug("outbound: transaction failed", "entry", c.Post, "chunk", c.Name, "list", c.List, "times", n, "err", e)
	d.owner.Release(c, due)
	return nil
}

// deferAll defers every recipient of the chunk for a reason that is none of theirs.
func (d *Daemon) deferAll(c *spool.Chunk, reason string) *outcome {
	out := &outcome{}
	for _, a := range c.Recipients {
		out.deferred = append(out.deferred, refusal{recipient: a, reply: noReply(reason), message: true})
	}
	return out
}

// noReply stands for a reply that the MTA did not give.
func noReply(reason string) sender.Reply {
	return sender.Reply{Code: 451, Enhanced: sender.Enhanced{4, 4, 2}, Text: reason}
}
