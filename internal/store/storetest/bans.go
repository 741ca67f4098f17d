package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

var banTests = []test{
	{"a ban is found again as it was added", func(w *world) {
		l := w.list("dev@l.test")
		want := list.Ban{Scope: list.Scope{ListID: l.ID, List: l.Address}, What: "eve@net.test", Reason: "sells watches", Added: time.UnixMicro(1234567890123456).UTC()}
		w.ok(w.AddBan(w.ctx, want))
		if got := collect(w, w.Bans(w.ctx, nil)); len(got) != 1 || got[0] != want {
			w.Errorf("bans %+v, want %+v", got, want)
		}
		w.ban(l, "Eve@NET.test", "eve@net.test, from dev@l.test (sells watches)")
	}},
	{"what cannot be banned is refused", func(w *world) {
		w.fails(w.AddBan(w.ctx, list.Ban{What: "eve"}))
		w.wants(w.AddBan(w.ctx, list.Ban{Scope: list.Scope{ListID: 4711}, What: "eve@net.test"}), store.ErrNotFound)
		w.ok(w.AddBan(w.ctx, list.Ban{What: "eve@net.test"}))
		w.wants(w.AddBan(w.ctx, list.Ban{What: "EVE@net.test"}), store.ErrExists)
		w.ok(w.AddBan(w.ctx, list.Ban{Scope: list.Scope{Domain: "l.test"}, What: "eve@net.test"}))
	}},
	{"a ban holds in its scope", func(w *world) {
		dev, ops, other := w.list("dev@l.test"), w.list("ops@l.test"), w.list("dev@m.test")
		w.ok(w.AddBan(w.ctx, list.Ban{Scope: list.Scope{ListID: dev.ID}, What: "a@net.test"}))
		w.ok(w.AddBan(w.ctx, list.Ban{Scope: list.Scope{Domain: "l.test"}, What: "b@net.test"}))
		w.ok(w.AddBan(w.ctx, list.Ban{What: "c@net.test"}))
		for l, want := range map[*list.List]string{dev: "a b c", ops: "b c", other: "c"} {
			got := ""
			for _, who := range []string{"a", "b", "c"} {
				m, err := w.MatchBans(w.ctx, l.ID, l.Address.Domain, []address.Address{w.addr(who + "@net.test")})
				w.ok(err)
				if len(m) > 0 {
					got += " " + who
				}
			}
			if got != " "+want {
				w.Errorf("%s bans%s, want %s", l.Address, got, want)
			}
		}
	}},
	{"a ban is an address, a domain or a pattern", func(w *world) {
		l := w.list("dev@l.test")
		for _, what := range []string{"eve@a.test", "@B.test", `^spam.*@c\.test$`} {
			w.ok(w.AddBan(w.ctx, list.Ban{What: what}))
		}
		for addr, want := range map[string]string{
			"eve@a.test": "eve@a.test", "Eve+x@a.test": "eve@a.test", "steve@a.test": "", "eve@x.a.test": "", "any@b.test": "@b.test", "any@sub.b.test": "@b.test", "any+x@1.2.3.4.5.6.7.8.9.10.b.test": "@b.test", "any@bb.test": "",
			"Spammer@C.test": `^spam.*@c\.test$`, "notspam@c.test": "", "spam@c.test.org": "",
		} {
			if want != "" {
				want += ", from every list"
			}
			w.ban(l, addr, want)
		}
	}},
	{"the closest ban is told", func(w *world) {
		l := w.list("dev@l.test")
		w.ok(w.AddBan(w.ctx, list.Ban{What: "eve@net.test"}))
		w.ok(w.AddBan(w.ctx, list.Ban{Scope: list.Scope{Domain: "l.test"}, What: "^eve"}))
		w.ban(l, "eve@net.test", "^eve, from every list of l.test")
		w.ok(w.AddBan(w.ctx, list.Ban{Scope: list.Scope{ListID: l.ID}, What: "@net.test"}))
		w.ban(l, "eve@net.test", "@net.test, from dev@l.test")
	}},
	{"many addresses are looked up at once", func(w *world) {
		l := w.list("dev@l.test")
		w.ok(w.AddBan(w.ctx, list.Ban{What: "^u7@"}))
		w.ok(w.AddBan(w.ctx, list.Ban{What: "@h9.test"}))
		var addrs []address.Address
		for i := range 30 {
			addrs = append(addrs, w.addr(fmt.Sprintf("u%d@h%d.test", i, i)))
		}
		got, err := w.MatchBans(w.ctx, l.ID, "l.test", addrs)
		w.ok(err)
		if len(got) != 2 || got["u7@h7.test"].What != "^u7@" || got["u9@h9.test"].What != "@h9.test" {
			w.Errorf("bans %v", got)
		}
		none, err := w.MatchBans(w.ctx, l.ID, "l.test", nil)
		w.ok(err)
		if len(none) != 0 {
			w.Errorf("nobody has the bans %v", none)
		}
	}},
	{"a ban is lifted", func(w *world) {
		l := w.list("dev@l.test")
		w.wants(w.RemoveBan(w.ctx, list.Scope{}, "eve@net.test"), store.ErrNotFound)
		w.ok(w.AddBan(w.ctx, list.Ban{What: "eve@net.test"}))
		w.wants(w.RemoveBan(w.ctx, list.Scope{ListID: l.ID}, "eve@net.test"), store.ErrNotFound)
		w.ok(w.RemoveBan(w.ctx, list.Scope{}, "Eve@net.test"))
		w.ban(l, "eve@net.test", "")
	}},
	{"bans are listed by scope", func(w *world) {
		l := w.list("dev@l.test")
		for _, b := range []list.Ban{{Scope: list.Scope{ListID: l.ID}, What: "x@net.test"}, {Scope: list.Scope{Domain: "l.test"}, What: "@net.test"}, {What: "b@net.test"}, {What: "a@net.test"}} {
			w.ok(w.AddBan(w.ctx, b))
		}
		for _, c := range []struct {
			scope *list.Scope
			want  []string
		}{{&list.Scope{}, []string{"a@net.test", "b@net.test"}}, {&list.Scope{Domain: "l.test"}, []string{"@net.test"}}, {&list.Scope{ListID: l.ID}, []string{"x@net.test"}},
			{&list.Scope{Domain: "m.test"}, nil}} {
			if got := whats(collect(w, w.Bans(w.ctx, c.scope))); !slices.Equal(got, c.want) {
				w.Errorf("%s bans %v, want %v", c.scope, got, c.want)
			}
		}
		if all := whats(collect(w, w.Bans(w.ctx, nil))); len(all) != 4 || !slices.Equal(all[:2], []string{"a@net.test", "b@net.test"}) {
			w.Errorf("all bans are %v", all)
		}
	}},
	{"a list's bans go with it", func(w *world) {
		l := w.list("dev@l.test")
		w.ok(w.AddBan(w.ctx, list.Ban{Scope: list.Scope{ListID: l.ID}, What: "eve@net.test"}))
		w.ok(w.AddBan(w.ctx, list.Ban{What: "eve@net.test"}))
		w.ok(w.DeleteList(w.ctx, l.Address))
		if got := collect(w, w.Bans(w.ctx, nil)); len(got) != 1 || got[0].ListID != 0 {
			w.Errorf("bans %+v", got)
		}
	}},
	{"patterns are so many at most", func(w *world) {
		var err error
		n := 0
		for ; err == nil && n < 1000; n++ {
			err = w.AddBan(w.ctx, list.Ban{What: fmt.Sprintf("^u%d@", n)})
		}
		if err == nil {
			w.Errorf("%d patterns were taken", n)
		}
		w.fails(err)
		if got := collect(w, w.Bans(w.ctx, nil)); len(got) != n-1 {
			w.Errorf("%d were taken, and %d are there", n-1, len(got))
		}
		w.ok(w.AddBan(w.ctx, list.Ban{What: "eve@net.test"}))
		w.ok(w.AddBan(w.ctx, list.Ban{Scope: list.Scope{Domain: "l.test"}, What: "^eve"}))
	}},
}

func whats(bans []list.Ban) []string {
	var out []string
	for _, b := range bans {
		out = append(out, b.What)
	}
	return out
}

// ban wants an address to be banned from a list, in these words; "" is not at all.
func (w *world) ban(l *list.List, addr, want string) {
	w.Helper()
	a := w.addr(addr)
	m, err := w.MatchBans(w.ctx, l.ID, l.Address.Domain, []address.Address{a})
	w.ok(err)
	got := ""
	if b, ok := m[a.Key()]; ok {
		got = b.String()
	}
	if got != want {
		w.Errorf("%s has the ban %q, want %q", addr, got, want)
	}
}
