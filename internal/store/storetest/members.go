package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

var memberTests = []test{
	{"a membership is found again as it was added", func(w *world) {
		l := w.list("dev@l.test")
		want := list.Membership{Address: w.addr("Ann@Net.test"), DisplayName: "Ann Ö", Role: list.Owner, Mode: list.MIMEDigest,
			Status: list.ByBounces, Action: list.Discard, NoOwnPosts: true, NoDuplicates: true, AcknowledgePosts: true, Language: "pt-br", Added: time.UnixMicro(1234567890123456).UTC()}
		_, err := w.AddMembers(w.ctx, l.ID, seq(want), nil)
		w.ok(err)
		if got := collect(w, w.Members(w.ctx, l.ID, store.Filter{})); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
			w.Errorf("Members yields %+v, want %+v", got, want)
		}
		got, err := w.Memberships(w.ctx, l.ID, []address.Address{w.addr("ann@net.test")})
		w.ok(err)
		if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
			w.Errorf("Memberships returns %+v, want %+v", got, want)
		}
	}},
	{"a membership has defaults", func(w *world) {
		l := w.list("dev@l.test")
		_, err := w.AddMembers(w.ctx, l.ID, seq(list.Membership{Address: w.addr("ann@net.test")}), nil)
		w.ok(err)
		m := collect(w, w.Members(w.ctx, l.ID, store.Filter{}))[0]
		if m.Role != list.Member || m.Mode != list.Regular || m.Status != list.Enabled || m.Action != "" || time.Since(m.Added).Abs() > time.Minute {
			w.Errorf("it is %+v", m)
		}
	}},
	{"one that exists is counted and left as it is", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "Ann@net.test")
		r, err := w.AddMembers(w.ctx, l.ID, seq(
			list.Membership{Address: w.addr("ann@net.test"), DisplayName: "other"},
			list.Membership{Address: w.addr("bob@net.test"), DisplayName: "first"},
			list.Membership{Address: w.addr("BOB@net.test"), DisplayName: "second"},
			list.Membership{Address: w.addr("ann@net.test"), Role: list.Owner}), nil)
		w.ok(err)
		if (r != store.AddResult{Added: 2, Existing: 2}) {
			w.Errorf("result is %+v", r)
		}
		for _, m := range collect(w, w.Members(w.ctx, l.ID, store.Filter{})) {
			if m.DisplayName != "" && m.DisplayName != "first" || m.Role == list.Member && m.Address.Local == "ann" {
				w.Errorf("%+v was overwritten", m)
			}
		}
	}},
	{"an import of several batches counts as it goes", testImport},
	{"an import ends at the first error and keeps what came before", testImportError},
	{"an import ends when its context does", func(w *world) {
		l := w.list("dev@l.test")
		ctx, cancel := context.WithCancel(w.ctx)
		_, err := w.AddMembers(ctx, l.ID, func(yield func(list.Membership, error) bool) {
			yield(list.Membership{Address: w.addr("ann@net.test")}, nil)
			cancel()
		}, nil)
		w.wants(err, context.Canceled)
	}},
	{"members of a list that is not there are refused", func(w *world) {
		_, err := w.AddMembers(w.ctx, 4711, seq(list.Membership{Address: w.addr("ann@net.test")}), nil)
		w.wants(err, store.ErrNotFound)
	}},
	{"members may come from the store itself", func(w *world) {
		from, to := w.list("dev@l.test"), w.list("ops@l.test")
		w.add(from, list.Member, "ann@net.test", "bob@net.test")
		r, err := w.AddMembers(w.ctx, to.ID, w.Members(w.ctx, from.ID, store.Filter{}), nil)
		w.ok(err)
		if r.Added != 2 {
			w.Errorf("added %+v, want 2", r)
		}
	}},
	{"members come by role, domain and local part", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Nonmember, "nan@a.test")
		w.add(l, list.Member, "zed@a.test", "Ann@b.test", "ann@c.test", `"a b"@a.test`, "bob@a.test", "用户@例え.jp", "x@[192.0.2.1]")
		w.add(l, list.Moderator, "mod@a.test")
		w.add(l, list.Owner, "own@z.test", "own@a.test")
		want := []string{"x@[192.0.2.1]", `"a b"@a.test`, "bob@a.test", "zed@a.test", "Ann@b.test", "ann@c.test", "用户@例え.jp",
			"own@a.test", "own@z.test", "mod@a.test", "nan@a.test"}
		if got := names(collect(w, w.Members(w.ctx, l.ID, store.Filter{}))); !slices.Equal(got, want) {
			w.Errorf("members are %v, want %v", got, want)
		}
		var got []string
		for _, r := range recipients(w, store.Source{ListID: l.ID, Filter: store.Filter{Roles: []list.Role{list.Owner, list.Member}}}) {
			got = append(got, r.Address)
		}
		// Recipients merge the roles.
		want = []string{"x@[192.0.2.1]", `"a b"@a.test`, "bob@a.test", "own@a.test", "zed@a.test", "Ann@b.test", "ann@c.test", "own@z.test", "用户@例え.jp"}
		if !slices.Equal(got, want) {
			w.Errorf("recipients are %v, want %v", got, want)
		}
	}},
	{"a filter chooses", testFilter},
	{"a filter of unknown words is an error", func(w *world) {
		l := w.list("dev@l.test")
		for _, f := range []store.Filter{{Roles: []list.Role{"king"}}, {Modes: []list.Mode{"fast"}}, {Statuses: []list.Status{"off"}}} {
			_, err := w.CountMembers(w.ctx, l.ID, f)
			w.fails(err)
			errs := 0
			for _, err := range w.Members(w.ctx, l.ID, f) {
				w.fails(err)
				errs++
			}
			for _, err := range w.Recipients(w.ctx, store.Source{ListID: l.ID, Filter: f}) {
				w.fails(err)
				errs++
			}
			if errs != 2 {
				w.Errorf("filter %+v made %d errors, want 2", f, errs)
			}
		}
	}},
	{"recipients carry what delivery needs", func(w *world) {
		l := w.list("dev@l.test")
		_, err := w.AddMembers(w.ctx, l.ID, seq(
			list.Membership{Address: w.addr("A@n.test"), NoOwnPosts: true},
			list.Membership{Address: w.addr("b@n.test"), NoDuplicates: true},
			list.Membership{Address: w.addr("c@n.test"), NoOwnPosts: true, NoDuplicates: true},
			list.Membership{Address: w.addr(`"D\"d"@n.test`)}), nil)
		w.ok(err)
		got := recipients(w, store.Source{ListID: l.ID})
		want := []store.Recipient{
			{Address: "A@n.test", NoOwnPosts: true},
			{Address: "b@n.test", NoDuplicates: true},
			{Address: "c@n.test", NoOwnPosts: true, NoDuplicates: true},
			{Address: `"D\"d"@n.test`},
		}
		if !slices.Equal(got, want) {
			w.Errorf("recipients are %+v, want %+v", got, want)
		}
	}},
	{"recipients of several lists come once, as the first has them", testSources},
	{"members who chose topics get what has one of them", testTopics},
	{"an address has every role that it has", testMemberships},
	{"a change touches what it names", testSetMember},
	{"removed members are gone and counted", func(w *world) {
		l, other := w.list("dev@l.test"), w.list("ops@l.test")
		w.add(l, list.Member, "ann@n.test", "bob@n.test", "cy@n.test")
		w.add(l, list.Owner, "ann@n.test")
		w.add(other, list.Member, "ann@n.test")
		n, err := w.RemoveMembers(w.ctx, l.ID, list.Member, seq(w.addr("ANN@n.test"), w.addr("no@n.test"), w.addr("bob@n.test")))
		w.ok(err)
		if got := names(collect(w, w.Members(w.ctx, l.ID, store.Filter{}))); n != 2 || !slices.Equal(got, []string{"cy@n.test", "ann@n.test"}) {
			w.Errorf("removed %d, left %v", n, got)
		}
		if n, err := w.CountMembers(w.ctx, other.ID, store.Filter{}); n != 1 || err != nil {
			w.Errorf("the other list has %d, %v", n, err)
		}
		bad := errors.New("bad line")
		n, err = w.RemoveMembers(w.ctx, l.ID, list.Member, func(yield func(address.Address, error) bool) {
			_ = yield(w.addr("cy@n.test"), nil) && yield(address.Address{}, bad)
		})
		if n != 1 || !errors.Is(err, bad) {
			w.Errorf("removed %d, %v; want 1 and the error", n, err)
		}
		_, err = w.RemoveMembers(w.ctx, l.ID, "king", seq(w.addr("cy@n.test")))
		w.fails(err)
	}},
}

