package pipeline

import (
	"context"

	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// rejectedByModerator is the reason where the moderator gave none. It is phrase
// reason_moderator.
const rejectedByModerator = "A moderator of the list rejected the message."

// hold parks the post for the moderators, and tells them and the author so.
func (d *Daemon) hold(ctx context.Context, p *post, result host.Result, notes map[string]string) error {
	p.log.Info("post held", "stage", result.Stage, "code", result.Verdict.Code, "reason", result.Verdict.Reason)
	if notes == nil {
		notes = map[string]string{}
	}
	notes["stage"], notes["code"] = result.Stage, result.Verdict.Code
	// What is said of it first: a crash in between repeats that, under the same names, and
	// loses nothing. Moderators are told when it is held.
	if err := d.fileHeld(ctx, p, result.Verdict, notes); err != nil {
		return err
	}
	if err := d.tellAuthor(ctx, p, result.Verdict); err != nil {
		return err
	}
	if err := p.owner.Park(ctx, p.entry, spool.Held, result.Verdict.Reason, notes); err != nil {
		return err
	}
	d.tellModerators()
	d.meter.Entry(p.entry.List, "held")
	d.note(p, trace.Held, "stage", result.Stage, "code", result.Verdict.Code, "reason", result.Verdict.Reason)
	return nil
}

// reject ends the post with a notice to its sender where one may be sent, else quietly.
// The notice is the entry's outgoing post, so that both are one commit.
func (d *Daemon) reject(ctx context.Context, p *post, v sdk.Verdict) error {
	may, err := d.mayAnswer(ctx, p)
	if err != nil {
		return err
	}
	d.meter.Entry(p.entry.List, "rejected")
	p.log.Info("post rejected", "code", v.Code, "reason", v.Reason, "notice", may)
	d.note(p, trace.Rejected, "code", v.Code, "reason", v.Reason, "notice", may)
	if !may {
		d.note(p, trace.Done, "reason", "rejected, and nobody is told")
		return p.owner.Done(ctx, p.entry)
	}
	n, err := d.rejectNotice(ctx, p, v)
	if err != nil {
		return err
	}
	return d.commitNotice(ctx, p, n, "", []sdk.Rule{{Kind: sdk.RuleAdd, Addresses: []string{p.entry.Sender}}})
}

// commitNotice makes n the outgoing post of the entry.
func (d *Daemon) commitNotice(ctx context.Context, p *post, n *notice, sender string, rules []sdk.Rule) error {
	prep, err := p.owner.Prepare(ctx, p.entry)
	if err != nil {
		return err
	}
	h := message.ParseHeader(n.header)
	w, err := d.writeAs(ctx, p, prep, h, n.body(), rules, sender)
	if err != nil {
		prep.Abort()
		return err
	}
	if w.recipients == 0 {
		prep.Abort()
		d.note(p, trace.Done, "reason", "nobody is to receive it")
		return p.owner.Done(ctx, p.entry)
	}
	d.notePrepared(p, roleNotice, 0, sender, w)
	if err := prep.Commit(ctx); err != nil {
		return err
	}
	d.noteCommitted(p)
	return nil
}
