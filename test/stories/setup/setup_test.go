// Package setup plays how mlist is wired to a Postfix that knows nothing of it: a dedicated
// domain, a domain that also has users, a check with a probe, and back again.
package setup

import (
	"context"
	"fmt"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/test/harness"
	"github.com/mlist/mlist/test/tools/sink"
)

type world struct {
	t       *testing.T
	mlist   *harness.Mlist
	postfix *harness.Postfix
	sink    *sink.Server
}

func build(t *testing.T) *world {
	t.Helper()
	if err := harness.FindPostfix(); err != nil {
		t.Skip(err)
	}
	ctx := context.Background()
	dist, err := harness.Build(ctx)
	if err != nil {
		t.Fatal(err)
	}
	dir, remove, err := harness.TempDir("setup")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remove)
	w := &world{t: t}
	if w.sink, err = sink.Listen("127.0.0.1:0", sink.Options{Record: sink.Memory}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.sink.Close() })
	if w.postfix, err = harness.StartPostfix(ctx, filepath.Join(dir, "postfix"), harness.PostfixOptions{Bare: true, LMTP: filepath.Join(dir, "mlist", "run", "lmtp.sock"), Relay: w.sink.Addr().String()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.postfix.Stop() })
	if w.mlist, err = harness.Install(filepath.Join(dir, "mlist"), dist, harness.Options{MTA: w.postfix.HandBack, Set: map[string]string{"lmtpd.max_message_size": `"60MB"`}}); err != nil {
		t.Fatal(err)
	}
	if err := w.mlist.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.mlist.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("mlist's log:\n%s\nPostfix's log:\n%s", w.mlist.Log(), w.postfix.Log())
		}
	})
	return w
}

// run runs mlist, and returns all that it said.
func (w *world) run(status int, args ...string) string {
	w.t.Helper()
	cmd := exec.Command(w.mlist.Bin, append([]string{"--config", w.mlist.Config}, args...)...)
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != status {
		w.t.Fatalf("mlist %s: exit status %d, want %d\n%s", strings.Join(args, " "), cmd.ProcessState.ExitCode(), status, out)
	}
	return string(out)
}

func (w *world) file(name string) string {
	w.t.Helper()
	out, err := exec.Command("postconf", "-c", w.postfix.Etc(), "-n").Output()
	if name == "master.cf" {
		out, err = exec.Command("postconf", "-c", w.postfix.Etc(), "-M").Output()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return string(out)
}

func (w *world) post(from, to, subject string) error {
	text := fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <%s@net.test>\r\nDate: Tue, 24 Nov 2026 12:00:00 +0000\r\n\r\nHello.\r\n", from, to, subject, subject)
	return smtp.SendMail(w.postfix.SMTP, nil, from, []string{to}, []byte(text))
}

// arrives waits until the sink has mail for an address.
func (w *world) arrives(rcpt, subject string) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, m := range w.sink.Transactions() {
			if m.MessageID == subject+"@net.test" && slices.Contains(m.Recipients, rcpt) {
				return
			}
		}
	}
	w.t.Fatalf("%s did not get %q", rcpt, subject)
}

func TestADomainOfListsIsSetUpCheckedAndTakenBack(t *testing.T) {
	w := build(t)
	before, services := w.file("main.cf"), w.file("master.cf")
	etc := "--postfix=" + w.postfix.Etc()

	shown := w.run(0, "postfix", "setup", "--domain", "lists.test", etc)
	if !strings.Contains(shown, "Nothing was changed") || w.file("main.cf") != before || w.file("master.cf") != services {
		t.Fatalf("without --apply it changed something, or does not say that it did not:\n%s", shown)
	}
	w.run(0, "postfix", "setup", "--domain", "lists.test", "--apply", etc)
	if again := w.run(0, "postfix", "setup", "--domain", "lists.test", etc); !strings.Contains(again, "has all that mlist needs") {
		t.Errorf("a second time it wants:\n%s", again)
	}
	// A list that is made now works at once, with nobody's hand.
	w.run(0, "list", "create", "dev@lists.test", "default_nonmember_action=accept")
	w.run(0, "member", "add", "dev@lists.test", "bob@net.test")
	if err := w.post("ann@net.test", "dev@lists.test", "one"); err != nil {
		t.Fatal(err)
	}
	w.arrives("bob@net.test", "one")
	if err := w.post("ann@net.test", "nobody@lists.test", "two"); err == nil || !strings.HasPrefix(err.Error(), "550 \"5.1.1") {
		t.Errorf("an unknown list: %v", err)
	}
	if out := w.run(0, "postfix", "check", etc, "--smtp", w.postfix.SMTP); !strings.Contains(out, "fit together") {
		t.Errorf("check: %s", out)
	}
	if out := w.run(0, "list", "ls"); strings.Contains(out, "probe") {
		t.Errorf("the probe's list is still there:\n%s", out)
	}
	if out := w.run(0, "status"); strings.Contains(out, "PROBLEM") {
		t.Errorf("after the probe:\n%s", out)
	}
	// An alias of the machine's own users goes where it went before.
	w.run(0, "postfix", "setup", "--undo", etc)
	if after := w.file("main.cf"); after != before {
		t.Errorf("after --undo main.cf has:\n%s\nbefore it had:\n%s", after, before)
	}
	if after := w.file("master.cf"); after != services {
		t.Errorf("after --undo master.cf has:\n%s", after)
	}
}

