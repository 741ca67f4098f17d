package pipeline

import (
	"context"
	"io"
	"strings"

	"github.com/mlist/mlist/bounce"
	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/trace"
)

// bounce does all that is to be done with an entry of bounces: what it says is filed
// in the journal. What cannot be understood is sent to the owners.
func (d *Daemon) bounce(ctx context.Context, owner spool.Owner, e spool.Entry) error {
	finished, err := owner.Finished(ctx, e)
	if err != nil {
		return err
	}
	if finished {
		return owner.Done(ctx, e)
	}
	p, err := d.open(ctx, owner, e)
	if err != nil {
		return err
	}
	defer p.msg.Close()

	report, err := bounce.Parse(io.NewSectionReader(p.msg, 0, p.msg.Size()))
	if err != nil {
		p.log.Info("bounce is in no form known here", "err", err)
	}
	warnRefused(p, report)
	events := bounceEvents(p, report)
	if auto := firstWord(p.header.Get("Auto-Submitted")); len(report.Recipients) == 0 && auto == "auto-replied" {
		p.log.Info("automatic reply to the bounce address, dropped")
		d.note(p, trace.Done, "reason", "an automatic reply to the bounce address")
		return owner.Done(ctx, e)
	}
	if len(events) == 0 && len(report.Recipients) == 0 {
		return d.forward(ctx, p)
	}
	if err := d.store.RecordBounces(ctx, events); err != nil {
		return storeFailed("file bounces", err)
	}
	p.log.Info("bounce filed", "recipients", len(events))
	d.noteFiled(p, report, events)
	return owner.Done(ctx, e)
}

// maxFiled is how many recipients of one bounce the trace names.
const maxFiled = 20

// noteFiled traces a bounce, as made for the post if it says for which.
func (d *Daemon) noteFiled(p *post, r bounce.Report, events []store.BounceEvent) {
	var named []trace.Reply
	for _, e := range events[:min(len(events), maxFiled)] {
		outcome := "deferred"
		if e.Hard {
			outcome = "refused"
		}
		named = append(named, trace.Reply{Recipient: e.Recipient.String(), Outcome: outcome, Reply: e.Text})
	}
	args := []any{"recipients", len(events), "replies", named}
	postID, _, _ := strings.Cut(r.EnvelopeID, "/")
	if of, err := spool.CheckID(postID); err == nil {
		args = append([]any{trace.KeyOf, string(of)}, args...)
	}
	d.note(p, trace.Filed, args...)
	d.note(p, trace.Done, "reason", "the bounce is filed")
}

// bounceEvents are the refusals and delays that a report tells of. An address that the
// bounce came back to (VERP) is surer than what the report says.
func bounceEvents(p *post, r bounce.Report) []store.BounceEvent {
	event := store.BounceEvent{ListID: p.list.ID, Entry: string(p.entry.ID), At: p.entry.Received}
	verp, verpErr := address.ParseVERP(p.entry.Detail)
	var out []store.BounceEvent
	for _, rcpt := range r.Recipients {
		a, err := address.Parse(rcpt.Address)
		if err != nil || !rcpt.Failed() && !rcpt.Delayed() {
			continue
		}
		if verpErr == nil && len(r.Recipients) == 1 {
			a = verp
		}
		e := event
		e.Recipient, e.Status, e.Hard, e.Text = a, rcpt.Status, rcpt.Failed(), rcpt.Diagnostic
		if rcpt.Message || r.Scope == bounce.ScopeMessage {
			// The MTA did not like the post: the member missed it, and is not to blame.
			e.Hard, e.Text = false, "the post was refused: "+e.Text
		}
		out = append(out, e)
	}
	return out
}

// warnRefused tells the operator of a post that the MTA did not like as it is, which no
// member can mend.
func warnRefused(p *post, r bounce.Report) {
	count, reason := 0, ""
	for _, rcpt := range r.Recipients {
		if (rcpt.Message || r.Scope == bounce.ScopeMessage) && (rcpt.Failed() || rcpt.Delayed()) {
			count, reason = count+1, rcpt.Diagnostic
		}
	}
	if count > 0 {
		p.log.Warn("the MTA refused a post as it is", "recipients", count, "reason", reason, "chunk", r.EnvelopeID)
	}
}
