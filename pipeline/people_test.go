package pipeline

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/describe"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk"
)

// linkedWorld is a list whose member ann@home.test is also ann@work.test.
func linkedWorld(t *testing.T, settings ...string) (*world, *outbox) {
	w, out := commandWorld(t, settings...)
	w.talkative()
	w.add(list.Member, "ann@home.test", "bob@net.test")
	w.link("ann@home.test", "ann@work.test")
	return w, out
}

func (w *world) link(one, other string) {
	w.t.Helper()
	if err := w.store.LinkAddress(w.t.Context(), addr(w.t, one), addr(w.t, other), time.Now()); err != nil {
		w.t.Fatal(err)
	}
}

func TestAddressesAreLinkedByMail(t *testing.T) {
	w, out := commandWorld(t)
	w.talkative()
	w.add(list.Member, "ann@home.test")
	w.wrote("dev-request@lists.test", "ann@home.test", "eve@else.test", "link ann@work.test", "") // forged, perhaps
	ask := out.to("ann@home.test", "confirm that ann@work.test is yours, too")
	out.to("eve@else.test", "ann@home.test was sent what to do next")
	out.none() // the other address hears nothing before the first has said yes
	linked := func() string {
		t.Helper()
		all, err := w.store.LinkedAddresses(t.Context(), addr(t, "ann@home.test"))
		if err != nil {
			t.Fatal(err)
		}
		var s []string
		for _, a := range all {
			s = append(s, a.String())
		}
		return strings.Join(s, " ")
	}
	w.wrote(tokenIn(t, ask.text), "ann@home.test", "", "Re: Please confirm", "Yes.")
	again := out.to("ann@work.test", "confirm that ann@work.test is yours, too")
	out.none()
	if got := linked(); got != "" {
		t.Errorf("%s is linked before it has confirmed", got)
	}
	w.wrote(tokenIn(t, ask.text), "ann@home.test", "", "", "Yes.") // the first token serves no second step
	out.to("ann@home.test", "Nothing waits for this token")
	w.wrote(tokenIn(t, again.text), "ann@work.test", "", "Re: Please confirm", "Yes.")
	out.to("ann@home.test", "now count as one person's")
	out.to("ann@work.test", "now count as one person's")
	out.none()
	if got := linked(); got != "ann@work.test" {
		t.Errorf("linked is %q", got)
	}
	w.wrote("dev-request@lists.test", "ann@work.test", "", "status", "")
	got := out.to("ann@work.test", "ann@home.test is a member since")
	if !strings.Contains(got.text, "ann@home.test counts as yours, too.") {
		t.Errorf("status says\n%s", got.text)
	}

	// A preference by the other address: the one that is a member is asked.
	w.wrote("dev-request@lists.test", "ann@work.test", "", "set delivery=off", "")
	out.to("ann@work.test", "ann@home.test was sent what to do next")
	ask = out.to("ann@home.test", "Please confirm")
	w.wrote(tokenIn(t, ask.text), "ann@home.test", "", "", "Yes.")
	out.to("ann@home.test", "It is done")
	if s := w.statusOf("ann@home.test"); s != list.ByUser {
		t.Errorf("ann is %s", s)
	}

	w.wrote("dev-request@lists.test", "ann@work.test", "", "unlink bob@net.test", "")
	ask = out.to("ann@work.test", "Please confirm that bob@net.test is yours no longer")
	out.to("ann@work.test", "was sent what to do next")
	w.wrote(tokenIn(t, ask.text), "ann@work.test", "", "", "Yes.")
	out.to("ann@work.test", "bob@net.test does not count")
	w.wrote("dev-request@lists.test", "ann@work.test", "", "unlink ann@home.test", "")
	ask = out.to("ann@work.test", "Please confirm that ann@home.test is yours no longer")
	out.to("ann@work.test", "was sent what to do next")
	w.wrote(tokenIn(t, ask.text), "ann@work.test", "", "", "Yes.")
	out.to("ann@home.test", "does not count as another address")
	out.to("ann@work.test", "does not count as another address")
	out.none()
	if got := linked(); got != "" {
		t.Errorf("linked is %q", got)
	}
}

