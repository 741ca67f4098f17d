package pipeline

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// member is one of the list's members.
func (w *world) member(who string) list.Membership {
	w.t.Helper()
	ms, err := w.store.Memberships(w.t.Context(), w.list.ID, []address.Address{addr(w.t, who)})
	if err != nil || len(ms) == 0 {
		w.t.Fatalf("%s: %v, %v", who, ms, err)
	}
	return ms[0]
}

func TestWhoIsToldWhoTheMembersAre(t *testing.T) {
	for _, tt := range []struct {
		name, visibility, from, env, cmd string
		told                             bool
	}{
		{"a moderator", "moderators", "mod@x.test", "", "who", true},
		{"an owner", "moderators", "boss@x.test", "", "review", true},
		{"a member", "moderators", "ann@net.test", "", "who", false},
		{"a member, of a list that tells them", "members", "ann@net.test", "", "who", true},
		{"a stranger", "members", "eve@net.test", "", "who", false},
		{"a stranger, of a list that tells all", "public", "eve@net.test", "", "who", true},
		{"a stranger who says to be a member", "members", "ann@net.test", "eve@net.test", "who", false},
		{"a stranger who says to be an owner", "moderators", "boss@x.test", "eve@net.test", "who", false},
		{"a moderator, of some", "moderators", "mod@x.test", "", "who mode=regular delivery=enabled", true},
		{"a moderator, of others", "moderators", "mod@x.test", "", "who delivery=by_user", false},
		{"a member, of some", "members", "ann@net.test", "", "who delivery=enabled", false},
		{"of what is no mode", "moderators", "mod@x.test", "", "who mode=each", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, out := commandWorld(t, "member_roster_visibility="+tt.visibility)
			w.add(list.Moderator, "mod@x.test")
			w.add(list.Member, "ann@net.test", "bob@hidden.test")
			w.wrote("dev-request@lists.test", tt.from, tt.env, tt.cmd, "")
			to := tt.env
			if to == "" {
				to = tt.from
			}
			if text := out.to(to, "> "+tt.cmd).text; strings.Contains(text, "bob@hidden.test") != tt.told {
				t.Errorf("told: %t, want %t:\n%s", !tt.told, tt.told, text)
			}
			out.none()
		})
	}
}

func TestALongRosterIsCut(t *testing.T) {
	w, out := commandWorld(t, "member_roster_visibility=public")
	var many []string
	for i := range maxRoster + 7 {
		many = append(many, fmt.Sprintf("m%d@n.test", i))
	}
	w.add(list.Member, many...)
	w.wrote("dev-request@lists.test", "ann@net.test", "", "who", "")
	if text := out.to("ann@net.test", "> who").text; !strings.Contains(text, "and 7 more.") || len(text) > maxReport+4096 {
		t.Errorf("%d octets, which end in %q", len(text), text[max(0, len(text)-300):])
	}
}

func TestWhatListsTell(t *testing.T) {
	w, out := commandWorld(t, "description=About dev", "archive_url=https://a.test/dev/")
	other := func(local string, settings map[string]*string) {
		t.Helper()
		l := &list.List{Address: addr(t, local+"@lists.test"), Settings: list.Defaults()}
		if err := w.store.CreateList(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		if _, err := w.store.ChangeList(t.Context(), l.Address, settings); err != nil {
			t.Fatal(err)
		}
	}
	no := "false"
	other("ops", nil)
	other("secret", map[string]*string{"advertised": &no})
	w.add(list.Member, "ann@net.test")
	w.wrote("dev-request@lists.test", "Ann <ann@net.test>", "ann@net.test", "", "info\nlists\nstatus")
	text := out.to("ann@net.test", "> info").text
	for _, want := range []string{"dev@lists.test: About dev\r\n", "dev-join@lists.test (you are asked to confirm)", "https://a.test/dev/", "  ops@lists.test\r\n",
		"ann@net.test is a member since 20", "receives each post; delivery is on."} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "secret") {
		t.Error("a list that is not advertised is named")
	}
	w.wrote("dev-request@lists.test", "ann@net.test", "eve@net.test", "status", "")
	out.to("eve@net.test", "eve@net.test is no member")
	out.none()
}

func TestAMemberChangesWhatTheyReceive(t *testing.T) {
	w, out := commandWorld(t)
	w.add(list.Member, "ann@net.test")
	w.wrote("dev-request@lists.test", "ann@net.test", "", "set delivery=off", "")
	if m := w.member("ann@net.test"); m.Status != list.Enabled {
		t.Errorf("ann is %s before she has confirmed", m.Status)
	}
	ask := out.to("ann@net.test", "to stay a member of the list dev@lists.test, and be sent nothing for now.")
	out.to("ann@net.test", "> set")
	w.wrote(tokenIn(t, ask.text), "ann@net.test", "", "Re: yes", "")
	out.to("ann@net.test", "It is done.")
	if m := w.member("ann@net.test"); m.Status != list.ByUser {
		t.Errorf("ann is %s", m.Status)
	}
	out.none()

	w.set("unsubscription_policy=open")
	w.wrote("dev-request@lists.test", "bea@net.test", "", "", "set delivery=on digest=mime")
	out.to("bea@net.test", "Nothing has changed: bea@net.test is no member")
	w.wrote("dev-request@lists.test", "ann@net.test", "ann@other.test", "", "set delivery=on digest=mime")
	out.to("ann@other.test", "ann@net.test was sent what to do next")
	out.none() // ann was sent enough today
	w.add(list.Member, "cy@net.test")
	w.wrote("dev-request@lists.test", "cy@net.test", "", "", "set delivery=off digest=mime")
	out.to("cy@net.test", "be sent nothing for now, and receive MIME digests. It is done.")
	if m := w.member("cy@net.test"); m.Status != list.ByUser || m.Mode != list.MIMEDigest {
		t.Errorf("cy is %+v", m)
	}
	for _, wrong := range []string{"set delivery=perhaps", "set digest=", "set colour=red"} {
		who := fmt.Sprintf("x%d@net.test", len(wrong))
		w.wrote("dev-request@lists.test", who, "", wrong, "")
		out.to(who, "Not understood: set")
	}
	out.none()
}

// TestAForgedReplyChangesNothing: tokens that somebody guesses or uses elsewhere.
func TestAForgedReplyChangesNothing(t *testing.T) {
	w, out := commandWorld(t)
	w.add(list.Member, "ann@net.test")
	w.wrote("dev-leave@lists.test", "ann@net.test", "", "", "")
	token := tokenIn(t, out.to("ann@net.test", "Please confirm").text)
	wrong := strings.Replace(token, "@", "x@", 1)
	for _, to := range []string{wrong, "dev-confirm@lists.test", "dev-confirm+*@lists.test"} {
		w.wrote(to, "eve@net.test", "", "Re: yes", "")
		out.to("boss@x.test", "Subject: Re: yes") // to people, since it does nothing
	}
	w.wrote("dev-confirm+"+strings.Repeat("a", 16)+"@lists.test", "eve@net.test", "", "Re: yes", "")
	out.to("eve@net.test", "Nothing waits for this token")
	out.none()
	if s := w.statusOf("ann@net.test"); s != list.Enabled {
		t.Errorf("ann is %q", s)
	}
	for r, err := range w.store.Requests(context.Background(), w.list.ID, w.clock()) {
		if err != nil || r.Want != store.WantLeave {
			t.Errorf("%+v, %v", r, err)
		}
	}
}
