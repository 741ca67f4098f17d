package pipeline

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// wroteSite puts a message to the site's own address, and waits until it is done.
func (w *world) wroteSite(from, env, subject, text string, extra ...string) {
	w.t.Helper()
	if env == "" {
		env = from
	}
	d, err := w.spool.Create(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer d.Close()
	if _, err := fmt.Fprintf(d, "From: %s\r\nTo: mlist@lists.test\r\nSubject: %s\r\nMessage-ID: <x@net.test>\r\n%s\r\n%s\r\n", from, subject, strings.Join(extra, ""), text); err != nil {
		w.t.Fatal(err)
	}
	_, err = d.Put(w.t.Context(), spool.Incoming, "", spool.Envelope{List: "mlist@lists.test", Role: string(address.RoleSite), Key: segment.KeyOf("mlist@lists.test"),
		Sender: strings.TrimSpace(env), Recipient: "mlist@lists.test", Received: w.clock()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.idle()
}

func siteWorld(t *testing.T) (*world, *outbox) {
	w, out := commandWorld(t)
	w.talkative()
	w.otherList("ops@lists.test", "ann@net.test")
	w.otherList("secret@lists.test", "cy@net.test")
	if err := w.change("secret@lists.test", "advertised", "false"); err != nil {
		t.Fatal(err)
	}
	if err := w.change("ops@lists.test", "preferred_language", "de"); err != nil {
		t.Fatal(err)
	}
	return w, out
}

func TestTheSiteTellsOfItsLists(t *testing.T) {
	w, out := siteWorld(t)
	w.add(list.Moderator, "ann@net.test")
	w.wroteSite("ann@net.test", "", "lists", "which\nwho dev\nwho nolist\nset dev\n")
	got := out.to("ann@net.test", "> lists\r\n  dev@lists.test\r\n  ops@lists.test\r\n")
	for _, want := range []string{
		"From: mlist <mlist@lists.test>\r\n", "Auto-Submitted: auto-replied\r\n", "X-Loop: mlist@lists.test\r\n", "nobody reads mail to mlist@lists.test",
		"dev@lists.test:\r\nann@net.test is a moderator.\r\nops@lists.test:\r\nann@net.test is a member since",
		"> who dev\r\n0 in all.", "There is no list nolist@lists.test here.", "Not understood: set [delivery",
	} {
		if !strings.Contains(got.text, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if strings.Contains(got.text, "secret") || got.sender != "" || t.Failed() {
		t.Errorf("from %q:\n%s", got.sender, got.text)
	}
	w.wroteSite("new@net.test", "", "which", "")
	out.to("new@net.test", "new@net.test is on no list here")
	w.wroteSite("new@net.test", "", "Hello", "Is anybody there?")
	out.to("new@net.test", "subscribe LIST")
	out.none()
}

func TestTheSiteSubscribesToLists(t *testing.T) {
	w, out := siteWorld(t)
	w.wroteSite("Bob <bob@net.test>", "bob@net.test", "", "subscribe dev digest=mime\nsubscribe OPS@lists.test\nsubscribe dev@else.test\nunsubscribe dev\n")
	dev := out.to("bob@net.test", "Please confirm that you want to join dev@lists.test")
	if tokenIn(t, dev.text)[:12] != "dev-confirm+" || !strings.Contains(dev.text, "From: dev <dev-owner@lists.test>") {
		t.Errorf("dev asks\n%s", dev.text)
	}
	ops := out.to("bob@net.test", "die Liste ops@lists.test abonnieren") // that list's language
	told := out.to("bob@net.test", "> subscribe dev digest=mime\r\nbob@net.test was sent what to do next")
	for _, want := range []string{"There is no list dev@else.test here.", "> unsubscribe dev\r\nbob@net.test is no member of dev@lists.test"} {
		if !strings.Contains(told.text, want) {
			t.Errorf("it does not say %q:\n%s", want, told.text)
		}
	}
	out.none()
	w.wrote(tokenIn(t, dev.text), "bob@net.test", "", "Re: Please confirm", "Yes.")
	out.to("bob@net.test", "Welcome to dev@lists.test")
	if m := w.memberAs("bob@net.test"); m.Mode != list.MIMEDigest || m.DisplayName != "Bob" {
		t.Errorf("bob is %+v", m)
	}
	if to := tokenIn(t, ops.text); !strings.HasPrefix(to, "ops-confirm+") {
		t.Errorf("ops wants its answer at %s", to)
	}
	w.wroteSite("bob@net.test", "", "move new@net.test", "")
	move := out.to("bob@net.test", "confirm your new address, new@net.test")
	out.to("bob@net.test", "> move new@net.test")
	w.wrote(tokenIn(t, move.text), "bob@net.test", "", "", "Yes.")
	w.wrote(tokenIn(t, out.to("new@net.test", "confirm your new address").text), "new@net.test", "", "", "Yes.")
	out.to("new@net.test", "new@net.test")
	out.to("bob@net.test", "new@net.test")
	out.none()
	if m := w.memberAs("new@net.test"); m.Mode != list.MIMEDigest {
		t.Errorf("who was bob is %+v", m)
	}
	w.wroteSite("noone@net.test", "", "move new@net.test", "") // is told the same as who is on a list
	out.to("noone@net.test", "noone@net.test was sent what to do next")
	out.none()
}

// TestTheSiteIsNoWayToMailOthers: what one message leads to is counted, whatever it names.
func TestTheSiteIsNoWayToMailOthers(t *testing.T) {
	w, out := commandWorld(t)
	var commands []string
	for i := range 8 {
		name := fmt.Sprintf("l%d@lists.test", i)
		w.otherList(name, "cy@net.test")
		commands = append(commands, "subscribe "+name+" address=victim@net.test")
	}
	w.wroteSite("victim@net.test", "eve@else.test", "", strings.Join(commands, "\n"))
	w.wroteSite("victim@net.test", "eve@else.test", "", strings.Join(commands, "\n"))
	out.collect()
	n := 0
	for _, m := range out.mail {
		if m.to == "victim@net.test" {
			n++
		}
	}
	if n != 2 { // notices_per_day of these tests
		t.Errorf("the victim is sent %d mails, want 2", n)
	}
	for _, tt := range []struct{ name, sender, field, subject string }{
		{"the null sender", " ", "", "help"}, {"an automatic reply", "ann@net.test", "Auto-Submitted: auto-replied\r\n", "help"}, {"list mail", "ann@net.test", "List-Id: <x.test>\r\n", "help"},
		{"an out-of-office message", "ann@net.test", "", "Out of office"}, {"its own mail", "ann@net.test", "X-Loop: mlist@lists.test\r\n", "help"},
		{"another's answers", "mlist-bounces@else.test", "", "help"},
	} {
		out.mail = nil
		w.wroteSite("ann@net.test", tt.sender, tt.subject, "", tt.field)
		if out.collect(); len(out.mail) > 0 {
			t.Errorf("%s is answered: %+v", tt.name, out.mail)
		}
	}
}
