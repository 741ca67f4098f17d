// Package mtas plays how a post goes through MTAs that are not Postfix, with the snippets of etc/exim and etc/opensmtpd as
// they are. Each MTA runs in a root directory of its own, made of Debian's package by test/install-mtas.
package mtas

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mlist/mlist/test/harness"
	"github.com/mlist/mlist/test/tools/sink"
)

// Users of the root directories.
const (
	passwd = "root:x:0:0::/root:/bin/sh\nDebian-exim:x:901:901::/var/spool/exim4:/bin/false\nmlist:x:902:902::/var/lib/mlist:/bin/false\n" +
		"opensmtpd:x:903:903::/var/empty:/bin/false\nopensmtpq:x:904:904::/var/empty:/bin/false\n"
	group = "root:x:0:\nDebian-exim:x:901:\nmlist:x:902:Debian-exim\nopensmtpd:x:903:\nopensmtpq:x:904:\n"
)

type world struct {
	t        *testing.T
	root     string // of the MTA
	in, back string // HOST:PORT where mail comes in, and is handed back
	lmtp     string // HOST:PORT where mlist takes mail, beside its socket
	mlist    *harness.Mlist
	sink     *sink.Server
	log      bytes.Buffer // of the MTA
}

// build makes a root directory for an MTA, and starts mlist in it.
func build(t *testing.T, name string) *world {
	t.Helper()
	ctx := context.Background()
	top, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	made := filepath.Join(top, "dist", "test", "mtas")
	if _, err := os.Stat(filepath.Join(made, name)); err != nil {
		why, err := os.ReadFile(filepath.Join(made, name+".missing"))
		if err != nil {
			why = []byte("`test/install-mtas dist/test/mtas`, which `make stories` runs, unpacks one")
		}
		t.Skipf("no %s to try: %s", name, why)
	}
	dist, err := harness.Build(ctx)
	if err != nil {
		t.Fatal(err)
	}
	dir, remove, err := harness.TempDir("mta")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remove)
	w := &world{t: t, root: filepath.Join(dir, "r")}
	if out, err := exec.Command("cp", "-a", filepath.Join(made, name), w.root).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, d := range []string{"dev", "run", "tmp", "var/empty", "var/spool", "var/log", "var/lib", "var/run", "etc/mail"} {
		if err := os.MkdirAll(filepath.Join(w.root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.write("etc/passwd", passwd)
	w.write("etc/group", group)
	w.write("etc/hosts", "127.0.0.1 localhost mx.test\n")
	w.write("etc/mailname", "mx.test\n")
	w.write("dev/null", "")
	w.in, w.back, w.lmtp = freePort(t), freePort(t), freePort(t)
	if w.sink, err = sink.Listen("127.0.0.1:0", sink.Options{Record: sink.Memory, Bodies: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.sink.Close() })
	state := filepath.Join(w.root, "var", "lib", "mlist")
	if w.mlist, err = harness.Install(state, dist, harness.Options{MTA: w.back, Set: map[string]string{
		"lmtpd.listen":     fmt.Sprintf("[%q, %q]", "unix:"+w.at("run/mlist/lmtp.sock"), "tcp:"+w.lmtp),
		"socketmap.listen": fmt.Sprintf("[%q]", "unix:"+w.at("run/mlist/map.sock")),
	}}); err != nil {
		t.Fatal(err)
	}
	// As the package has it: who is not in the group mlist does not get in.
	sockets := w.at("run/mlist")
	if err := os.Mkdir(sockets, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(sockets, 902, 902); err != nil {
		t.Fatal(err)
	}
	if err := w.mlist.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.mlist.Stop(); err != nil {
			t.Error(err)
		}
	})
	for _, args := range [][]string{
		{"list", "create", "dev@lists.example.org", "default_nonmember_action=accept"},
		{"member", "add", "dev@lists.example.org", "bob@net.test", "cy@net.test"},
	} {
		if out, err := w.mlist.Command(ctx, nil, args...); err != nil {
			t.Fatal(out, err)
		}
	}
	return w
}

func (w *world) at(path string) string { return filepath.Join(w.root, path) }

func (w *world) write(path, text string) {
	w.t.Helper()
	if err := os.WriteFile(w.at(path), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// snippet is a file of etc.
func snippet(t *testing.T, path string) string {
	t.Helper()
	top, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(top, "etc", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func port(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}

// start runs the MTA in the foreground until the test ends, and waits until it greets at both ports.
func (w *world) start(program string, args ...string) {
	w.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: w.root, Setpgid: true}
	cmd.Stdout, cmd.Stderr = &w.log, &w.log
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		_ = cmd.Wait() // ended by the signal
		if w.t.Failed() {
			logs, _ := filepath.Glob(w.at("var/spool/exim4/log/*"))
			for _, path := range logs {
				text, _ := os.ReadFile(path)
				w.log.Write(text)
			}
			w.t.Logf("mlist's log:\n%s\nthe MTA's:\n%s", w.mlist.Log(), w.log.String())
		}
	})
	for _, at := range []string{w.in, w.back} {
		w.eventually("a greeting at "+at, func() bool {
			c, err := smtp.Dial(at)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
	}
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	w.t.Fatalf("waited in vain for %s", what)
}

func (w *world) post(to, subject string) error {
	text := fmt.Sprintf("From: ann@net.test\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <%s@net.test>\r\nDate: Tue, 24 Nov 2026 12:00:00 +0000\r\n\r\nHello.\r\n", to, subject, subject)
	return smtp.SendMail(w.in, nil, "ann@net.test", []string{to}, []byte(text))
}

// play posts to a list and waits until both of its members have it, as it is to be.
func (w *world) play() {
	w.t.Helper()
	if err := w.post("dev@lists.example.org", "one"); err != nil {
		w.t.Fatal(err)
	}
	var got []string
	w.eventually("a delivery to both members", func() bool {
		got = nil
		for _, tx := range w.sink.Transactions() {
			if tx.MessageID == "one@net.test" {
				got = append(got, tx.Recipients...)
				if tx.Sender != "dev-bounces@lists.example.org" || !bytes.Contains(tx.Body, []byte("\nList-Id: <dev.lists.example.org>")) {
					w.t.Errorf("it came from %s:\n%s", tx.Sender, tx.Body)
				}
			}
		}
		return len(got) >= 2
	})
	slices.Sort(got)
	if strings.Join(got, " ") != "bob@net.test cy@net.test" {
		w.t.Errorf("it went to %q", got)
	}
}

// masters posts to the addresses that every domain must have.
func (w *world) masters(gets string) {
	w.t.Helper()
	for _, name := range []string{"postmaster", "abuse"} {
		if err := w.post(name+"@lists.example.org", name); err != nil {
			w.t.Errorf("to %s: %v", name, err)
			continue
		}
		w.eventually("mail for "+name, func() bool {
			return slices.ContainsFunc(w.sink.Transactions(), func(tx sink.Transaction) bool {
				return tx.MessageID == name+"@net.test" && slices.Contains(tx.Recipients, gets)
			})
		})
	}
}

// refused posts to an address and wants this code.
func (w *world) refused(to, code string) {
	w.t.Helper()
	if err := w.post(to, "x"); err == nil || !strings.HasPrefix(err.Error(), code) {
		w.t.Errorf("to %s: %v, want %s", to, err, code)
	}
}

func TestEximHandsOverAndTakesBack(t *testing.T) {
	w := build(t, "exim")
	if err := os.MkdirAll(w.at("etc/exim4"), 0o755); err != nil {
		t.Fatal(err)
	}
	main := snippet(t, "exim/main")
	for name, value := range map[string]string{"MLIST_PORT": port(w.back)} {
		main = define(t, main, name, value)
	}
	main = strings.Replace(main, "daemon_smtp_ports = smtp :", "daemon_smtp_ports = "+port(w.in)+" :", 1)
	w.write("etc/exim4/exim4.conf", main+`
primary_hostname = mx.test
local_interfaces = 127.0.0.1
acl_smtp_rcpt = MAIN_ACL_CHECK_RCPT
keep_environment =
log_file_path = /var/spool/exim4/log/%slog
host_lookup =
tls_advertise_hosts =
begin acl
`+snippet(t, "exim/acl")+`
acl_check_rcpt:
  require verify = recipient
  accept
begin routers
`+snippet(t, "exim/router")+fmt.Sprintf(`
away:
  driver = manualroute
  route_list = * 127.0.0.1 byname
  self = send
  transport = away
begin transports
%s
away:
  driver = smtp
  port = %s
  allow_localhost
begin retry
* * F,1h,1s
`, snippet(t, "exim/transport"), port(w.sink.Addr().String())))
	if err := os.MkdirAll(w.at("var/spool/exim4/log"), 0o750); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"var/spool/exim4", "var/spool/exim4/log"} {
		if err := os.Chown(w.at(d), 901, 901); err != nil {
			t.Fatal(err)
		}
	}
	w.start("/usr/sbin/exim4", "-bdf", "-q1s")
	w.play()
	w.masters("postmaster@mx.test")
	w.refused("nobody@lists.example.org", "550")
	// A stopped mlist: senders come again, nobody is told that a list is unknown.
	if err := w.mlist.Stop(); err != nil {
		t.Fatal(err)
	}
	w.refused("dev@lists.example.org", "451")
}

// define changes a macro.
func define(t *testing.T, text, name, value string) string {
	t.Helper()
	lines := strings.Split(text, "\n")
	i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, name+" = ") })
	if i < 0 {
		t.Fatalf("no %s in the snippet", name)
	}
	lines[i] = name + " = " + value
	return strings.Join(lines, "\n")
}

func TestOpenSMTPDHandsOverAndTakesBack(t *testing.T) {
	w := build(t, "opensmtpd")
	text := snippet(t, "opensmtpd/smtpd.conf")
	text = define(t, text, "mlist_lmtp", strconv.Quote("lmtp://"+w.lmtp))
	text = define(t, text, "mlist_port", strconv.Quote(port(w.back)))
	text = strings.Replace(text, `action "mlist_out" relay`, `action "mlist_out" relay host "smtp+notls://`+w.sink.Addr().String()+`"`, 1)
	text += "\nmatch from any for rcpt-to \"postmaster@mx.example.org\" action \"mlist_out\"\n" // somebody's mail is taken elsewhere
	w.write("etc/smtpd.conf", text+"\nlisten on 127.0.0.1 port "+port(w.in)+"\n")
	w.write("etc/mail/mlist.regexp", snippet(t, "opensmtpd/lists.regexp"))
	w.start("/usr/sbin/smtpd", "-d", "-f", "/etc/smtpd.conf")
	w.play()
	w.masters("postmaster@mx.example.org")
	w.refused("nobody@lists.example.org", "550")
	w.refused("stranger@elsewhere.test", "550") // no open relay
}
