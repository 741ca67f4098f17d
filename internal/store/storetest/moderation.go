package storetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// holds files a held post, on a day.
func (w *world) holds(l *list.List, entry, sender string, d int) store.HeldPost {
	w.Helper()
	p := store.HeldPost{ListID: l.ID, Entry: entry, Author: "Eve <" + sender + ">", Subject: "s", Reason: "who?", Code: "nonmember", Size: 7, Held: at.Add(time.Duration(d) * day)}
	if sender != "" {
		p.Sender = w.addr(sender)
	}
	got, err := w.FileHeld(w.ctx, p)
	w.ok(err)
	return got
}

// decides decides about a held post, and ends the test unless it is the first who does.
func (w *world) decides(step store.Step, entry string, h store.HeldDecision) store.Decision {
	w.Helper()
	d, first, err := w.DecideHeld(w.ctx, step, entry, h)
	w.ok(err)
	if !first {
		w.Fatalf("it was decided before: %+v", d)
	}
	return d
}

// heldNow wants these entries to wait, the oldest first.
func (w *world) heldNow(l *list.List, f store.HeldFilter, entries ...string) {
	w.Helper()
	var got []string
	for _, p := range collect(w, w.Held(w.ctx, l.ID, f)) {
		got = append(got, p.Entry)
	}
	if fmt.Sprint(got) != fmt.Sprint(entries) {
		w.Fatalf("%v wait, want %v", got, entries)
	}
	if n, err := w.CountHeld(w.ctx, l.ID, f); err != nil || f.Limit == 0 && int(n) != len(entries) {
		w.Fatalf("%d are counted, %v", n, err)
	}
}

func (w *world) membership(l *list.List, role list.Role, addr string) (list.Membership, bool) {
	w.Helper()
	ms, err := w.Memberships(w.ctx, l.ID, []address.Address{w.addr(addr)})
	w.ok(err)
	for _, m := range ms {
		if m.Role == role {
			return m, true
		}
	}
	return list.Membership{}, false
}

