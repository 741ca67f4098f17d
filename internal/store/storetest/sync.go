package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

var syncTests = []test{
	{"members are made those that are named", func(w *world) {
		l, other := w.list("dev@l.test"), w.list("ops@l.test")
		w.add(l, list.Member, "Ann@net.test", "bob@net.test", "cy@net.test")
		w.add(l, list.Owner, "boss@net.test")
		w.add(other, list.Member, "zoe@net.test")
		w.ok(w.SetMember(w.ctx, l.ID, list.Member, w.addr("ann@net.test"), store.MemberChange{Mode: ptr(list.MIMEDigest)}))
		wanted := []list.Membership{{Address: w.addr("dan@net.test"), DisplayName: "Dan", NoOwnPosts: true, Topics: "a\nb", Nonmatching: true},
			{Address: w.addr("ANN@net.test")}, {Address: w.addr("Eve@net.test"), Status: list.ByUser}, {Address: w.addr("eve@net.test")}}
		for i, dry := range []bool{true, false, false} {
			var rows []string
			r, err := w.SyncMembers(w.ctx, l.ID, store.Sync{Role: list.Member, Dry: dry, MaxRemoved: 0.7, By: "root", Why: "sync"}, seq(wanted...), nil,
				func(a address.Address, change store.SyncChange) error {
					rows = append(rows, fmt.Sprint(a, change == store.SyncAdded))
					return nil
				})
			w.ok(err)
			got := names(collect(w, w.Members(w.ctx, l.ID, store.Filter{Roles: []list.Role{list.Member}})))
			want := store.SyncResult{Before: 3, Added: 2, Removed: 2, Unchanged: 1, Twice: 1}
			changes := []string{"bob@net.test false", "cy@net.test false", "dan@net.test true", "Eve@net.test true"}
			if !dry && i == 2 {
				want, changes = store.SyncResult{Before: 3, Unchanged: 3, Twice: 1}, nil
			}
			if r != want || !slices.Equal(rows, changes) {
				w.Errorf("dry %v: result %+v, rows %v", dry, r, rows)
			}
			if dry && !slices.Equal(got, []string{"Ann@net.test", "bob@net.test", "cy@net.test"}) || !dry && !slices.Equal(got, []string{"Ann@net.test", "dan@net.test", "Eve@net.test"}) {
				w.Errorf("dry %v: members %v", dry, got)
			}
		}
		for _, m := range collect(w, w.Members(w.ctx, l.ID, store.Filter{})) {
			switch m.Address.Local {
			case "Ann":
				if m.Mode != list.MIMEDigest {
					w.Errorf("who stays has become %+v", m)
				}
			case "dan":
				if m.DisplayName != "Dan" || !m.NoOwnPosts || m.Topics != "a\nb" || !m.Nonmatching || m.Added.IsZero() {
					w.Errorf("who is new is %+v", m)
				}
			case "Eve":
				if m.Status != list.ByUser {
					w.Errorf("of two the first counts: %+v", m)
				}
			}
		}
		if n, err := w.CountMembers(w.ctx, l.ID, store.Filter{Roles: []list.Role{list.Owner}}); err != nil || n != 1 {
			w.Errorf("%d owners, %v", n, err)
		}
		if n, err := w.CountMembers(w.ctx, other.ID, store.Filter{}); err != nil || n != 1 {
			w.Errorf("the other list has %d members, %v", n, err)
		}
		h, err := w.MemberHistory(w.ctx, l.ID, w.addr("bob@net.test"), 10)
		w.ok(err)
		if len(h) != 1 || h[0].What != "left" || h[0].By != "root" || h[0].Why != "sync" {
			w.Errorf("history %+v", h)
		}
	}},
	{"more may not go than was said", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "a@n.test", "b@n.test", "c@n.test", "d@n.test", "e@n.test")
		keep := func(n int) []list.Membership {
			var out []list.Membership
			for i := range n {
				out = append(out, list.Membership{Address: w.addr(string(rune('a'+i)) + "@n.test")})
			}
			return out
		}
		for _, tt := range []struct {
			keep    int
			share   float64
			refused bool
		}{{3, 0.2, true}, {0, 0.99, true}, {4, 0.2, false}, {3, 0, true}, {0, 1, false}, {5, 0, false}} {
			before, err := w.CountMembers(w.ctx, l.ID, store.Filter{})
			w.ok(err)
			r, err := w.SyncMembers(w.ctx, l.ID, store.Sync{Role: list.Member, MaxRemoved: tt.share}, seq(keep(tt.keep)...), nil, func(address.Address, store.SyncChange) error {
				if tt.refused {
					w.Errorf("%+v: a row of what was refused", tt)
				}
				return nil
			})
			w.ok(err)
			after, err := w.CountMembers(w.ctx, l.ID, store.Filter{})
			w.ok(err)
			if r.Refused != tt.refused || tt.refused && after != before || !tt.refused && after != int64(tt.keep) {
				w.Errorf("%+v: %+v, %d members", tt, r, after)
			}
		}
	}},
	{"those who are named are added, or removed, and no others", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "ann@n.test", "bob@n.test", "cy@n.test", "dan@n.test")
		run := func(how store.Sync, members ...list.Membership) (store.SyncResult, string) {
			w.Helper()
			var rows []string
			r, err := w.SyncMembers(w.ctx, l.ID, how, seq(members...), nil, func(a address.Address, change store.SyncChange) error {
				rows = append(rows, fmt.Sprint(a, " ", change))
				return nil
			})
			w.ok(err)
			return r, strings.Join(rows, ", ")
		}
		who := func(addr string, role list.Role) list.Membership {
			return list.Membership{Address: w.addr(addr), Role: role}
		}
		added := []list.Membership{who("ANN@n.test", ""), who("Eve@n.test", ""), who("eve@n.test", list.Member), who("bot@n.test", list.Sender), who("ann@n.test", list.Owner), who("in@n.test", list.Receiver)}
		for _, dry := range []bool{true, false} {
			r, rows := run(store.Sync{Kind: store.SyncAdd, Role: list.Member, Dry: dry, By: "root", Why: "x"}, added...)
			if want := (store.SyncResult{Before: 4, Added: 4, Unchanged: 1, Twice: 1}); r != want || rows != "ann@n.test added, bot@n.test added, Eve@n.test added, in@n.test added, ANN@n.test existing" {
				w.Errorf("dry %v: added %+v: %s", dry, r, rows)
			}
		}
		if m, ok := w.membership(l, list.Member, "in@n.test"); !ok || m.Action != list.Reject {
			w.Errorf("the receiver is %+v", m)
		}
		w.history(l, "eve@n.test", "joined")
		w.history(l, "bot@n.test")
		removed := []list.Membership{who("bob@n.test", ""), who("CY@n.test", ""), who("zoe@n.test", "")}
		r, rows := run(store.Sync{Kind: store.SyncRemove, Role: list.Member, MaxRemoved: 0.2}, removed...)
		if !r.Refused || r.Removed != 2 || rows != "" {
			w.Errorf("too many: %+v: %s", r, rows)
		}
		for _, dry := range []bool{true, false} {
			r, rows := run(store.Sync{Kind: store.SyncRemove, Role: list.Member, Dry: dry, MaxRemoved: 0.5}, removed...)
			if want := (store.SyncResult{Before: 6, Removed: 2, Missing: 1, Unchanged: 4}); r != want || rows != "bob@n.test removed, cy@n.test removed, zoe@n.test missing" {
				w.Errorf("dry %v: removed %+v: %s", dry, r, rows)
			}
		}
		if got := names(collect(w, w.Members(w.ctx, l.ID, store.Filter{Roles: []list.Role{list.Member}}))); !slices.Equal(got, []string{"ann@n.test", "dan@n.test", "Eve@n.test", "in@n.test"}) {
			w.Errorf("members %v", got)
		}
	}},
	{"an error of those who are named changes nothing", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "a@n.test")
		broken := errors.New("broken")
		_, err := w.SyncMembers(w.ctx, l.ID, store.Sync{Role: list.Member, MaxRemoved: 1}, func(yield func(list.Membership, error) bool) {
			_ = yield(list.Membership{Address: w.addr("b@n.test")}, nil) && yield(list.Membership{}, broken)
		}, nil, nil)
		if !errors.Is(err, broken) {
			w.Errorf("error %v", err)
		}
		if got := names(collect(w, w.Members(w.ctx, l.ID, store.Filter{}))); !slices.Equal(got, []string{"a@n.test"}) {
			w.Errorf("members %v", got)
		}
		_, err = w.SyncMembers(w.ctx, l.ID+100, store.Sync{Role: list.Member, MaxRemoved: 1}, seq[list.Membership](), nil, nil)
		w.wants(err, store.ErrNotFound)
		w.add(l, list.Member, "c@n.test") // the store goes on
	}},
}
