package outbound

import (
	"time"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/outbound/sender"
)

// Tracer is told what comes of each chunk, for people who ask later; package trace says
// which kinds there are. It must not fail and should not take long.
type Tracer interface {
	Trace(entry, list, kind string, args ...any)
}

type noTracer struct{}

func (noTracer) Trace(string, string, string, ...any) {}

// SetTracer makes t hear of everything; it is called before Run.
func (d *Daemon) SetTracer(t Tracer) { d.trace = t }

// maxReplies is how many recipients of one transaction the trace names.
const maxReplies = 20

// turnsFor is for how long the turns of a chunk are added up before they are traced: each
// may be a few copies only.
const turnsFor = 5 * time.Second

// turnsSum is what turns of a chunk came to that have not been traced yet.
type turnsSum struct {
	accepted int
	took     time.Duration
	since    time.Time
}

// traceTurn traces a transaction, or the turns of a chunk together.
func (d *Daemon) traceTurn(c *spool.Chunk, out *outcome, took time.Duration) {
	now := time.Now()
	d.mu.Lock()
	sum, ok := d.turns[c.ID()]
	if !ok {
		sum.since = now
	}
	sum.accepted, sum.took = sum.accepted+out.accepted, sum.took+took
	stopping := false
	select {
	case <-d.stopping:
		stopping = true
	default:
	}
	if out.released && !stopping && now.Sub(sum.since) < turnsFor && len(d.turns) < strikesKept {
		d.turns[c.ID()] = sum
		d.mu.Unlock()
		return
	}
	delete(d.turns, c.ID())
	d.mu.Unlock()
	all := *out
	all.accepted = sum.accepted
	d.traceSent(c, &all, sum.took)
}

// traceSent traces a transaction that was settled.
func (d *Daemon) traceSent(c *spool.Chunk, out *outcome, took time.Duration) {
	args := []any{"chunk", c.Name, "accepted", out.accepted, "deferred", len(out.deferred), "refused", len(out.refused),
		"left", len(out.deferred) + len(out.rest), "ms", took.Milliseconds()}
	if out.final.Code != 0 {
		args = append(args, "reply", out.final.String())
	}
	if replies := repliesOf(out); len(replies) > 0 {
		args = append(args, "replies", replies)
	}
	d.trace.Trace(string(c.Post), c.List, trace.Sent, args...)
}

func repliesOf(out *outcome) []trace.Reply {
	var replies []trace.Reply
	add := func(all []refusal, outcome string) {
		for _, r := range all {
			if len(replies) == maxReplies {
				return
			}
			replies = append(replies, trace.Reply{Recipient: r.recipient, Outcome: outcome, Reply: brief(r.reply)})
		}
	}
	add(out.refused, "refused")
	add(out.deferred, "deferred")
	return replies
}

// brief is a reply short enough that several fit into one event.
func brief(r sender.Reply) string {
	const most = 200
	text := r.String()
	if len(text) > most {
		text = text[:most] + "..."
	}
	return text
}
