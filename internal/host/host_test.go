package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// patience is how long tests wait for what is to happen. It bounds what never does, and measures
// nothing: the machine may be busy with other tests.
const patience = time.Minute

// hasty is a timing for tests.
var hasty = timing{start: patience, health: 200 * time.Millisecond, answer: 10 * time.Second,
	minPause: 20 * time.Millisecond, maxPause: 200 * time.Millisecond, settled: time.Minute,
	grace: 500 * time.Millisecond, drain: 2 * time.Second, term: 500 * time.Millisecond}

// pluginDir makes a plugin directory with animals of the zoo.
func pluginDir(t testing.TB, animals ...string) string {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range animals {
		if err := os.Symlink(self, filepath.Join(dir, a)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func config(t testing.TB, stages []string, animals ...string) Config {
	return Config{Dir: pluginDir(t, animals...), RunDir: t.TempDir(), Stages: stages, Hostname: "lists.example.org", Version: "1",
		Timeout: 10 * time.Second, Logger: slog.New(slog.NewTextHandler(&testLog{t: t}, &slog.HandlerOptions{Level: slog.LevelDebug})), timing: hasty}
}

// testLog sends log lines to the test, while it runs.
type testLog struct {
	t    testing.TB
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t.Log(cut(strings.TrimSpace(string(p)), 500))
	return l.text.Write(p)
}

func (l *testLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// start starts a host, and checks in the end that it leaves nothing behind.
func start(t testing.TB, cfg Config) *Host {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	h, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		goleak.VerifyNone(t, ignore)
		left, err := os.ReadDir(cfg.RunDir)
		if err != nil || len(left) > 0 {
			t.Errorf("left in the run directory: %v %v", left, err)
		}
		if _, err := os.Stat(h.dir.path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the directory for sockets is still there: %v", err)
		}
	})
	return h
}

// post makes a post with a subject.
func post(t testing.TB, subject string) *Post {
	t.Helper()
	raw := "From: Ann <ann@example.org>\r\nSubject: " + subject + "\r\n\r\nhello\r\n"
	path := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(path, []byte(raw), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	block, offset, err := message.Split(f, int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	length := int64(len(raw)) - offset
	return &Post{Entry: "e1", Number: 1, List: sdk.List{Address: "dev@lists.example.org", Settings: map[string]string{"subject_prefix": "[dev]"}},
		Envelope: sdk.Envelope{Sender: "ann@example.org", Recipient: "dev@lists.example.org"}, Header: message.ParseHeader(block),
		Body: message.NewBody(f, offset, length), File: path, Offset: offset, Length: length}
}

func text(t testing.TB, p *Post) string {
	t.Helper()
	var b bytes.Buffer
	b.Write(p.Header.Bytes())
	b.WriteString("\r\n")
	if _, err := p.Body.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// eventually waits until something holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("after %s still not: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	// A zombie whose parent is gone or slow is not alive.
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

func TestAPostGoesThroughAllStages(t *testing.T) {
	h := start(t, config(t, []string{"a", "b", "x", "c", "i"}, "good", "second"))
	p := post(t, "hello")
	r, err := h.Run(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if r.Verdict != sdk.Accept || len(r.Stages) != 5 || r.Stages[2].Stage != "x" {
		t.Errorf("result %+v", r)
	}
	want := "From: Ann <ann@example.org>\r\nSubject: hello\r\nX-Stage: a\r\nX-Stage: b\r\nX-Stage: c\r\nX-Stage: i\r\n\r\nhello\r\n-- \r\nfooter\r\n"
	if got := text(t, p); got != want {
		t.Errorf("the message is now\n%q, want\n%q", got, want)
	}
	if p.Notes["last"] != "i" || len(p.Rules) != 4 || p.Rules[0].Addresses[0] != "a@example.org" {
		t.Errorf("notes %v, rules %v", p.Notes, p.Rules)
	}
	if n := len(h.current.Load().groups); n != 3 {
		t.Errorf("%d calls, want 3: a+b, x, c+i", n)
	}
	infos := h.Plugins()
	if len(infos) != 2 || infos[0].Name != "good" || infos[0].PID == 0 || strings.Join(infos[0].Stages, "") != "abci" {
		t.Errorf("plugins %+v", infos)
	}
}

func TestADigestGoesThroughTheStagesThatSeeDigests(t *testing.T) {
	h := start(t, config(t, []string{"a", "x", "b", "c", "y", "i"}, "good", "second"))
	p := post(t, "hello")
	p.Envelope.Flags = []string{"approved", sdk.FlagDigest}
	r, err := h.Run(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if r.Verdict != sdk.Accept || len(r.Stages) != 2 || r.Stages[0].Stage != "c" || r.Stages[1].Stage != "i" || h.Totals().Calls != 2 {
		t.Errorf("result %+v, %+v", r, h.Totals())
	}
}

func TestTheFirstStageThatDoesNotAcceptDecides(t *testing.T) {
	h := start(t, config(t, []string{"a", "b", "c", "x"}, "good", "second"))
	p := post(t, "stop at b")
	r, err := h.Run(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if r.Stage != "b" || r.Verdict != sdk.Hold("stopped", "because of Ann <ann@example.org>") || len(r.Stages) != 2 {
		t.Errorf("result %+v", r)
	}
	if got := text(t, p); strings.Contains(got, "X-Lost") || !strings.Contains(got, "X-Stage: a") || p.Notes["why"] != "b" {
		t.Errorf("message %q, notes %v", got, p.Notes)
	}
}

func TestWhatIsConfiguredMustBeOnOffer(t *testing.T) {
	cases := []struct {
		name    string
		stages  []string
		animals []string
		tables  map[string]map[string]any
		want    []string
	}{
		{"a stage that nobody offers", []string{"a", "nope"}, []string{"good", "second"}, nil, []string{"no plugin offers stage nope", "offer these stages: a, b, c, d, e, f, g, h, i, x, y"}},
		{"a stage that two offer", []string{"a"}, []string{"good", "twin"}, nil, []string{"more than one plugin", "/good", "/twin"}},
		{"a stage twice", []string{"a", "a"}, []string{"good"}, nil, []string{"stage a is configured twice"}},
		{"a table for a stage that nobody offers", []string{"a"}, []string{"good"}, map[string]map[string]any{"subjct": {"x": 1}}, []string{"[plugin.subjct]"}},
		{"a stage of a program that does not start", []string{"exits"}, []string{"exits"}, nil, []string{"no plugin offers stage exits", "exit status 3", "no coffee"}},
		{"an unknown key", []string{"picky"}, []string{"picky"}, map[string]map[string]any{"picky": {"colour": "red"}}, []string{"picky", "colour: unknown key"}},
		{"a wrong type", []string{"picky"}, []string{"picky"}, map[string]map[string]any{"picky": {"count": "many"}}, []string{"count", "a whole number"}},
		{"a value that the handler refuses", []string{"picky"}, []string{"picky"}, map[string]map[string]any{"picky": {"taste": "salt"}}, []string{`"salt" is neither sweet nor sour`}},
		{"keys for a stage without configuration", []string{"a"}, []string{"good"}, map[string]map[string]any{"a": {"x": 1}}, []string{"[plugin.a]", "no configuration"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			cfg := config(t, c.stages, c.animals...)
			cfg.Plugins = c.tables
			h, err := Start(t.Context(), cfg)
			if err == nil {
				_ = h.Close(t.Context())
				t.Fatal("it started")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q:\n%v", want, err)
				}
			}
		})
	}
}

func TestAMissingPluginThatCannotBeExecutedIsNamed(t *testing.T) {
	cfg := config(t, []string{"a", "nope"}, "good")
	for _, name := range []string{"plain", "README.md", ".hidden"} {
		if err := os.WriteFile(filepath.Join(cfg.Dir, name), []byte("#!/bin/sh\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Start(t.Context(), cfg)
	if err == nil || !strings.Contains(err.Error(), "plain: it is not executable (chmod +x)") || strings.Contains(err.Error(), "README") || strings.Contains(err.Error(), "hidden") {
		t.Errorf("the error is %v", err)
	}
}

func TestAProgramThatDoesNotStartSaysWhy(t *testing.T) {
	cases := map[string]string{
		"slow": "not ready after", "stranger": "Unrecognized remote plugin message: hello, world", "exits": "exit status 3: no coffee",
		"silent": "not ready after", "foreign": "ended before it was ready", "old": "incompatible API version", "tcp": "only a unix socket",
		"nameless": "is no name", "loud": "Unrecognized remote plugin message: good morning",
	}
	for animal, want := range cases {
		t.Run(animal, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			cfg := config(t, []string{animal}, animal)
			if want == "not ready after" {
				cfg.timing.start = 500 * time.Millisecond
			}
			h, err := Start(t.Context(), cfg)
			if err == nil {
				_ = h.Close(t.Context())
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), want) {
				t.Errorf("the error is %v, want %q", err, want)
			}
		})
	}
}

func TestABadProgramBesideGoodOnesDoesNotMatter(t *testing.T) {
	cfg := config(t, []string{"a", "slowish"}, "good", "exits", "slowish", "second")
	for _, name := range []string{"README.md", ".hidden", "notes.txt"} {
		mode := os.FileMode(0o755)
		if name == "notes.txt" {
			mode = 0o644
		}
		if err := os.WriteFile(filepath.Join(cfg.Dir, name), []byte("#!/bin/sh\ntouch "+cfg.Dir+"/.ran\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	h := start(t, cfg)
	if _, err := h.Run(t.Context(), post(t, "hello")); err != nil {
		t.Fatal(err)
	}
	if n := len(h.Plugins()); n != 2 {
		t.Errorf("%d plugins run, want 2: what offers no configured stage is stopped again", n)
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, ".ran")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a file that is no plugin was run")
	}
}

func TestConfigurationReachesTheHandler(t *testing.T) {
	cfg := config(t, []string{"picky"}, "picky")
	cfg.Plugins = map[string]map[string]any{"picky": {"taste": "sweet"}}
	h := start(t, cfg)
	p := post(t, "hello")
	if _, err := h.Run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got := p.Notes["config"]; got != "sweet 3 at lists.example.org" {
		t.Errorf("the handler saw %q", got)
	}
}

func TestAPluginSeesNoSecretsOfItsHost(t *testing.T) {
	t.Setenv("MLIST_DB_PASSWORD", "hunter2")
	t.Setenv("NOTIFY_SOCKET", "/run/systemd/notify")
	t.Setenv("MLIST_DNS_FILE", "/etc/dns.json")
	cfg := config(t, []string{"wild"}, "wild")
	cfg.Memory = 1 << 30
	h := start(t, cfg)
	p := post(t, "env")
	if _, err := h.Run(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	env := p.Notes["env"]
	if strings.Contains(env, "hunter2") || strings.Contains(env, "NOTIFY_SOCKET") {
		t.Errorf("the environment leaks:\n%s", env)
	}
	if !strings.Contains(env, "GOMEMLIMIT=") || !strings.Contains(env, "PATH=") || !strings.Contains(env, "MLIST_DNS_FILE=/etc/dns.json") {
		t.Errorf("the environment lacks something:\n%s", env)
	}
}

func TestOutputOfAPluginGoesToTheLog(t *testing.T) {
	cfg := config(t, []string{"chatty", "n1", "n2"}, "chatty", "nonsense")
	log := &testLog{t: t}
	cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	h := start(t, cfg)
	for range 2 { // that the first call works is not enough: pipes fill up
		if _, err := h.Run(t.Context(), post(t, "sense")); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"stdout stdout", "plugin=chatty", "@message", "a plugin without the SDK prints"} {
		eventually(t, "the log has "+want, func() bool { return strings.Contains(log.String(), want) })
	}
}

func TestClosingTwiceAndRunningAfter(t *testing.T) {
	h := start(t, config(t, []string{"a"}, "good"))
	for range 2 {
		if err := h.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Run(t.Context(), post(t, "x")); !errors.Is(err, ErrClosed) {
		t.Errorf("run after close: %v", err)
	}
	if err := h.Reload(t.Context(), config(t, nil)); !errors.Is(err, ErrClosed) {
		t.Errorf("reload after close: %v", err)
	}
	if h.Plugins() != nil {
		t.Error("plugins after close")
	}
}
