package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mlist/mlist/internal/command"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/internal/trace"
)

// confirm does what a token stands for that comes back to the address it was sent from.
// Whoever has it has read the mail to the address that it is about; where the answer comes
// from does not matter, since people have many addresses.
func (d *Daemon) confirm(ctx context.Context, p *post) error {
	if !p.personal || away(p.header) {
		// An autoresponder, or a bounce: nobody has decided anything.
		p.log.Info("no person confirms, dropped")
		d.note(p, trace.Done, "reason", "a confirmation that no person wrote")
		return p.owner.Done(ctx, p.entry)
	}
	token := strings.ToLower(p.entry.Detail)
	member, err := d.store.EnableByToken(ctx, p.list.ID, token, p.entry.Received)
	if errors.Is(err, store.ErrNotFound) {
		c, err := d.commander(ctx, p)
		if err != nil {
			return err
		}
		c.quiet = true
		text, err := p.commandText()
		if err != nil {
			return err
		}
		c.decision = command.ParseDecision(text)
		known, err := c.confirm(ctx, token)
		if err != nil {
			return err
		}
		if !known {
			known, err = c.decidePosts(ctx, token, text)
		}
		if err == nil && !known { // the second of two moderators is told so
			known, err = c.decidedBefore(ctx, token)
		}
		if err != nil {
			return err
		}
		if known {
			return c.send(ctx)
		}
		if c.decision.Verb == command.Unknown {
			return d.forward(ctx, p)
		}
		// The token is older than the memory of decisions. What a stranger writes is a letter.
		ms, err := c.roles(ctx)
		if err != nil {
			return err
		}
		if !has(ms, list.Owner, list.Moderator) {
			return d.forward(ctx, p)
		}
		c.say("decided_already")
		return c.send(ctx)
	}
	if err != nil {
		return storeFailed("enable delivery", err)
	}
	p.log.Info("delivery enabled by the member", "member", member)
	d.note(p, trace.Done, "reason", fmt.Sprintf("delivery to %s is enabled again", member))
	to := p.author.String()
	n, err := d.memberNotice(ctx, p.list, bounceNotice{kind: "enabled", id: string(p.entry.ID), to: to, text: "bounce_enabled", member: member, at: p.entry.Received,
		values: templates.Values{"user_address": member.String()}})
	if err != nil {
		return err
	}
	return d.commitNotice(ctx, p, n, "", addOnly(to))
}
