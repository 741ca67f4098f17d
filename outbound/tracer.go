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
