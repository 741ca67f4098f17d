package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// run runs a post with a subject and a deadline.
func run(t testing.TB, h *Host, subject string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := h.Run(ctx, post(t, subject))
	return err
}

func pid(h *Host) int { return h.Plugins()[0].PID }

func TestAHandlerThatFailsCostsOneAttempt(t *testing.T) {
	cases := []struct {
		subject  string
		want     string
		restarts int // that it costs
	}{
		{"error", "plugin wild, stage wild: no luck today", 0},
		{"panic", "plugin wild, stage wild: panic: wild animal", 0},
		{"no verdict", `plugin wild, stage wild: "" is not a kind of verdict`, 0},
		{"crash", "the plugin died: exit status 2: panic: goroutine crash", 1},
		{"exit", "the plugin died: exit status 7", 1},
	}
	for _, c := range cases {
		t.Run(c.subject, func(t *testing.T) {
			h := start(t, config(t, []string{"wild", "after"}, "wild"))
			err := run(t, h, c.subject)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
			if errors.Is(err, ErrDown) {
				t.Error("the error says that the plugin was down")
			}
			if err := run(t, h, "hello"); err != nil {
				t.Errorf("the next post: %v", err)
			}
			if n := h.Plugins()[0].Restarts; n != c.restarts {
				t.Errorf("%d restarts, want %d", n, c.restarts)
			}
		})
	}
}

func TestACallThatTakesTooLongIsAnError(t *testing.T) {
	cfg := config(t, []string{"wild"}, "wild")
	cfg.Timeout = 300 * time.Millisecond
	h := start(t, cfg)
	first := pid(h)
	for _, subject := range []string{"wait", "hang"} {
		err := run(t, h, subject)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "plugin wild, stage wild: no answer within 300ms") {
			t.Errorf("%s: %v", subject, err)
		}
		if subject == "wait" {
			// That handler does return, so its process may stay: more health checks pass.
			time.Sleep(2 * hasty.grace)
			if got := pid(h); got != first {
				t.Errorf("a handler that keeps its deadline cost its process: pid %d, then %d", first, got)
			}
		}
	}
	eventually(t, "the process with the hung call is replaced", func() bool { p := pid(h); return p != 0 && p != first })
	eventually(t, "the next post goes through", func() bool { return run(t, h, "hello") == nil })
	eventually(t, "the hung process is gone", func() bool { return !alive(first) })
}

