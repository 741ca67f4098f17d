package pipeline

import (
	"context"
	"strings"
	"time"

	"github.com/mlist/mlist/bounce"
	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/internal/trace"
)

// delayEvery is how often a list's owners are told of delays: a little less than a day, since
// the reports of two days may be closer to each other.
const delayEvery = 20 * time.Hour

// onlyDelayed tells whether a report knows of delays and of nothing else.
func onlyDelayed(r bounce.Report) bool {
	for _, x := range r.Recipients {
		if x.Action != "delayed" {
			return false
		}
	}
	return len(r.Recipients) > 0
}

// delayed tells the owners that outbound has not got rid of a post for long, once a day at
// most. It is nothing to anybody's score.
func (d *Daemon) delayed(ctx context.Context, p *post, r bounce.Report) error {
	owner := address.Sub(p.list.Address, address.RoleOwner)
	allowed, err := d.store.AllowResponse(ctx, p.list.ID, "delay", owner, string(p.entry.ID), p.entry.Received, delayEvery)
	if err != nil {
		return storeFailed("ask whether the owners were told of a delay", err)
	}
	if !allowed {
		d.note(p, trace.Done, "reason", "the owners were told of a delay today")
		return p.owner.Done(ctx, p.entry)
	}
	first := r.Recipients[0]
	p.log.Warn("a post is delayed, the owners are told", "of", entryOf(r), "reply", first.Diagnostic)
	n, err := d.memberNotice(ctx, p.list, bounceNotice{kind: "delayed", id: string(p.entry.ID), to: owner.String(), text: "bounce_delayed_owners", at: p.entry.Received,
		values: templates.Values{"user_address": first.Address, "reason": strings.TrimSpace(first.Diagnostic), "entry": string(entryOf(r))}})
	if err != nil {
		return err
	}
	rules, err := d.lookers(ctx, p.list)
	if err != nil {
		return err
	}
	return d.commitNotice(ctx, p, n, "", rules)
}
