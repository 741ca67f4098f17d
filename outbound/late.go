package outbound

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/trace"
)

const (
	aDay      = 24 * time.Hour
	maxDelays = 10_000 // lists whose last day is remembered
	maxNamed  = 20     // recipients that a report of a delay names
)

// tellDelay puts a report in bounces that a post has been deferred for long: the owners
// are told. It is one a list and day (UTC), also of several daemons, for they give it the
// same id; the pipeline sees to it that no more comes of those that come one after another.
// Mail without a sender, such as that notice, makes none.
func (d *Daemon) tellDelay(ctx context.Context, c *spool.Chunk, deferred []refusal) {
	after, now := d.cfg.Load().DelayNotice, d.now()
	if after <= 0 || len(deferred) == 0 || c.Sender == "" || now.Sub(c.Created) < after {
		return
	}
	day := now.Unix() / int64(aDay.Seconds())
	d.mu.Lock()
	told := d.delays[c.List] == day
	if !told {
		if len(d.delays) >= maxDelays {
			clear(d.delays)
		}
		d.delays[c.List] = day
	}
	d.mu.Unlock()
	if told {
		return
	}
	if err := d.putDelay(context.WithoutCancel(ctx), c, deferred[:min(len(deferred), maxNamed)], now, day); err != nil {
		d.log.Error("outbound: cannot tell the owners of a delay", "entry", c.Post, "chunk", c.Name, "list", c.List, "err", err)
		d.mu.Lock()
		delete(d.delays, c.List) // the next deferral tries again
		d.mu.Unlock()
	}
}

func (d *Daemon) putDelay(ctx context.Context, c *spool.Chunk, deferred []refusal, now time.Time, day int64) error {
	draft, err := d.spool.Create(ctx)
	if err != nil {
		return err
	}
	defer draft.Close()
	id := delayID(c.List, day)
	text := report(id, c, "delayed", deferred, d.cfg.Load().MTA.Hostname, now)
	if _, err := draft.Write(text); err != nil {
		return err
	}
	if _, err := draft.Put(ctx, spool.Bounces, id, envelope(c, now)); err != nil {
		return err
	}
	d.log.Info("outbound: a post is delayed, the owners are told", "entry", c.Post, "list", c.List, "report", id)
	d.trace.Trace(string(id), c.List, trace.Kept, trace.KeyOf, string(c.Post), "queue", string(spool.Bounces), "role", roleBounces,
		"peer", "outbound", "size", len(text))
	return nil
}

// delayID is the id of a list's report of a day.
func delayID(list string, day int64) spool.ID {
	sum := sha256.Sum256(fmt.Appendf(nil, "delay\x00%s\x00%d", list, day))
	text := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))
	return spool.MakeID(uint64(day)*uint64(aDay.Microseconds()), 0)[:6] + spool.ID(text[:10])
}
