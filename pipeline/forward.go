package pipeline

import (
	"context"
	"fmt"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/wire"
)

// forward sends mail for a role address of a list (dev-owner, dev-request, ...) to the
// list's owners and moderators.
func (d *Daemon) forward(ctx context.Context, p *post) error {
	if p.wasHere() {
		p.log.Info("mail for the owners came back, dropped")
		d.note(p, trace.Done, "reason", "mail for the owners came back")
		return p.owner.Done(ctx, p.entry)
	}
	if d.responds(p) == respondAndDiscard {
		return d.respondAlone(ctx, p, nil)
	}
	response, err := d.response(ctx, p)
	if err != nil {
		return err
	}
	p.header.Prepend(loopField, address.Sub(p.list.Address, address.RoleOwner).String())
	// The null reverse-path stays: an answer to a bounce must not bounce again.
	sender := ""
	if p.entry.Sender != "" {
		sender = address.Sub(p.list.Address, address.RoleBounces).String()
	}
	rules, err := d.lookers(ctx, p.list)
	if err != nil {
		return err
	}
	return d.commitAsIs(ctx, p, sender, rules, response...)
}

// commitAsIs makes the entry's own message an outgoing post to those whom the rules
// choose, together with what is submitted; without anybody to have it, it is a failure
// that an operator should see.
func (d *Daemon) commitAsIs(ctx context.Context, p *post, sender string, rules []sdk.Rule, submissions ...wire.Submission) error {
	prep, err := p.owner.Prepare(ctx, p.entry)
	if err != nil {
		return err
	}
	w, err := d.writeAs(ctx, p, prep, p.header, p.body, rules, sender)
	if err != nil {
		prep.Abort()
		return err
	}
	if w.recipients == 0 {
		prep.Abort()
		if p.entry.Role == roleNotice {
			d.note(p, trace.Done, "reason", "nobody is to receive it")
			return p.owner.Done(ctx, p.entry)
		}
		return permanentError{fmt.Errorf("list %s has neither owner nor moderator to read mail for %s", p.list.Address, p.entry.Recipient)}
	}
	if _, err := d.submit(ctx, p, prep, submissions); err != nil {
		prep.Abort()
		return err
	}
	d.notePrepared(p, p.entry.Role, 0, sender, w)
	if err := prep.Commit(ctx); err != nil {
		return err
	}
	d.noteCommitted(p)
	p.log.Info("mail forwarded", "role", p.entry.Role, "sender", p.entry.Sender, "recipients", w.recipients)
	return nil
}
