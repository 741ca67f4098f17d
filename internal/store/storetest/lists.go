package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

var listTests = []test{
	{"a list is found again as it was created", func(w *world) {
		l := &list.List{Address: w.addr("Dev@Lists.Test"), Settings: list.Defaults()}
		w.ok(l.Settings.Set("subject_prefix", "[dev é] "))
		w.ok(l.Settings.Set("accept_these_nonmembers", "ann@net.test\n^.*@corp.test$"))
		w.ok(w.CreateList(w.ctx, l))
		if l.ID == 0 || time.Since(l.Created).Abs() > time.Minute {
			w.Fatalf("ID %d, created %s", l.ID, l.Created)
		}
		got, err := w.List(w.ctx, w.addr("dev@lists.test"))
		w.ok(err)
		if !sameList(got, l) {
			w.Fatalf("got %+v, want %+v", got, l)
		}
	}},
	{"the revision of a list's settings is another when they are", func(w *world) {
		l, other := w.list("dev@l.test"), w.another()
		revision := func() string {
			w.Helper()
			got, err := w.List(w.ctx, l.Address)
			w.ok(err)
			return got.Revision
		}
		first := revision()
		if first == "" || first != revision() {
			w.Errorf("it is %q, then %q", first, revision())
		}
		changed, err := other.ChangeList(w.ctx, l.Address, map[string]*string{"emergency": ptr("yes")})
		w.ok(err)
		second := revision()
		if second == first || changed.Revision != "" {
			w.Errorf("after another process changed them it is %q, before %q; what that has in hand is %q", second, first, changed.Revision)
		}
		styles, err := list.NewStyles([]list.Style{{Name: list.DefaultStyle, Settings: map[string]string{"footer": "Corporate\n"}}})
		w.ok(err)
		w.ok(w.SetStyles(w.ctx, styles))
		if third := revision(); third == second || third == first {
			w.Errorf("with another style it is %q", third)
		}
	}},
	{"a copy of a list is there with its people, or not at all", func(w *world) {
		dev := w.list("dev@l.test")
		var people []list.Membership
		for _, role := range list.Roles {
			for i := range 3 {
				people = append(people, list.Membership{Address: w.addr(fmt.Sprintf("%s%d@Net.test", role, i)), Role: role, DisplayName: "é", Mode: list.MIMEDigest, Action: list.Hold, Language: "de"})
			}
		}
		_, err := w.AddMembers(w.ctx, dev.ID, seq(people...), nil)
		w.ok(err)
		count := func(l *list.List) int64 {
			n, err := w.CountMembers(w.ctx, l.ID, store.Filter{Roles: list.Roles})
			w.ok(err)
			return n
		}
		some := &list.List{Address: w.addr("some@l.test"), Settings: list.Defaults()}
		n, err := w.CopyList(w.ctx, dev.Address, some, []list.Role{list.Owner, list.Moderator})
		w.ok(err)
		if n != 6 || count(some) != 6 {
			w.Errorf("%d of 6 are on the copy, it says %d", count(some), n)
		}
		all := &list.List{Address: w.addr("all@l.test"), Settings: list.Defaults()}
		n, err = w.CopyList(w.ctx, dev.Address, all, list.Roles)
		w.ok(err)
		if n != 15 || count(all) != 15 || count(dev) != 15 {
			w.Errorf("%d of 15 are on the copy, it says %d", count(all), n)
		}
		m, err := w.Memberships(w.ctx, all.ID, []address.Address{w.addr("member1@net.test")})
		w.ok(err)
		if len(m) != 1 || m[0].DisplayName != "é" || m[0].Mode != list.MIMEDigest || m[0].Action != list.Hold || m[0].Language != "de" || m[0].Address.String() != "member1@net.test" {
			w.Errorf("a member is copied as %+v", m)
		}
		for _, bad := range []struct {
			from, to string
			roles    []list.Role
			want     error
		}{{"nosuch@l.test", "new@l.test", list.Roles, store.ErrNotFound}, {"dev@l.test", "some@l.test", list.Roles, store.ErrExists}, {"dev@l.test", "new@l.test", []list.Role{list.Owner, "king"}, nil}} {
			l := &list.List{Address: w.addr(bad.to), Settings: list.Defaults()}
			_, err := w.CopyList(w.ctx, w.addr(bad.from), l, bad.roles)
			if err == nil || bad.want != nil && !errors.Is(err, bad.want) || l.ID != 0 {
				w.Errorf("%+v: %v, list %d", bad, err, l.ID)
			}
		}
		_, err = w.List(w.ctx, w.addr("new@l.test"))
		w.wants(err, store.ErrNotFound)
	}},
	{"a list that is not there is not found", func(w *world) {
		w.list("dev@l.test")
		_, err := w.List(w.ctx, w.addr("dev@other.test"))
		w.wants(err, store.ErrNotFound)
		_, err = w.ChangeList(w.ctx, w.addr("ops@l.test"), nil)
		w.wants(err, store.ErrNotFound)
		w.wants(w.DeleteList(w.ctx, w.addr("ops@l.test")), store.ErrNotFound)
	}},
	{"an address has one list, however it is spelled", func(w *world) {
		w.list("dev@l.test")
		l := &list.List{Address: w.addr("DEV@L.test"), Settings: list.Defaults()}
		w.wants(w.CreateList(w.ctx, l), store.ErrExists)
		if l.ID != 0 {
			w.Errorf("a refused list got ID %d", l.ID)
		}
	}},
	{"a list may not have the role address of another one", func(w *world) {
		w.list("Dev@l.test")
		for _, bad := range []string{"dev-owner@l.test", "DEV-subscribe@l.test"} {
			w.wants(w.CreateList(w.ctx, &list.List{Address: w.addr(bad), Settings: list.Defaults()}), store.ErrExists)
		}
		w.list("dev-owners@l.test")
		w.list("dev-owner@other.test")
		w.list("devel@l.test")
	}},
	{"a list may not have a role address that is another list", func(w *world) {
		for _, taken := range []string{"a-owner@l.test", "B-Unsubscribe@l.test", "c-bounces@l.test"} {
			w.list(taken)
		}
		for _, bad := range []string{"a@l.test", "b@l.test", "C@l.test"} {
			w.wants(w.CreateList(w.ctx, &list.List{Address: w.addr(bad), Settings: list.Defaults()}), store.ErrExists)
		}
		w.list("a@other.test")
	}},
	{"a list without an address, or whose role addresses would not work, is refused", func(w *world) {
		w.fails(w.CreateList(w.ctx, &list.List{Address: w.addr("x+y@l.test"), Settings: list.Defaults()}))
		w.fails(w.CreateList(w.ctx, &list.List{Settings: list.Defaults()}))
	}},
	{"an address resolves to a list and a role", testResolve},
	{"a list is found by its number, where a token is", testResolveNumber},
	{"settings change together or not at all", testChangeList},
	{"lists come by domain and then by name", func(w *world) {
		for _, a := range []string{"zoo@a.test", "Ann@b.test", "all@a.test", "bob@b.test", "x@b.test.org"} {
			w.list(a)
		}
		all := func(domain string) (out []string) {
			for _, l := range collect(w, w.AllLists(w.ctx, domain)) {
				out = append(out, l.Address.String())
			}
			return out
		}
		want := []string{"all@a.test", "zoo@a.test", "Ann@b.test", "bob@b.test", "x@b.test.org"}
		if got := all(""); !slices.Equal(got, want) {
			w.Errorf("all lists are %v, want %v", got, want)
		}
		if got := all("B.test"); !slices.Equal(got, want[2:4]) {
			w.Errorf("lists of b.test are %v, want %v", got, want[2:4])
		}
		if got := all("c.test"); len(got) != 0 {
			w.Errorf("lists of c.test are %v", got)
		}
		for range w.AllLists(w.ctx, "") {
			break
		}
	}},
	{"a deleted list takes everything of it along", func(w *world) {
		l, other := w.list("dev@l.test"), w.list("ops@l.test")
		w.add(l, list.Member, "ann@net.test", "bob@net.test")
		w.add(other, list.Member, "ann@net.test")
		p := store.Post{ListID: l.ID, Entry: "e1", Digest: []byte("d"), At: time.Now()}
		_, err := w.FilePost(w.ctx, p, true, time.Hour)
		w.ok(err)
		w.ok(w.RecordBounces(w.ctx, store.BounceRules{}, []store.BounceEvent{{ListID: l.ID, Recipient: w.addr("ann@net.test"), Entry: "b", At: time.Now()}}))
		w.ok(w.DeleteList(w.ctx, w.addr("DEV@l.test")))

		if got := collect(w, w.Members(w.ctx, l.ID, store.Filter{})); len(got) != 0 {
			w.Errorf("members %v are left", names(got))
		}
		if got := collect(w, w.BounceEvents(w.ctx, l.ID)); len(got) != 0 {
			w.Errorf("bounces %v are left", got)
		}
		if _, err := w.FilePost(w.ctx, p, true, time.Hour); !errors.Is(err, store.ErrNotFound) {
			w.Errorf("filing a post of it: %v, want ErrNotFound", err)
		}
		if got := collect(w, w.Members(w.ctx, other.ID, store.Filter{})); len(got) != 1 {
			w.Errorf("the other list has members %v, want one", names(got))
		}
		if again := w.list("dev@l.test"); again.ID == l.ID {
			w.Errorf("a new list got the ID of the deleted one")
		}
	}},
}

