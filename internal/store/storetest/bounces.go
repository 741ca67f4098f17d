package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

const day = 24 * time.Hour

// bounceRules are Mailman's with smaller numbers, and a probe.
var bounceRules = store.BounceRules{
	Process: true, Threshold: 3, StaleAfter: 7 * day, Probe: true, ProbeWait: 5 * day, Warnings: 2, WarnEvery: 7 * day, BlameAbove: 20,
}

// noProbe is bounceRules without one.
var noProbe = func() store.BounceRules {
	r := bounceRules
	r.Probe = false
	return r
}()

// bounces files a bounce of one member on each of the days after at.
func (w *world) bounces(l *list.List, rules store.BounceRules, addr string, days ...int) {
	w.Helper()
	for _, d := range days {
		w.record(rules, w.bounceOn(l, addr, d))
	}
}

func (w *world) record(rules store.BounceRules, events ...store.BounceEvent) {
	w.Helper()
	w.ok(w.RecordBounces(w.ctx, rules, events))
}

func (w *world) bounceOn(l *list.List, addr string, d int) store.BounceEvent {
	w.Helper()
	return store.BounceEvent{ListID: l.ID, Recipient: w.addr(addr), Entry: fmt.Sprint(addr, d), At: at.Add(time.Duration(d) * day), Status: "5.1.1", Text: "no such user",
		Class: "mailbox", Hard: true, Points: 1, Proven: true}
}

// score complains unless the member has this score and phase.
func (w *world) score(l *list.List, addr string, score float64, phase store.BouncePhase) {
	w.Helper()
	st, err := w.BounceState(w.ctx, l.ID, w.addr(addr))
	w.ok(err)
	if st.Score != score || st.Phase != phase {
		w.Errorf("%s: score %g in phase %d, want %g in %d", addr, st.Score, st.Phase, score, phase)
	}
}

// status complains unless the member's status is this; "" is that there is none.
func (w *world) status(l *list.List, addr string, want list.Status) {
	w.Helper()
	ms, err := w.Memberships(w.ctx, l.ID, []address.Address{w.addr(addr)})
	w.ok(err)
	got := list.Status("")
	for _, m := range ms {
		if m.Role == list.Member {
			got = m.Status
		}
	}
	if got != want {
		w.Errorf("%s is %q, want %q", addr, got, want)
	}
}

// tasks takes all tasks that wait, and ends the test unless they are of these kinds.
func (w *world) tasks(want ...string) []store.BounceTask {
	w.Helper()
	got := collect(w, w.BounceTasks(w.ctx))
	var kinds []string
	for _, t := range got {
		kinds = append(kinds, t.Kind)
		w.ok(w.DoneBounceTask(w.ctx, t.ID))
	}
	if !slices.Equal(kinds, want) {
		w.Fatalf("tasks are %v, want %v", kinds, want)
	}
	return got
}

// history complains unless these are the changes of the member's delivery.
func (w *world) history(l *list.List, addr string, want ...string) {
	w.Helper()
	h, err := w.MemberHistory(w.ctx, l.ID, w.addr(addr), 100)
	w.ok(err)
	var got []string
	for _, e := range h {
		got = append(got, e.What)
	}
	if !slices.Equal(got, want) {
		w.Errorf("history is %v, want %v", got, want)
	}
}

// advance takes the next step of everybody who is due on a day, and counts them.
func (w *world) advance(rules store.BounceRules, d int) int {
	w.Helper()
	now := at.Add(time.Duration(d) * day)
	due := collect(w, w.DueBounces(w.ctx, now))
	for _, x := range due {
		w.ok(w.AdvanceBounce(w.ctx, rules, x.ListID, x.Address, now))
	}
	return len(due)
}

