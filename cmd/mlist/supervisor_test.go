package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// systemd stands in for systemd: it holds mlist's socket, and hears what mlist says of itself.
type systemd struct {
	dir    string
	socket *os.File
	said   chan string
}

func newSystemd(t *testing.T, dir string) *systemd {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(dir, "lmtp.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	s := &systemd{dir: dir, socket: f, said: make(chan string, 1000)}
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		b := make([]byte, 4096)
		for {
			n, err := notify.Read(b)
			if err != nil {
				return
			}
			for line := range strings.SplitSeq(string(b[:n]), "\n") {
				s.said <- line
			}
		}
	}()
	t.Cleanup(func() { notify.Close(); <-heard })
	return s
}

// start runs mlist as a service. The shell is there for LISTEN_PID, which is the pid that exec keeps.
func (s *systemd) start(t *testing.T) *exec.Cmd {
	t.Helper()
	c := exec.Command("sh", "-c", `LISTEN_PID=$$ exec mlist --config "$0" serve`, filepath.Join(s.dir, "mlist.toml"))
	c.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=mlist.socket", "NOTIFY_SOCKET="+filepath.Join(s.dir, "notify"), "WATCHDOG_USEC=200000")
	c.ExtraFiles = []*os.File{s.socket}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c.Stderr = log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// hears waits until mlist has said it.
func (s *systemd) hears(t *testing.T, want string) {
	t.Helper()
	end := time.After(bound)
	for {
		select {
		case line := <-s.said:
			if strings.HasPrefix(line, want) {
				return
			}
		case <-end:
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			t.Fatalf("mlist did not say %s\n%s", want, log)
		}
	}
}

func TestARestartRefusesNobody(t *testing.T) {
	dir := installed(t, "")
	s := newSystemd(t, dir)
	run := s.start(t)
	defer func() { run.Process.Kill(); run.Wait() }()
	s.hears(t, "EXTEND_TIMEOUT_USEC=120000000")
	s.hears(t, "READY=1")
	s.hears(t, "WATCHDOG=1")
	if err := run.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.hears(t, "RELOADING=1")
	s.hears(t, "MONOTONIC_USEC=")
	s.hears(t, "READY=1")
	command(t, dir, "list", "create", "dev@lists.test")
	command(t, dir, "member", "add", "dev@lists.test", "ann@net.test")

	var taken atomic.Int64
	done := make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			default:
			}
			if err := handOver(filepath.Join(dir, "lmtp.sock"), n); err != nil {
				failed <- err
				return
			}
			taken.Add(1)
		}
	}()
	for range 3 {
		before := taken.Load()
		if err := run.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		s.hears(t, "STOPPING=1")
		if err := run.Wait(); err != nil {
			t.Errorf("mlist ended with %v", err)
		}
		run = s.start(t)
		s.hears(t, "READY=1")
		for end := time.Now().Add(bound); taken.Load() <= before+5; {
			if time.Now().After(end) || len(failed) > 0 {
				break
			}
			s.hears(t, "WATCHDOG=1")
		}
	}
	close(done)
	if err := <-failed; err != nil {
		t.Error(err)
	}
	if n := taken.Load(); n < 15 {
		t.Errorf("only %d posts were taken", n)
	}
}

// Who is stuck, or says that something is wrong, does not say that all is well.
func TestTheWatchdogHearsOnlyOfWhatIsWell(t *testing.T) {
	dir := t.TempDir()
	s := newSystemd(t, dir)
	above := &supervisor{socket: filepath.Join(dir, "notify"), beat: time.Millisecond}
	ctx, stop := context.WithCancel(t.Context())
	checks := make(chan error)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		above.watchOver(ctx, func() error { return <-checks })
	}()
	for range 3 {
		checks <- errors.New("the disk does not answer")
	}
	checks <- nil
	checks <- errors.New("again") // so that what came before is told
	above.tell("END=1")
	var beats int
	for line := range s.said {
		if line == "END=1" {
			break
		}
		beats++
	}
	if beats != 1 {
		t.Errorf("it was told %d times that all is well, and one check alone had succeeded", beats)
	}
	stop()
	close(checks)
	<-watched
}

func TestInstancesAreNamedByTheirSegments(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"0000-7fff", "0000-7fff"},
		{`0000-3fff\x2c8000-bfff`, "0000-3fff,8000-bfff"},
		{`0000\x2d3fff\x2c8000\x2dbfff`, "0000-3fff,8000-bfff"},
		{"auto", "auto"},
		{`\x2`, `\x2`},
		{"", ""},
	} {
		if got := fromUnitName(tt.name); got != tt.want {
			t.Errorf("%s is %q, want %q", tt.name, got, tt.want)
		}
	}
}

// handOver hands over one post on a connection of its own; whatever is not 250 is an error.
func handOver(path string, n int) error {
	raw, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(bound))
	c := textproto.NewConn(raw)
	post := fmt.Sprintf("From: ann@net.test\r\nTo: dev@lists.test\r\nSubject: %d\r\nMessage-ID: <%d@net.test>\r\nDate: Tue, 24 Nov 2026 12:00:00 +0000\r\n\r\nHello.\r\n.", n, n)
	for _, step := range []struct {
		say  string
		code int
	}{{"", 220}, {"LHLO mx.test", 250}, {"MAIL FROM:<ann@net.test>", 250}, {"RCPT TO:<dev@lists.test>", 250}, {"DATA", 354}, {post, 250}} {
		if step.say != "" {
			if err := c.PrintfLine("%s", step.say); err != nil {
				return err
			}
		}
		if _, text, err := c.ReadResponse(step.code); err != nil {
			return fmt.Errorf("post %d, after %q: %w %s", n, step.say[:min(20, len(step.say))], err, text)
		}
	}
	return nil
}
