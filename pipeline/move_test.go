package pipeline

import (
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
)

func (w *world) memberAs(who string) list.Membership {
	w.t.Helper()
	ms, err := w.store.Memberships(w.t.Context(), w.list.ID, []address.Address{addr(w.t, who)})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range ms {
		if m.Role == list.Member {
			return m
		}
	}
	return list.Membership{}
}

// talkative lets one address be answered as often as it asks.
func (w *world) talkative() {
	cfg := *w.daemon.cfg.Load()
	cfg.NoticesPerDay = 100
	w.daemon.Reload(cfg)
}

func TestAMemberMovesToAnotherAddress(t *testing.T) {
	w, out := commandWorld(t)
	w.talkative()
	other := &list.List{Address: addr(t, "ops@lists.test"), Settings: list.Defaults()}
	if err := w.store.CreateList(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	banned := &list.List{Address: addr(t, "qa@lists.test"), Settings: list.Defaults()}
	if err := w.store.CreateList(t.Context(), banned); err != nil {
		t.Fatal(err)
	}
	if err := w.store.AddBan(t.Context(), list.Ban{Scope: list.Scope{ListID: banned.ID}, What: "new@net.test"}); err != nil {
		t.Fatal(err)
	}
	here := w.list
	for _, l := range []*list.List{other, banned, here} {
		w.list = l
		w.add(list.Member, "old@net.test")
	}
	w.wrote("dev-request@lists.test", "old@net.test", "eve@else.test", "move new@net.test", "") // forged, perhaps
	ask := out.to("old@net.test", "confirm your new address, new@net.test")
	out.to("eve@else.test", "old@net.test was sent what to do next")
	out.none() // the new address hears nothing before the old one has said yes
	w.wrote(tokenIn(t, ask.text), "old@net.test", "", "Re: Please confirm", "Yes.")
	ask = out.to("new@net.test", "confirm your new address, new@net.test")
	out.none()
	if w.memberAs("new@net.test").Role != "" {
		t.Error("it moved before the new address has confirmed")
	}
	w.wrote(tokenIn(t, ask.text), "new@net.test", "", "Re: Please confirm", "Yes.")
	for _, who := range []string{"old@net.test", "new@net.test"} {
		out.to(who, "What was old@net.test's on our lists (2 roles) is now\r\nnew@net.test's")
	}
	out.none()
	for l, want := range map[*list.List]string{here: "new@net.test", other: "new@net.test", banned: "old@net.test"} {
		w.list = l
		if w.memberAs(want).Role == "" {
			t.Errorf("%s is no member of %s", want, l.Address)
		}
	}
	w.list = here
	for _, to := range []string{"move new@net.test", "move dev-owner@lists.test", "move ops@lists.test"} {
		w.wrote("dev-request@lists.test", "new@net.test", "", to, "")
		if text := out.to("new@net.test", "> move").text; !strings.Contains(text, "Not understood") && !strings.Contains(text, "cannot join") {
			t.Errorf("%s: %s", to, text)
		}
	}
	out.none()
}

func TestAMemberIsAwayUntilADay(t *testing.T) {
	w, out := commandWorld(t, "unsubscription_policy=open", "topics_enabled=true", "topics=bugs: bug\nnews: new")
	w.talkative()
	w.add(list.Member, "ann@net.test")
	until := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, 10)
	for _, tt := range []struct {
		command, answer string
		check           func(m list.Membership) bool
	}{
		{"set until=" + until.Format(time.DateOnly), "be sent nothing until " + until.Format(time.DateOnly),
			func(m list.Membership) bool { return m.Status == list.ByUser && m.Until.Equal(until) }},
		{"status", "It is on again on " + until.Format(time.DateOnly), func(m list.Membership) bool { return true }},
		{"set own=off duplicates=off acknowledge=on topics=news,bugs", "posts on these topics: news, bugs", func(m list.Membership) bool {
			return m.NoOwnPosts && m.NoDuplicates && m.AcknowledgePosts && m.Topics == "news\nbugs" && m.Status == list.ByUser
		}},
		{"set own=on topics=all", "be sent your own posts, and be sent posts on all topics", func(m list.Membership) bool { return !m.NoOwnPosts && m.NoDuplicates && m.Topics == "" }},
		{"set delivery=on", "be sent its posts again", func(m list.Membership) bool { return m.Status == list.Enabled && m.Until.IsZero() }},
		{"set until=2020-01-01", "Not understood", func(m list.Membership) bool { return m.Status == list.Enabled }},
		{"set delivery=on until=2099-01-01", "Not understood", func(m list.Membership) bool { return m.Status == list.Enabled }},
		{"set own=maybe", "Not understood", func(m list.Membership) bool { return !m.NoOwnPosts }},
		{"set topics=weather", "Not understood", func(m list.Membership) bool { return m.Topics == "" }},
	} {
		w.wrote("dev-request@lists.test", "ann@net.test", "", tt.command, "")
		if text := unfold(out.to("ann@net.test", "> "+tt.command).text); !strings.Contains(text, tt.answer) {
			t.Errorf("%s: want %q in\n%s", tt.command, tt.answer, text)
		}
		if m := w.memberAs("ann@net.test"); !tt.check(m) {
			t.Errorf("%s: she is %+v", tt.command, m)
		}
	}
}

