package storetest

import (
	"errors"
	"fmt"
	"slices"

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
				func(a address.Address, added bool) error {
					rows = append(rows, fmt.Sprint(a, added))
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
			r, err := w.SyncMembers(w.ctx, l.ID, store.Sync{Role: list.Member, MaxRemoved: tt.share}, seq(keep(tt.keep)...), nil, func(address.Address, bool) error {
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
