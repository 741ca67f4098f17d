package pipeline

import (
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk"
)

// invited invites people as the command line does, and tells what became of each.
func (w *world) invited(text string, who ...string) []store.InviteOutcome {
	w.t.Helper()
	var in []store.Invitation
	for _, a := range who {
		in = append(in, store.Invitation{Address: addr(w.t, a), By: "boss@x.test", Text: text})
	}
	l, err := w.store.List(w.t.Context(), w.list.Address)
	if err != nil {
		w.t.Fatal(err)
	}
	results, err := Invite(w.t.Context(), w.store, w.spool, l, w.clock(), false, in)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []store.InviteOutcome
	for _, r := range results {
		out = append(out, r.Outcome)
	}
	w.idle()
	return out
}

func TestAnOwnerInvitesByMail(t *testing.T) {
	w, out := commandWorld(t, "subscription_policy=closed", "description=How we build it")
	w.talkative()
	w.add(list.Member, "old@net.test")
	w.wrote("dev-request@lists.test", "boss@x.test", "", "invite Ann@net.test bob@net.test old@net.test", "")
	out.to("boss@x.test", "boss@x.test was sent what to do next")
	ask := out.to("boss@x.test", "  Ann@net.test\r\n  bob@net.test\r\n  old@net.test\r\n")
	out.none() // nobody hears of it before the owner has said yes
	w.wrote(tokenIn(t, ask.text), "boss@x.test", "", "Re: Please confirm", "Yes.")
	done := out.to("boss@x.test", "Ann@net.test is invited.")
	if !strings.Contains(done.text, "old@net.test is a member already.") {
		t.Errorf("told\n%s", done.text)
	}
	invitation := out.to("Ann@net.test", "You are invited to the list dev@lists.test, by boss@x.test.")
	for _, want := range []string{"Subject: Invitation to the list dev@lists.test\r\n", "It is about: How we build it", "Auto-Submitted: auto-generated\r\n", "subject=accept&body=accept"} {
		if !strings.Contains(invitation.text, want) {
			t.Errorf("the invitation lacks %q:\n%s", want, invitation.text)
		}
	}
	if strings.Contains(invitation.text, "They say:") || invitation.sender != "" {
		t.Errorf("from %q:\n%s", invitation.sender, invitation.text)
	}
	other := out.to("bob@net.test", "You are invited")
	out.none()
	w.wrote(tokenIn(t, invitation.text), "ann@work.test", "", "Re: Invitation", "> You are invited\n\nAccept.")
	out.to("Ann@net.test", "Welcome to dev@lists.test")
	out.none()
	if w.memberAs("ann@net.test").Role == "" {
		t.Error("ann is no member")
	}
	w.wrote(tokenIn(t, other.text), "bob@net.test", "", "Re: Invitation", "decline")
	out.to("bob@net.test", "bob@net.test is not invited to dev@lists.test any more")
	out.none()
	if w.memberAs("bob@net.test").Role != "" {
		t.Error("bob is a member")
	}
	if got := w.invited("", "bob@net.test"); got[0] != store.InviteUnwanted {
		t.Errorf("who has declined: %s", got)
	}
	var states []string
	for i, err := range w.store.Invitations(t.Context(), w.list.ID) {
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, i.Address.Key()+" "+i.State(time.Now()))
	}
	if got := strings.Join(states, ", "); got != "ann@net.test accepted, bob@net.test declined" {
		t.Errorf("invitations: %s", got)
	}
	out.none()
}

// TestNobodyElseInvites: not a member, nor who writes an owner's address into From.
func TestNobodyElseInvites(t *testing.T) {
	w, out := commandWorld(t)
	w.add(list.Member, "ann@net.test")
	for _, tt := range []struct{ from, env string }{{"ann@net.test", ""}, {"boss@x.test", "eve@else.test"}, {"eve@else.test", ""}} {
		w.wrote("dev-request@lists.test", tt.from, tt.env, "", "invite victim@net.test")
		to := tt.env
		if to == "" {
			to = tt.from
		}
		out.to(to, to+" cannot invite to dev@lists.test")
		out.none()
	}
	w.wrote("dev-request@lists.test", "boss@x.test", "", "", "invite victim@net.test")
	ask := out.to("boss@x.test", "Please confirm that you want to invite")
	if err := w.remove(list.Owner, "boss@x.test"); err != nil {
		t.Fatal(err)
	}
	w.add(list.Owner, "next@x.test")
	w.wrote(tokenIn(t, ask.text), "boss@x.test", "", "Re: Please confirm", "Yes.")
	out.to("boss@x.test", "boss@x.test cannot invite")
	for i, err := range w.store.Invitations(t.Context(), w.list.ID) {
		t.Errorf("invited: %v, %v", i, err)
	}
}

func (w *world) remove(role list.Role, who string) error {
	_, err := w.store.RemoveMembers(w.t.Context(), w.list.ID, role, func(yield func(address.Address, error) bool) { yield(addr(w.t, who), nil) })
	return err
}