func TestListsBesideUsers(t *testing.T) {
	w := build(t)
	etc := "--postfix=" + w.postfix.Etc()
	w.run(0, "list", "create", "dev@users.test", "default_nonmember_action=accept")
	w.run(0, "member", "add", "dev@users.test", "bob@net.test")
	out := w.run(0, "postfix", "setup", "--domain", "users.test", "--apply", etc)
	if !strings.Contains(out, "local_recipient_maps") || strings.Contains(out, "relay_domains") {
		t.Errorf("setup of a domain with users:\n%s", out)
	}
	if err := w.post("ann@net.test", "dev@users.test", "three"); err != nil {
		t.Fatal(err)
	}
	w.arrives("bob@net.test", "three")
	if err := w.post("ann@net.test", "nobody@users.test", "four"); err == nil || !strings.HasPrefix(err.Error(), "550 \"5.1.1") {
		t.Errorf("an unknown address: %v", err)
	}
	if hop, _ := exec.Command("postmap", "-c", w.postfix.Etc(), "-q", "ann@users.test", "hash:"+filepath.Join(w.mlist.Dir, "postfix", "transport")).Output(); len(hop) > 0 {
		t.Errorf("a user's mail goes to %s", hop)
	}
	w.run(0, "list", "delete", "dev@users.test", "--yes")
	if err := w.post("ann@net.test", "dev@users.test", "five"); err == nil {
		t.Error("a deleted list still takes mail")
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	w := build(t)
	etc := "--postfix=" + w.postfix.Etc()
	w.run(0, "list", "create", "dev@lists.test")
	says := func(want string) {
		t.Helper()
		if out := w.run(1, "postfix", "check", "--no-probe", etc); !strings.Contains(out, want) {
			t.Errorf("check does not say %q:\n%s", want, out)
		}
	}
	says(`master.cf has no service "mlist"`)
	says("lists.test, which Postfix does not know as its own")
	says("the hand-back port (outbound.mta)")
	w.run(0, "postfix", "setup", "--domain", "lists.test", "--apply", etc)
	for _, wrong := range []struct{ param, value, want string }{
		{"recipient_delimiter", "-", "have a + in their address"},
		{"relay_recipient_maps", "", "mail to unknown lists is taken"},
		{"transport_maps", "", "not to mlist"},
		{"message_size_limit", "100000000", "is taken and then bounced"},
		{"smtpd_milters", "unix:/nowhere/mlist.sock", "There is no socket at /nowhere/mlist.sock"},
		{"mydestination", "lists.test", "is in both relay_domains and mydestination"},
	} {
		old, err := exec.Command("postconf", "-c", w.postfix.Etc(), "-h", wrong.param).Output()
		if err != nil {
			t.Fatal(err)
		}
		set := func(value string) {
			if out, err := exec.Command("postconf", "-c", w.postfix.Etc(), "-e", wrong.param+" = "+value).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		set(wrong.value)
		says(wrong.want)
		set(strings.TrimSpace(string(old)))
	}
	if err := os.Remove(filepath.Join(w.mlist.Dir, "postfix", "recipients")); err != nil {
		t.Fatal(err)
	}
	says("missing or half made")
	w.run(0, "postfix", "tables")
	w.run(0, "postfix", "check", "--no-probe", etc)
}
