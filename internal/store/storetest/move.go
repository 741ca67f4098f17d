package storetest

import (
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

var moveTests = []test{
	{"delivery that is off for a time is on again after it", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "ann@n.test", "bob@n.test", "cy@n.test")
		until := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
		set := func(who string, c store.MemberChange) {
			w.Helper()
			w.ok(w.SetMember(w.ctx, l.ID, list.Member, w.addr(who), c))
		}
		member := func(who string) list.Membership {
			ms, err := w.Memberships(w.ctx, l.ID, []address.Address{w.addr(who)})
			w.ok(err)
			return ms[0]
		}
		for _, who := range []string{"ann@n.test", "bob@n.test", "cy@n.test"} {
			set(who, store.MemberChange{Status: ptr(list.ByUser), Until: &until, By: "x"})
			if m := member(who); !m.Until.Equal(until) {
				w.Errorf("%s is %+v", who, m)
			}
		}
		set("bob@n.test", store.MemberChange{NoOwnPosts: ptr(true)})        // leaves it alone
		set("cy@n.test", store.MemberChange{Status: ptr(list.ByModerator)}) // takes it away
		w.fails(w.SetMember(w.ctx, l.ID, list.Member, w.addr("ann@n.test"), store.MemberChange{Status: ptr(list.Enabled), Until: &until}))
		for _, tt := range []struct {
			at   time.Time
			want int64
		}{{until.Add(-time.Second), 0}, {until, 2}, {until, 0}} {
			if n, err := w.ResumeMembers(w.ctx, tt.at); err != nil || n != tt.want {
				w.Errorf("%d resume, %v; want %d", n, err, tt.want)
			}
		}
		for who, want := range map[string]list.Status{"ann@n.test": list.Enabled, "bob@n.test": list.Enabled, "cy@n.test": list.ByModerator} {
			if m := member(who); m.Status != want || !m.Until.IsZero() {
				w.Errorf("%s is %+v", who, m)
			}
		}
		h, err := w.MemberHistory(w.ctx, l.ID, w.addr("ann@n.test"), 10)
		w.ok(err)
		if len(h) != 2 || h[1].What != "enabled" || h[1].By != "mlist" {
			w.Errorf("history %+v", h)
		}
	}},
	{"all that an address is becomes another one's", func(w *world) {
		dev, ops, qa := w.list("dev@l.test"), w.list("ops@l.test"), w.list("qa@m.test")
		for _, l := range []*list.List{dev, ops, qa} {
			w.add(l, list.Member, "Old@n.test")
		}
		w.add(dev, list.Owner, "old@n.test")
		w.add(ops, list.Member, "new@n.test", "other@n.test")
		w.ok(w.SetMember(w.ctx, dev.ID, list.Member, w.addr("old@n.test"), store.MemberChange{Mode: ptr(list.MIMEDigest)}))
		w.ok(w.SetMember(w.ctx, ops.ID, list.Member, w.addr("new@n.test"), store.MemberChange{Mode: ptr(list.SummaryDigest)}))
		is := func(who string) (out []string) {
			for _, r := range collect(w, w.RolesOf(w.ctx, w.addr(who))) {
				out = append(out, r.List.String()+" "+string(r.Role))
			}
			return out
		}
		all := []string{"dev@l.test member", "dev@l.test owner", "ops@l.test member", "qa@m.test member"}
		if got := is("OLD@n.test"); !slices.Equal(got, all) {
			w.Errorf("before, it is %v", got)
		}
		moved, err := w.MoveAddress(w.ctx, w.addr("old@n.test"), w.addr("New@n.test"), []int64{qa.ID}, "root", "why")
		w.ok(err)
		if len(moved) != 3 || moved[0].Merged || !moved[2].Merged {
			w.Errorf("moved %+v", moved)
		}
		if got := is("new@n.test"); !slices.Equal(got, all[:3]) {
			w.Errorf("the new address is %v", got)
		}
		if got := is("old@n.test"); !slices.Equal(got, all[3:]) {
			w.Errorf("the old address is %v", got)
		}
		for l, want := range map[*list.List]list.Mode{dev: list.MIMEDigest, ops: list.SummaryDigest} {
			ms, err := w.Memberships(w.ctx, l.ID, []address.Address{w.addr("new@n.test")})
			w.ok(err)
			if ms[0].Mode != want || l == dev && ms[0].Address.String() != "New@n.test" {
				w.Errorf("on %s it is %+v", l.Address, ms[0])
			}
		}
		h, err := w.MemberHistory(w.ctx, dev.ID, w.addr("new@n.test"), 10)
		w.ok(err)
		if len(h) != 1 || h[0].What != "moved" || h[0].By != "root" || !strings.Contains(h[0].Why, "Old@n.test") && !strings.Contains(h[0].Why, "old@n.test") {
			w.Errorf("history %+v", h)
		}
		moved, err = w.MoveAddress(w.ctx, w.addr("nobody@n.test"), w.addr("new@n.test"), nil, "", "")
		w.ok(err)
		if len(moved) != 0 {
			w.Errorf("nobody moved %+v", moved)
		}
		_, err = w.MoveAddress(w.ctx, w.addr("new@n.test"), w.addr("NEW@n.test"), nil, "", "") // another spelling
		w.ok(err)
		if got := is("new@n.test"); !slices.Equal(got, all[:3]) {
			w.Errorf("spelled otherwise it is %v", got)
		}
	}},
	{"a move is confirmed by the old address and then by the new one", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "old@n.test")
		to := w.addr("new@n.test")
		r := store.Request{Want: store.WantMove, Address: w.addr("old@n.test"), More: store.More{To: &to}}
		ask := func(entry string) store.RequestResult {
			w.Helper()
			res, err := w.AskFor(w.ctx, stepOn(l, entry, 0), r, toConfirm)
			w.ok(err)
			return res
		}
		first := ask("e1")
		if first.Outcome != store.OutcomeConfirm || first.Request.Phase != store.PhaseConfirm || *first.Request.More.To != to {
			w.Fatalf("asked: %+v", first)
		}
		if again := ask("e2"); again.Request.Token != first.Request.Token {
			w.Errorf("the same again has another token")
		}
		answer := func(entry, token string, phase store.Phase) (store.RequestResult, error) {
			return w.AnswerRequest(w.ctx, stepOn(l, entry, 1), store.Answer{Token: token, Phase: phase, By: "member", Why: "y"})
		}
		_, err := answer("e3", first.Request.Token, store.PhaseMove)
		w.wants(err, store.ErrNotFound)
		second, err := answer("e4", first.Request.Token, store.PhaseConfirm)
		w.ok(err)
		if second.Outcome != store.OutcomeConfirm || second.Request.Phase != store.PhaseMove || !second.Tell || second.Request.Token == first.Request.Token {
			w.Fatalf("confirmed: %+v", second)
		}
		if n := len(collect(w, w.RolesOf(w.ctx, to))); n != 0 {
			w.Error("it moved before the new address has confirmed")
		}
		_, err = answer("e5", second.Request.Token, store.PhaseConfirm)
		w.wants(err, store.ErrNotFound)
		for range 2 { // a second run of the same entry has the same result
			done, err := answer("e6", second.Request.Token, store.PhaseMove)
			w.ok(err)
			if done.Outcome != store.OutcomeDone || done.Request.More.Lists != 1 {
				w.Errorf("done: %+v", done)
			}
		}
		if n := len(collect(w, w.RolesOf(w.ctx, to))); n != 1 {
			w.Error("it did not move")
		}
	}},
	{"a request changes preferences, too", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "ann@n.test")
		until := at.Add(30 * day)
		r := store.Request{Want: store.WantChange, Address: w.addr("ann@n.test"), Status: list.ByUser,
			More: store.More{Until: &until, NoOwnPosts: ptr(true), NoDuplicates: ptr(true), Acknowledge: ptr(true), Topics: ptr("a\nb")}}
		res, err := w.AskFor(w.ctx, stepOn(l, "e1", 0), r, toConfirm)
		w.ok(err)
		_, err = w.AnswerRequest(w.ctx, stepOn(l, "e2", 0), store.Answer{Token: res.Request.Token, Phase: store.PhaseConfirm})
		w.ok(err)
		m := collect(w, w.Members(w.ctx, l.ID, store.Filter{}))[0]
		if m.Status != list.ByUser || !m.Until.Equal(until) || !m.NoOwnPosts || !m.NoDuplicates || !m.AcknowledgePosts || m.Topics != "a\nb" {
			w.Errorf("it is %+v", m)
		}
		_, err = w.AskFor(w.ctx, stepOn(l, "e3", 0), store.Request{Want: store.WantChange, Address: r.Address, More: store.More{NoOwnPosts: ptr(false), Topics: ptr("")}}, store.RequestRules{})
		w.ok(err)
		m = collect(w, w.Members(w.ctx, l.ID, store.Filter{}))[0]
		if m.Status != list.ByUser || !m.Until.Equal(until) || m.NoOwnPosts || !m.NoDuplicates || m.Topics != "" {
			w.Errorf("then it is %+v", m)
		}
	}},
}
