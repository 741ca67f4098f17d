package stories

import (
	"errors"
	"fmt"
	"net/smtp"
	"net/textproto"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mlist/mlist/test/harness"
)

// withMilter is a Postfix that asks mlist's milter, beside the one of all stories.
func withMilter(t *testing.T) *harness.Postfix {
	t.Helper()
	dir, remove, err := harness.TempDir("milter")
	if err != nil {
		t.Fatal(err)
	}
	p, err := harness.StartPostfix(t.Context(), filepath.Join(dir, "postfix"), harness.PostfixOptions{
		Domain: "lists.test", LMTP: mlist.LMTP, Relay: out.Addr().String(), Milter: mlist.Milter,
	})
	if err != nil {
		remove()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Postfix's log:\n%s", p.Log())
		}
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
		remove()
	})
	return p
}

// dial opens an SMTP session that ends with the test.
func dial(t *testing.T, p *harness.Postfix) *smtp.Client {
	t.Helper()
	c, err := smtp.Dial(p.SMTP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// code is the SMTP code of an answer: 250 if it is no error.
func code(t *testing.T, err error) int {
	t.Helper()
	var reply *textproto.Error
	switch {
	case err == nil:
		return 250
	case errors.As(err, &reply):
		return reply.Code
	}
	t.Fatal(err)
	return 0
}

// post sends a message in a session that goes on, and returns what was said to its end.
func post(t *testing.T, c *smtp.Client, from string, to []string, text string) error {
	t.Helper()
	if err := c.Mail(from); err != nil {
		t.Fatal(err)
	}
	for _, a := range to {
		if err := c.Rcpt(a); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return w.Close()
}

func TestARefusedPostLeavesNoBounceBehind(t *testing.T) {
	p := withMilter(t)
	list := newList(t, []string{"default_nonmember_action=reject"}, three...)
	c := dial(t, p)
	err := post(t, c, "eve@else.test", []string{list}, message(t, "eve@else.test", list, "buy"))
	if code(t, err) != 550 || !strings.Contains(err.Error(), "5.7.1") {
		t.Fatalf("a nonmember's post: %v, want 550 5.7.1", err)
	}
	// In the same session, a member's goes through; so by then the other would have bounced.
	if err := post(t, c, "ann@net.test", []string{list}, message(t, "ann@net.test", list, "lunch")); err != nil {
		t.Fatal(err)
	}
	delivered(t, id(t)+"@net.test", 3)
	if q, err := p.Queue(t.Context()); err != nil || strings.Contains(q, "eve@else.test") {
		t.Errorf("Postfix's queue: %s, %v", q, err)
	}
	for _, tx := range out.Transactions() {
		if slices.Contains(tx.Recipients, "eve@else.test") && strings.Contains(string(tx.Body), list) {
			t.Errorf("mail to the sender:\n%s", tx.Body)
		}
	}
}

func TestARefusedRecipientCostsOthersNothing(t *testing.T) {
	p := withMilter(t)
	list := newList(t, nil, three...)
	other := strings.Replace(list, "@", "-owner@", 1)
	c := dial(t, p)
	if err := c.Mail("ann@net.test"); err != nil {
		t.Fatal(err)
	}
	for _, to := range []struct {
		address string
		want    int
	}{{"nosuch@lists.test", 550}, {list, 250}, {"nosuch2@lists.test", 550}, {other, 250}} {
		if got := code(t, c.Rcpt(to.address)); got != to.want {
			t.Errorf("RCPT %s: %d, want %d", to.address, got, to.want)
		}
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, message(t, "ann@net.test", list, "lunch"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	delivered(t, id(t)+"@net.test", 3)
}

// The milter and the pipeline judge by the same stages: what one says of a message, the
// other says, too.
func TestMilterAndPipelineSayTheSame(t *testing.T) {
	p := withMilter(t)
	big := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1000)
	for i, tt := range []struct {
		name, from string
		settings   []string
		header     string
		body       string
		also       []string // a command before; LIST stands for the list
		envelope   string   // the envelope sender, if it is not from
	}{
		{name: "a member", from: "ann@net.test"},
		{name: "a nonmember that is held", from: "eve@else.test"},
		{name: "a nonmember that is rejected", from: "eve@else.test", settings: []string{"default_nonmember_action=reject"}},
		{name: "a nonmember that is discarded", from: "eve@else.test", settings: []string{"default_nonmember_action=discard"}},
		{name: "a member that is rejected", from: "ann@net.test", settings: []string{"default_member_action=reject"}},
		{name: "a pattern that rejects", from: "eve@else.test", settings: []string{"reject_these_nonmembers=^eve@"}},
		{name: "a member who is a nonmember in From", from: "ann@net.test", header: "Sender: eve@else.test\r\n", settings: []string{"default_nonmember_action=reject"}},
		{name: "too big", from: "ann@net.test", body: big},
		{name: "too many hops", from: "ann@net.test", header: strings.Repeat("Received: from a by b; Tue, 24 Nov 2026 12:00:00 +0000\r\n", 35)},
		{name: "an emergency", from: "ann@net.test", settings: []string{"emergency=true"}},
		{name: "a list that is frozen", from: "ann@net.test", also: []string{"list", "freeze", "LIST"}},
		{name: "a list that is closed", from: "eve@else.test", also: []string{"list", "close", "LIST"}},
		{name: "somebody who is banned", from: "ann@net.test", envelope: "eve@else.test", also: []string{"ban", "add", "--list", "LIST", "eve@else.test"}},
		{name: "somebody whose domain is banned", from: "eve@else.test", also: []string{"ban", "add", "--list", "LIST", "@else.test"}},
		{name: "an author who is banned", from: "eve@else.test", envelope: "ann@net.test", also: []string{"ban", "add", "--list", "LIST", "eve@else.test"}},
		{name: "few write, by the envelope", from: "ann@net.test", settings: []string{"sender_headers=envelope", "default_member_action=reject"}},
		{name: "few write, and this is one", from: "eve@else.test", envelope: "ann@net.test", settings: []string{"sender_headers=envelope", "default_nonmember_action=reject"}},
		{name: "an announcement list", from: "ann@net.test", settings: []string{"--style=announce"}},
		{name: "a folded subject", from: "eve@else.test", header: "Subject: one\r\n two\r\n", settings: []string{"default_nonmember_action=reject"}},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "-"), func(t *testing.T) {
			list := fmt.Sprintf("same%d@lists.test", i)
			command(t, append([]string{"list", "create", list}, tt.settings...)...)
			command(t, append([]string{"member", "add", list}, three...)...)
			if tt.also != nil {
				command(t, strings.Fields(strings.ReplaceAll(strings.Join(tt.also, " "), "LIST", list))...)
			}
			if tt.envelope == "" {
				tt.envelope = tt.from
			}
			text := tt.header + message(t, tt.from, list, "hello") + tt.body
			c := dial(t, p)
			if err := c.Mail(tt.envelope); err != nil {
				t.Fatal(err)
			}
			early := code(t, c.Rcpt(list))
			said := post(t, dial(t, p), tt.envelope, []string{list}, text)
			want := 250
			// What is refused at RCPT fares no better later; a discard needs no words there.
			switch verdict := tryStatus(t, list, tt.envelope, text); {
			case verdict == 11, verdict == 12 && early == 550:
				want = 550
			case early != 250:
				t.Errorf("RCPT was answered with %d, and the pipeline's verdict is worth %d", early, verdict)
			}
			if got := code(t, said); got != want {
				t.Errorf("the milter said %d (%v), the pipeline's verdict is worth %d", got, said, want)
			}
		})
	}
}

// tryStatus is the exit status of `mlist try`: 0 accept, 10 hold, 11 reject, 12 discard.
func tryStatus(t *testing.T, list, from, text string) int {
	t.Helper()
	_, err := mlist.Command(t.Context(), strings.NewReader(text), "try", "--list", list, "--from", from)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	t.Fatal(err)
	return 0
}

func TestWithoutTheMilterMailWaits(t *testing.T) {
	p := withMilter(t)
	list := newList(t, []string{"default_nonmember_action=reject"}, three...)
	if err := mlist.Stop(); err != nil {
		t.Fatal(err)
	}
	c := dial(t, p)
	err := c.Mail("ann@net.test")
	if err == nil {
		err = c.Rcpt(list)
	}
	if got := code(t, err); got/100 != 4 {
		t.Errorf("with mlist stopped: %v, want 4xx", err)
	}
	if err := mlist.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := post(t, dial(t, p), "ann@net.test", []string{list}, message(t, "ann@net.test", list, "lunch")); err != nil {
		t.Fatal(err)
	}
	delivered(t, id(t)+"@net.test", 3)
}
