package pipeline

import (
	"context"

	"github.com/mlist/mlist/bounce"
	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/internal/verp"
)

// complaintStep numbers the complaints of an entry, downwards: no number is one of a
// command's.
const complaintStep = -2

// complaint does what follows when members report the list's mail as spam: who proves to be
// one by a return path with a key is taken at their word, of others it is written down only.
func (d *Daemon) complaint(ctx context.Context, p *post, r bounce.Report, to verp.Return) error {
	action := p.list.Settings.ComplaintAction
	recorded := 0
	for i, c := range r.Complaints {
		if !c.Unwanted() {
			continue
		}
		who, proven, err := d.complains(ctx, p, c, to)
		if err != nil {
			return err
		}
		if who.IsZero() {
			continue
		}
		about := store.Complaint{Address: who, Why: c.Type}
		if c.Agent != "" {
			about.Why += ", passed on by " + c.Agent
		}
		if !proven {
			about.Why += " (anybody could have written it)"
		} else if action == "disable" || action == "unsubscribe" {
			about.Then = store.ComplaintAction(action)
		}
		outcome, err := d.store.RecordComplaint(ctx, store.Step{ListID: p.list.ID, Entry: string(p.entry.ID), Number: complaintStep - i, At: p.entry.Received}, about)
		if err != nil {
			return storeFailed("record a complaint", err)
		}
		if outcome == store.OutcomeDone {
			recorded++
			p.log.Info("a member complains", "member", who, "type", c.Type, "proven", proven, "then", string(about.Then))
		}
	}
	if action != "record" {
		return d.forward(ctx, p)
	}
	d.note(p, trace.Filed, "recipients", recorded)
	d.note(p, trace.Done, "reason", "the complaint is recorded")
	return p.owner.Done(ctx, p.entry)
}

// complains finds who complains. The report has come to the return path of the copy, or names
// it: if that has a key, it is the member's whose copy it was. Else it is whom the report names.
func (d *Daemon) complains(ctx context.Context, p *post, c bounce.Complaint, to verp.Return) (who address.Address, proven bool, err error) {
	named := []bounce.Recipient{{Address: c.Address}}
	if to.Kind != verp.Recipient {
		if to, err = d.returned(ctx, p, c.MailFrom, to); err != nil {
			return who, false, err
		}
	}
	if to.Kind == verp.Recipient {
		who, err = d.behind(ctx, p, to, named)
		return who, true, err
	}
	if who, err := address.Parse(c.Address); err == nil {
		return who, false, nil
	}
	return to.Address, false, nil
}

// returned reads a return path that a report names; it is otherwise where it is none of the
// list's.
func (d *Daemon) returned(ctx context.Context, p *post, path string, otherwise verp.Return) (verp.Return, error) {
	a, err := address.Parse(path)
	if err != nil {
		return otherwise, nil
	}
	for _, c := range address.Candidates(a) {
		if c.Role != address.RoleBounces || c.List.Key() != p.sentAs().Key() {
			continue
		}
		key, err := d.verpKey(ctx, c.List)
		if err != nil {
			return otherwise, err
		}
		return verp.Decode(key, c.List, c.Detail, p.entry.Received), nil
	}
	return otherwise, nil
}
