package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/command"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/internal/trace"
)

// roleInvite is the role of an entry that becomes an invitation: its Detail is the invitation's
// token and how often it will have been sent then. No mail from outside gets this role.
const roleInvite = "invite"

// inviteEvery is how long it takes until an invitation is sent again.
const inviteEvery = 24 * time.Hour

// InviteStore is what inviting needs of the store.
type InviteStore interface {
	List(ctx context.Context, addr address.Address) (*list.List, error)
	MatchBans(ctx context.Context, listID int64, domain string, addrs []address.Address) (map[string]list.Ban, error)
	store.Invitations
}

// Invite invites people to a list, and tells of each what became of it: whoever is banned, a
// list, a member, or was asked often enough is not. The invitations are filed in one
// transaction; the pipeline sends them. If putting one into the spool fails, inviting the
// same people once more is harmless and sends what is missing.
func Invite(ctx context.Context, st InviteStore, sp spool.Putter, l *list.List, at time.Time, declined bool, in []store.Invitation) ([]store.InviteResult, error) {
	out := make([]store.InviteResult, len(in))
	var invited []store.Invitation
	var places []int
	var addrs []address.Address
	for _, i := range in {
		addrs = append(addrs, i.Address)
	}
	bans, err := st.MatchBans(ctx, l.ID, l.Address.Domain, addrs)
	if err != nil {
		return nil, fmt.Errorf("look for bans: %w", err)
	}
	for n, i := range in {
		isList, err := isList(ctx, st, i.Address)
		if err != nil {
			return nil, err
		}
		_, banned := bans[i.Address.Key()]
		switch {
		case isList:
			out[n] = store.InviteResult{Outcome: store.InviteNotHere, Invitation: i}
		case banned:
			out[n] = store.InviteResult{Outcome: store.InviteBanned, Invitation: i}
		default:
			places, invited = append(places, n), append(invited, i)
		}
	}
	rules := store.InviteRules{Life: days(l.Settings.MaxDaysForInvitations), Every: inviteEvery, Declined: declined}
	results, err := st.Invite(ctx, l.ID, at, rules, invited)
	if err != nil {
		return nil, err
	}
	for n, r := range results {
		out[places[n]] = r
		if r.Outcome != store.InviteNew && r.Outcome != store.InviteAgain {
			continue
		}
		if err := putInvitation(ctx, sp, l, at, r.Invitation); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func days(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }

// putInvitation puts the entry into incoming that becomes the invitation, under an id that
// follows from it.
func putInvitation(ctx context.Context, sp spool.Putter, l *list.List, at time.Time, i store.Invitation) error {
	draft, err := sp.Create(ctx)
	if err != nil {
		return fmt.Errorf("write an invitation: %w", err)
	}
	defer draft.Close()
	if _, err := draft.Write([]byte("Subject: invitation\r\n\r\n")); err != nil {
		return fmt.Errorf("write an invitation: %w", err)
	}
	number := strconv.Itoa(i.Times + 1)
	env := spool.Envelope{List: l.Address.Key(), Role: roleInvite, Detail: i.Token + "." + number, Key: segment.KeyOf(l.Address.Key()),
		Recipient: address.Sub(l.Address, address.RoleRequest).String(), Received: at, Peer: "invite"}
	if _, err := draft.Put(ctx, spool.Incoming, idOf(i.Invited, env.List, roleInvite, i.Token, number), env); err != nil {
		return fmt.Errorf("put an invitation: %w", err)
	}
	return nil
}

// sendInvitation sends what putInvitation left: by one commit, and as often as an address may
// be sent automatic mail.
func (d *Daemon) sendInvitation(ctx context.Context, p *post) error {
	nothing := func(reason string) error {
		d.note(p, trace.Done, "reason", reason)
		return p.owner.Done(ctx, p.entry)
	}
	token, text, _ := strings.Cut(p.entry.Detail, ".")
	number, err := strconv.Atoi(text)
	if err != nil {
		return permanentError{fmt.Errorf("%q names no invitation", p.entry.Detail)}
	}
	i, err := d.store.Invitation(ctx, p.list.ID, token)
	if errors.Is(err, store.ErrNotFound) {
		return nothing("the invitation is gone")
	}
	if err != nil {
		return storeFailed("look an invitation up", err)
	}
	unwelcome, err := d.uninvitable(ctx, p.list, i.Address)
	if err != nil {
		return err
	}
	if unwelcome {
		return nothing(fmt.Sprintf("%s cannot join any more", i.Address))
	}
	if may, err := d.mayWrite(ctx, p, i.Address); err != nil || !may {
		if err != nil {
			return err
		}
		p.log.Info("not invited: too much was sent there today", "to", i.Address)
		return nothing(fmt.Sprintf("%s was sent enough today", i.Address))
	}
	i, err = d.store.SendInvitation(ctx, store.Step{ListID: p.list.ID, Entry: string(p.entry.ID), At: d.now()}, token, number)
	if errors.Is(err, store.ErrNotFound) {
		return nothing("the invitation waits no more, or was sent")
	}
	if err != nil {
		return storeFailed("count an invitation", err)
	}
	confirm := p.list.TokenAddress(address.RoleConfirm, i.Token)
	values := templates.Values{"user_address": i.Address.String(), "inviter": i.By, "confirm_address": confirm.String(), "token": i.Token,
		"days": strconv.Itoa(max(1, int(math.Round(i.Expires.Sub(d.now()).Hours()/24)))),
		"ways": (&moderatorMail{d: d, list: p.list, reader: i.Language}).ways(confirm, inviteWays)}
	if i.Text != "" {
		values["beginning"] = indented(firstLines(i.Text), "  | ")
	}
	letter := d.texts().Letter(p.list, i.Language, "invitation", values)
	n := textNotice(d.moderatorHeader(p, "invitation", i.Times, i.Address, confirm, letter.Subject, nil), letter)
	prep, err := p.owner.Prepare(ctx, p.entry)
	if err != nil {
		return err
	}
	h := n.fields()
	w, err := d.write(ctx, p, prep, mailing{"invitation", h, n.body(), addOnly(i.Address.String()), "", d.ownMail(p, h)})
	if err != nil {
		prep.Abort()
		return err
	}
	d.notePrepared(p, roleNotice, 0, "", w)
	if err := prep.Commit(ctx); err != nil {
		return err
	}
	d.noteCommitted(p)
	p.log.Info("invited", "address", i.Address, "by", i.By, "times", i.Times)
	return nil
}

// inviteWays are what an invitation is answered with.
var inviteWays = []way{{verb: command.Accept, text: "way_join"}, {verb: command.Decline, text: "way_decline"}}

// uninvitable tells whether an address cannot join the list now.
func (d *Daemon) uninvitable(ctx context.Context, l *list.List, a address.Address) (bool, error) {
	if l.State == list.Closed {
		return true, nil
	}
	bans, err := d.store.MatchBans(ctx, l.ID, l.Address.Domain, []address.Address{a})
	if err != nil {
		return false, storeFailed("look for bans", err)
	}
	return len(bans) > 0, nil
}

// answerInvitation does what somebody says to an invitation; known is false if the token is
// none's.
func (c *commander) answerInvitation(ctx context.Context, token string, verb command.Verb) (known bool, err error) {
	i, err := c.d.store.Invitation(ctx, c.p.list.ID, token)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, storeFailed("look an invitation up", err)
	}
	c.certain = true // it answers who has a token
	if verb == command.Unknown {
		c.line(c.text("invitation_help"))
		return true, nil
	}
	accept := verb == command.Accept
	if accept {
		unwelcome, err := c.d.uninvitable(ctx, c.p.list, i.Address)
		if err != nil {
			return true, err
		}
		if unwelcome {
			c.say("cannot_join", "user_address", i.Address.String())
			return true, nil
		}
	}
	res, err := c.d.store.AnswerInvitation(ctx, c.step(), token, accept)
	if errors.Is(err, store.ErrNotFound) {
		c.say("invitation_over", "user_address", i.Address.String())
		return true, nil
	}
	if err != nil {
		return true, storeFailed("answer an invitation", err)
	}
	c.p.log.Info("invitation answered", "address", i.Address, "by", i.By, "outcome", res.Outcome)
	if res.Outcome == store.OutcomeDeclined {
		c.say("invitation_declined", "user_address", i.Address.String())
		return true, nil
	}
	c.outcome(res, true, true)
	return true, nil
}

// invite asks whoever looks after the list, in whose name a command came, whether they want
// to invite: a sender can be forged.
func (c *commander) invite(ctx context.Context, cmd command.Command) error {
	ms, err := c.roles(ctx)
	if err != nil {
		return err
	}
	if !has(ms, list.Owner, list.Moderator) {
		c.say("invite_owners", "user_address", c.p.author.String())
		return nil
	}
	var who []address.Address
	seen := map[string]bool{}
	for _, arg := range cmd.Args {
		a, err := address.Parse(strings.Trim(arg, "<>,;"))
		if err != nil || len(who) == store.MaxInvited {
			c.say("not_understood", "usage", "invite ADDRESS...")
			return nil
		}
		if !seen[a.Key()] {
			seen[a.Key()] = true
			who = append(who, a)
		}
	}
	return c.ask(ctx, store.Request{Want: store.WantInvite, Address: c.p.author, More: store.More{Invite: who}})
}

// invited invites those of a request that its author has confirmed.
func (c *commander) invited(ctx context.Context, r store.Request) error {
	ms, err := c.standing(ctx, r.Address)
	if err != nil {
		return err
	}
	if !has(ms, list.Owner, list.Moderator) || c.p.list.State == list.Closed {
		c.say("invite_owners", "user_address", r.Address.String())
		return nil
	}
	var in []store.Invitation
	for _, a := range r.More.Invite {
		in = append(in, store.Invitation{Address: a, By: r.Address.String()})
	}
	results, err := Invite(ctx, c.d.store, c.d.spool, c.p.list, c.p.entry.Received, false, in)
	if err != nil {
		return storeFailed("invite", err)
	}
	c.certain = true
	for _, res := range results {
		c.say("invite_"+string(res.Outcome), "user_address", res.Invitation.Address.String())
	}
	return nil
}
