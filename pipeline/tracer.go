package pipeline

import (
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/sdk"
)

// Tracer is told what happens to each entry, for people who ask later; package trace
// says which kinds there are. It must not fail and should not take long.
type Tracer interface {
	Trace(entry, list, kind string, args ...any)
}

type noTracer struct{}

func (noTracer) Trace(string, string, string, ...any) {}

// SetTracer makes t hear of everything; it is called before Run.
func (d *Daemon) SetTracer(t Tracer) { d.tracer = t }

// note traces an event of the post's entry.
func (d *Daemon) note(p *post, kind string, args ...any) {
	d.tracer.Trace(string(p.entry.ID), p.entry.List, kind, args...)
}

// noteStages traces what the stages decided.
func (d *Daemon) noteStages(p *post, r host.Result, notes map[string]string) {
	stages := make([]trace.Stage, len(r.Stages))
	for i, s := range r.Stages {
		stages[i] = trace.Stage{Stage: s.Stage, Verdict: string(s.Verdict), Took: s.Took.Microseconds()}
	}
	args := []any{"verdict", string(r.Verdict.Kind), "try", p.entry.Tries + 1}
	if r.Verdict.Kind != sdk.KindAccept {
		args = append(args, "stage", r.Stage, "code", r.Verdict.Code, "reason", r.Verdict.Reason)
	}
	if len(notes) > 0 {
		args = append(args, "notes", notes)
	}
	d.note(p, trace.Stages, append(args, "stages", stages)...)
}

// written is what was put into a post that is being prepared.
type written struct {
	recipients int64
	chunks     int
	entries    []newEntry // new posts
}

// newEntry is an entry that comes with a commit.
type newEntry struct {
	id        spool.ID
	env       spool.Envelope
	size      int
	messageID string
}

// noteEntries traces new entries before the commit that brings them.
func (d *Daemon) noteEntries(p *post, entries []newEntry) {
	for _, e := range entries {
		d.tracer.Trace(string(e.id), e.env.List, trace.Kept, trace.KeyOf, string(p.entry.ID), trace.KeyMessageID, e.messageID, "queue", string(spool.Incoming),
			"role", e.env.Role, "recipient", e.env.Recipient, "peer", e.env.Peer, "size", e.size, "flags", e.env.Flags)
	}
}

// notePrepared traces a post before its commit: after it outbound may be quicker.
func (d *Daemon) notePrepared(p *post, role string, number int64, sender string, w written) {
	args := []any{"role", role}
	if number > 0 {
		args = append(args, "number", number)
	}
	d.note(p, trace.Prepared, append(args, "sender", sender, "recipients", w.recipients, "chunks", w.chunks)...)
}

// noteCommitted traces that outbound sees the post.
func (d *Daemon) noteCommitted(p *post) {
	d.note(p, trace.Committed, "took_us", d.now().Sub(p.started).Microseconds())
}
