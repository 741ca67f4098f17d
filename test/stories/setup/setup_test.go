// Package setup plays how mlist is wired to a Postfix that knows nothing of it: a dedicated
// domain, a domain that also has users, a check with a probe, and back again.
package setup

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// differs is how an installation is not the default one.
type differs struct {
	chroot bool              // of smtpd
	main   string            // lines of main.cf
	set    map[string]string // of mlist.toml
}

func build(t *testing.T, differs differs) *world {
	t.Helper()
	t.Parallel() // most of the time Postfix waits until its files are a second old
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
	if w.postfix, err = harness.StartPostfix(ctx, filepath.Join(dir, "postfix"), harness.PostfixOptions{Bare: true, Chroot: differs.chroot, Main: differs.main, LMTP: filepath.Join(dir, "mlist", "run", "lmtp.sock"), Relay: w.sink.Addr().String()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.postfix.Stop() })
	set := map[string]string{"lmtpd.max_message_size": `"60MB"`}
	maps.Copy(set, differs.set)
	if w.mlist, err = harness.Install(filepath.Join(dir, "mlist"), dist, harness.Options{MTA: w.postfix.HandBack, Set: set}); err != nil {
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

// doctor is what mlist doctor finds wrong, but for how full this machine's disk is.
func (w *world) doctor(args ...string) (causes []string) {
	w.t.Helper()
	out, _ := exec.Command(w.mlist.Bin, append([]string{"--config", w.mlist.Config, "--json", "doctor", "--no-dns", "--probe"}, args...)...).Output() // the status says that there are some
	var found []struct{ Cause string }
	if err := json.Unmarshal(out, &found); err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
	for _, f := range found {
		if !strings.Contains(f.Cause, " of the disk of ") {
			causes = append(causes, f.Cause)
		}
	}
	return causes
}

func (w *world) restart() {
	w.t.Helper()
	if err := w.mlist.Stop(); err != nil {
		w.t.Fatal(err)
	}
	if err := w.mlist.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
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

// soon is post right after a change of Postfix's configuration: an smtpd that was waiting for
// a client serves one more by the old one.
func (w *world) soon(from, to, subject string) {
	w.t.Helper()
	err := w.post(from, to, subject)
	for end := time.Now().Add(time.Minute); err != nil && time.Now().Before(end); err = w.post(from, to, subject) {
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// arrives waits until the sink has mail for an address.
func (w *world) arrives(rcpt, subject string) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, m := range w.sink.Transactions() {
			if m.MessageID == subject+"@net.test" && slices.Contains(m.Recipients, rcpt) {
				return
			}
		}
	}
	w.t.Fatalf("%s did not get %q", rcpt, subject)
}

func TestADomainOfListsIsSetUpCheckedAndTakenBack(t *testing.T) {
	w := build(t, differs{})
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
	w.soon("ann@net.test", "dev@lists.test", "one")
	w.arrives("bob@net.test", "one")
	if err := w.post("ann@net.test", "nobody@lists.test", "two"); err == nil || !strings.HasPrefix(err.Error(), "550 \"5.1.1") {
		t.Errorf("an unknown list: %v", err)
	}
	if out := w.run(0, "postfix", "check", etc, "--smtp", w.postfix.SMTP); !strings.Contains(out, "fit together") {
		t.Errorf("check: %s", out)
	}
	if causes := w.doctor(etc, "--smtp", w.postfix.SMTP); len(causes) > 0 {
		t.Errorf("doctor: %q", causes)
	}
	if causes := w.doctor(etc, "--smtp", w.postfix.HandBack); len(causes) != 1 || !strings.Contains(causes[0], "Postfix does not refuse mail to mlist-probe-") {
		t.Errorf("doctor, with a port that refuses nobody: %q", causes)
	}
	if out := w.run(0, "list", "ls"); strings.Contains(out, "probe") {
		t.Errorf("the probe's list is still there:\n%s", out)
	}
	out, _ := exec.Command(w.mlist.Bin, "--config", w.mlist.Config, "status").CombinedOutput() // the status says that there are problems
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "PROBLEM") && !strings.Contains(line, " of the disk ") {
			t.Errorf("after the probe:\n%s", out)
		}
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
	w := build(t, differs{})
	etc := "--postfix=" + w.postfix.Etc()
	w.run(0, "list", "create", "dev@users.test", "default_nonmember_action=accept")
	w.run(0, "member", "add", "dev@users.test", "bob@net.test")
	out := w.run(0, "postfix", "setup", "--domain", "users.test", "--apply", etc)
	if !strings.Contains(out, "local_recipient_maps") || strings.Contains(out, "relay_domains") {
		t.Errorf("setup of a domain with users:\n%s", out)
	}
	w.soon("ann@net.test", "dev@users.test", "three")
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

// Postfixes that were there before, with all that people put into them: lists work, and what
// is no list's goes where it went.
func TestOtherMailGoesWhereItWent(t *testing.T) {
	for name, tt := range map[string]struct {
		main           string
		domain         string
		takes, refuses []string
	}{
		"virtual users whom nobody has listed": {
			main:   "virtual_mailbox_domains = lists.test\nvirtual_transport = discard:\n",
			domain: "lists.test", takes: []string{"ann@lists.test", "ann@users.test", "postmaster@lists.test"}, refuses: []string{"nobody@users.test"},
		},
		"a catch-all": {
			main:   "virtual_mailbox_domains = lists.test\nvirtual_mailbox_maps = inline:{ {ann@lists.test=x} }\nvirtual_alias_maps = inline:{ {@lists.test=ann@lists.test} }\nvirtual_transport = discard:\n",
			domain: "lists.test", takes: []string{"nobody@lists.test"},
		},
		"all domains of somebody are relayed": {
			main:   "relay_domains = test\nrelay_transport = discard:\ntransport_maps = inline:{ {.test=discard:} }\n",
			domain: "lists.test", takes: []string{"ann@other.test", "ann@users.test", "postmaster@lists.test", "abuse@lists.test"}, refuses: []string{"nobody@lists.test", "nobody@users.test"},
		},
		"a next hop for every address": {
			main:   "relay_domains = other.test\ntransport_maps = regexp:{ {/./ discard:} }\nmilter_protocol = 2\n",
			domain: "lists.test", takes: []string{"ann@other.test"}, refuses: []string{"nobody@lists.test"},
		},
		"letters that are not ASCII": {domain: "bücher.test", takes: []string{"dev@xn--bcher-kva.test", "dev-bounces+x=y.test@xn--bcher-kva.test"}, refuses: []string{"nobody@xn--bcher-kva.test"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := build(t, differs{main: tt.main})
			etc := "--postfix=" + w.postfix.Etc()
			before := w.bytes()
			w.run(0, "list", "create", "dev@"+tt.domain, "default_nonmember_action=accept")
			w.run(0, "member", "add", "dev@"+tt.domain, "bob@lists.example")
			w.run(0, "postfix", "setup", "--domain", tt.domain, "--apply", etc)
			list := "dev@" + strings.ReplaceAll(tt.domain, "bücher", "xn--bcher-kva")
			w.soon("ann@net.test", list, "odd")
			if name != "a next hop for every address" {
				w.arrives("bob@lists.example", "odd")
			}
			for _, to := range append(tt.takes, strings.Replace(list, "@", "-bounces+x=y.test@", 1)) {
				if err := w.post("ann@net.test", to, "to"); err != nil {
					t.Errorf("to %s: %v", to, err)
				}
			}
			for _, to := range tt.refuses {
				if err := w.post("ann@net.test", to, "to"); err == nil || !strings.HasPrefix(err.Error(), "550 ") {
					t.Errorf("to %s: %v", to, err)
				}
			}
			w.kept("dev@" + tt.domain)
			if out := w.run(0, "postfix", "check", etc, "--no-probe"); !strings.Contains(out, "fit together") {
				t.Errorf("check: %s", out)
			}
			w.run(0, "postfix", "setup", "--undo", etc)
			if after := w.bytes(); after != before {
				t.Errorf("after --undo:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

// bytes are those of Postfix's files.
func (w *world) bytes() string {
	w.t.Helper()
	var out []byte
	for _, name := range []string{"main.cf", "master.cf"} {
		b, err := os.ReadFile(filepath.Join(w.postfix.Etc(), name))
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, b...)
	}
	return string(out)
}

// kept waits until mlist has kept a post and a bounce of a list.
func (w *world) kept(list string) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		log := w.mlist.Log()
		if strings.Contains(log, "list="+list+" role=post") && strings.Contains(log, "list="+list+" role=bounces") {
			return
		}
	}
	w.t.Fatalf("mlist has no post and no bounce of %s", list)
}

// handedBack is what Postfix logs of a message that comes in at the hand-back port.
var handedBack = regexp.MustCompile(`postfix/mlist/smtpd\[\d+\]: [0-9A-Za-z]+: client=`)

// Lists in several domains, mail in over TCP; each member's own return path costs Postfix a message for all of them.
func TestSeveralDomainsOverTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().String()
	l.Close() // free for mlist
	w := build(t, differs{set: map[string]string{"lmtpd.listen": fmt.Sprintf(`["tcp:%s"]`, port)}})
	etc := "--postfix=" + w.postfix.Etc()
	w.run(0, "postfix", "setup", "--domain", "a.test", "--domain", "b.test", "--apply", etc)
	w.run(0, "postfix", "setup", "--domain", "c.test", "--apply", etc) // one more, later
	for _, d := range []string{"a.test", "b.test", "c.test"} {
		w.run(0, "list", "create", "dev@"+d, "default_nonmember_action=accept", "verp_delivery_interval=1")
		w.run(0, "member", "add", "dev@"+d, "bob@net.test", "cy@net.test")
		w.soon("ann@net.test", "dev@"+d, "to."+d)
		w.arrives("bob@net.test", "to."+d)
		w.arrives("cy@net.test", "to."+d)
		if err := w.post("ann@net.test", "nobody@"+d, "no."+d); err == nil || !strings.HasPrefix(err.Error(), "550 \"5.1.1") {
			t.Errorf("an unknown list in %s: %v", d, err)
		}
	}
	for _, tail := range []string{"+bob=net.test@a.test", "+cy=net.test@c.test"} {
		if !slices.ContainsFunc(w.sink.Transactions(), func(m sink.Transaction) bool {
			return strings.HasPrefix(m.Sender, "dev-bounces+") && strings.HasSuffix(m.Sender, tail)
		}) {
			t.Errorf("no mail from dev-bounces+…%s", tail)
		}
	}
	if n := len(handedBack.FindAllString(w.postfix.Log(), -1)); n != 3 {
		t.Errorf("3 posts to 2 members each were handed back as %d messages", n)
	}
	if out := w.run(0, "postfix", "check", etc, "--no-probe"); !strings.Contains(out, "fit together") {
		t.Errorf("check: %s", out)
	}
	if err := w.mlist.Stop(); err != nil {
		t.Fatal(err)
	}
	if out := w.run(1, "postfix", "check", etc, "--no-probe"); !strings.Contains(out, "Nobody answers at "+port+" (lmtpd.listen)") {
		t.Errorf("check of a stopped mlist: %s", out)
	}
}

// As Debian has it: smtpd sees nothing but the queue directory, and the milter's socket must be there.
func TestSmtpdInAChrootAsksTheMilter(t *testing.T) {
	w := build(t, differs{chroot: true})
	etc := "--postfix=" + w.postfix.Etc()
	out := w.run(0, "postfix", "setup", "--domain", "lists.test", "--apply", etc)
	if !strings.Contains(out, "milter.listen has unix:"+filepath.Join(w.postfix.Dir, "spool", "mlist", "milter.sock")) {
		t.Errorf("setup does not say that the milter needs a socket in the chroot:\n%s", out)
	}
	// Where mlist has a user of its own, setup puts Postfix into its group; here it is root.
	if err := os.Chmod(filepath.Join(w.postfix.Dir, "spool", "mlist"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.run(0, "list", "create", "dev@lists.test", "default_nonmember_action=reject")
	w.run(0, "member", "add", "dev@lists.test", "bob@net.test")
	if out := w.run(0, "postfix", "check", etc, "--smtp", w.postfix.SMTP); !strings.Contains(out, "fit together") {
		t.Errorf("check: %s", out)
	}
	if err := w.post("eve@net.test", "dev@lists.test", "six"); err == nil || !strings.Contains(err.Error(), "not members") {
		t.Errorf("a nonmember's post: %v", err)
	}
	if err := w.mlist.Stop(); err != nil {
		t.Fatal(err)
	}
	// A stopped mlist refuses nobody, and takes list mail when it is back.
	for to, subject := range map[string]string{"ann@users.test": "seven", "dev@lists.test": "eight"} {
		if err := w.post("bob@net.test", to, subject); err != nil {
			t.Errorf("while mlist is stopped, to %s: %v", to, err)
		}
	}
	w.restart()
	if err := w.postfix.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.arrives("bob@net.test", "eight")
}

// A list that another machine has made: its tables are not this machine's.
func TestAListOfAnotherMachineIsKnownAtOnce(t *testing.T) {
	w := build(t, differs{})
	etc := "--postfix=" + w.postfix.Etc()
	elsewhere := filepath.Join(w.mlist.Dir, "elsewhere")
	if err := os.Mkdir(elsewhere, 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(w.mlist.Config)
	if err == nil {
		err = os.WriteFile(filepath.Join(elsewhere, "mlist.toml"), text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.run(0, "list", "create", "known@lists.test", "default_nonmember_action=accept")
	w.run(0, "postfix", "setup", "--domain", "lists.test", "--live", "--apply", etc)
	w.restart()
	w.run(0, "--config", filepath.Join(elsewhere, "mlist.toml"), "list", "create", "new@lists.test", "default_nonmember_action=accept")
	w.run(0, "--config", filepath.Join(elsewhere, "mlist.toml"), "member", "add", "new@lists.test", "bob@net.test")
	w.soon("ann@net.test", "new@lists.test", "nine")
	w.arrives("bob@net.test", "nine")
	if err := w.post("ann@net.test", "nobody@lists.test", "ten"); err == nil || !strings.HasPrefix(err.Error(), "550 \"5.1.1") {
		t.Errorf("an unknown list: %v", err)
	}
	if out := w.run(0, "postfix", "check", etc, "--no-probe"); !strings.Contains(out, "fit together") {
		t.Errorf("check: %s", out)
	}
	if err := w.mlist.Stop(); err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]string{
		"ann@users.test":    "",
		"known@lists.test":  "", // waits at Postfix
		"nobody@lists.test": "451 ",
		"nobody@users.test": "550 ",
	} {
		err := w.post("ann@net.test", to, "eleven."+to)
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("while mlist is stopped, to %s: %v, want %q", to, err, want)
		}
	}
	if out := w.run(1, "postfix", "check", etc, "--no-probe"); !strings.Contains(out, "map.sock: unknown addresses in the domains of relay_domains (lists.test) are put off (451)") {
		t.Errorf("check of a stopped mlist: %s", out)
	}
}

// What is put into Postfix's files by hand, as etc/postfix has it.
func TestTheSnippetsWork(t *testing.T) {
	for _, tt := range []struct{ name, main, domain string }{
		{"a domain of lists", "main.cf", "lists.test"},
		{"lists beside users", "shared-domain.cf", "users.test"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := build(t, differs{})
			fit := strings.NewReplacer("/etc/postfix/lists.regexp", filepath.Join(w.postfix.Etc(), "lists.regexp"), "lists.example.org", tt.domain,
				`example\.org`, strings.ReplaceAll(tt.domain, ".", `\.`), "proxy:unix:passwd.byname, $alias_maps", "inline:{ ann=x }",
				"/run/mlist/lmtp.sock", w.mlist.LMTP, "/run/mlist/milter.sock", w.mlist.Milter, "127.0.0.1:10025", w.postfix.HandBack)
			main, master := fit.Replace(snippet(t, tt.main)), fit.Replace(snippet(t, "master.cf"))
			if err := os.WriteFile(filepath.Join(w.postfix.Etc(), "lists.regexp"), []byte(fit.Replace(snippet(t, "lists.regexp"))), 0o644); err != nil {
				t.Fatal(err)
			}
			var set []string
			for line := range strings.Lines(main) {
				if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
					set = append(set, line)
				}
			}
			if out, err := exec.Command("postconf", append([]string{"-c", w.postfix.Etc(), "-e"}, set...)...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			f, err := os.OpenFile(filepath.Join(w.postfix.Etc(), "master.cf"), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString(master); err != nil {
				t.Fatal(err)
			}
			f.Close()
			if out, err := exec.Command("postfix", "-c", w.postfix.Etc(), "reload").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			w.run(0, "list", "create", "dev@"+tt.domain, "default_nonmember_action=reject")
			w.run(0, "member", "add", "dev@"+tt.domain, "bob@net.test")
			if err := w.post("bob@net.test", "dev@"+tt.domain, "s."+tt.domain); err != nil {
				t.Fatal(err)
			}
			w.arrives("bob@net.test", "s."+tt.domain)
			for _, to := range []string{"dev+help@", "dev-bounces+x=y.test@", "dev+unsubscribe@"} {
				if err := w.post("bob@net.test", to+tt.domain, "r"); err != nil {
					t.Errorf("to %s: %v", to, err)
				}
			}
			if tt.domain == "lists.test" {
				w.soon("bob@net.test", "postmaster@"+tt.domain, "p."+tt.domain)
			}
			if err := w.post("bob@net.test", "nobody@"+tt.domain, "x"); err == nil || !strings.HasPrefix(err.Error(), "550 ") {
				t.Errorf("an unknown list: %v", err)
			}
		})
	}
}

// snippet is a file of etc/postfix.
func snippet(t *testing.T, name string) string {
	t.Helper()
	top, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(top, "etc", "postfix", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	w := build(t, differs{})
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
	// All of them at once: Postfix waits after each change of its files.
	wrong := map[string]string{
		"recipient_delimiter = -":                  "have a + in their address",
		"relay_recipient_maps =":                   "mail to unknown lists is taken",
		"transport_maps =":                         "not to mlist",
		"message_size_limit = 100000000":           "is taken and then bounced",
		"smtpd_milters = unix:/nowhere/mlist.sock": "There is no socket at /nowhere/mlist.sock",
		"mydestination = lists.test":               "is in both relay_domains and mydestination",
	}
	good := w.file("main.cf")
	if out, err := exec.Command("postconf", append([]string{"-c", w.postfix.Etc(), "-e"}, slices.Collect(maps.Keys(wrong))...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	said := w.run(1, "postfix", "check", "--no-probe", etc)
	for param, want := range wrong {
		if !strings.Contains(said, want) {
			t.Errorf("of %s check does not say %q:\n%s", param, want, said)
		}
	}
	if out, err := exec.Command("postconf", append([]string{"-c", w.postfix.Etc(), "-e"}, strings.Split(strings.TrimSpace(good), "\n")...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Remove(filepath.Join(w.mlist.Dir, "postfix", "recipients")); err != nil {
		t.Fatal(err)
	}
	says("missing or half made")
	w.run(0, "postfix", "tables")
	w.run(0, "postfix", "check", "--no-probe", etc)
}
