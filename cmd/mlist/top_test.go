package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/mlist/mlist/internal/metrics"
)

func TestFitCutsToTheScreen(t *testing.T) {
	got := fit([]string{"grün und blau", "", "third", "fourth"}, 5, 3)
	if want := toTop + "grün " + clearLine + "\r\n" + clearLine + "\r\nthird" + clearLine + clearBelow; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestRatesArePerSecond(t *testing.T) {
	got := perSecond(metrics.Totals{Taken: 10, Delivered: 12345, Deferred: 1}, 4*time.Second)
	for name, want := range map[string]float64{"taken": 2.5, "delivered": 3086.3, "deferred": 0.3, "bounced": 0} {
		if got[name] != want {
			t.Errorf("%s: %v, want %v", name, got[name], want)
		}
	}
}

func TestTopInAPipe(t *testing.T) {
	dir := installed(t, "")
	p := start(t, dir, "serve")
	p.says(t, "msg=ready", 1)
	command(t, dir, "list", "create", "dev@lists.test")
	command(t, dir, "member", "add", "dev@lists.test", "ann@net.test", "bob@net.test")
	lmtp(t, dir, "LHLO mx.test", 250, "MAIL FROM:<ann@net.test>", 250, "RCPT TO:<dev@lists.test>", 250, "DATA", 354,
		"From: ann@net.test\r\nTo: dev@lists.test\r\nSubject: x\r\n\r\nHello.\r\n.", 250)
	p.says(t, "the MTA is down", 1)
	out := command(t, dir, "top", "--once")
	for _, want := range []string{"mlist top  2", "runs lmtpd, milter, pipeline, outbound", "\nper second ", "\nsince start         1         0         1 ", "PROBLEM: the MTA at unix:/nowhere is down", "\noutgoing         1           2", "\nstandard ", "free of", " 0000-ffff   pipeline on "} {
		if !strings.Contains(out, want) {
			t.Errorf("top lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Errorf("a pipe gets control sequences: %q", out)
	}

	cmd := exec.Command("mlist", "--config", filepath.Join(dir, "mlist.toml"), "top", "--json", "--interval", "200ms")
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(pipe)
	for n := range 3 {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		var have topJSON
		if err := json.Unmarshal([]byte(line), &have); err != nil || have.Status.Totals.Taken != 1 || have.Time.IsZero() {
			t.Fatalf("line %d: %v: %s", n, err, line)
		}
		if n > 0 && have.PerSecond["taken"] != 0 {
			t.Errorf("line %d: rates %v, although nothing is done", n, have.PerSecond)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, lines)
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	status := exec.Command("mlist", "--config", filepath.Join(dir, "mlist.toml"), "top", "--interval", "1ms")
	if out, _ := status.CombinedOutput(); status.ProcessState.ExitCode() != exitUsage || !strings.Contains(string(out), "want 200ms or more") {
		t.Errorf("--interval 1ms: %s", out)
	}
}

// terminal is a pseudo-terminal: what a program has, and the other end.
func terminal(t *testing.T) (program, other *os.File) {
	t.Helper()
	other, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminal to try it on: %v", err)
	}
	t.Cleanup(func() { other.Close() })
	if err := unix.IoctlSetPointerInt(int(other.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(other.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminal to try it on: %v", err)
	}
	t.Cleanup(func() { program.Close() })
	if err := unix.IoctlSetWinsize(int(other.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 10, Col: 40}); err != nil {
		t.Fatal(err)
	}
	return program, other
}

func TestTopOnATerminalEndsAndLeavesItAsItWas(t *testing.T) {
	dir := installed(t, "")
	start(t, dir, "lmtpd").says(t, "msg=ready", 1)
	for _, key := range []string{"q", "\x03"} {
		program, other := terminal(t)
		before, err := term.GetState(int(program.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("mlist", "--config", filepath.Join(dir, "mlist.toml"), "top", "--interval", "1h")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		shown := make(chan string, 1)
		go func() {
			var text strings.Builder
			buf := make([]byte, 4096)
			pressed := false
			for {
				n, err := other.Read(buf)
				text.Write(buf[:n])
				if !pressed && strings.Contains(text.String(), clearBelow) {
					pressed = true
					_, _ = other.WriteString(key)
				}
				if err != nil || strings.Contains(text.String(), leaveScreen) {
					shown <- text.String()
					return
				}
			}
		}()
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("key %q: %v", key, err)
			}
		case <-time.After(bound):
			cmd.Process.Kill()
			t.Fatalf("key %q does not end it", key)
		}
		text := <-shown
		if !strings.HasPrefix(text, enterScreen+toTop+"mlist top") || !strings.HasSuffix(text, leaveScreen) {
			t.Errorf("%q", text)
		}
		if n := strings.Count(text, "\r\n"); n != 9 {
			t.Errorf("%d lines on a screen of 10", n+1)
		}
		after, err := term.GetState(int(program.Fd()))
		if err != nil || fmt.Sprint(*after) != fmt.Sprint(*before) {
			t.Errorf("the terminal was left in another state: %v", err)
		}
	}
}
