package pipeline

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/sdk"
)

func TestChoose(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	_, err := w.store.AddMembers(t.Context(), w.list.ID, func(yield func(list.Membership, error) bool) {
		for _, m := range []list.Membership{
			{Address: addr(t, "Ann@x.test"), Role: list.Member, NoOwnPosts: true},
			{Address: addr(t, "bob@x.test"), Role: list.Member, NoDuplicates: true},
			{Address: addr(t, "cy@x.test"), Role: list.Member},
			{Address: addr(t, "off@x.test"), Role: list.Member, Status: list.ByUser},
			{Address: addr(t, "dig@x.test"), Role: list.Member, Mode: list.MIMEDigest},
			{Address: addr(t, "ann@x.test"), Role: list.Owner},
			{Address: addr(t, "boss@x.test"), Role: list.Owner},
			{Address: addr(t, "topic@x.test"), Role: list.Moderator, Topics: "bugs\nnews"},
			{Address: addr(t, "rest@x.test"), Role: list.Moderator, Topics: "bugs", Nonmatching: true},
		} {
			if !yield(m, nil) {
				return
			}
		}
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	regular := sdk.Rule{Kind: sdk.RuleSelect, Roles: []string{"member"}, Modes: []string{"regular"}, Statuses: []string{"enabled"}}
	tests := []struct {
		name  string
		rules []sdk.Rule
		want  []string
	}{
		{"no rule, nobody", nil, nil},
		{"regular members", []sdk.Rule{regular}, []string{"Ann@x.test", "bob@x.test", "cy@x.test"}},
		{"an author who does not want own posts, in any case of letters",
			[]sdk.Rule{regular, {Kind: sdk.RuleExclude, Flag: "no_own_posts", Addresses: []string{"ANN@x.test", "cy@x.test"}}},
			[]string{"bob@x.test", "cy@x.test"}},
		{"a member in Cc who does not want duplicates",
			[]sdk.Rule{regular, {Kind: sdk.RuleExclude, Flag: "no_duplicates", Addresses: []string{"bob@x.test", "cy@x.test"}}},
			[]string{"Ann@x.test", "cy@x.test"}},
		{"an exclusion without a flag holds for all",
			[]sdk.Rule{regular, {Kind: sdk.RuleExclude, Addresses: []string{"cy@x.test", "bob@x.test"}}}, []string{"Ann@x.test"}},
		{"two selections, each address once",
			[]sdk.Rule{regular, {Kind: sdk.RuleSelect, Roles: []string{"owner"}}},
			[]string{"Ann@x.test", "bob@x.test", "boss@x.test", "cy@x.test"}},
		{"any role, each address once", []sdk.Rule{{Kind: sdk.RuleSelect}},
			[]string{"Ann@x.test", "bob@x.test", "boss@x.test", "cy@x.test", "dig@x.test", "off@x.test", "rest@x.test", "topic@x.test"}},
		{"an address added twice, and one that is selected anyway",
			[]sdk.Rule{{Kind: sdk.RuleAdd, Addresses: []string{"new@x.test", "New@x.test", "cy@x.test", "junk"}}, regular},
			[]string{"Ann@x.test", "bob@x.test", "cy@x.test", "new@x.test"}},
		{"those who chose a topic of the post", []sdk.Rule{{Kind: sdk.RuleSelect, Roles: []string{"owner", "moderator"}, Topics: []string{"news"}}},
			[]string{"ann@x.test", "boss@x.test", "topic@x.test"}},
		{"those who want a post without topics", []sdk.Rule{{Kind: sdk.RuleSelect, Roles: []string{"moderator"}, Topics: []string{""}}}, []string{"rest@x.test"}},
		{"an address added that its topics kept out, and one that they let in",
			[]sdk.Rule{{Kind: sdk.RuleSelect, Roles: []string{"moderator"}, Topics: []string{"news"}}, {Kind: sdk.RuleAdd, Addresses: []string{"rest@x.test", "TOPIC@x.test"}}},
			[]string{"rest@x.test", "topic@x.test"}},
		{"an address added and excluded",
			[]sdk.Rule{{Kind: sdk.RuleAdd, Addresses: []string{"new@x.test"}}, {Kind: sdk.RuleExclude, Addresses: []string{"new@x.test"}}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			err := w.daemon.choose(t.Context(), w.list.ID, tt.rules, func(a string) error { got = append(got, a); return nil })
			slices.Sort(got)
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("chose %v, %v; want %v", got, err, tt.want)
			}
		})
	}
}

// include makes a list with members, and with lists that it includes.
func (w *world) include(name string, settings map[string]string, members ...list.Membership) *list.List {
	w.t.Helper()
	l := &list.List{Address: addr(w.t, name), Settings: list.Defaults()}
	for k, v := range settings {
		if err := l.Settings.Set(k, v); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := w.store.CreateList(w.t.Context(), l); err != nil {
		w.t.Fatal(err)
	}
	_, err := w.store.AddMembers(w.t.Context(), l.ID, func(yield func(list.Membership, error) bool) {
		for _, m := range members {
			if !yield(m, nil) {
				return
			}
		}
	}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

func (w *world) change(l, name, text string) error {
	w.t.Helper()
	_, err := w.store.ChangeList(w.t.Context(), addr(w.t, l), map[string]*string{name: &text})
	return err
}

func TestMembersOfOtherLists(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	m := func(a string) list.Membership { return list.Membership{Address: addr(t, a)} }
	own, copies := m("own@x.test"), m("copies@x.test")
	own.NoOwnPosts, copies.NoDuplicates = true, true
	off, digest := m("off@x.test"), m("digest@x.test")
	off.Status, digest.Mode = list.ByUser, list.MIMEDigest
	w.include("deep@lists.test", nil, m("deep@x.test"), m("OWN@x.test"))
	w.include("eng@lists.test", map[string]string{"include_lists": "deep@lists.test"}, m("eng@x.test"), m("Both@x.test"), off, digest, m("copies@x.test"))
	w.include("ops@lists.test", nil, m("ops@x.test"), m("both@x.test"))
	if _, err := w.store.AddMembers(t.Context(), w.list.ID, func(yield func(list.Membership, error) bool) {
		_ = yield(m("ann@x.test"), nil) && yield(own, nil) && yield(copies, nil)
	}, nil); err != nil {
		t.Fatal(err)
	}
	regular := sdk.Rule{Kind: sdk.RuleSelect, Roles: []string{"member"}, Modes: []string{"regular"}, Statuses: []string{"enabled"}}
	from := func(passed []string, lists ...string) sdk.Rule {
		r := regular
		r.Lists, r.Addresses = lists, passed
		return r
	}
	without := func(lists ...string) sdk.Rule {
		r := from(nil, lists...)
		r.Kind = sdk.RuleExclude
		return r
	}
	tests := []struct {
		name  string
		rules []sdk.Rule
		want  []string
	}{
		{"two lists, and the list within one of them", []sdk.Rule{regular, from(nil, "eng@lists.test", "OPS@lists.test")},
			[]string{"Both@x.test", "ann@x.test", "copies@x.test", "deep@x.test", "eng@x.test", "ops@x.test", "own@x.test"}},
		{"the list's own membership says what a member wants",
			[]sdk.Rule{regular, from(nil, "eng@lists.test"), {Kind: sdk.RuleExclude, Flag: "no_own_posts", Addresses: []string{"own@x.test"}},
				{Kind: sdk.RuleExclude, Flag: "no_duplicates", Addresses: []string{"copies@x.test"}}},
			[]string{"Both@x.test", "ann@x.test", "deep@x.test", "eng@x.test"}},
		{"a list within that gets a copy of its own", []sdk.Rule{regular, from([]string{"DEEP@lists.test", "x@y.test"}, "eng@lists.test")},
			[]string{"Both@x.test", "ann@x.test", "copies@x.test", "eng@x.test", "own@x.test"}},
		{"all lists get a copy of their own", []sdk.Rule{regular, from([]string{"eng@lists.test"}, "eng@lists.test")}, []string{"ann@x.test", "copies@x.test", "own@x.test"}},
		{"members of a sibling are left out", []sdk.Rule{regular, without("deep@lists.test")}, []string{"ann@x.test", "copies@x.test"}},
		{"a sibling is not looked into", []sdk.Rule{regular, without("eng@lists.test")}, []string{"ann@x.test", "own@x.test"}},
		{"an address added, of a sibling", []sdk.Rule{regular, without("deep@lists.test"), {Kind: sdk.RuleAdd, Addresses: []string{"deep@x.test", "new@x.test"}}},
			[]string{"ann@x.test", "copies@x.test", "new@x.test"}},
		{"lists that are not there", []sdk.Rule{regular, from(nil, "gone@lists.test", "dev@lists.test"), without("gone@lists.test")}, []string{"ann@x.test", "copies@x.test", "own@x.test"}},
	}
	check := func(name string, rules []sdk.Rule, want []string) {
		t.Helper()
		var got []string
		err := w.daemon.choose(t.Context(), w.list.ID, rules, func(a string) error { got = append(got, a); return nil })
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: chose %v, %v; want %v", name, got, err, want)
		}
	}
	for _, tt := range tests {
		check(tt.name, tt.rules, tt.want)
	}

	// Circles are refused where they are made, and borne where they came to be.
	for _, c := range []struct{ list, includes string }{{"deep@lists.test", "eng@lists.test"}, {"deep@lists.test", "ops@lists.test\ndeep@lists.test"}, {"ops@lists.test", "gone@lists.test"}} {
		if err := w.change(c.list, "include_lists", c.includes); err == nil {
			t.Errorf("%s may include %s", c.list, c.includes)
		}
	}
	if err := w.change("dev@lists.test", "include_lists", "eng@lists.test"); err != nil {
		t.Fatal(err)
	}
	if err := w.change("deep@lists.test", "include_lists", "dev@lists.test"); err == nil || !strings.Contains(err.Error(),
		"deep@lists.test includes dev@lists.test includes eng@lists.test includes deep@lists.test") {
		t.Errorf("a circle over three lists: %v", err)
	}
	if err := w.store.DeleteList(t.Context(), addr(t, "deep@lists.test")); err != nil {
		t.Fatal(err)
	}
	w.include("deep@lists.test", map[string]string{"include_lists": "ops@lists.test"}, m("deep@x.test"))
	if err := w.change("ops@lists.test", "include_lists", "eng@lists.test"); err == nil {
		t.Error("a circle by way of a list that was made anew")
	}
}

// A circle can come to be: a list goes, the others change, and it is made anew.
func TestACircleOfListsEnds(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	w.include("a@lists.test", nil, list.Membership{Address: addr(t, "a@x.test")})
	w.include("b@lists.test", map[string]string{"include_lists": "a@lists.test"}, list.Membership{Address: addr(t, "b@x.test")})
	round := lists{w.store, map[string]string{"a@lists.test": "b@lists.test\ndev@lists.test"}}
	w.stop()
	w.startWith(round, verdict(sdk.Accept))
	var got []string
	err := w.daemon.choose(t.Context(), w.list.ID, []sdk.Rule{{Kind: sdk.RuleSelect, Roles: []string{"member"}, Lists: []string{"a@lists.test"}}},
		func(a string) error { got = append(got, a); return nil })
	if err != nil || !slices.Equal(got, []string{"a@x.test", "b@x.test"}) {
		t.Errorf("chose %v, %v", got, err)
	}
}

// lists is a store that says otherwise which lists some lists include.
type lists struct {
	Store
	include map[string]string
}

func (s lists) List(ctx context.Context, a address.Address) (*list.List, error) {
	l, err := s.Store.List(ctx, a)
	if err == nil && s.include[a.Key()] != "" {
		err = l.Settings.Set("include_lists", s.include[a.Key()])
	}
	return l, err
}

// A list that the post names has a copy of its own: who is on it gets none here. That holds by
// whatever address the list is named, and only if it will take the post from its author.
func TestAListThatIsNamed(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	m := func(a string) list.Membership { return list.Membership{Address: addr(t, a)} }
	quiet, barred, bad, guest := m("quiet@x.test"), m("barred@x.test"), m("bad@x.test"), m("guest@x.test")
	quiet.Role, barred.Action, guest.Role, guest.Action = list.Sender, list.Reject, list.Nonmember, list.Accept
	bad.Role, bad.Action = list.Nonmember, list.Discard
	eng := w.include("eng@lists.test", nil, m("eng@x.test"), m("both@x.test"), quiet, barred, guest)
	w.include("all@lists.test", map[string]string{"default_nonmember_action": "accept"}, m("all@x.test"), m("both@x.test"), bad)
	if err := w.store.AddAlias(t.Context(), eng.Address, addr(t, "engineers@lists.test")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.AddMembers(t.Context(), w.list.ID, func(yield func(list.Membership, error) bool) {
		_ = yield(m("ann@x.test"), nil) && yield(m("both@x.test"), nil)
	}, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.store.LinkAddress(t.Context(), addr(t, "eng@x.test"), addr(t, "eng@home.test"), time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, list, named, author string
		taken                     bool
	}{
		{"not named", "eng@lists.test", "ann@x.test", "eng@x.test", false},
		{"named, by a member", "eng@lists.test", "ENG@lists.test", "eng@x.test", true},
		{"by another address of a member", "eng@lists.test", "eng@lists.test", "eng@home.test", true},
		{"by an alias", "eng@lists.test", "engineers@lists.test", "eng@x.test", true},
		{"the setting has the alias", "engineers@lists.test", "eng@lists.test", "eng@x.test", true},
		{"by who may send", "eng@lists.test", "eng@lists.test", "quiet@x.test", true},
		{"by a nonmember, whose post is held", "eng@lists.test", "eng@lists.test", "ann@x.test", false},
		{"by a nonmember whose posts it accepts", "eng@lists.test", "eng@lists.test", "guest@x.test", true},
		{"by a member whose posts it rejects", "eng@lists.test", "eng@lists.test", "barred@x.test", false},
		{"by a nonmember, of a list that takes all", "all@lists.test", "all@lists.test", "ann@x.test", true},
		{"by a nonmember, of a list that takes all but theirs", "all@lists.test", "all@lists.test", "bad@x.test", false},
		{"nobody says who the author is", "eng@lists.test", "eng@lists.test", "", true},
	} {
		regular := sdk.Rule{Kind: sdk.RuleSelect, Roles: []string{"member"}}
		other := sdk.Rule{Kind: sdk.RuleExclude, Roles: []string{"member"}, Lists: []string{tt.list}, Addresses: []string{"ann@x.test", tt.named}}
		if tt.author != "" {
			other.Authors = []string{tt.author}
		}
		choose := func(kind string, want []string, rules ...sdk.Rule) {
			t.Helper()
			var got []string
			err := w.daemon.choose(t.Context(), w.list.ID, rules, func(a string) error { got = append(got, a); return nil })
			if slices.Sort(got); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s, %s: chose %v, %v; want %v", tt.name, kind, got, err, want)
			}
		}
		own, theirs := []string{"ann@x.test", "both@x.test"}, []string{"barred@x.test", "both@x.test", "eng@x.test"}
		if tt.list == "all@lists.test" {
			theirs = []string{"all@x.test", "both@x.test"}
		}
		if tt.taken {
			own, theirs = own[:1], nil
		}
		choose("excluded", own, regular, other)
		other.Kind = sdk.RuleSelect
		choose("included", theirs, other)
	}

	if _, err := w.store.SetState(t.Context(), eng.Address, list.Frozen, ""); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := w.daemon.choose(t.Context(), w.list.ID, []sdk.Rule{{Kind: sdk.RuleSelect, Roles: []string{"member"}},
		{Kind: sdk.RuleExclude, Roles: []string{"member"}, Lists: []string{"eng@lists.test"}, Addresses: []string{"eng@lists.test"}, Authors: []string{"eng@x.test"}}},
		func(a string) error { got = append(got, a); return nil })
	if slices.Sort(got); err != nil || !slices.Equal(got, []string{"ann@x.test", "both@x.test"}) {
		t.Errorf("of a list that is frozen: chose %v, %v", got, err)
	}
}
