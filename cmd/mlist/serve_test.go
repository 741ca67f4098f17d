package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// bound is how long anything here may take.
const bound = time.Minute

// process is a daemon under test.
type process struct {
	*exec.Cmd
	dir    string
	mu     sync.Mutex
	log    strings.Builder
	more   chan struct{} // a line has come
	exited chan error
}

// installed makes an installation in a directory of its own.
func installed(t *testing.T, more string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mlist") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	configure(t, dir, fmt.Sprintf("outbound.mta = \"unix:/nowhere\"\npipeline.plugin_dir = %q\n", plugins(t))+more)
	return dir
}

func configure(t *testing.T, dir, more string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "mlist.toml"), []byte(configIn(dir, more)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// plugins builds the handlers that ship with mlist, once.
func plugins(t *testing.T) string {
	t.Helper()
	dir, err := buildPlugins()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var buildPlugins = sync.OnceValues(func() (string, error) {
	dir, err := filepath.Abs(filepath.Join("..", "..", "dist", "test", "plugins"))
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "standard"), "../../plugins/standard")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the plugins: %w: %s", err, out)
	}
	for _, path := range []string{dir, filepath.Join(dir, "standard")} { // whatever the umask is
		if err := os.Chmod(path, 0o755); err != nil {
			return "", err
		}
	}
	return dir, nil
})

// start runs mlist in dir.
func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	p := &process{dir: dir, more: make(chan struct{}, 1), exited: make(chan error, 1)}
	p.Cmd = exec.Command("mlist", append([]string{"--config", filepath.Join(dir, "mlist.toml")}, args...)...)
	stderr, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.mu.Lock()
			p.log.WriteString(lines.Text() + "\n")
			p.mu.Unlock()
			select {
			case p.more <- struct{}{}:
			default:
			}
		}
	}()
	done := make(chan struct{})
	go func() {
		<-followed
		p.exited <- p.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		p.Process.Kill()
		<-done
		if t.Failed() {
			t.Logf("mlist %s:\n%s", strings.Join(args, " "), p.text())
		}
	})
	return p
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// says waits until the log has said it so many times.
func (p *process) says(t *testing.T, what string, times int) {
	t.Helper()
	end := time.After(bound)
	for strings.Count(p.text(), what) < times {
		select {
		case <-p.more:
		case <-end:
			t.Fatalf("mlist did not say %q", what)
		}
	}
}

func (p *process) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := p.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// ends waits for the end and returns the exit status.
func (p *process) ends(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
		return p.ProcessState.ExitCode()
	case <-time.After(bound):
		t.Fatal("mlist does not end")
		return 0
	}
}

