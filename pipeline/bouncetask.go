package pipeline

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/internal/verp"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// roleProbe is the role of an entry that asks whether a member can be reached: its Detail
// is the token that its return path carries.
const roleProbe = "probe"

// How often the pipeline looks for members whose time has come. What a bounce decides is
// done at once.
const bounceEvery = 15 * time.Second

// tellBounces makes followBounces look for tasks now.
func (d *Daemon) tellBounces() {
	select {
	case d.bounced <- struct{}{}:
	default: // it looks for all of them
	}
}

// followBounces takes the next step of every member who is due, and tells people what was
// decided, until ctx ends.
func (d *Daemon) followBounces(ctx context.Context) error {
	tick := time.NewTicker(bounceEvery)
	defer tick.Stop()
	for {
		if err := d.bounceRound(ctx); err != nil && ctx.Err() == nil {
			d.log.Error("follow up on bounces", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-d.bounced:
		}
	}
}

// bounceRound is one look.
func (d *Daemon) bounceRound(ctx context.Context) error {
	var due []store.DueBounce
	for x, err := range d.store.DueBounces(ctx, d.now()) {
		if err != nil {
			return err
		}
		if d.mine(x.List) {
			due = append(due, x)
		}
		if len(due) == 1000 {
			break // the rest next time
		}
	}
	for _, x := range due {
		l, err := d.store.List(ctx, x.List)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err == nil {
			err = d.store.AdvanceBounce(ctx, bounceRules(&l.Settings), x.ListID, x.Address, d.now())
		}
		if err != nil {
			return err
		}
	}
	if len(due) > 0 {
		d.tellBounces() // look again: there may be more, or the next step may have come already
	}
	var tasks []store.BounceTask
	for t, err := range d.store.BounceTasks(ctx) {
		if err != nil {
			return err
		}
		if d.mine(t.List) {
			tasks = append(tasks, t)
		}
		if len(tasks) == 1000 {
			d.tellBounces()
			break
		}
	}
	for _, t := range tasks {
		if err := d.doBounceTask(ctx, t); err != nil {
			return fmt.Errorf("%s of %s on %s: %w", t.Kind, t.Address, t.List, err)
		}
	}
	return nil
}

// doBounceTask puts the message of a task into incoming, and forgets the task. A crash in
// between puts it there once more, under the same id.
func (d *Daemon) doBounceTask(ctx context.Context, t store.BounceTask) error {
	l, err := d.store.List(ctx, t.List)
	if errors.Is(err, store.ErrNotFound) {
		return nil // and the task with it
	}
	if err != nil {
		return err
	}
	if n, env, ok := d.bounceMail(l, t); ok {
		if err := d.putMemberNotice(ctx, l, n, env, t); err != nil {
			return err
		}
	}
	return d.store.DoneBounceTask(ctx, t.ID)
}

// bounceMail is what a task tells, and to whom; ok is false if nobody wants to know.
func (d *Daemon) bounceMail(l *list.List, t store.BounceTask) (n bounceNotice, env spool.Envelope, ok bool) {
	s := &l.Settings
	n = bounceNotice{kind: t.Kind, at: t.At, values: templates.Values{"user_address": t.Address.String(), "reason": t.Reason,
		"score": strconv.FormatFloat(t.Score, 'f', -1, 64), "number": strconv.Itoa(t.Number)}}
	owners := func(wanted bool, text string) (bounceNotice, spool.Envelope, bool) {
		n.to, n.text = address.Sub(l.Address, address.RoleOwner).String(), text
		return n, spool.Envelope{Role: roleNotice, Recipient: "moderators"}, wanted
	}
	switch t.Kind {
	case store.TaskDisabled:
		return owners(s.BounceNotifyOwnerOnDisable, "bounce_disabled_owners")
	case store.TaskRemoved:
		return owners(s.BounceNotifyOwnerOnRemoval, "bounce_removed_owners")
	case store.TaskIncrement:
		return owners(true, "bounce_increment_owners")
	case store.TaskBlamed:
		return owners(true, "bounce_blamed_owners")
	case store.TaskProbe:
		n.member, n.to, n.text = t.Address, t.Address.String(), "bounce_probe"
		return n, spool.Envelope{Role: roleProbe, Detail: t.Token, Recipient: n.to}, true
	case store.TaskWarning:
		n.replyTo = l.TokenAddress(address.RoleConfirm, t.Token).String()
		n.values["confirm_address"], n.values["warnings"] = n.replyTo, strconv.Itoa(s.BounceYouAreDisabledWarnings)
		n.values["days"] = strconv.Itoa(s.BounceYouAreDisabledWarningsInterval)
		if t.Number >= s.BounceYouAreDisabledWarnings {
			n.values["last"] = "yes"
		}
		n.member, n.to, n.text = t.Address, t.Address.String(), "bounce_warning"
		return n, spool.Envelope{Role: roleNotice, Recipient: n.to}, true
	}
	d.log.Error("a task of no known kind", "kind", t.Kind, "list", l.Address) // a newer version's
	return n, env, false
}

// bounceNotice is a message about bounces, to be written.
type bounceNotice struct {
	kind, id, to, replyTo string
	text                  string          // its name
	member                address.Address // who reads it, if it is a member
	at                    time.Time
	values                templates.Values
}

// memberNotice writes a message from the list's owner address.
func (d *Daemon) memberNotice(ctx context.Context, l *list.List, n bounceNotice) (*notice, error) {
	reader, err := d.language(ctx, l, n.member)
	if err != nil {
		return nil, err
	}
	letter := d.texts().Letter(l, reader, n.text, n.values)
	owner := address.Sub(l.Address, address.RoleOwner)
	h := message.ParseHeader(nil)
	h.Append("From", message.Mailbox{Name: l.Name(), Address: owner.String()}.String())
	h.Append("To", n.to)
	if n.replyTo != "" {
		h.Append("Reply-To", n.replyTo)
	}
	h.Append("Subject", message.EncodeText(letter.Subject))
	h.Append("Date", n.at.UTC().Format(time.RFC1123Z))
	h.Append("Message-ID", fmt.Sprintf("<bounce-%s.%s@%s>", n.kind, n.id, l.Address.Domain))
	h.Append("Auto-Submitted", "auto-generated")
	h.Append("Precedence", "bulk")
	h.Append(loopField, owner.String())
	h.Append("MIME-Version", "1.0")
	return textNotice(h, letter), nil
}

// putMemberNotice puts a notice into incoming, under an id that follows from the task.
func (d *Daemon) putMemberNotice(ctx context.Context, l *list.List, n bounceNotice, env spool.Envelope, t store.BounceTask) error {
	id := idOf(t.At, l.Address.Key(), strconv.FormatInt(t.ID, 10), t.Kind)
	n.id = string(id)
	m, err := d.memberNotice(ctx, l, n)
	if err != nil {
		return err
	}
	draft, err := d.spool.Create(ctx)
	if err != nil {
		return fmt.Errorf("write a notice: %w", err)
	}
	defer draft.Close()
	for _, part := range [][]byte{m.header, []byte("\r\n"), m.text} {
		if _, err := draft.Write(part); err != nil {
			return fmt.Errorf("write a notice: %w", err)
		}
	}
	env.List, env.Received, env.Peer = l.Address.Key(), d.now(), "pipeline"
	env.Key = segment.KeyOf(env.List)
	if _, err := draft.Put(ctx, spool.Incoming, id, env); err != nil {
		return fmt.Errorf("put a notice: %w", err)
	}
	d.log.Info("bounces: mail about a member", "entry", id, "list", env.List, "kind", t.Kind, "member", t.Address)
	d.tracer.Trace(string(id), env.List, trace.Kept, "queue", string(spool.Incoming), "role", env.Role, "recipient", env.Recipient, "peer", "pipeline")
	return nil
}

// idOf is an id that follows from a time and names: what is put twice under it is there once.
func idOf(at time.Time, names ...string) spool.ID {
	h := fnv.New32a()
	for _, name := range names {
		h.Write([]byte(name + " "))
	}
	sum := h.Sum32()
	return spool.MakeID(uint64(at.UnixMicro()), sum^sum>>25)
}

// sendProbe sends a probe that putMemberNotice left: what comes back to its return path can
// only be about this member, and can only come from where it was sent.
func (d *Daemon) sendProbe(ctx context.Context, p *post) error {
	if err := verp.CheckProbe(p.entry.Detail); err != nil {
		return permanentError{err}
	}
	from := p.list.TokenAddress(address.RoleBounces, p.entry.Detail)
	return d.commitAsIs(ctx, p, from.String(), addOnly(p.entry.Recipient))
}

// addOnly are these recipients, and nobody else.
func addOnly[A string | address.Address](to ...A) []sdk.Rule {
	r := sdk.Rule{Kind: sdk.RuleAdd}
	for _, a := range to {
		r.Addresses = append(r.Addresses, fmt.Sprint(a))
	}
	return []sdk.Rule{r}
}
