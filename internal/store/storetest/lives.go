package storetest

import (
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

var lifeTests = []test{
	{"a list is frozen and opened again", func(w *world) {
		l := w.list("dev@l.test")
		frozen, err := w.SetState(w.ctx, w.addr("DEV@l.test"), list.Frozen, "Until Monday.")
		w.ok(err)
		if frozen.State != list.Frozen || frozen.StateWhy != "Until Monday." || time.Since(frozen.StateSince).Abs() > time.Minute {
			w.Fatalf("frozen is %+v", frozen)
		}
		got, err := w.List(w.ctx, l.Address)
		w.ok(err)
		if !sameList(got, frozen) {
			w.Errorf("read back as %+v, want %+v", got, frozen)
		}
		t, err := w.Resolve(w.ctx, w.addr("dev-owner@l.test"))
		w.ok(err)
		if t.State != list.Frozen || t.Why != "Until Monday." {
			w.Errorf("resolves to %+v", t)
		}
		again, err := w.SetState(w.ctx, l.Address, list.Frozen, "Until Friday.")
		w.ok(err)
		if !again.StateSince.Equal(frozen.StateSince) || again.StateWhy != "Until Friday." {
			w.Errorf("with another reason %+v", again)
		}
		open, err := w.SetState(w.ctx, l.Address, list.Open, "")
		w.ok(err)
		if open.State != list.Open {
			w.Errorf("opened it is %+v", open)
		}
		_, err = w.SetState(w.ctx, l.Address, list.Closed, "two\nlines")
		w.fails(err)
		_, err = w.SetState(w.ctx, l.Address, "asleep", "")
		w.fails(err)
		_, err = w.SetState(w.ctx, w.addr("ops@l.test"), list.Closed, "")
		w.wants(err, store.ErrNotFound)
	}},
	{"a renamed list is found under both addresses", testRename},
	{"a list may be renamed back, and across domains", func(w *world) {
		l := w.list("dev@l.test")
		for _, to := range []string{"dev@m.test", "dev@l.test", "devel@n.test", "Devel@n.test"} {
			got, err := w.RenameList(w.ctx, l.Address, w.addr(to))
			w.ok(err)
			if got.ID != l.ID || got.Address.String() != to {
				w.Fatalf("renamed to %s: %+v", to, got)
			}
			l = got
		}
		as, err := w.Aliases(w.ctx, l.ID)
		w.ok(err)
		if got := addrs(as); !slices.Equal(got, []string{"dev@l.test", "dev@m.test"}) {
			w.Errorf("aliases %v", got)
		}
		for domain, want := range map[string]bool{"l.test": true, "m.test": true, "n.test": true, "o.test": false} {
			numbered := address.Sub(address.Numbered(l.ID, domain), address.RoleConfirm)
			numbered.Local += "+tok"
			if t, err := w.Resolve(w.ctx, numbered); (err == nil) != want || want && t.List != l.Address {
				w.Errorf("%s is %+v, %v", numbered, t, err)
			}
		}
		if got := collect(w, w.AllLists(w.ctx, "n.test")); len(got) != 1 || got[0].Address.String() != "Devel@n.test" {
			w.Errorf("lists of the new domain: %v", got)
		}
		if got := collect(w, w.AllLists(w.ctx, "l.test")); len(got) != 0 {
			w.Errorf("lists of the old domain: %v", got)
		}
	}},
	{"an address that would take another's mail is refused", func(w *world) {
		w.list("dev@l.test")
		w.list("ops@l.test")
		w.list("qa-owner@l.test")
		w.ok(w.AddAlias(w.ctx, w.addr("ops@l.test"), w.addr("operators@l.test")))
		for _, bad := range []string{"ops@l.test", "OPS-owner@l.test", "dev-request@l.test", "operators@l.test", "operators-leave@l.test", "qa@l.test"} {
			_, err := w.RenameList(w.ctx, w.addr("dev@l.test"), w.addr(bad))
			w.wants(err, store.ErrExists)
			w.wants(w.AddAlias(w.ctx, w.addr("dev@l.test"), w.addr(bad)), store.ErrExists)
			w.wants(w.CreateList(w.ctx, &list.List{Address: w.addr(bad), Settings: list.Defaults()}), store.ErrExists)
		}
		_, err := w.RenameList(w.ctx, w.addr("dev@l.test"), w.addr("a+b@l.test"))
		w.fails(err)
		w.fails(w.AddAlias(w.ctx, w.addr("dev@l.test"), w.addr("a+b@l.test")))
		_, err = w.RenameList(w.ctx, w.addr("nosuch@l.test"), w.addr("x@l.test"))
		w.wants(err, store.ErrNotFound)
		w.wants(w.AddAlias(w.ctx, w.addr("nosuch@l.test"), w.addr("x@l.test")), store.ErrNotFound)
		w.wants(w.RemoveAlias(w.ctx, w.addr("dev@l.test")), store.ErrNotFound)
		w.ok(w.AddAlias(w.ctx, w.addr("operators@l.test"), w.addr("Operators@l.test")))
		w.ok(w.RemoveAlias(w.ctx, w.addr("OPERATORS@l.test")))
		w.list("operators@l.test")
	}},
	{"a list has so many aliases", func(w *world) {
		l := w.list("dev@l.test")
		for i := range store.MaxAliases {
			w.ok(w.AddAlias(w.ctx, l.Address, w.addr(strings.Repeat("a", i+1)+"@l.test")))
		}
		w.fails(w.AddAlias(w.ctx, l.Address, w.addr("b@l.test")))
		_, err := w.RenameList(w.ctx, l.Address, w.addr("b@l.test"))
		w.fails(err)
		_, err = w.RenameList(w.ctx, l.Address, w.addr("a@l.test"))
		w.ok(err)
	}},
	{"settings name a list by its alias, and make no circles so", func(w *world) {
		w.list("dev@l.test")
		w.list("all@l.test")
		include := func(who, what string) error {
			_, err := w.ChangeList(w.ctx, w.addr(who), map[string]*string{"include_lists": &what})
			return err
		}
		w.ok(include("all@l.test", "dev@l.test"))
		_, err := w.RenameList(w.ctx, w.addr("dev@l.test"), w.addr("devel@l.test"))
		w.ok(err)
		w.fails(include("devel@l.test", "all@l.test"))
		w.fails(include("devel@l.test", "dev@l.test"))
		w.ok(include("all@l.test", "dev@l.test\ndevel@l.test"))
	}},
	{"a deleted list comes back as it was", testRestore},
	{"a deleted list goes when its time has come", func(w *world) {
		l, other := w.list("dev@l.test"), w.list("ops@l.test")
		w.add(l, list.Member, "ann@net.test")
		w.add(other, list.Member, "ann@net.test")
		w.ok(w.BuryList(w.ctx, l.Address, time.Now().Add(time.Hour)))
		w.ok(w.BuryList(w.ctx, other.Address, time.Now().Add(-time.Second)))
		w.ok(w.Prune(w.ctx, time.Now()))
		if got := collect(w, w.Members(w.ctx, l.ID, store.Filter{})); len(got) != 1 {
			w.Errorf("before its time it has members %v", names(got))
		}
		if got := collect(w, w.Members(w.ctx, other.ID, store.Filter{})); len(got) != 0 {
			w.Errorf("after its time it has members %v", names(got))
		}
		_, err := w.RestoreList(w.ctx, other.Address)
		w.wants(err, store.ErrNotFound)
		w.wants(w.BuryList(w.ctx, other.Address, time.Now()), store.ErrNotFound)
	}},
}

func testRename(w *world) {
	l := w.list("dev@l.test")
	w.add(l, list.Member, "ann@net.test", "bob@net.test")
	p := store.Post{ListID: l.ID, Entry: "e1", Digest: []byte("d"), At: time.Now()}
	_, err := w.FilePost(w.ctx, p, true, time.Hour)
	w.ok(err)
	got, err := w.RenameList(w.ctx, w.addr("DEV@l.test"), w.addr("Hackers@l.test"))
	w.ok(err)
	if got.ID != l.ID || got.Address != w.addr("Hackers@l.test") {
		w.Fatalf("renamed to %+v", got)
	}
	for _, name := range []string{"dev", "DEV", "hackers"} {
		for suffix, want := range map[string]store.Target{
			"":                      {Role: address.RolePost},
			"-request":              {Role: address.RoleRequest},
			"+subscribe":            {Role: address.RoleJoin},
			"-confirm+Tok":          {Role: address.RoleConfirm, Detail: "Tok"},
			"-bounces+ann=net.test": {Role: address.RoleBounces, Detail: "ann=net.test"},
		} {
			want.List, want.State = got.Address, list.Open
			t, err := w.Resolve(w.ctx, w.addr(name+suffix+"@l.test"))
			w.ok(err)
			if t != want {
				w.Errorf("%s%s is %+v, want %+v", name, suffix, t, want)
			}
		}
		again, err := w.List(w.ctx, w.addr(name+"@l.test"))
		w.ok(err)
		if !sameList(again, got) {
			w.Errorf("%s is %+v, want %+v", name, again, got)
		}
	}
	if n, err := w.CountMembers(w.ctx, got.ID, store.Filter{}); err != nil || n != 2 {
		w.Errorf("it has %d members, %v", n, err)
	}
	p.Entry, p.Digest = "e2", []byte("e")
	if r, err := w.FilePost(w.ctx, p, true, time.Hour); err != nil || r.Number != 2 {
		w.Errorf("its next post is %+v, %v", r, err)
	}
	if all := collect(w, w.AllLists(w.ctx, "")); len(all) != 1 {
		w.Errorf("there are %d lists", len(all))
	}
	_, err = w.ChangeList(w.ctx, w.addr("dev@l.test"), map[string]*string{"description": ptr("x")})
	w.ok(err)
	w.wants(w.DeleteList(w.ctx, w.addr("dev@l.test")), store.ErrNotFound) // its own address must be named
	w.ok(w.DeleteList(w.ctx, got.Address))
	for _, gone := range []string{"dev@l.test", "hackers@l.test"} {
		_, err := w.Resolve(w.ctx, w.addr(gone))
		w.wants(err, store.ErrNotFound)
		_, err = w.List(w.ctx, w.addr(gone))
		w.wants(err, store.ErrNotFound)
	}
	w.list("dev@l.test")
}

func testRestore(w *world) {
	l := w.list("Dev@l.test")
	w.add(l, list.Member, "ann@net.test")
	w.ok(w.AddAlias(w.ctx, l.Address, w.addr("devel@l.test")))
	w.ok(w.AddAlias(w.ctx, l.Address, w.addr("hack@l.test")))
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	w.ok(w.BuryList(w.ctx, w.addr("dev@l.test"), until))
	for _, gone := range []string{"dev@l.test", "devel@l.test"} {
		_, err := w.Resolve(w.ctx, w.addr(gone))
		w.wants(err, store.ErrNotFound)
		_, err = w.List(w.ctx, w.addr(gone))
		w.wants(err, store.ErrNotFound)
	}
	if got := collect(w, w.DeletedLists(w.ctx)); len(got) != 1 || got[0] != (store.DeletedList{Address: l.Address, Until: until}) {
		w.Errorf("deleted lists are %+v", got)
	}
	again := w.list("dev@l.test") // the address is free
	w.list("hack@l.test")         // and so is an alias
	_, err := w.RestoreList(w.ctx, l.Address)
	w.wants(err, store.ErrExists)
	w.ok(w.DeleteList(w.ctx, again.Address))
	got, err := w.RestoreList(w.ctx, w.addr("DEV@l.test"))
	w.ok(err)
	if !sameList(got, l) {
		w.Errorf("came back as %+v, want %+v", got, l)
	}
	if t, err := w.Resolve(w.ctx, w.addr("devel-owner@l.test")); err != nil || t.List != l.Address {
		w.Errorf("its alias is %+v, %v", t, err)
	}
	if as, err := w.Aliases(w.ctx, l.ID); err != nil || len(as) != 1 {
		w.Errorf("aliases %v, %v", as, err)
	}
	if n, err := w.CountMembers(w.ctx, l.ID, store.Filter{}); err != nil || n != 1 {
		w.Errorf("%d members, %v", n, err)
	}
	_, err = w.RestoreList(w.ctx, l.Address)
	w.wants(err, store.ErrNotFound)
}

func addrs(as []address.Address) (out []string) {
	for _, a := range as {
		out = append(out, a.String())
	}
	return out
}