func TestACancelledRunSaysSo(t *testing.T) {
	h := start(t, config(t, []string{"wild"}, "wild"))
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err := h.Run(ctx, post(t, "wait")); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

func TestAPluginThatAnswersNothingIsReplaced(t *testing.T) {
	cfg := config(t, []string{"frozen"}, "frozen")
	cfg.Timeout = 300 * time.Millisecond
	cfg.timing.answer = 500 * time.Millisecond
	h := start(t, cfg)
	first := pid(h)
	if err := run(t, h, "freeze"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
	eventually(t, "the frozen process is replaced", func() bool { p := pid(h); return p != 0 && p != first })
	eventually(t, "the next post goes through", func() bool { return run(t, h, "hello") == nil })
	eventually(t, "the frozen process is gone", func() bool { return !alive(first) })
}

func TestAPluginThatEatsMemoryDiesAlone(t *testing.T) {
	cfg := config(t, []string{"wild"})
	// A program of its own: the race detector, if this one has it, needs memory itself.
	// Without cgo, as handlers are shipped.
	build := exec.Command("go", "build", "-race=false", "-o", filepath.Join(cfg.Dir, "eater"), "./testdata/eater")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	if err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	cfg.Memory = 64 << 20
	h := start(t, cfg)
	err = run(t, h, "eat")
	// How the Go runtime puts it depends on what it was about to allocate.
	says := func(text string) bool { return err != nil && strings.Contains(err.Error(), text) }
	if !says("the plugin died") || !says("out of memory") && !says("cannot allocate memory") && !says("pthread_create failed") && !says("newosproc") {
		t.Errorf("the error is %v", err)
	}
	if err := run(t, h, "hello"); err != nil {
		t.Errorf("the next post: %v", err)
	}
}

func TestAPluginThatDoesNotComeBackIsDown(t *testing.T) {
	cfg := config(t, []string{"once"}, "once")
	cfg.Stages = []string{"once"}
	cfg.Timeout = 1500 * time.Millisecond
	h := start(t, cfg)
	if err := run(t, h, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := run(t, h, "exit"); err == nil || errors.Is(err, ErrDown) {
		t.Fatalf("the crash: %v", err)
	}
	// The first tries say how it died, later ones why it does not start.
	eventually(t, "the error says why it does not start", func() bool {
		err := run(t, h, "hello")
		return errors.Is(err, ErrDown) && strings.Contains(err.Error(), "exit status 4: once is enough") &&
			strings.Contains(err.Error(), "plugin once, stage once")
	})
	if info := h.Plugins()[0]; info.PID != 0 || info.Restarts != 0 {
		t.Errorf("info %+v", info)
	}
}

func TestAnIdlePluginThatIsKilledComesBack(t *testing.T) {
	h := start(t, config(t, []string{"a"}, "good"))
	first := pid(h)
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is back", func() bool { p := pid(h); return p != 0 && p != first })
	if err := run(t, h, "hello"); err != nil {
		t.Error(err)
	}
}

func TestAPluginThatDoesNotWantToEndIsMadeTo(t *testing.T) {
	for _, animal := range []string{"deaf", "frozen", "parent"} {
		t.Run(animal, func(t *testing.T) {
			cfg := config(t, []string{animal}, animal)
			h := start(t, cfg)
			pids := append(children(t, cfg.Dir), pid(h))
			if err := h.Close(t.Context()); err != nil {
				t.Error(err)
			}
			for _, p := range pids {
				if alive(p) {
					t.Errorf("process %d is still there", p)
				}
			}
		})
	}
}

func TestCloseWaitsForPostsButNotForEver(t *testing.T) {
	t.Run("a post under way is finished", func(t *testing.T) {
		h := start(t, config(t, []string{"wild"}, "wild"))
		done := make(chan error, 1)
		go func() { done <- run(t, h, "pause") }()
		eventually(t, "the post is under way", func() bool { return running(h) == 1 })
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Errorf("the post: %v", err)
		}
	})
	t.Run("one that hangs is not waited for when patience ends", func(t *testing.T) {
		h := start(t, config(t, []string{"wild"}, "wild"))
		done := make(chan error, 1)
		go func() { done <- run(t, h, "hang") }()
		eventually(t, "the post is under way", func() bool { return running(h) == 1 })
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := h.Close(ctx); err != nil { // it returns, while the post would hang for ever
			t.Error(err)
		}
		if err := <-done; err == nil {
			t.Error("the post that hangs went through")
		}
	})
}

func running(h *Host) int {
	g := h.current.Load()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.runs
}

func TestAChildOfAPluginGoesWithIt(t *testing.T) {
	cfg := config(t, []string{"parent"}, "parent")
	h := start(t, cfg)
	child := children(t, cfg.Dir)[0]
	// Not that nobody answered in time, for all that the child holds standard error.
	if err := run(t, h, "exit"); err == nil || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("the error is %v", err)
	}
	eventually(t, "the child is gone", func() bool { return !alive(child) })
}

func TestReloadUnderLoadLosesNothing(t *testing.T) {
	cfg := config(t, []string{"a", "b", "c"}, "good", "second")
	h := start(t, cfg)
	first := pid(h)
	var posts atomic.Int64
	stop := make(chan struct{})
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				p := post(t, "hello")
				if _, err := h.Run(t.Context(), p); err != nil {
					t.Errorf("a post during reloads: %v", err)
					return
				}
				posts.Add(1)
			}
		})
	}
	for i := range 5 {
		next := cfg
		if i%2 == 0 {
			next.Stages = []string{"a", "x", "b"}
		}
		if err := h.Reload(t.Context(), next); err != nil {
			t.Errorf("reload %d: %v", i, err)
		}
		bad := cfg
		bad.Stages = []string{"a", "nope"}
		if err := h.Reload(t.Context(), bad); err == nil {
			t.Error("a bad configuration was taken")
		}
	}
	close(stop)
	workers.Wait()
	if posts.Load() == 0 {
		t.Error("no post went through")
	}
	if now := pid(h); now == first || alive(first) {
		t.Errorf("the old plugin is still there: pid %d, now %d", first, now)
	}
	if n := len(h.current.Load().plugins); n != 2 {
		t.Errorf("%d plugins after the last reload, want 2", n)
	}
}

func TestReloadTakesUpAProgramThatWasReplaced(t *testing.T) {
	cfg := config(t, []string{"a"}, "good")
	h := start(t, cfg)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(cfg.Dir, "good")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(cfg.Dir, "twin")); err != nil {
		t.Fatal(err)
	}
	if err := h.Reload(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if name := h.Plugins()[0].Name; name != "twin" {
		t.Errorf("plugin %s runs", name)
	}
}

func TestPausesGrowAndEnd(t *testing.T) {
	tm := defaultTiming
	for n, want := range []time.Duration{100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000} {
		for range 20 {
			if got := tm.pause(n); got < want*time.Millisecond/2 || got > want*time.Millisecond {
				t.Errorf("pause after %d restarts is %s, want at most %d ms and at least half of it", n, got, want)
			}
		}
	}
	if got := tm.pause(1 << 30); got > 30*time.Second {
		t.Error(fmt.Sprint("pause ", got))
	}
}