// many yields n members, m0@d0.test and so on, out of order.
func many(w *world, n int) iter.Seq2[list.Membership, error] {
	return func(yield func(list.Membership, error) bool) {
		for i := range n {
			i = (i*7919 + 13) % n // 7919 is a prime that divides no n used here
			if !yield(list.Membership{Address: address.Address{Local: fmt.Sprintf("m%d", i), Domain: fmt.Sprintf("d%d.test", i%97)}}, nil) {
				return
			}
		}
	}
}

func testImport(w *world) {
	const n = 25_003
	l := w.list("dev@l.test")
	var seen []store.AddResult
	r, err := w.AddMembers(w.ctx, l.ID, many(w, n), func(r store.AddResult) { seen = append(seen, r) })
	w.ok(err)
	if (r != store.AddResult{Added: n}) || len(seen) < 2 || seen[len(seen)-1] != r || !slices.IsSortedFunc(seen, func(a, b store.AddResult) int { return int(a.Added - b.Added) }) {
		w.Errorf("result is %+v after progress %v", r, seen)
	}
	r, err = w.AddMembers(w.ctx, l.ID, many(w, n), nil)
	w.ok(err)
	if (r != store.AddResult{Existing: n}) {
		w.Errorf("the second time it is %+v", r)
	}
	if got, err := w.CountMembers(w.ctx, l.ID, store.Filter{}); got != n || err != nil {
		w.Errorf("the count is %d, %v", got, err)
	}
	if got := len(recipients(w, store.Source{ListID: l.ID})); got != n {
		w.Errorf("%d recipients", got)
	}
}