// TestWhatDoesNotAcceptAnInvitation: prose, a machine, a token that is another's, is used up or
// was withdrawn; and what happens to who is banned meanwhile.
func TestWhatDoesNotAcceptAnInvitation(t *testing.T) {
	w, out := commandWorld(t)
	w.talkative()
	w.invited("Come to us.\r\nSubject: forged", "ann@net.test")
	invitation := out.to("ann@net.test", "You are invited")
	if !strings.Contains(invitation.text, "30 days") {
		t.Errorf("an invitation is good for 30 days, and says\n%s", invitation.text)
	}
	if !strings.Contains(invitation.text, "  | Come to us.\r\n  | Subject: forged\r\n") {
		t.Errorf("what the inviter says:\n%s", invitation.text)
	}
	to := tokenIn(t, invitation.text)
	no := func(what string) {
		t.Helper()
		if w.memberAs("ann@net.test").Role != "" {
			t.Fatalf("ann is a member by %s", what)
		}
	}
	w.wrote(to, "ann@net.test", "", "Re: Invitation", "No thanks, I do not accept.\n\naccept")
	out.to("ann@net.test", "the first line says neither yes nor no")
	no("prose")
	w.wrote(to, "ann@net.test", "", "accept", "accept", "Auto-Submitted: auto-replied\r\n")
	no("a machine")
	w.wrote(to, "ann@net.test", "", "Automatic reply: Invitation", "accept")
	no("an out-of-office message")
	w.wrote("dev-confirm+aaaaaaaaaaaaaaaa@lists.test", "ann@net.test", "", "accept", "accept")
	out.to("ann@net.test", "Nothing waits for this token")
	no("a guess")
	w.otherList("ops@lists.test", "cy@net.test")
	other := strings.Replace(to, "dev-", "ops-", 1)
	c := address.Candidates(addr(t, other))
	if _, err := w.store.AnswerInvitation(t.Context(), store.Step{ListID: w.list.ID + 1, Entry: "x", At: w.clock()}, c[1].Detail, true); err == nil {
		t.Error("another list took the token")
	}
	if err := w.store.AddBan(t.Context(), list.Ban{What: "ann@net.test"}); err != nil {
		t.Fatal(err)
	}
	w.wrote(to, "ann@net.test", "", "", "accept")
	out.to("ann@net.test", "ann@net.test cannot join")
	no("an invitation from before a ban")
	if got := w.invited("", "ann@net.test"); got[0] != store.InviteBanned {
		t.Errorf("who is banned: %s", got)
	}
	if err := w.store.RemoveBan(t.Context(), list.Scope{}, "ann@net.test"); err != nil {
		t.Fatal(err)
	}
	w.wrote("dev-request@lists.test", "ann@net.test", "", "", "confirm "+c[1].Detail)
	out.to("ann@net.test", "Welcome to dev@lists.test")
	out.to("ann@net.test", "ann@net.test has joined")
	if err := w.remove(list.Member, "ann@net.test"); err != nil {
		t.Fatal(err)
	}
	w.wrote(to, "eve@else.test", "", "", "accept") // who has left does not come back by a replayed token
	out.to("eve@else.test", "was answered, withdrawn, or has expired")
	no("a token that was used")
	w.invited("", "bob@net.test")
	to = tokenIn(t, out.to("bob@net.test", "You are invited").text)
	if err := w.store.WithdrawInvitation(t.Context(), w.list.ID, addr(t, "bob@net.test"), w.clock()); err != nil {
		t.Fatal(err)
	}
	w.wrote(to, "bob@net.test", "", "", "accept")
	out.to("bob@net.test", "was answered, withdrawn, or has expired")
	if w.memberAs("bob@net.test").Role != "" {
		t.Error("bob is a member")
	}
	out.none()
}

// TestAnInvitationBomb: whoever invites an address every day, and from many lists, has few mails
// sent there.
func TestAnInvitationBomb(t *testing.T) {
	w, out := commandWorld(t)
	start := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	n := 0
	count := func() {
		out.collect()
		for _, m := range out.mail {
			if m.to == "victim@net.test" {
				n++
			}
		}
		out.mail = nil
	}
	for day := range 10 {
		w.at(start.AddDate(0, 0, 2*day), verdict(sdk.Accept))
		for range 3 {
			w.invited("", "victim@net.test")
		}
	}
	if count(); n != store.MaxTold {
		t.Errorf("one list sent %d invitations, want %d", n, store.MaxTold)
	}
	n = 0
	w.at(start.AddDate(0, 3, 0), verdict(sdk.Accept))
	here := w.list
	for _, name := range []string{"a@lists.test", "b@lists.test", "c@lists.test", "d@lists.test"} {
		w.otherList(name, "cy@net.test")
		w.list = &list.List{Address: addr(t, name)}
		w.invited("", "victim@net.test")
	}
	w.list = here
	if count(); n != 2 { // notices_per_day of these tests
		t.Errorf("four lists sent %d invitations within a day, want 2", n)
	}
}