// unfold is a text as one line.
func unfold(s string) string { return strings.Join(strings.Fields(s), " ") }

func TestWhoJoinsWithoutAModerator(t *testing.T) {
	w, out := commandWorld(t, "subscription_policy=confirm_then_moderate", "subscribe_auto_approval=cy@else.test\n^.*@net\\.test$", "admin_immed_notify=false")
	for who, want := range map[string]list.Status{"Ann@NET.test": list.Enabled, "cy@else.test": list.Enabled, "eve@else.test": "", "eve@net.test.else.test": ""} {
		w.wrote("dev-join@lists.test", who, "", "", "")
		w.wrote(tokenIn(t, out.to(addr(t, who).String(), "Please confirm").text), who, "", "Re: Please confirm", "Yes.")
		if s := w.statusOf(who); s != want {
			t.Errorf("%s is %q, want %q", who, s, want)
		}
	}
	// An alternative is anchored like the first.
	w.set("subscribe_auto_approval=^fay@net\\.test$|gil@net\\.test$")
	w.wrote("dev-join@lists.test", "not.gil@net.test", "", "", "")
	w.wrote(tokenIn(t, out.to("not.gil@net.test", "Please confirm").text), "not.gil@net.test", "", "Re: Please confirm", "Yes.")
	if s := w.statusOf("not.gil@net.test"); s != "" {
		t.Errorf("not.gil is %q", s)
	}
	w.set("subscribe_auto_approval=^.*@net\\.test$")
	// Where it cannot be done by mail otherwise, they can.
	w.set("subscription_policy=closed")
	w.wrote("dev-join@lists.test", "eve2@else.test", "", "", "")
	out.to("eve2@else.test", "cannot join")
	w.wrote("dev-join@lists.test", "eli@net.test", "", "", "")
	w.wrote(tokenIn(t, out.to("eli@net.test", "Please confirm").text), "eli@net.test", "", "Re: Please confirm", "Yes.")
	if s := w.statusOf("eli@net.test"); s != list.Enabled {
		t.Errorf("eli is %q", s)
	}
	// Where nobody else would be asked to confirm, they are: an envelope sender can be forged.
	w.set("subscription_policy=moderate")
	w.wrote("dev-join@lists.test", "dan@net.test", "", "", "")
	out.to("dan@net.test", "Please confirm")
	if s := w.statusOf("dan@net.test"); s != "" {
		t.Errorf("dan is %q before he has confirmed", s)
	}
}