var bounceTests = []test{
	{"a score rises once a day, and an entry counts once", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "ann@n.test")
		w.bounces(l, bounceRules, "Ann@n.test", 0, 0)
		w.score(l, "ann@n.test", 1, store.BounceCounting)
		again := w.bounceOn(l, "ann@n.test", 0)
		again.Entry = "another of that day"
		w.record(bounceRules, again)
		w.score(l, "ann@n.test", 1, store.BounceCounting)
		w.bounces(l, bounceRules, "ann@n.test", 1)
		w.score(l, "ann@n.test", 2, store.BounceCounting)
		events, err := w.MemberBounces(w.ctx, l.ID, w.addr("ann@n.test"), 10)
		w.ok(err)
		if len(events) != 3 || events[0].Points != 1 || events[1].Points+events[2].Points != 1 {
			w.Errorf("events %+v", events)
		}
		w.tasks()
	}},
	{"old bounces are stale", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "ann@n.test")
		w.bounces(l, bounceRules, "ann@n.test", 0, 1, 9)
		w.score(l, "ann@n.test", 1, store.BounceCounting)
	}},
	{"strangers, refused posts and lists that do not count", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "ann@n.test")
		w.bounces(l, bounceRules, "eve@n.test", 0)
		w.score(l, "eve@n.test", 0, store.BounceCounting)
		refused := w.bounceOn(l, "ann@n.test", 0)
		refused.Blameless = true
		w.record(bounceRules, refused)
		off := bounceRules
		off.Process = false
		w.bounces(l, off, "ann@n.test", 1)
		if n := len(collect(w, w.BounceStates(w.ctx, l.ID))); n != 0 {
			w.Errorf("%d scores", n)
		}
	}},
	{"a probe that does not come back resets the score", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "ann@n.test")
		w.bounces(l, bounceRules, "ann@n.test", 0, 1, 2, 3)
		w.score(l, "ann@n.test", 3, store.BounceProbed)
		w.status(l, "ann@n.test", list.Enabled)
		probe := w.tasks(store.TaskProbe)[0]
		if probe.Token == "" || probe.Address.String() != "ann@n.test" || probe.List != l.Address {
			w.Errorf("task %+v", probe)
		}
		if n := w.advance(bounceRules, 6); n != 0 {
			w.Errorf("%d are due too early", n)
		}
		w.advance(bounceRules, 7)
		w.score(l, "ann@n.test", 0, store.BounceCounting)
		w.history(l, "ann@n.test", "score", "score", "score", "probe", "reset")
		if found, err := w.ProbeBounced(w.ctx, bounceRules, l.ID, probe.Token, at.Add(8*day), "late"); found || err != nil {
			w.Errorf("a late probe: %t, %v", found, err)
		}
	}},
	{"a probe that bounces disables, and then come warnings and the end", func(w *world) {
		l, other := w.list("dev@l.test"), w.list("ops@l.test")
		w.add(l, list.Member, "Ann@n.test", "bob@n.test")
		w.bounces(l, bounceRules, "ann@n.test", 0, 1, 2)
		probe := w.tasks(store.TaskProbe)[0]
		if probe.Address.String() != "Ann@n.test" {
			w.Errorf("the probe goes to %s", probe.Address)
		}
		if found, err := w.ProbeBounced(w.ctx, bounceRules, other.ID, probe.Token, at.Add(2*day), "x"); found || err != nil {
			w.Errorf("on another list: %t, %v", found, err)
		}
		for i := range 2 {
			found, err := w.ProbeBounced(w.ctx, bounceRules, l.ID, probe.Token, at.Add(2*day), "550 gone")
			w.ok(err)
			if found != (i == 0) {
				w.Errorf("time %d: %t", i, found)
			}
		}
		w.status(l, "ann@n.test", list.ByBounces)
		if t := w.tasks(store.TaskDisabled)[0]; !strings.Contains(t.Reason, "550 gone") {
			w.Errorf("task %+v", t)
		}
		w.bounces(l, bounceRules, "ann@n.test", 3)
		w.advance(bounceRules, 2)
		first := w.tasks(store.TaskWarning)[0]
		w.advance(bounceRules, 8)
		w.tasks()
		w.advance(bounceRules, 9)
		second := w.tasks(store.TaskWarning)[0]
		if first.Number != 1 || second.Number != 2 || first.Token != second.Token || first.Token == "" || first.Token == probe.Token {
			w.Errorf("warnings %+v, %+v", first, second)
		}
		w.advance(bounceRules, 16)
		w.tasks(store.TaskRemoved)
		w.status(l, "ann@n.test", "")
		w.status(l, "bob@n.test", list.Enabled)
		w.history(l, "ann@n.test", "score", "score", "score", "probe", "disabled", "warning", "warning", "removed")
		if n := w.advance(bounceRules, 100); n != 0 {
			w.Errorf("%d are due", n)
		}
	}},
	{"without probes the threshold disables at once, unless somebody could have forged it", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "ann@n.test", "bob@n.test")
		w.bounces(l, noProbe, "ann@n.test", 0, 1, 2)
		w.status(l, "ann@n.test", list.ByBounces)
		w.tasks(store.TaskDisabled)
		for i := range 3 {
			e := w.bounceOn(l, "bob@n.test", i)
			e.Proven = i > 0
			w.record(noProbe, e)
		}
		w.status(l, "bob@n.test", list.Enabled)
		w.tasks(store.TaskProbe)
	}},
	{"the member enables delivery with the token of a warning, once", func(w *world) {
		l, other := w.list("dev@l.test"), w.list("ops@l.test")
		w.add(l, list.Member, "ann@n.test")
		w.bounces(l, noProbe, "ann@n.test", 0, 1, 2)
		w.advance(noProbe, 2)
		token := w.tasks(store.TaskDisabled, store.TaskWarning)[1].Token
		_, err := w.EnableByToken(w.ctx, store.Step{ListID: other.ID, Entry: "e1", At: at}, token)
		w.wants(err, store.ErrNotFound)
		_, err = w.EnableByToken(w.ctx, store.Step{ListID: l.ID, Entry: "e2", At: at}, "")
		w.wants(err, store.ErrNotFound)
		for range 2 { // a second run of the step changes nothing, and finds the same
			who, err := w.EnableByToken(w.ctx, store.Step{ListID: l.ID, Entry: "e3", At: at.Add(3 * day)}, token)
			w.ok(err)
			if who.String() != "ann@n.test" {
				w.Errorf("it is %s", who)
			}
		}
		w.status(l, "ann@n.test", list.Enabled)
		w.score(l, "ann@n.test", 0, store.BounceCounting)
		_, err = w.EnableByToken(w.ctx, store.Step{ListID: l.ID, Entry: "e4", At: at}, token)
		w.wants(err, store.ErrNotFound)
		w.history(l, "ann@n.test", "score", "score", "score", "disabled", "warning", "enabled")
	}},
	{"a complaint is in the member's history, once, and what follows is done", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "ann@n.test", "bob@n.test", "carl@n.test")
		complain := func(entry, addr string, then store.ComplaintAction) store.Outcome {
			w.Helper()
			o, err := w.RecordComplaint(w.ctx, store.Step{ListID: l.ID, Entry: entry, Number: -2, At: at}, store.Complaint{Address: w.addr(addr), Why: "abuse", Then: then})
			w.ok(err)
			return o
		}
		for range 2 {
			if o := complain("e1", "ann@n.test", store.ComplaintRecord); o != store.OutcomeDone {
				w.Errorf("it is %s", o)
			}
			complain("e2", "bob@n.test", store.ComplaintDisable)
			complain("e3", "carl@n.test", store.ComplaintUnsubscribe)
		}
		if o := complain("e4", "eve@n.test", store.ComplaintUnsubscribe); o != store.OutcomeUnchanged {
			w.Errorf("of a stranger it is %s", o)
		}
		w.status(l, "ann@n.test", list.Enabled)
		w.history(l, "ann@n.test", "complained")
		w.status(l, "bob@n.test", list.ByUser)
		w.history(l, "bob@n.test", "complained", "disabled")
		w.status(l, "carl@n.test", "")
		w.history(l, "carl@n.test", "complained", "left")
		w.history(l, "eve@n.test")
	}},
	{"an administrator resets, or sets the status", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "ann@n.test")
		ann := w.addr("ann@n.test")
		w.wants(w.ResetBounces(w.ctx, l.ID, w.addr("eve@n.test"), at, "root", ""), store.ErrNotFound)
		w.bounces(l, noProbe, "ann@n.test", 0)
		w.ok(w.ResetBounces(w.ctx, l.ID, ann, at, "root", "mended"))
		w.ok(w.ResetBounces(w.ctx, l.ID, ann, at, "root", "nothing left to do"))
		w.score(l, "ann@n.test", 0, store.BounceCounting)
		w.bounces(l, noProbe, "ann@n.test", 1, 2, 3)
		w.status(l, "ann@n.test", list.ByBounces)
		w.ok(w.SetMember(w.ctx, l.ID, list.Member, ann, store.MemberChange{Status: ptr(list.Enabled), By: "root", Why: "asked to"}))
		w.score(l, "ann@n.test", 0, store.BounceCounting)
		w.bounces(l, noProbe, "ann@n.test", 4)
		w.ok(w.SetMember(w.ctx, l.ID, list.Member, ann, store.MemberChange{Status: ptr(list.ByUser), By: "ann"}))
		w.bounces(l, noProbe, "ann@n.test", 5)
		w.score(l, "ann@n.test", 1, store.BounceCounting)
		w.history(l, "ann@n.test", "score", "reset", "score", "score", "score", "disabled", "enabled", "score", "disabled")
		w.tasks(store.TaskDisabled)
	}},
	{"a member who leaves meanwhile is no more work", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "ann@n.test")
		w.bounces(l, noProbe, "ann@n.test", 0, 1, 2)
		_, err := w.RemoveMembers(w.ctx, l.ID, list.Member, seq(w.addr("ann@n.test")))
		w.ok(err)
		if n := w.advance(noProbe, 2); n != 1 {
			w.Errorf("%d are due", n)
		}
		w.tasks(store.TaskDisabled)
		w.score(l, "ann@n.test", 0, store.BounceCounting)
		w.add(l, list.Member, "ann@n.test")
		w.bounces(l, noProbe, "ann@n.test", 3)
		w.score(l, "ann@n.test", 1, store.BounceCounting)
	}},
	{"a post that many refuse counts against nobody", func(w *world) {
		l := w.list("dev@l.test")
		for i := range 20 {
			w.add(l, list.Member, fmt.Sprintf("m%d@n.test", i))
		}
		gone := w.bounceOn(l, "m0@n.test", 0)
		gone.Post = "p"
		w.record(bounceRules, gone)
		refusal := func(i int) store.BounceEvent {
			e := w.bounceOn(l, fmt.Sprintf("m%d@n.test", i), 0)
			e.Entry, e.Post, e.Blameless, e.Status, e.Class = fmt.Sprint("r", i), "p", true, "5.7.1", "policy"
			return e
		}
		for i := 1; i <= 4; i++ {
			w.record(bounceRules, refusal(i))
		}
		w.score(l, "m0@n.test", 1, store.BounceCounting)
		w.tasks()
		w.record(bounceRules, refusal(5))
		w.score(l, "m0@n.test", 0, store.BounceCounting)
		if t := w.tasks(store.TaskBlamed)[0]; t.Reason != "p" || t.Number != 5 || !t.Address.IsZero() {
			w.Errorf("task %+v", t)
		}
		late := w.bounceOn(l, "m7@n.test", 1)
		late.Post = "p"
		w.record(bounceRules, refusal(6), late)
		w.score(l, "m7@n.test", 0, store.BounceCounting)
		w.tasks()
	}},
	{"owners who want it hear of each rise", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "ann@n.test")
		rules := bounceRules
		rules.TellIncrement = true
		w.bounces(l, rules, "ann@n.test", 0)
		if t := w.tasks(store.TaskIncrement)[0]; t.Score != 1 || t.Reason != "5.1.1 no such user" {
			w.Errorf("task %+v", t)
		}
	}},
	{"all of it goes with time, and with the list", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "ann@n.test")
		w.bounces(l, bounceRules, "ann@n.test", 0, 1, 2)
		w.ok(w.PruneBounces(w.ctx, at.Add(day)))
		if n := len(collect(w, w.BounceEvents(w.ctx, l.ID))); n != 2 {
			w.Errorf("%d events are left", n)
		}
		w.history(l, "ann@n.test", "score", "score", "probe")
		w.ok(w.DeleteList(w.ctx, l.Address))
		w.tasks()
		if n := w.advance(bounceRules, 100); n != 0 {
			w.Errorf("%d are due", n)
		}
	}},
}
