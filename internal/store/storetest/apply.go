package storetest

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

var styleTests = []test{
	{"a list follows its style, in what it does not set itself", func(w *world) {
		styles := func(corporate map[string]string, locked ...string) {
			s, err := list.NewStyles([]list.Style{{Name: "corporate", Inherits: "private", Settings: corporate, Locked: locked}})
			w.ok(err)
			w.ok(w.SetStyles(w.ctx, s))
		}
		get := func(name string) string {
			l, err := w.List(w.ctx, w.addr("dev@l.test"))
			w.ok(err)
			text, err := l.Settings.Get(name)
			w.ok(err)
			return text
		}
		change := func(name string, to *string) error {
			_, err := w.ChangeList(w.ctx, w.addr("dev@l.test"), map[string]*string{name: to})
			return err
		}
		expect := func(name, want string) {
			w.Helper()
			if got := get(name); got != want {
				w.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		styles(map[string]string{"footer": "Corporate\n"})
		l := &list.List{Address: w.addr("dev@l.test"), Style: "corporate"}
		var err error
		base, err := list.NewStyles([]list.Style{{Name: "corporate", Inherits: "private", Settings: map[string]string{"footer": "Corporate\n"}}})
		w.ok(err)
		l.Settings, err = base.Base("corporate")
		w.ok(err)
		w.ok(w.CreateList(w.ctx, l))
		got, err := w.List(w.ctx, l.Address)
		w.ok(err)
		if !sameList(got, l) {
			w.Errorf("read back as %+v, want %+v", got, l)
		}
		expect("footer", "Corporate\n")
		expect("advertised", "false") // of private
		w.ok(change("subject_prefix", ptr("[x] ")))
		w.ok(change("advertised", ptr("true"))) // mlist's default, but not the style's
		styles(map[string]string{"footer": "Legal\n", "subject_prefix": "[corp] "})
		expect("footer", "Legal\n")
		expect("subject_prefix", "[x] ")
		expect("advertised", "true")
		w.ok(change("advertised", nil))
		expect("advertised", "false")
		w.ok(change("footer", ptr("Mine\n")))
		styles(map[string]string{"footer": "Legal\n"}, "footer")
		expect("footer", "Legal\n") // it was set before it was locked
		w.fails(change("footer", ptr("Mine\n")))
		w.ok(change("footer", nil))
		styles(map[string]string{"footer": "Legal\n"})
		expect("footer", "Legal\n")
	}},
	{"a style that lists have cannot go", func(w *world) {
		s, err := list.NewStyles([]list.Style{{Name: "mine", Inherits: "announce"}})
		w.ok(err)
		w.ok(w.SetStyles(w.ctx, s))
		l := &list.List{Address: w.addr("dev@l.test"), Style: "mine"}
		l.Settings, err = s.Base("mine")
		w.ok(err)
		w.ok(w.CreateList(w.ctx, l))
		w.fails(w.SetStyles(w.ctx, list.BuiltinStyles()))
		_, err = w.List(w.ctx, l.Address)
		w.ok(err)
		w.fails(w.CreateList(w.ctx, &list.List{Address: w.addr("ops@l.test"), Style: "nosuch", Settings: list.Defaults()}))
		w.ok(w.DeleteList(w.ctx, l.Address))
		w.ok(w.SetStyles(w.ctx, list.BuiltinStyles()))
	}},
}

var applyTests = []test{
	{"lists are made as they are to be, and then nothing differs", testApply},
	{"senders and receivers are made those that are named", testApplyRoles},
	{"a dry run tells the same and changes nothing", func(w *world) {
		w.list("dev@l.test")
		specs := []store.ListSpec{
			{Address: w.addr("dev@l.test"), Settings: map[string]string{"description": "x", "include_lists": "ops@l.test"}, Aliases: &[]address.Address{w.addr("devel@l.test")}},
			{Address: w.addr("ops@l.test"), Roles: map[list.Role][]list.Membership{list.Owner: {{Address: w.addr("boss@l.test")}}}},
		}
		dry, err := w.ApplyLists(w.ctx, specs, true)
		w.ok(err)
		again, err := w.ApplyLists(w.ctx, specs, true)
		w.ok(err)
		if _, err := w.List(w.ctx, w.addr("ops@l.test")); err == nil {
			w.Error("the dry run has created a list")
		}
		done, err := w.ApplyLists(w.ctx, specs, false)
		w.ok(err)
		if !reflect.DeepEqual(dry, again) || !reflect.DeepEqual(dry, done) {
			w.Errorf("dry runs tell\n%+v\n%+v, done was\n%+v", dry, again, done)
		}
	}},
	{"of many lists all are changed or none", func(w *world) {
		w.list("dev@l.test")
		for name, bad := range map[string]store.ListSpec{
			"a setting that is not there": {Address: w.addr("z@l.test"), Settings: map[string]string{"nosuch": "1"}},
			"a bad value":                 {Address: w.addr("z@l.test"), Settings: map[string]string{"emergency": "maybe"}},
			"a list of nobody":            {Address: w.addr("z@l.test"), Settings: map[string]string{"include_lists": "y@l.test"}},
			"a circle":                    {Address: w.addr("z@l.test"), Settings: map[string]string{"include_lists": "z@l.test"}},
			"another's address":           {Address: w.addr("dev-owner@l.test")},
			"a bad address":               {Address: w.addr("a+b@l.test")},
			"a list twice":                {Address: w.addr("DEV@l.test")},
			"a style that is not there":   {Address: w.addr("z@l.test"), Style: ptr("nosuch")},
			"a bad state":                 {Address: w.addr("z@l.test"), State: ptr(list.State("asleep"))},
			"a bad reason":                {Address: w.addr("z@l.test"), Why: ptr("a\nb")},
			"another's alias":             {Address: w.addr("z@l.test"), Aliases: &[]address.Address{w.addr("dev@l.test")}},
			"a bad member":                {Address: w.addr("z@l.test"), Roles: map[list.Role][]list.Membership{list.Owner: {{}}}},
		} {
			w.Run(name, func(t *testing.T) {
				w := &world{T: t, Store: w.Store, ctx: w.ctx}
				_, err := w.ApplyLists(w.ctx, []store.ListSpec{{Address: w.addr("dev@l.test"), Settings: map[string]string{"description": "x"}}, bad}, false)
				if err == nil {
					w.Error("it was no error")
				}
				l, err := w.List(w.ctx, w.addr("dev@l.test"))
				w.ok(err)
				if l.Settings.Description != "" {
					w.Error("the other list was changed")
				}
			})
		}
	}},
}

func testApplyRoles(w *world) {
	l := w.list("dev@l.test")
	w.add(l, list.Member, "ann@n.test", "bob@n.test")
	w.add(l, list.Receiver, "old@n.test")
	w.add(l, list.Sender, "bot@n.test")
	people := func(addrs ...string) (ms []list.Membership) {
		for _, a := range addrs {
			ms = append(ms, list.Membership{Address: w.addr(a)})
		}
		return ms
	}
	spec := store.ListSpec{Address: l.Address, Roles: map[list.Role][]list.Membership{list.Sender: people("robot@n.test"), list.Receiver: people("bob@n.test", "new@n.test")}}
	for i, dry := range []bool{true, false, false} {
		diffs, err := w.ApplyLists(w.ctx, []store.ListSpec{spec}, dry)
		w.ok(err)
		var got []string
		for _, c := range diffs[0].Changes {
			got = append(got, c.What+":"+c.Old+">"+c.New)
		}
		want := []string{"sender:bot@n.test>", "sender:>robot@n.test", "receiver:old@n.test>", "receiver:>bob@n.test", "receiver:>new@n.test"}
		if i == 2 {
			want = nil
		}
		if !slices.Equal(got, want) {
			w.Errorf("dry %v: changes %q, want %q", dry, got, want)
		}
	}
	var got []string
	for _, m := range collect(w, w.Members(w.ctx, l.ID, store.Filter{})) {
		got = append(got, fmt.Sprint(m.Role, " ", m.Address, " ", m.Action))
	}
	w.history(l, "new@n.test", "joined")
	w.history(l, "old@n.test", "left")
	w.history(l, "robot@n.test")
	if want := []string{"member ann@n.test ", "member bob@n.test reject", "member new@n.test reject", "sender robot@n.test "}; !slices.Equal(got, want) {
		w.Errorf("it has %q, want %q", got, want)
	}
}

func testApply(w *world) {
	w.list("dev@l.test")
	l := w.list("ops@l.test")
	w.add(l, list.Owner, "old@net.test", "boss@net.test")
	w.ok(w.AddAlias(w.ctx, l.Address, w.addr("operators@l.test")))
	_, err := w.ChangeList(w.ctx, l.Address, map[string]*string{"emergency": ptr("true"), "footer": ptr("x\n")})
	w.ok(err)
	owners := func(addrs ...string) map[list.Role][]list.Membership {
		var ms []list.Membership
		for _, a := range addrs {
			ms = append(ms, list.Membership{Address: w.addr(a)})
		}
		return map[list.Role][]list.Membership{list.Owner: ms}
	}
	specs := []store.ListSpec{
		{Address: w.addr("all@l.test"), Style: ptr("announce"), Settings: map[string]string{"include_lists": "ops@l.test\nnew@l.test"}},
		{Address: w.addr("operators@l.test"), Style: ptr("private"), State: ptr(list.Frozen), Why: ptr("Later."), Settings: map[string]string{"footer": "y\n"},
			Aliases: &[]address.Address{w.addr("run@l.test")}, Roles: owners("boss@net.test", "New@net.test")},
		{Address: w.addr("New@l.test")},
	}
	diffs, err := w.ApplyLists(w.ctx, specs, false)
	w.ok(err)
	text := func(d store.ListDiff) (out []string) {
		for _, c := range d.Changes {
			out = append(out, fmt.Sprintf("%s:%s>%s", c.What, c.Old, c.New))
		}
		slices.Sort(out)
		return out
	}
	if len(diffs) != 3 || !diffs[0].Created || diffs[1].Created || !diffs[2].Created || diffs[1].Address != l.Address {
		w.Fatalf("diffs are %+v", diffs)
	}
	want := []string{"advertised:true>false", "alias:>run@l.test", "alias:operators@l.test>", "archive_policy:public>private", "default_nonmember_action:hold>reject",
		"emergency:true>false", "footer:x\n>y\n", "owner:>New@net.test", "owner:old@net.test>", "state:open>frozen", "state_reason:>Later.", "style:discussion>private",
		"subscription_policy:confirm>confirm_then_moderate"}
	if got := text(diffs[1]); !slices.Equal(got, want) {
		w.Errorf("changes are\n%q, want\n%q", got, want)
	}
	got, err := w.List(w.ctx, l.Address)
	w.ok(err)
	if got.State != list.Frozen || got.StateWhy != "Later." || got.StateSince.IsZero() || got.Style != "private" || got.Settings.Emergency || got.Settings.Advertised {
		w.Errorf("it is %+v", got)
	}
	if ms := collect(w, w.Members(w.ctx, l.ID, store.Filter{})); !slices.Equal(names(ms), []string{"boss@net.test", "New@net.test"}) {
		w.Errorf("owners are %v", names(ms))
	}
	specs[1].Address = l.Address // its alias has gone
	specs[0].Settings = nil      // and so they stay
	specs[2].Style = ptr(list.DefaultStyle)
	diffs, err = w.ApplyLists(w.ctx, specs, false)
	w.ok(err)
	for _, d := range diffs {
		if d.Created || len(d.Changes) > 0 {
			w.Errorf("the second time there is %+v", d)
		}
	}
}