// TestAPersonGetsOneCopy: at the address that was first theirs, and is a member and receives.
func TestAPersonGetsOneCopy(t *testing.T) {
	w, _ := linkedWorld(t)
	w.add(list.Member, "ann@work.test", "ann@phone.test")
	w.link("ann@home.test", "ann@phone.test")
	check := func(what string, rules []sdk.Rule, want ...string) {
		t.Helper()
		var got []string
		err := w.daemon.choose(t.Context(), w.list.ID, rules, func(a string) error { got = append(got, a); return nil })
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	members := sdk.Rule{Kind: sdk.RuleSelect, Roles: []string{"member"}, Statuses: []string{"enabled"}}
	check("all are members", []sdk.Rule{members}, "ann@home.test", "bob@net.test")
	off, yes := list.ByUser, true
	set := func(who string, c store.MemberChange) {
		t.Helper()
		if err := w.store.SetMember(t.Context(), w.list.ID, list.Member, addr(t, who), c); err != nil {
			t.Fatal(err)
		}
	}
	set("ann@home.test", store.MemberChange{Status: &off})
	check("the first receives nothing", []sdk.Rule{members}, "ann@work.test", "bob@net.test")
	check("a post of hers", []sdk.Rule{members, {Kind: sdk.RuleExclude, Addresses: []string{"ann@phone.test"}, Flag: "no_own_posts"}}, "ann@work.test", "bob@net.test")
	set("ann@work.test", store.MemberChange{NoOwnPosts: &yes})
	set("ann@phone.test", store.MemberChange{NoOwnPosts: &yes})
	check("a post of hers that she does not want back", []sdk.Rule{members, {Kind: sdk.RuleExclude, Addresses: []string{"Ann@home.test"}, Flag: "no_own_posts"}}, "bob@net.test")
	check("whom a rule leaves out", []sdk.Rule{members, {Kind: sdk.RuleExclude, Addresses: []string{"ann@work.test"}}}, "bob@net.test")
	check("an address that is written to itself", []sdk.Rule{{Kind: sdk.RuleAdd, Addresses: []string{"ann@work.test", "ann@phone.test"}}}, "ann@phone.test", "ann@work.test")
}

// TestAPostComesFromAnyAddressOfAMember, for the stages of pipeline and milter alike.
func TestAPostComesFromAnyAddressOfAMember(t *testing.T) {
	w, _ := linkedWorld(t)
	is := func(from string) string {
		t.Helper()
		a, err := w.store.Arrival(t.Context(), w.list.Address, addr(t, from), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		p := describe.New(w.store).Envelope(w.daemon.texts(), a, spool.Envelope{Sender: from, Recipient: "dev@lists.test", Received: time.Now()})
		var roles []string
		for _, m := range p.Senders[0].Memberships {
			roles = append(roles, m.Role)
		}
		return strings.Join(roles, " ")
	}
	for from, want := range map[string]string{"ann@home.test": "member", "ann@work.test": "member", "eve@work.test": ""} {
		if got := is(from); got != want {
			t.Errorf("%s is %q, want %q", from, got, want)
		}
	}
}

// TestADomainsModeratorsActForItsLists: they decide, and are told where a list has nobody of its own.
func TestADomainsModeratorsActForItsLists(t *testing.T) {
	w, out := commandWorld(t, "subscription_policy=moderate")
	w.talkative()
	role := func(r list.Role, who string) {
		t.Helper()
		if err := w.store.AddDomainRole(t.Context(), store.DomainRole{Domain: "lists.test", Role: r, Address: addr(t, who), Added: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	role(list.Owner, "root@x.test")
	role(list.Moderator, "mod@x.test")
	w.add(list.Member, "ann@net.test")
	w.wrote("dev-request@lists.test", "mod@x.test", "", "who", "") // the roster is for moderators
	out.to("mod@x.test", "  ann@net.test")
	w.wrote("dev-owner@lists.test", "ann@net.test", "", "hello", "to the owners")
	out.to("boss@x.test", "to the owners") // who has a list of their own looks after it
	out.none()
	if err := w.remove(list.Owner, "boss@x.test"); err != nil {
		t.Fatal(err)
	}
	w.wrote("dev-owner@lists.test", "ann@net.test", "", "hello", "to the owners again")
	out.to("root@x.test", "to the owners again")
	out.to("mod@x.test", "to the owners again")
	out.none()
	w.wrote("dev-join@lists.test", "new@net.test", "", "", "")
	out.to("new@net.test", "A moderator decides")
	ask := out.to("mod@x.test", "new@net.test wants to join")
	out.none()
	w.wrote(tokenIn(t, ask.text), "mod@x.test", "", "", "accept")
	out.to("new@net.test", "Welcome to dev@lists.test")
	out.to("mod@x.test", "It is done")
	out.none()

	w2, out2 := heldWorld(t, "respond_to_post_requests=false")
	for _, who := range []string{"mod@x.test", "second@x.test"} {
		if _, err := w2.store.RemoveMembers(t.Context(), w2.list.ID, list.Moderator, seqOf(addr(t, who))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w2.remove(list.Owner, "boss@x.test"); err != nil {
		t.Fatal(err)
	}
	if err := w2.store.AddDomainRole(t.Context(), store.DomainRole{Domain: "lists.test", Role: list.Moderator, Address: addr(t, "all@x.test"), Added: time.Now()}); err != nil {
		t.Fatal(err)
	}
	w2.posted("ann@net.test", 1)
	notice := out2.to("all@x.test", "Buy number 1!")
	if err := w2.store.RemoveDomainRole(t.Context(), "lists.test", list.Moderator, addr(t, "all@x.test")); err != nil {
		t.Fatal(err)
	}
	w2.wrote(tokenIn(t, notice.text), "all@x.test", "", "", "accept") // is none any more
	if d := w2.decisions(); len(d) != 0 {
		t.Errorf("decided: %+v", d)
	}
	if err := w2.store.AddDomainRole(t.Context(), store.DomainRole{Domain: "lists.test", Role: list.Moderator, Address: addr(t, "all@x.test"), Added: time.Now()}); err != nil {
		t.Fatal(err)
	}
	w2.wrote(tokenIn(t, notice.text), "all@x.test", "", "", "accept")
	if d := w2.decisions(); len(d) != 1 || d[0].By != "all@x.test" {
		t.Errorf("decided: %+v", d)
	}
}

func seqOf[T any](all ...T) func(func(T, error) bool) {
	return func(yield func(T, error) bool) {
		for _, v := range all {
			if !yield(v, nil) {
				return
			}
		}
	}
}