// A list whose name leaves no room for a token is found by its number, where a token is.
func testResolveNumber(w *world) {
	l, gone := w.list("dev@l.test"), w.list("gone@l.test")
	w.ok(w.DeleteList(w.ctx, gone.Address))
	for _, role := range []address.Role{address.RoleConfirm, address.RoleBounces} {
		a := address.Sub(address.Numbered(l.ID, "l.test"), role)
		a.Local += "+tok"
		got, err := w.Resolve(w.ctx, a)
		w.ok(err)
		if want := (store.Target{List: l.Address, Role: role, Detail: "tok", State: list.Open}); got != want {
			w.Errorf("%s is %+v, want %+v", a, got, want)
		}
	}
	for _, a := range []string{
		fmt.Sprintf("~%d@l.test", l.ID), fmt.Sprintf("~%d-confirm@l.test", l.ID), fmt.Sprintf("~%d-confirm+tok@other.test", l.ID),
		fmt.Sprintf("~%d-confirm+tok@l.test", gone.ID), "~999-confirm+tok@l.test", "~-confirm+tok@l.test",
	} {
		_, err := w.Resolve(w.ctx, w.addr(a))
		w.wants(err, store.ErrNotFound)
	}
}

func testResolve(w *world) {
	w.list("Dev@l.test")
	w.list("ops-team@l.test")
	w.list("a-owner@m.test")
	for _, tt := range []struct {
		addr string
		want store.Target
	}{
		{"dev@l.test", store.Target{Role: address.RolePost}},
		{"DEV@L.TEST", store.Target{Role: address.RolePost}},
		{"dev-owner@l.test", store.Target{Role: address.RoleOwner}},
		{"dev-subscribe@l.test", store.Target{Role: address.RoleJoin}},
		{"dev-confirm+Tok@l.test", store.Target{Role: address.RoleConfirm, Detail: "Tok"}},
		{"dev-bounces+ann=net.test@l.test", store.Target{Role: address.RoleBounces, Detail: "ann=net.test"}},
	} {
		got, err := w.Resolve(w.ctx, w.addr(tt.addr))
		w.ok(err)
		tt.want.List, tt.want.State = w.addr("Dev@l.test"), list.Open
		if got != tt.want {
			w.Errorf("%s is %+v, want %+v", tt.addr, got, tt.want)
		}
	}
	for addr, want := range map[string]store.Target{
		"ops-team@l.test":       {List: w.addr("ops-team@l.test"), Role: address.RolePost},
		"ops-team-leave@l.test": {List: w.addr("ops-team@l.test"), Role: address.RoleLeave},
		"a-owner@m.test":        {List: w.addr("a-owner@m.test"), Role: address.RolePost},
	} {
		got, err := w.Resolve(w.ctx, w.addr(addr))
		w.ok(err)
		if want.State = list.Open; got != want {
			w.Errorf("%s is %+v, want %+v", addr, got, want)
		}
	}
	if w.Site() != "" {
		w.Errorf("the site's address is %q before it was set", w.Site())
	}
	w.list("mlist@b.test") // before the site has that name
	w.SetSite("Mlist")
	w.list("b@mlist.test")
	for addr, want := range map[string]store.Target{
		"MLIST@l.test":     {List: w.addr("mlist@l.test"), Role: address.RoleSite, State: list.Open},
		"mlist@mlist.test": {List: w.addr("mlist@mlist.test"), Role: address.RoleSite, State: list.Open},
		"mlist@b.test":     {List: w.addr("mlist@b.test"), Role: address.RolePost, State: list.Open},
	} {
		got, err := w.Resolve(w.ctx, w.addr(addr))
		w.ok(err)
		if got != want {
			w.Errorf("%s is %+v, want %+v", addr, got, want)
		}
	}
	w.clashesWithSite("mLIST@l.test", "dev@l.test")
	w.clashesWithSite("mlist@new.test", "dev@l.test")
	for _, addr := range []string{"mlist@none.test", "mlist@test", "mlist-owner@l.test", "mlist+x@l.test"} {
		_, err := w.Resolve(w.ctx, w.addr(addr))
		w.wants(err, store.ErrNotFound)
	}
	w.SetSite("")
	for _, addr := range []string{"mlist@l.test", "ops@l.test", "dev@m.test", "dev+x@l.test", "dev-owner-owner@l.test", "a@m.test"} {
		if got, err := w.Resolve(w.ctx, w.addr(addr)); !errors.Is(err, store.ErrNotFound) {
			w.Errorf("%s is %+v, %v; want ErrNotFound", addr, got, err)
		}
	}
}

