package storetest

import (
	"fmt"
	"slices"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

func testSources(w *world) {
	l, all, gone := w.list("dev@l.test"), w.list("all@l.test"), w.list("gone@l.test")
	_, err := w.AddMembers(w.ctx, l.ID, seq(
		list.Membership{Address: w.addr("Ann@n.test"), NoOwnPosts: true},
		list.Membership{Address: w.addr("bob@n.test"), Status: list.ByUser},
		list.Membership{Address: w.addr("cy@n.test")},
		list.Membership{Address: w.addr("cy@n.test"), Role: list.Owner, NoDuplicates: true}), nil)
	w.ok(err)
	w.add(all, list.Member, "ann@n.test", "bob@n.test", "zed@a.test", "dan@z.test")
	w.add(gone, list.Member, "ANN@n.test", "dan@z.test", "nobody@n.test")
	regular := store.Filter{Roles: []list.Role{list.Member}, Statuses: []list.Status{list.Enabled}}
	own := store.Source{ListID: l.ID, Filter: regular}
	other := store.Source{ListID: all.ID, Filter: regular}
	except := store.Source{ListID: gone.ID, Filter: regular, Except: true}
	for _, tt := range []struct {
		name    string
		sources []store.Source
		want    []store.Recipient
	}{
		{"none", nil, nil},
		{"one", []store.Source{own}, []store.Recipient{{Address: "Ann@n.test", NoOwnPosts: true}, {Address: "cy@n.test"}}},
		{"one that takes away alone", []store.Source{except}, nil},
		{"two, in the order of addresses", []store.Source{own, other},
			[]store.Recipient{{Address: "zed@a.test"}, {Address: "Ann@n.test", NoOwnPosts: true}, {Address: "bob@n.test"}, {Address: "cy@n.test"}, {Address: "dan@z.test"}}},
		{"the other way round", []store.Source{other, own},
			[]store.Recipient{{Address: "zed@a.test"}, {Address: "ann@n.test"}, {Address: "bob@n.test"}, {Address: "cy@n.test"}, {Address: "dan@z.test"}}},
		{"one of them takes away", []store.Source{own, other, except}, []store.Recipient{{Address: "zed@a.test"}, {Address: "bob@n.test"}, {Address: "cy@n.test"}}},
		{"one list takes away from itself", []store.Source{own, {ListID: l.ID, Filter: regular, Except: true}}, nil},
		{"two roles of one list", []store.Source{{ListID: l.ID}},
			[]store.Recipient{{Address: "Ann@n.test", NoOwnPosts: true}, {Address: "bob@n.test"}, {Address: "cy@n.test"}}},
		{"a list that is not there", []store.Source{{ListID: 4711, Filter: regular}, own}, []store.Recipient{{Address: "Ann@n.test", NoOwnPosts: true}, {Address: "cy@n.test"}}},
	} {
		if got := recipients(w, tt.sources...); !slices.Equal(got, tt.want) {
			w.Errorf("%s: recipients are %+v, want %+v", tt.name, got, tt.want)
		}
	}
	for _, n := range []int{store.MaxSources, store.MaxSources + 1} {
		var many []store.Source
		for range n {
			many = append(many, own)
		}
		got, failed := 0, error(nil)
		for some, err := range w.Recipients(w.ctx, many...) {
			failed = err
			got += len(some)
		}
		if (failed != nil) != (n > store.MaxSources) || failed == nil && got != 2 {
			w.Errorf("of %d sources %d recipients, %v", n, got, failed)
		}
	}
}

func testTopics(w *world) {
	l := w.list("dev@l.test")
	for i, m := range []list.Membership{{}, {Topics: "bugs"}, {Topics: "bugs\nnews", Nonmatching: true}, {Topics: "BUG\nold news"}, {Topics: "bu%s"}} {
		m.Address = w.addr(fmt.Sprintf("m%d@n.test", i))
		_, err := w.AddMembers(w.ctx, l.ID, seq(m), nil)
		w.ok(err)
		got := collect(w, w.Members(w.ctx, l.ID, store.Filter{Address: m.Address}))
		if len(got) != 1 || got[0].Topics != m.Topics || got[0].Nonmatching != m.Nonmatching {
			w.Errorf("%+v was stored as %+v", m, got)
		}
	}
	check := func(topics []string, want ...string) {
		w.Helper()
		f := store.Filter{Topics: topics}
		var got []string
		for _, r := range recipients(w, store.Source{ListID: l.ID, Filter: f}) {
			got = append(got, r.Address[:2])
		}
		n, err := w.CountMembers(w.ctx, l.ID, f)
		w.ok(err)
		if members := collect(w, w.Members(w.ctx, l.ID, f)); !slices.Equal(got, want) || int(n) != len(want) || len(members) != len(want) {
			w.Errorf("topics %q: %v (count %d, %d members), want %v", topics, got, n, len(members), want)
		}
	}
	check(nil, "m0", "m1", "m2", "m3", "m4")
	check([]string{"bugs"}, "m0", "m1", "m2")
	check([]string{"news"}, "m0", "m2")
	check([]string{"bug"}, "m0")
	check([]string{"old news", "bugs"}, "m0", "m1", "m2", "m3")
	check([]string{""}, "m0", "m2")
	check([]string{"bu%s"}, "m0", "m4")
	check([]string{`"'`}, "m0")

	m1 := w.addr("m1@n.test")
	w.ok(w.SetMember(w.ctx, l.ID, list.Member, m1, store.MemberChange{Nonmatching: ptr(true)}))
	check([]string{""}, "m0", "m1", "m2")
	w.ok(w.SetMember(w.ctx, l.ID, list.Member, m1, store.MemberChange{Topics: ptr("news")}))
	check([]string{"news"}, "m0", "m1", "m2")
	check([]string{""}, "m0", "m1", "m2")
	w.ok(w.SetMember(w.ctx, l.ID, list.Member, m1, store.MemberChange{Topics: ptr("")}))
	check([]string{"bug"}, "m0", "m1")
	w.fails(w.SetMember(w.ctx, l.ID, list.Member, m1, store.MemberChange{Nonmatching: ptr(true)}))
	w.fails(w.SetMember(w.ctx, l.ID, list.Member, m1, store.MemberChange{Topics: ptr("a,b")}))
	w.wants(w.SetMember(w.ctx, l.ID, list.Owner, m1, store.MemberChange{Topics: ptr("bugs")}), store.ErrNotFound)
	check([]string{"bug"}, "m0", "m1")
}