func testImportError(w *world) {
	l := w.list("dev@l.test")
	bad := errors.New("line 3 is bad")
	r, err := w.AddMembers(w.ctx, l.ID, func(yield func(list.Membership, error) bool) {
		_ = yield(list.Membership{Address: w.addr("a@n.test")}, nil) && yield(list.Membership{Address: w.addr("b@n.test")}, nil) &&
			yield(list.Membership{}, bad) && yield(list.Membership{Address: w.addr("c@n.test")}, nil)
	}, nil)
	w.wants(err, bad)
	if got := names(collect(w, w.Members(w.ctx, l.ID, store.Filter{}))); r.Added != 2 || !slices.Equal(got, []string{"a@n.test", "b@n.test"}) {
		w.Errorf("result is %+v, members are %v", r, got)
	}
	_, err = w.AddMembers(w.ctx, l.ID, seq(list.Membership{Address: w.addr("c@n.test"), Mode: "fast"}), nil)
	w.fails(err)
	if !strings.Contains(err.Error(), "fast") {
		w.Errorf("error %q does not name the bad word", err)
	}
}

func testFilter(w *world) {
	l := w.list("dev@l.test")
	for i, role := range list.Roles {
		for j, mode := range list.Modes {
			for k, status := range list.Statuses {
				m := list.Membership{Address: address.Address{Local: fmt.Sprint(i, j, k), Domain: "n.test"}, Role: role, Mode: mode, Status: status}
				_, err := w.AddMembers(w.ctx, l.ID, seq(m), nil)
				w.ok(err)
			}
		}
	}
	for _, tt := range []struct {
		f    store.Filter
		want int
	}{
		{store.Filter{}, 80},
		{store.Filter{Roles: list.Roles, Modes: list.Modes, Statuses: list.Statuses}, 80},
		{store.Filter{Roles: []list.Role{list.Member}}, 16},
		{store.Filter{Roles: []list.Role{list.Nonmember, list.Owner, list.Owner}}, 32},
		{store.Filter{Roles: []list.Role{list.Member}, Modes: []list.Mode{list.Regular}, Statuses: []list.Status{list.Enabled}}, 1},
		{store.Filter{Modes: []list.Mode{list.Regular, list.SummaryDigest}, Statuses: []list.Status{list.ByUser}}, 10},
		{store.Filter{Address: w.addr(`"1 2 3"@N.test`)}, 1},
		{store.Filter{Address: w.addr(`"1 2 3"@n.test`), Roles: []list.Role{list.Member}}, 0},
	} {
		members := collect(w, w.Members(w.ctx, l.ID, tt.f))
		chosen := recipients(w, store.Source{ListID: l.ID, Filter: tt.f})
		n, err := w.CountMembers(w.ctx, l.ID, tt.f)
		w.ok(err)
		if len(members) != tt.want || len(chosen) != tt.want || n != int64(tt.want) {
			w.Errorf("filter %+v: %d members, %d recipients, count %d; want %d", tt.f, len(members), len(chosen), n, tt.want)
		}
		for _, m := range members {
			if len(tt.f.Roles) > 0 && !slices.Contains(tt.f.Roles, m.Role) || len(tt.f.Modes) > 0 && !slices.Contains(tt.f.Modes, m.Mode) ||
				len(tt.f.Statuses) > 0 && !slices.Contains(tt.f.Statuses, m.Status) {
				w.Errorf("filter %+v chose %+v", tt.f, m)
			}
		}
	}
}