func testChangeList(w *world) {
	l := w.list("dev@l.test")
	got, err := w.ChangeList(w.ctx, w.addr("Dev@l.test"), map[string]*string{"max_message_size": ptr("0"), "emergency": ptr("yes")})
	w.ok(err)
	if got.ID != l.ID || got.Settings.MaxMessageSize != 0 || !got.Settings.Emergency {
		w.Fatalf("changed to %+v", got)
	}
	_, err = w.ChangeList(w.ctx, l.Address, map[string]*string{"emergency": ptr("no"), "max_message_sise": ptr("1"), "no_such": ptr("")})
	w.fails(err)
	if !strings.Contains(err.Error(), "max_message_sise") || !strings.Contains(err.Error(), "max_message_size?") {
		w.Errorf("error %q names neither the first bad setting nor the likely one", err)
	}
	_, err = w.ChangeList(w.ctx, l.Address, map[string]*string{"emergency": ptr("no"), "max_message_size": ptr("big")})
	w.fails(err)
	_, err = w.ChangeList(w.ctx, l.Address, map[string]*string{"emergency": ptr("no"), "no_such": nil})
	w.fails(err)
	again, err := w.List(w.ctx, l.Address)
	w.ok(err)
	if !sameList(again, got) {
		w.Errorf("failed changes left %+v, want %+v", again, got)
	}
	got, err = w.ChangeList(w.ctx, l.Address, map[string]*string{"max_message_size": nil, "emergency": nil})
	w.ok(err)
	if !reflect.DeepEqual(got.Settings, list.Defaults()) {
		w.Errorf("back to the defaults is %+v", got.Settings)
	}
}

// sameList compares all of two lists but the names of their settings.
func sameList(a, b *list.List) bool {
	x, y := *a, *b
	x.Revision, y.Revision = "", ""
	return reflect.DeepEqual(x, y)
}

// clashesWithSite tries to give lists, which dev is one of, an address of the site's own.
func (w *world) clashesWithSite(addr, dev string) {
	w.Helper()
	a := w.addr(addr)
	w.wants(w.CreateList(w.ctx, &list.List{Address: a, Settings: list.Defaults()}), store.ErrExists)
	_, err := w.RenameList(w.ctx, w.addr(dev), a)
	w.wants(err, store.ErrExists)
	w.wants(w.AddAlias(w.ctx, w.addr(dev), a), store.ErrExists)
	_, err = w.ApplyLists(w.ctx, []store.ListSpec{{Address: a}}, true)
	w.wants(err, store.ErrExists)
	_, err = w.ApplyLists(w.ctx, []store.ListSpec{{Address: w.addr(dev), Aliases: &[]address.Address{a}}}, true)
	w.wants(err, store.ErrExists)
	if err != nil && !strings.Contains(err.Error(), "site_name") {
		w.Errorf("the error is %v", err)
	}
}