var moderationTests = []test{
	{"a held post is found as it was filed, until the spool has done what was decided", func(w *world) {
		l, other := w.list("dev@l.test"), w.list("ops@l.test")
		b := w.holds(l, "b", "Eve@n.test", 1)
		a := w.holds(l, "a", "ann@n.test", 0)
		w.holds(other, "c", "", 0)
		if len(b.Handle) != store.HandleLen || b.Handle == a.Handle || b.Sender.String() != "Eve@n.test" || !b.Held.Equal(at.Add(day)) || !b.Told.IsZero() {
			w.Errorf("filed %+v", b)
		}
		w.heldNow(l, store.HeldFilter{}, "a", "b")
		w.heldNow(l, store.HeldFilter{Limit: 1}, "a")
		w.heldNow(l, store.HeldFilter{Sender: w.addr("eve@n.test")}, "b")
		w.heldNow(l, store.HeldFilter{Until: at}, "a")
		w.heldNow(l, store.HeldFilter{After: at}, "b")
		w.heldNow(l, store.HeldFilter{After: at, Until: at})
		for _, x := range [][2]string{{"b", ""}, {"", b.Handle}} {
			got, err := w.HeldPost(w.ctx, l.ID, x[0], x[1])
			w.ok(err)
			if got != b {
				w.Errorf("found %+v, want %+v", got, b)
			}
			_, err = w.HeldPost(w.ctx, other.ID, x[0], x[1])
			w.wants(err, store.ErrNotFound)
		}
		d := w.decides(stepOn(l, "m1", 2), "b", store.HeldDecision{Verdict: store.VerdictReject, By: "boss", Why: "no"})
		want := store.Decision{ID: d.ID, ListID: l.ID, At: at.Add(2 * day), Kind: store.AboutPost, Ref: b.Handle, Entry: "b", Step: "m1", Address: b.Sender, Subject: "s", Verdict: store.VerdictReject, By: "boss", Why: "no"}
		if d != want {
			w.Errorf("decided %+v, want %+v", d, want)
		}
		w.heldNow(l, store.HeldFilter{}, "a")
		if got := collect(w, w.UnsettledHeld(w.ctx, at.Add(3*day))); len(got) != 1 || got[0].Entry != "b" || got[0].Verdict != store.VerdictReject || got[0].Why != "no" {
			w.Errorf("to be done: %+v", got)
		}
		w.ok(w.SettleHeld(w.ctx, l.ID, "a")) // it waits: nothing is forgotten
		w.heldNow(l, store.HeldFilter{}, "a")
		w.ok(w.SettleHeld(w.ctx, l.ID, "b"))
		w.ok(w.SettleHeld(w.ctx, l.ID, "b"))
		if got := collect(w, w.UnsettledHeld(w.ctx, at.Add(3*day))); len(got) != 0 {
			w.Errorf("to be done: %+v", got)
		}
		_, err := w.HeldPost(w.ctx, l.ID, "b", "")
		w.wants(err, store.ErrNotFound)
		w.ok(w.ForgetHeld(w.ctx, l.ID, "a"))
		w.heldNow(l, store.HeldFilter{})
		_, err = w.FileHeld(w.ctx, store.HeldPost{ListID: 999, Entry: "x", Held: at})
		w.wants(err, store.ErrNotFound)
	}},
	{"the second who decides is told what the first has decided", func(w *world) {
		l := w.list("dev@l.test")
		p := w.holds(l, "a", "eve@n.test", 0)
		first := w.decides(stepOn(l, "m1", 1), "a", store.HeldDecision{Verdict: store.VerdictAccept, By: "ann"})
		again := w.decides(stepOn(l, "m1", 1), "a", store.HeldDecision{Verdict: store.VerdictAccept, By: "ann"}) // a second run
		if again != first {
			w.Errorf("a second run has %+v, the first %+v", again, first)
		}
		for _, settled := range []bool{false, true} {
			d, won, err := w.DecideHeld(w.ctx, stepOn(l, "m2", 1), "a", store.HeldDecision{Verdict: store.VerdictDiscard, By: "bob"})
			w.ok(err)
			if won || d != first {
				w.Errorf("settled %t: the second has decided: %t, %+v", settled, won, d)
			}
			w.ok(w.SettleHeld(w.ctx, l.ID, "a"))
		}
		if d, err := w.DecisionOf(w.ctx, l.ID, store.AboutPost, p.Handle); err != nil || d != first {
			w.Errorf("of the handle: %+v, %v", d, err)
		}
		_, err := w.DecisionOf(w.ctx, l.ID, store.AboutRequest, p.Handle)
		w.wants(err, store.ErrNotFound)
		_, _, err = w.DecideHeld(w.ctx, stepOn(l, "m3", 1), "nothing", store.HeldDecision{Verdict: store.VerdictDiscard})
		w.wants(err, store.ErrNotFound)

		// It is held once more: then it waits, but not for those who have decided.
		again2 := w.holds(l, "a", "eve@n.test", 2)
		if again2.Handle == p.Handle {
			w.Error("it has its old handle")
		}
		if d := w.decides(stepOn(l, "m1", 1), "a", store.HeldDecision{Verdict: store.VerdictAccept}); d != first {
			w.Errorf("an old step: %+v", d)
		}
		w.heldNow(l, store.HeldFilter{}, "a")
		w.decides(stepOn(l, "m4", 3), "a", store.HeldDecision{Verdict: store.VerdictDiscard, By: "bob"})
		w.holds(l, "a", "eve@n.test", 4) // held again before the spool's part was recorded
		w.heldNow(l, store.HeldFilter{}, "a")

		counts, err := w.DecisionsOfStep(w.ctx, l.ID, "m1")
		w.ok(err)
		if len(counts) != 1 || counts[store.VerdictAccept] != 1 {
			w.Errorf("of m1: %v", counts)
		}
		var log []string
		for _, d := range collect(w, w.Decisions(w.ctx, l.ID, store.AboutPost)) {
			log = append(log, d.By+" "+string(d.Verdict))
		}
		if fmt.Sprint(log) != "[bob discard ann accept]" {
			w.Errorf("the log is %v", log)
		}
		w.ok(w.PruneDecisions(w.ctx, at.Add(2*day)))
		if left := collect(w, w.Decisions(w.ctx, l.ID, store.AboutPost)); len(left) != 1 {
			w.Errorf("left: %+v", left)
		}
	}},
	{"many who decide at once: one of them", func(w *world) {
		l := w.list("dev@l.test")
		w.holds(l, "a", "eve@n.test", 0)
		won := make(chan bool, 4)
		for i := range cap(won) {
			s := w.another()
			go func() {
				_, first, err := s.DecideHeld(w.ctx, stepOn(l, fmt.Sprint("x", i), 1), "a", store.HeldDecision{Verdict: store.VerdictDiscard})
				if err != nil {
					w.Error(err)
				}
				won <- first
			}()
		}
		n := 0
		for range cap(won) {
			if <-won {
				n++
			}
		}
		if n != 1 || len(collect(w, w.Decisions(w.ctx, l.ID, store.AboutPost))) != 1 {
			w.Errorf("%d have decided", n)
		}
	}},
	{"accepting the sender, clearing first posts and banning belong to the decision", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "mem@n.test", "new@n.test", "held@n.test")
		w.add(l, list.Nonmember, "non@n.test")
		w.ok(w.SetMember(w.ctx, l.ID, list.Member, w.addr("held@n.test"), store.MemberChange{Action: ptr(list.Hold)}))
		w.ok(w.SetMember(w.ctx, l.ID, list.Nonmember, w.addr("non@n.test"), store.MemberChange{Action: ptr(list.Hold)}))
		for i, tt := range []struct {
			sender string
			h      store.HeldDecision
			also   string
			role   list.Role
			action list.Action
		}{
			{"mem@n.test", store.HeldDecision{AcceptSender: true}, "accept-sender", list.Member, list.Defer},
			{"non@n.test", store.HeldDecision{AcceptSender: true}, "accept-sender", list.Nonmember, list.Defer},
			{"stranger@n.test", store.HeldDecision{AcceptSender: true}, "accept-sender", list.Nonmember, list.Defer},
			{"new@n.test", store.HeldDecision{ClearFirst: true}, "clear-first-posts", list.Member, list.Defer},
			{"held@n.test", store.HeldDecision{ClearFirst: true}, "", list.Member, list.Hold},
			{"held@n.test", store.HeldDecision{AcceptSender: true}, "accept-sender", list.Member, list.Defer},
			{"spam@n.test", store.HeldDecision{Ban: true, Why: "spam"}, "ban", "", ""},
			{"spam@n.test", store.HeldDecision{Ban: true}, "ban", "", ""},
		} {
			entry := fmt.Sprint(i)
			w.holds(l, entry, tt.sender, 0)
			tt.h.Verdict = store.VerdictAccept
			if d := w.decides(stepOn(l, "", 1), entry, tt.h); d.Also != tt.also {
				w.Errorf("%s: also %q, want %q", tt.sender, d.Also, tt.also)
			}
			if tt.role == "" {
				continue
			}
			if m, ok := w.membership(l, tt.role, tt.sender); !ok || m.Action != tt.action {
				w.Errorf("%s is %+v", tt.sender, m)
			}
		}
		bans, err := w.MatchBans(w.ctx, l.ID, "l.test", []address.Address{w.addr("spam@n.test")})
		w.ok(err)
		if b := bans["spam@n.test"]; b.Reason != "spam" || b.ListID != l.ID {
			w.Errorf("ban %+v", b)
		}
		w.holds(l, "nobody", "", 0)
		_, _, err = w.DecideHeld(w.ctx, stepOn(l, "", 1), "nobody", store.HeldDecision{Verdict: store.VerdictDiscard, Ban: true})
		w.wants(err, store.ErrNoSender)
		w.heldNow(l, store.HeldFilter{}, "nobody")
	}},
	{"what moderators were told of", func(w *world) {
		l := w.list("dev@l.test")
		for d, entry := range []string{"a", "b", "c"} {
			w.holds(l, entry, "eve@n.test", d)
		}
		got, err := w.Telling(w.ctx, l.ID)
		w.ok(err)
		if got != (store.Telling{}) {
			w.Errorf("told of nothing: %+v", got)
		}
		first := store.Telling{Hour: at, Notices: 1}
		w.ok(w.TellHeld(w.ctx, l.ID, at.Add(day), store.Told{Telling: first, Entries: []string{"b", "gone"}}))
		second := store.Telling{Summary: at.Add(2 * day), Hour: at, Notices: 1}
		w.ok(w.TellHeld(w.ctx, l.ID, at.Add(2*day), store.Told{Telling: second, Until: at.Add(day), Remind: at}))
		if got, err := w.Telling(w.ctx, l.ID); err != nil || got != second {
			w.Errorf("told %+v, %v", got, err)
		}
		var told []string
		for _, p := range collect(w, w.Held(w.ctx, l.ID, store.HeldFilter{})) {
			told = append(told, fmt.Sprint(p.Entry, " ", p.Told.Sub(at), " ", p.Reminded))
		}
		if want := "a 48h0m0s true,b 24h0m0s false"; !strings.HasPrefix(strings.Join(told, ","), want+",c -") {
			w.Errorf("told %v, want %s", told, want)
		}
		w.heldNow(l, store.HeldFilter{Untold: true}, "c")
		w.heldNow(l, store.HeldFilter{Unreminded: true, Until: at.Add(day)}, "b")
		w.wants(w.TellHeld(w.ctx, 999, at, store.Told{}), store.ErrNotFound)
	}},
	{"lists on which something waits for a moderator", func(w *world) {
		posts, requests, confirms, gone := w.list("a@l.test"), w.list("b@l.test"), w.list("c@l.test"), w.list("d@l.test")
		w.list("e@l.test")
		w.holds(posts, "a", "eve@n.test", 0)
		w.holds(gone, "b", "eve@n.test", 0)
		w.asks(stepOn(requests, "x", 0), store.WantJoin, "ann@n.test", toModerate, store.OutcomeModerate, true)
		w.asks(stepOn(confirms, "x", 0), store.WantJoin, "ann@n.test", toConfirm, store.OutcomeConfirm, true)
		w.ok(w.DeleteList(w.ctx, gone.Address))
		got := collect(w, w.Moderated(w.ctx))
		if len(got) != 2 || got[0] != (store.Moderated{ListID: posts.ID, List: posts.Address}) || got[1].List != requests.Address {
			w.Errorf("moderated: %+v", got)
		}
	}},
	{"decisions about requests are logged, confirmations are not", func(w *world) {
		l := w.list("dev@l.test")
		r := w.asks(stepOn(l, "a", 0), store.WantJoin, "ann@n.test", toConfirmFirst, store.OutcomeConfirm, true)
		mod := w.answers(stepOn(l, "b", 1), store.Answer{Token: r.Token, Phase: store.PhaseConfirm, Life: 180 * day}, store.OutcomeModerate)
		w.answers(stepOn(l, "c", 2), store.Answer{Token: mod.Token, Phase: store.PhaseModerate, Refuse: true, Verdict: store.VerdictReject, By: "boss", Why: "reject no", Reason: "no"}, store.OutcomeRefused)
		w.answers(stepOn(l, "c", 2), store.Answer{Token: mod.Token, Phase: store.PhaseModerate, Refuse: true, Verdict: store.VerdictReject, By: "boss", Why: "reject no", Reason: "no"}, store.OutcomeRefused)
		d, err := w.DecisionOf(w.ctx, l.ID, store.AboutRequest, mod.Token)
		w.ok(err)
		if d.By != "boss" || d.Verdict != store.VerdictReject || d.Why != "no" || d.Subject != "join" || d.Address.String() != "ann@n.test" {
			w.Errorf("logged %+v", d)
		}
		if all := collect(w, w.Decisions(w.ctx, l.ID, store.AboutRequest)); len(all) != 1 {
			w.Errorf("the log is %+v", all)
		}
	}},
}
