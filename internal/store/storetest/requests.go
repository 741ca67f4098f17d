package storetest

import (
	"fmt"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

var (
	toConfirm      = store.RequestRules{Confirm: true, ConfirmLife: 3 * day, ModerateLife: 180 * day}
	toModerate     = store.RequestRules{Moderate: true, ConfirmLife: 3 * day, ModerateLife: 180 * day}
	toConfirmFirst = store.RequestRules{Confirm: true, Moderate: true, ConfirmLife: 3 * day, ModerateLife: 180 * day}
)

// stepOn is a step of an entry of its own, on a day.
func stepOn(l *list.List, entry string, d int) store.Step {
	return store.Step{ListID: l.ID, Entry: entry, At: at.Add(time.Duration(d) * day)}
}

// asks asks, and ends the test unless this becomes of it.
func (w *world) asks(step store.Step, want store.Want, addr string, rules store.RequestRules, outcome store.Outcome, tell bool) store.Request {
	w.Helper()
	res, err := w.AskFor(w.ctx, step, store.Request{Want: want, Address: w.addr(addr)}, rules)
	w.ok(err)
	if res.Outcome != outcome || res.Tell != tell {
		w.Fatalf("%s of %s: %s, told %t; want %s, %t", want, addr, res.Outcome, res.Tell, outcome, tell)
	}
	return res.Request
}

// answers answers, and ends the test unless this becomes of it.
func (w *world) answers(step store.Step, a store.Answer, outcome store.Outcome) store.Request {
	w.Helper()
	res, err := w.AnswerRequest(w.ctx, step, a)
	w.ok(err)
	if res.Outcome != outcome {
		w.Fatalf("the answer leads to %s, want %s", res.Outcome, outcome)
	}
	return res.Request
}

func (w *world) waiting(l *list.List, d, want int) []store.Request {
	w.Helper()
	got := collect(w, w.Requests(w.ctx, l.ID, at.Add(time.Duration(d)*day)))
	if len(got) != want {
		w.Fatalf("%d requests wait, want %d: %+v", len(got), want, got)
	}
	return got
}

var requestTests = []test{
	{"what needs nobody's leave is done at once", func(w *world) {
		l := w.list("dev@l.test")
		w.asks(stepOn(l, "a", 0), store.WantJoin, "Ann@n.test", store.RequestRules{}, store.OutcomeDone, false)
		w.status(l, "ann@n.test", list.Enabled)
		w.asks(stepOn(l, "b", 0), store.WantJoin, "ann@n.test", store.RequestRules{}, store.OutcomeUnchanged, false)
		w.asks(stepOn(l, "c", 1), store.WantLeave, "ann@n.test", store.RequestRules{}, store.OutcomeDone, false)
		w.status(l, "ann@n.test", "")
		w.asks(stepOn(l, "d", 1), store.WantLeave, "ann@n.test", store.RequestRules{}, store.OutcomeUnchanged, false)
		w.history(l, "ann@n.test", "joined", "left")
	}},
	{"a request waits for the address, and its token serves once", func(w *world) {
		l := w.list("dev@l.test")
		res, err := w.AskFor(w.ctx, stepOn(l, "a", 0), store.Request{Want: store.WantJoin, Address: w.addr("Ann@n.test"), DisplayName: "Ann\x00", Mode: list.MIMEDigest}, toConfirm)
		w.ok(err)
		r := res.Request
		if r.Token == "" || r.Phase != store.PhaseConfirm || !r.Expires.Equal(at.Add(3*day)) {
			w.Errorf("request %+v", r)
		}
		w.status(l, "ann@n.test", "")
		if got := w.waiting(l, 1, 1)[0]; got.Token != r.Token || got.Address.String() != "Ann@n.test" || got.DisplayName != "Ann\uFFFD" {
			w.Errorf("waits: %+v", got)
		}
		got, err := w.Request(w.ctx, l.ID, r.Token, at)
		w.ok(err)
		if got.Want != store.WantJoin || got.Mode != list.MIMEDigest {
			w.Errorf("found %+v", got)
		}
		yes := store.Answer{Token: r.Token, Phase: store.PhaseConfirm, By: "member"}
		w.answers(stepOn(l, "b", 1), yes, store.OutcomeDone)
		w.status(l, "ann@n.test", list.Enabled)
		ms, err := w.Memberships(w.ctx, l.ID, []address.Address{w.addr("ann@n.test")})
		w.ok(err)
		if m := ms[0]; m.Mode != list.MIMEDigest || m.Address.Local != "Ann" {
			w.Errorf("member %+v", m)
		}
		_, err = w.AnswerRequest(w.ctx, stepOn(l, "c", 1), yes)
		w.wants(err, store.ErrNotFound)
		_, err = w.Request(w.ctx, l.ID, r.Token, at)
		w.wants(err, store.ErrNotFound)
		w.waiting(l, 1, 0)
	}},
	{"a second run of a step changes nothing and has the same result", func(w *world) {
		l := w.list("dev@l.test")
		first := w.asks(stepOn(l, "a", 0), store.WantJoin, "ann@n.test", toConfirm, store.OutcomeConfirm, true)
		for range store.MaxTold + 1 {
			again := w.asks(stepOn(l, "a", 0), store.WantJoin, "ann@n.test", toConfirm, store.OutcomeConfirm, true)
			if again.Token != first.Token {
				w.Fatalf("token %s, then %s", first.Token, again.Token)
			}
		}
		yes := store.Answer{Token: first.Token, Phase: store.PhaseConfirm}
		w.answers(stepOn(l, "b", 1), yes, store.OutcomeDone)
		w.asks(stepOn(l, "c", 1), store.WantLeave, "ann@n.test", store.RequestRules{}, store.OutcomeDone, false)
		w.answers(stepOn(l, "b", 1), yes, store.OutcomeDone)
		w.status(l, "ann@n.test", "")
		other := stepOn(l, "c", 1)
		other.Number = 1
		w.asks(other, store.WantLeave, "ann@n.test", store.RequestRules{}, store.OutcomeUnchanged, false)
	}},
	{"a request that is made again is told again, but not often", func(w *world) {
		l := w.list("dev@l.test")
		token := ""
		for i := range 100 {
			r := w.asks(stepOn(l, fmt.Sprint(i), 0), store.WantJoin, "ann@n.test", toConfirm, store.OutcomeConfirm, i < store.MaxTold)
			if i > 0 && r.Token != token {
				w.Fatalf("token %s, then %s", token, r.Token)
			}
			token = r.Token
		}
		w.waiting(l, 0, 1)
	}},
	{"a token is good for its list, phase and life alone", func(w *world) {
		l, other := w.list("dev@l.test"), w.list("ops@l.test")
		r := w.asks(stepOn(l, "a", 0), store.WantJoin, "ann@n.test", toConfirm, store.OutcomeConfirm, true)
		for i, x := range []struct {
			step store.Step
			a    store.Answer
		}{
			{stepOn(other, "b", 1), store.Answer{Token: r.Token, Phase: store.PhaseConfirm}},
			{stepOn(l, "c", 1), store.Answer{Token: r.Token, Phase: store.PhaseModerate}},
			{stepOn(l, "d", 3), store.Answer{Token: r.Token, Phase: store.PhaseConfirm}},
			{stepOn(l, "e", 1), store.Answer{Token: "", Phase: store.PhaseConfirm}},
		} {
			if _, err := w.AnswerRequest(w.ctx, x.step, x.a); err == nil {
				w.Errorf("%d: it was taken", i)
			} else {
				w.wants(err, store.ErrNotFound)
			}
		}
		w.waiting(l, 3, 0)
		fresh := w.asks(stepOn(l, "f", 3), store.WantJoin, "ann@n.test", toConfirm, store.OutcomeConfirm, true)
		if fresh.Token == r.Token {
			w.Error("what had expired has come back")
		}
	}},
	{"a moderator decides after the address has confirmed", func(w *world) {
		l := w.list("dev@l.test")
		r := w.asks(stepOn(l, "a", 0), store.WantJoin, "ann@n.test", toConfirmFirst, store.OutcomeConfirm, true)
		mod := w.answers(stepOn(l, "b", 1), store.Answer{Token: r.Token, Phase: store.PhaseConfirm, Life: 180 * day}, store.OutcomeModerate)
		if mod.Token == r.Token || !mod.Expires.Equal(at.Add(181*day)) {
			w.Errorf("it waits as %+v", mod)
		}
		_, err := w.AnswerRequest(w.ctx, stepOn(l, "c", 1), store.Answer{Token: mod.Token, Phase: store.PhaseConfirm})
		w.wants(err, store.ErrNotFound)
		w.asks(stepOn(l, "d", 2), store.WantJoin, "ann@n.test", toConfirmFirst, store.OutcomeModerate, false)
		w.answers(stepOn(l, "", 100), store.Answer{Token: mod.Token, Phase: store.PhaseModerate, By: "boss"}, store.OutcomeDone)
		w.status(l, "ann@n.test", list.Enabled)
	}},
	{"an operator's answer is the last", func(w *world) {
		l := w.list("dev@l.test")
		r := w.asks(stepOn(l, "a", 0), store.WantJoin, "ann@n.test", toConfirmFirst, store.OutcomeConfirm, true)
		w.answers(stepOn(l, "b", 1), store.Answer{Token: r.Token, Phase: store.PhaseConfirm, Final: true}, store.OutcomeDone)
		w.status(l, "ann@n.test", list.Enabled)
	}},
	{"a moderator refuses", func(w *world) {
		l := w.list("dev@l.test")
		r := w.asks(stepOn(l, "a", 0), store.WantJoin, "ann@n.test", toModerate, store.OutcomeModerate, true)
		w.answers(stepOn(l, "b", 1), store.Answer{Token: r.Token, Phase: store.PhaseModerate, Refuse: true, By: "boss", Why: "who?"}, store.OutcomeRefused)
		w.status(l, "ann@n.test", "")
		w.waiting(l, 1, 0)
		w.history(l, "ann@n.test", "join refused")
	}},
	{"two who answer at once: one of them", func(w *world) {
		l := w.list("dev@l.test")
		r := w.asks(stepOn(l, "a", 0), store.WantJoin, "ann@n.test", toModerate, store.OutcomeModerate, true)
		errs := make(chan error, 4)
		for i := range cap(errs) {
			s := w.another()
			go func() {
				_, err := s.AnswerRequest(w.ctx, stepOn(l, fmt.Sprint("x", i), 1), store.Answer{Token: r.Token, Phase: store.PhaseModerate, Refuse: i%2 == 0})
				errs <- err
			}()
		}
		done := 0
		for range cap(errs) {
			if err := <-errs; err == nil {
				done++
			} else {
				w.wants(err, store.ErrNotFound)
			}
		}
		if done != 1 {
			w.Errorf("%d have decided", done)
		}
	}},
	{"a change of how a member receives", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "ann@n.test")
		change := func(entry string, mode list.Mode, status list.Status, rules store.RequestRules) store.RequestResult {
			w.Helper()
			res, err := w.AskFor(w.ctx, stepOn(l, entry, 0), store.Request{Want: store.WantChange, Address: w.addr("ann@n.test"), Mode: mode, Status: status}, rules)
			w.ok(err)
			return res
		}
		off := change("a", "", list.ByUser, toConfirm).Request
		digest := change("b", list.MIMEDigest, "", toConfirm)
		if digest.Request.Token == off.Token || !digest.Tell {
			w.Errorf("%+v takes the place of %+v", digest, off)
		}
		_, err := w.AnswerRequest(w.ctx, stepOn(l, "c", 0), store.Answer{Token: off.Token, Phase: store.PhaseConfirm})
		w.wants(err, store.ErrNotFound)
		w.answers(stepOn(l, "d", 0), store.Answer{Token: digest.Request.Token, Phase: store.PhaseConfirm}, store.OutcomeDone)
		w.status(l, "ann@n.test", list.Enabled)
		if res := change("e", "", list.ByUser, store.RequestRules{}); res.Outcome != store.OutcomeDone {
			w.Errorf("%+v", res)
		}
		w.status(l, "ann@n.test", list.ByUser)
		w.ok(w.SetMember(w.ctx, l.ID, list.Member, w.addr("ann@n.test"), store.MemberChange{Status: ptr(list.ByModerator)}))
		for i, status := range []list.Status{list.ByUser, list.Enabled} { // nor by way of a vacation
			if res := change(fmt.Sprintf("f%d", i), "", status, store.RequestRules{}); res.Outcome != store.OutcomeUnchanged {
				w.Errorf("what a moderator disabled is %s by %s", res.Outcome, status)
			}
			w.status(l, "ann@n.test", list.ByModerator)
		}
		w.asks(stepOn(l, "g", 0), store.WantChange, "bob@n.test", toConfirm, store.OutcomeUnchanged, false)
	}},
	{"a language is asked for, too", func(w *world) {
		l := w.list("dev@l.test")
		ann := w.addr("ann@n.test")
		language := func() string {
			w.Helper()
			ms, err := w.Memberships(w.ctx, l.ID, []address.Address{ann})
			w.ok(err)
			if len(ms) != 1 {
				w.Fatalf("%d memberships", len(ms))
			}
			return ms[0].Language
		}
		res, err := w.AskFor(w.ctx, stepOn(l, "a", 0), store.Request{Want: store.WantJoin, Address: ann, Language: "de"}, toConfirm)
		w.ok(err)
		w.answers(stepOn(l, "b", 0), store.Answer{Token: res.Request.Token, Phase: store.PhaseConfirm}, store.OutcomeDone)
		if got := language(); got != "de" {
			w.Errorf("joined in %q", got)
		}
		res, err = w.AskFor(w.ctx, stepOn(l, "c", 0), store.Request{Want: store.WantChange, Address: ann, Language: "fr"}, toConfirm)
		w.ok(err)
		w.answers(stepOn(l, "d", 0), store.Answer{Token: res.Request.Token, Phase: store.PhaseConfirm}, store.OutcomeDone)
		if got := language(); got != "fr" {
			w.Errorf("changed to %q", got)
		}
		res, err = w.AskFor(w.ctx, stepOn(l, "e", 0), store.Request{Want: store.WantChange, Address: ann, Mode: list.MIMEDigest}, store.RequestRules{})
		w.ok(err)
		if got := language(); got != "fr" || res.Outcome != store.OutcomeDone {
			w.Errorf("%s, and the language is %q", res.Outcome, got)
		}
		if _, err = w.AskFor(w.ctx, stepOn(l, "f", 0), store.Request{Want: store.WantChange, Address: ann, Language: "../x"}, store.RequestRules{}); err == nil {
			w.Error("a language that is a path is taken")
		}
	}},
	{"requests expire, and results are forgotten", func(w *world) {
		l := w.list("dev@l.test")
		w.asks(stepOn(l, "a", 0), store.WantJoin, "ann@n.test", toConfirm, store.OutcomeConfirm, true)
		w.ok(w.Prune(w.ctx, at.Add(2*day)))
		w.waiting(l, 2, 1)
		w.ok(w.Prune(w.ctx, at.Add(4*day)))
		w.waiting(l, 0, 0)
	}},
	{"requests go with their list", func(w *world) {
		l := w.list("dev@l.test")
		w.asks(stepOn(l, "a", 0), store.WantJoin, "ann@n.test", toConfirm, store.OutcomeConfirm, true)
		w.ok(w.DeleteList(w.ctx, l.Address))
		w.waiting(l, 0, 0)
		_, err := w.AskFor(w.ctx, stepOn(l, "b", 0), store.Request{Want: store.WantJoin, Address: w.addr("ann@n.test")}, toConfirm)
		w.wants(err, store.ErrNotFound)
		_, err = w.AskFor(w.ctx, stepOn(l, "c", 0), store.Request{Want: store.WantJoin, Address: w.addr("ann@n.test")}, store.RequestRules{})
		w.wants(err, store.ErrNotFound)
	}},
}