// lmtp speaks with the daemon: each line, and the code that answers it.
func lmtp(t *testing.T, dir string, dialogue ...any) *textproto.Conn {
	t.Helper()
	conn, err := net.Dial("unix", filepath.Join(dir, "lmtp.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(bound))
	c := textproto.NewConn(conn)
	for _, step := range append([]any{220}, dialogue...) {
		switch step := step.(type) {
		case string:
			if err := c.PrintfLine("%s", step); err != nil {
				t.Fatal(err)
			}
		case int:
			if _, text, err := c.ReadResponse(step); err != nil {
				t.Fatalf("%v %s", err, text)
			}
		}
	}
	return c
}

func command(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("mlist", append([]string{"--config", filepath.Join(dir, "mlist.toml")}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("mlist %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestServeIsReadyTakesAPostAndStops(t *testing.T) {
	dir := installed(t, "")
	p := start(t, dir, "serve")
	p.says(t, "msg=ready", 1)
	command(t, dir, "list", "create", "dev@lists.test")
	command(t, dir, "member", "add", "dev@lists.test", "ann@net.test", "bob@net.test")
	lmtp(t, dir, "LHLO mx.test", 250, "MAIL FROM:<ann@net.test>", 250, "RCPT TO:<dev@lists.test>", 250, "DATA", 354,
		"From: ann@net.test\r\nTo: dev@lists.test\r\nSubject: x\r\nMessage-ID: <1@net.test>\r\nDate: Tue, 24 Nov 2026 12:00:00 +0000\r\n\r\nHello.\r\n.", 250)
	p.says(t, `msg="post accepted"`, 1)
	if out := command(t, dir, "queue", "ls", "outgoing"); !strings.Contains(out, "2rcpt") {
		t.Errorf("queue ls: %s", out)
	}
	told := command(t, dir, "trace", "1@net.test")
	for _, want := range []string{"in incoming, for post of dev@lists.test, from <ann@net.test>", "accept; loop ", "post 1: 2 recipients in 1 chunk", "committed"} {
		if !strings.Contains(told, want) {
			t.Errorf("the trace lacks %q:\n%s", want, told)
		}
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.ends(t); code != 0 {
		t.Errorf("exit status %d", code)
	}
	p.says(t, "msg=stopped", 1)
	if out := command(t, dir, "queue", "ls", "outgoing"); !strings.Contains(out, "2rcpt") {
		t.Errorf("after the stop: queue ls: %s", out)
	}
}

func TestReloadTakesGoodConfigurationsAndRefusesBadOnes(t *testing.T) {
	dir := installed(t, "")
	base := fmt.Sprintf("pipeline.plugin_dir = %q\n", plugins(t))
	p := start(t, dir, "serve")
	p.says(t, "msg=ready", 1)
	hangup := func(more, says string, times int) {
		t.Helper()
		configure(t, dir, more)
		p.signal(t, syscall.SIGHUP)
		p.says(t, says, times)
	}
	const refused, taken = "the old one stays in effect", `msg="configuration taken on"`
	hangup("nonsense = 1\n", refused, 1)
	if !strings.Contains(p.text(), "nonsense: no such key") {
		t.Error("the log does not say which key is bad")
	}
	lmtp(t, dir, "LHLO mx.test", 250).Close()
	hangup(base+"lmtpd.max_message_size = \"300KB\"\nlog.level = \"debug\"\n", taken, 1)
	lmtp(t, dir, "LHLO mx.test", 250, "MAIL FROM:<ann@net.test> SIZE=400000", 552).Close()
	// A plugin directory without the stages: what lmtpd has taken already goes back, too.
	hangup(fmt.Sprintf("pipeline.plugin_dir = %q\nlmtpd.max_message_size = \"500KB\"\n", t.TempDir()), refused, 2)
	lmtp(t, dir, "LHLO mx.test", 250, "MAIL FROM:<ann@net.test> SIZE=400000", 552).Close()
	hangup(base+"outbound.password_file = \"/nowhere/x\"\noutbound.username = \"u\"\n", refused, 3)
	hangup(base+"outbound.segments = \"0000-7fff\"\npipeline.workers = 3\n", taken, 2)
	for _, key := range []string{"pipeline.workers"} {
		if !strings.Contains(p.text(), `needs a restart" key=`+key) {
			t.Errorf("the log does not say that %s needs a restart", key)
		}
	}
	lmtp(t, dir, "LHLO mx.test", 250, "MAIL FROM:<ann@net.test> SIZE=400000", 250).Close()
	hangup(base+"pipeline.segments = \"0000-7fff\"\n", `msg="pipeline: at work again" segments=0000-7fff`, 1)
	// Its exit status says that nobody serves the rest.
	if text, _ := exec.Command("mlist", "--config", filepath.Join(dir, "mlist.toml"), "status").CombinedOutput(); !strings.Contains(string(text), "nobody serves 8000-ffff of incoming") {
		t.Errorf("the pipeline has not changed its segments: %s", text)
	}
	hangup(base, `msg="pipeline: at work again" segments=0000-ffff`, 1)
	p.signal(t, syscall.SIGTERM)
	if code := p.ends(t); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

func TestASecondSignalEndsAtOnce(t *testing.T) {
	dir := installed(t, "")
	p := start(t, dir, "lmtpd")
	p.says(t, "msg=ready", 1)
	command(t, dir, "list", "create", "dev@lists.test")
	c := lmtp(t, dir, "LHLO mx.test", 250, "MAIL FROM:<ann@net.test>", 250, "RCPT TO:<dev@lists.test>", 250, "DATA", 354)
	p.signal(t, syscall.SIGTERM)
	p.says(t, "a second signal ends at once", 1) // and the transaction keeps it from ending
	p.signal(t, syscall.SIGTERM)
	if code := p.ends(t); code != exitError || !strings.Contains(p.text(), "ended at once by a second signal") {
		t.Errorf("exit status %d", code)
	}
	if _, err := c.ReadLine(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

func TestDaemonsInProcessesOfTheirOwnWorkTogether(t *testing.T) {
	dir := installed(t, "")
	command(t, dir, "list", "create", "dev@lists.test")
	command(t, dir, "member", "add", "dev@lists.test", "ann@net.test")
	in, prepare, out := start(t, dir, "lmtpd"), start(t, dir, "pipeline"), start(t, dir, "outbound")
	for _, p := range []*process{in, prepare, out} {
		p.says(t, "msg=ready", 1)
	}
	second := start(t, dir, "outbound")
	if code := second.ends(t); code != exitError {
		t.Errorf("a second outbound ended with status %d", code)
	}
	if text := second.text(); !strings.Contains(text, "mlist: serve: outbound: ") || !strings.Contains(text, fmt.Sprintf("pid %d", out.Process.Pid)) {
		t.Errorf("it does not say who owns the segments: %s", text)
	}
	lmtp(t, dir, "LHLO mx.test", 250, "MAIL FROM:<ann@net.test>", 250, "RCPT TO:<dev@lists.test>", 250, "DATA", 354,
		"From: ann@net.test\r\nTo: dev@lists.test\r\nSubject: x\r\n\r\nHello.\r\n.", 250)
	prepare.says(t, `msg="post accepted"`, 1)
	out.says(t, "the MTA is down", 1)
	for _, p := range []*process{in, prepare, out} {
		p.signal(t, syscall.SIGTERM)
	}
	for _, p := range []*process{in, prepare, out} {
		if code := p.ends(t); code != 0 {
			t.Errorf("exit status %d", code)
		}
	}
}

func TestWhatKeepsItFromStartingIsTold(t *testing.T) {
	empty := t.TempDir()
	tests := []struct{ name, more, says string }{
		{"no plugins", fmt.Sprintf("pipeline.plugin_dir = %q\n", empty), "no plugin offers stage loop"},
		{"no plugin directory", "pipeline.plugin_dir = \"/nowhere/plugins\"\n", "/nowhere/plugins"},
		{"a bad configuration", "zeal = 1\n", "mlist.toml:1: zeal: no such key"},
		{"a table for no stage", fmt.Sprintf("pipeline.plugin_dir = %q\nplugin.nosuch.x = 1\n", plugins(t)), "[plugin.nosuch]"},
		{"no password", fmt.Sprintf("pipeline.plugin_dir = %q\noutbound.username = \"u\"\noutbound.password_file = \"/nowhere/p\"\n", plugins(t)), "outbound.password_file: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := installed(t, "")
			configure(t, dir, tt.more)
			p := start(t, dir, "serve")
			if code := p.ends(t); code != exitError {
				t.Errorf("exit status %d", code)
			}
			if !strings.Contains(p.text(), tt.says) || !strings.Contains(p.text(), "mlist: ") {
				t.Errorf("it says %s", p.text())
			}
		})
	}
}
