package storetest

import (
	"fmt"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

var inviteRules = store.InviteRules{Life: 30 * day, Every: day}

// invites invites one address, and ends the test unless this becomes of it.
func (w *world) invites(l *list.List, d int, addr string, outcome store.InviteOutcome) store.Invitation {
	w.Helper()
	res, err := w.Invite(w.ctx, l.ID, at.Add(time.Duration(d)*day), inviteRules, []store.Invitation{{Address: w.addr(addr), By: "boss@x.test"}})
	w.ok(err)
	if len(res) != 1 || res[0].Outcome != outcome {
		w.Fatalf("%s: %+v, want %s", addr, res, outcome)
	}
	return res[0].Invitation
}

// sends counts a sending of an invitation.
func (w *world) sends(l *list.List, entry string, d, number int, i store.Invitation) {
	w.Helper()
	got, err := w.SendInvitation(w.ctx, stepOn(l, entry, d), i.Token, number)
	w.ok(err)
	if got.Times != number || got.Sent.IsZero() {
		w.Fatalf("sent %d times at %s, want %d", got.Times, got.Sent, number)
	}
}

var invitationTests = []test{
	{"who accepts an invitation is a member, once", func(w *world) {
		l := w.list("dev@l.test")
		res, err := w.Invite(w.ctx, l.ID, at, inviteRules, []store.Invitation{
			{Address: w.addr("Ann@n.test"), DisplayName: "Ann\x00", Mode: list.MIMEDigest, Language: "de", By: "boss@x.test", Text: "Hello"}, {Address: w.addr("bob@n.test")}})
		w.ok(err)
		ann := res[0].Invitation
		if res[0].Outcome != store.InviteNew || res[1].Outcome != store.InviteNew || ann.Token == "" || ann.Token == res[1].Invitation.Token || !ann.Expires.Equal(at.Add(30*day)) {
			w.Fatalf("invited: %+v", res)
		}
		w.sends(l, "m", 0, 1, ann)
		got, err := w.Invitation(w.ctx, l.ID, ann.Token)
		w.ok(err)
		if got.Address.String() != "Ann@n.test" || got.DisplayName != "Ann\uFFFD" || got.Mode != list.MIMEDigest || got.Language != "de" || got.By != "boss@x.test" || got.Text != "Hello" || got.State(at) != "waiting" {
			w.Errorf("invitation %+v", got)
		}
		yes := func(entry string, d int) (store.RequestResult, error) {
			return w.AnswerInvitation(w.ctx, stepOn(l, entry, d), ann.Token, true)
		}
		for range 2 { // the second is a second run of the same
			answer, err := yes("a", 1)
			w.ok(err)
			if answer.Outcome != store.OutcomeDone || answer.Request.Want != store.WantJoin {
				w.Fatalf("answer %+v", answer)
			}
		}
		ms, err := w.Memberships(w.ctx, l.ID, []address.Address{w.addr("ann@n.test")})
		w.ok(err)
		if len(ms) != 1 || ms[0].Mode != list.MIMEDigest || ms[0].Language != "de" || ms[0].Address.Local != "Ann" {
			w.Errorf("memberships %+v", ms)
		}
		w.history(l, "ann@n.test", "joined")
		w.asks(stepOn(l, "b", 1), store.WantLeave, "ann@n.test", store.RequestRules{}, store.OutcomeDone, false)
		_, err = yes("c", 1)
		w.wants(err, store.ErrNotFound) // who has left does not come back by an old token
		w.status(l, "ann@n.test", "")
		all := collect(w, w.Invitations(w.ctx, l.ID))
		if len(all) != 2 || all[0].State(at) != "accepted" || all[0].Answered.IsZero() || all[1].State(at) != "waiting" || all[1].State(at.Add(31*day)) != "expired" {
			w.Errorf("invitations %+v", all)
		}
	}},
	{"an invitation is sent so often, and not every day", func(w *world) {
		l := w.list("dev@l.test")
		i := w.invites(l, 0, "ann@n.test", store.InviteNew)
		if again := w.invites(l, 0, "ann@n.test", store.InviteNew); again.Token != i.Token {
			w.Error("one that was not sent yet has another token")
		}
		for n := 1; n <= store.MaxTold; n++ {
			w.sends(l, fmt.Sprint("m", n), 2*n, n, i)
			w.sends(l, fmt.Sprint("m", n), 2*n, n, i)
			_, err := w.SendInvitation(w.ctx, stepOn(l, "other", 2*n), i.Token, n)
			w.wants(err, store.ErrNotFound)
			w.invites(l, 2*n, "ann@n.test", store.InviteWaits)
			want := store.InviteAgain
			if n == store.MaxTold {
				want = store.InviteWaits
			}
			if again := w.invites(l, 2*n+1, "ann@n.test", want); again.Token != i.Token {
				w.Error("another token")
			}
		}
		if fresh := w.invites(l, 40, "ann@n.test", store.InviteNew); fresh.Token == i.Token {
			w.Error("an invitation that had expired has its old token")
		}
		w.add(l, list.Member, "bob@n.test")
		w.invites(l, 0, "bob@n.test", store.InviteMember)
	}},
	{"who declines is asked no more, unless that is wished", func(w *world) {
		l := w.list("dev@l.test")
		i := w.invites(l, 0, "ann@n.test", store.InviteNew)
		res, err := w.AnswerInvitation(w.ctx, stepOn(l, "a", 1), i.Token, false)
		w.ok(err)
		if res.Outcome != store.OutcomeDeclined {
			w.Errorf("outcome %s", res.Outcome)
		}
		w.status(l, "ann@n.test", "")
		w.invites(l, 100, "ann@n.test", store.InviteUnwanted)
		anyway := inviteRules
		anyway.Declined = true
		again, err := w.Invite(w.ctx, l.ID, at.Add(2*day), anyway, []store.Invitation{{Address: w.addr("ann@n.test")}})
		w.ok(err)
		if again[0].Outcome != store.InviteNew || again[0].Invitation.Token == i.Token {
			w.Errorf("invited %+v", again)
		}
	}},
	{"an invitation's token is good for its list, life and kind alone", func(w *world) {
		l, other := w.list("dev@l.test"), w.list("ops@l.test")
		i := w.invites(l, 0, "ann@n.test", store.InviteNew)
		for _, x := range []struct {
			step  store.Step
			token string
		}{{stepOn(other, "a", 1), i.Token}, {stepOn(l, "b", 30), i.Token}, {stepOn(l, "c", 1), ""}, {stepOn(l, "d", 1), "aaaaaaaaaaaaaaaa"}} {
			_, err := w.AnswerInvitation(w.ctx, x.step, x.token, true)
			w.wants(err, store.ErrNotFound)
		}
		r := w.asks(stepOn(l, "e", 0), store.WantJoin, "bob@n.test", toConfirm, store.OutcomeConfirm, true)
		_, err := w.AnswerInvitation(w.ctx, stepOn(l, "f", 0), r.Token, true)
		w.wants(err, store.ErrNotFound)
		_, err = w.AnswerRequest(w.ctx, stepOn(l, "g", 0), store.Answer{Token: i.Token, Phase: store.PhaseConfirm})
		w.wants(err, store.ErrNotFound)
		w.ok(w.WithdrawInvitation(w.ctx, l.ID, w.addr("ANN@n.test"), at.Add(day)))
		w.wants(w.WithdrawInvitation(w.ctx, l.ID, w.addr("ann@n.test"), at.Add(day)), store.ErrNotFound)
		_, err = w.AnswerInvitation(w.ctx, stepOn(l, "h", 1), i.Token, true)
		w.wants(err, store.ErrNotFound)
		w.status(l, "ann@n.test", "")
	}},
	{"invitations are forgotten a year after their end", func(w *world) {
		l := w.list("dev@l.test")
		w.invites(l, 0, "ann@n.test", store.InviteNew)
		w.ok(w.Prune(w.ctx, at.Add(300*day)))
		if n := len(collect(w, w.Invitations(w.ctx, l.ID))); n != 1 {
			w.Errorf("%d invitations, want 1", n)
		}
		w.ok(w.Prune(w.ctx, at.Add(400*day)))
		if n := len(collect(w, w.Invitations(w.ctx, l.ID))); n != 0 {
			w.Errorf("%d invitations, want none", n)
		}
		w.invites(l, 0, "ann@n.test", store.InviteNew)
		w.ok(w.DeleteList(w.ctx, l.Address))
	}},
}