func testMemberships(w *world) {
	l, other := w.list("dev@l.test"), w.list("ops@l.test")
	w.add(l, list.Member, "ann@n.test", "bob@n.test", "a1@n.test", "a2@n.test", "a3@n.test", "a4@n.test", "a5@n.test")
	w.add(l, list.Owner, "Ann@n.test")
	w.add(other, list.Moderator, "ann@n.test", "cy@n.test")
	got, err := w.Memberships(w.ctx, l.ID, []address.Address{w.addr("ANN@n.test"), w.addr("cy@n.test"), w.addr("ann@n.test")})
	w.ok(err)
	if len(got) != 2 || got[0].Role == got[1].Role || got[0].Address.Key() != "ann@n.test" || got[1].Address.Key() != "ann@n.test" {
		w.Errorf("memberships are %+v", got)
	}
	var nine []address.Address
	for _, s := range []string{"ann", "bob", "a1", "a2", "a3", "a4", "a5", "no", "A1"} {
		nine = append(nine, w.addr(s+"@n.test"))
	}
	got, err = w.Memberships(w.ctx, l.ID, nine)
	w.ok(err)
	if len(got) != 8 {
		w.Errorf("of nine addresses %d memberships, want 8", len(got))
	}
	if got, err := w.Memberships(w.ctx, l.ID, nil); len(got) != 0 || err != nil {
		w.Errorf("of no address %v, %v", got, err)
	}
}

func testSetMember(w *world) {
	l := w.list("dev@l.test")
	w.add(l, list.Member, "Ann@n.test", "bob@n.test")
	w.add(l, list.Owner, "ann@n.test")
	ann := w.addr("ann@N.test")
	w.ok(w.SetMember(w.ctx, l.ID, list.Member, ann, store.MemberChange{DisplayName: ptr("A"), Mode: ptr(list.PlaintextDigest), Status: ptr(list.ByUser)}))
	w.ok(w.SetMember(w.ctx, l.ID, list.Member, ann, store.MemberChange{Action: ptr(list.Hold), NoOwnPosts: ptr(true), NoDuplicates: ptr(true), AcknowledgePosts: ptr(true), Language: ptr("de")}))
	w.ok(w.SetMember(w.ctx, l.ID, list.Member, ann, store.MemberChange{}))
	get := func(role list.Role, a address.Address) list.Membership {
		m := collect(w, w.Members(w.ctx, l.ID, store.Filter{Roles: []list.Role{role}, Address: a}))
		if len(m) != 1 {
			w.Fatalf("%s %s: %d memberships", role, a, len(m))
		}
		m[0].Added = time.Time{}
		return m[0]
	}
	want := list.Membership{Address: w.addr("Ann@n.test"), DisplayName: "A", Role: list.Member, Mode: list.PlaintextDigest,
		Status: list.ByUser, Action: list.Hold, NoOwnPosts: true, NoDuplicates: true, AcknowledgePosts: true, Language: "de"}
	if got := get(list.Member, ann); got != want {
		w.Errorf("changed to %+v, want %+v", got, want)
	}
	w.ok(w.SetMember(w.ctx, l.ID, list.Member, ann, store.MemberChange{DisplayName: ptr(""), Mode: ptr(list.Regular), Status: ptr(list.Enabled),
		Action: ptr(list.Action("")), NoOwnPosts: ptr(false), NoDuplicates: ptr(false), AcknowledgePosts: ptr(false), Language: ptr("")}))
	plain := list.Membership{Address: want.Address, Role: list.Member, Mode: list.Regular, Status: list.Enabled}
	if got := get(list.Member, ann); got != plain {
		w.Errorf("changed back to %+v, want %+v", got, plain)
	}
	for _, c := range []store.MemberChange{{Mode: ptr(list.Mode("fast"))}, {Status: ptr(list.Status("off"))}, {Action: ptr(list.Action("eat"))}, {DisplayName: ptr("a\nb")}, {Language: ptr("../de")}} {
		c.NoOwnPosts = ptr(true)
		w.fails(w.SetMember(w.ctx, l.ID, list.Member, ann, c))
	}
	if got := get(list.Member, ann); got != plain {
		w.Errorf("refused changes left %+v", got)
	}
	plain.Role, plain.Address = list.Owner, w.addr("ann@n.test")
	if got := get(list.Owner, ann); got != plain {
		w.Errorf("the other role became %+v", got)
	}
	w.wants(w.SetMember(w.ctx, l.ID, list.Moderator, ann, store.MemberChange{NoOwnPosts: ptr(true)}), store.ErrNotFound)
	w.wants(w.SetMember(w.ctx, l.ID, list.Member, w.addr("cy@n.test"), store.MemberChange{}), store.ErrNotFound)
}
