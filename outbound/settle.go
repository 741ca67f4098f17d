package outbound

import (
	"context"
	"errors"
	"time"

	"github.com/mlist/mlist/internal/spool"
)

// finish records an outcome: first the refusals in bounces, then the chunk itself. It
// does not give up while the process may go on, because what was accepted and is not
// settled would be sent twice. An error means that the daemon must stop.
func (d *Daemon) finish(ctx context.Context, c *spool.Chunk, out *outcome) error {
	p := d.takePartial(c)
	tries := max(c.Tries-p.rounds, 0)
	d.learn(c, out, tries)
	d.expire(c, out, tries)
	if len(out.refused) > 0 {
		// The write goes on when the grace period is over: it is short.
		if err := d.bounce(context.WithoutCancel(ctx), c, out.refused); err != nil {
			d.log.Error("outbound: cannot write a bounce; the recipients are tried again",
				"entry", c.Post, "chunk", c.Name, "list", c.List, "recipients", len(out.refused), "err", err)
			out.deferred, out.refused = append(out.deferred, out.refused...), nil
		}
	}
	d.tellDelay(ctx, c, out.deferred)
	return d.settle(ctx, c, out, d.settlement(c, out, tries, p))
}

// takePartial forgets what was remembered of a chunk, and returns it.
func (d *Daemon) takePartial(c *spool.Chunk) partial {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := c.ID()
	delete(d.strikes, id)
	if p := d.partial[id]; p != nil {
		delete(d.partial, id)
		if p.tries == c.Tries {
			return *p
		}
	}
	return partial{}
}

// settlement says what remains of a chunk. With recipients left that were not tried it
// is due at once, and those deferred so far are remembered; else it backs off.
func (d *Daemon) settlement(c *spool.Chunk, out *outcome, tries int, p partial) spool.Settlement {
	s := spool.Settlement{Deferred: out.rest}
	for _, r := range out.deferred {
		s.Deferred = append(s.Deferred, r.recipient)
		s.Reason = reason(r)
	}
	if len(s.Deferred) == 0 {
		return s
	}
	if len(out.rest) == 0 {
		s.Due = d.due(c, out.deferred)
		return s
	}
	next := &partial{tries: c.Tries + 1, rounds: p.rounds + 1, deferred: make(map[string]refusal, len(out.deferred))}
	for _, r := range out.deferred {
		next.deferred[r.recipient] = r
	}
	s.Due = d.now()
	if s.Reason == "" {
		s.Reason = "more recipients than one transaction takes"
	}
	d.mu.Lock()
	if len(d.partial) >= strikesKept {
		clear(d.partial)
	}
	d.partial[c.ID()] = next
	d.mu.Unlock()
	return s
}

// reason is a refusal as an operator sees it in the queue.
func reason(r refusal) string {
	if r.message {
		return r.reply.String()
	}
	return r.recipient + ": " + r.reply.String()
}

// due is when a chunk is tried again: when the first of those deferred may be, but once more
// just before its age runs out.
func (d *Daemon) due(c *spool.Chunk, deferred []refusal) time.Time {
	cfg := d.cfg.Load()
	due := deferred[0].until
	for _, r := range deferred[1:] {
		if r.until.Before(due) {
			due = r.until
		}
	}
	if end := c.Created.Add(cfg.MaxAge); due.After(end) && end.After(d.now().Add(cfg.RetryMin)) {
		return end
	}
	return due
}

// expire makes refusals of deferrals of a chunk that is too old. A chunk gets two tries
// at least, however long the MTA was down before the first.
func (d *Daemon) expire(c *spool.Chunk, out *outcome, tries int) {
	if tries == 0 || d.now().Sub(c.Created) < d.cfg.Load().MaxAge {
		return
	}
	for _, r := range out.deferred {
		r.expired = true
		out.refused = append(out.refused, r)
	}
	out.deferred = nil
}

// settle tries until it is done or the process must end.
func (d *Daemon) settle(ctx context.Context, c *spool.Chunk, out *outcome, s spool.Settlement) error {
	wait := delay{first: settleFirst, most: settleMost}
	for failed := false; ; failed = true {
		err := d.owner.Settle(context.WithoutCancel(ctx), c, s)
		switch {
		case err == nil:
			if failed {
				d.meter.Trouble(nil)
				d.log.Info("outbound: settled after all", "entry", c.Post, "chunk", c.Name, "list", c.List)
			}
			return nil
		case errors.Is(err, spool.ErrNotFound):
			d.log.Info("outbound: the chunk was removed meanwhile", "entry", c.Post, "chunk", c.Name, "list", c.List)
			return nil
		}
		d.meter.Trouble(err)
		d.log.Error("outbound: cannot settle a chunk; if mlist ends now its accepted recipients get the post again",
			"entry", c.Post, "chunk", c.Name, "list", c.List, "accepted", out.accepted, "err", err)
		if errors.Is(err, spool.ErrFenced) {
			return err
		}
		if !sleep(ctx, wait.next()) {
			return nil
		}
	}
}
