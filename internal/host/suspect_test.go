package host

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestOnlyThePostThatKillsAPluginIsToBlame(t *testing.T) {
	for _, poison := range []string{"crash", "exit"} {
		t.Run(poison, func(t *testing.T) {
			h := start(t, config(t, []string{"wild"}, "wild"))
			var others sync.WaitGroup
			for range 3 {
				others.Go(func() {
					if err := run(t, h, "pause"); err != nil {
						t.Errorf("a post beside it: %v", err)
					}
				})
			}
			eventually(t, "they are under way", func() bool { return running(h) == 3 })
			err := run(t, h, poison)
			if err == nil || errors.Is(err, ErrDown) || !strings.Contains(err.Error(), "the plugin died: exit status") {
				t.Errorf("the post that kills it: %v", err)
			}
			others.Wait()
			if n := h.Plugins()[0].Restarts; n < 1 || n > 2 {
				t.Errorf("%d restarts, want 2: in company, and alone (or alone at once)", n)
			}
		})
	}
}

func TestAPostBesideOneThatHangsLosesNothing(t *testing.T) {
	cfg := config(t, []string{"wild"}, "wild")
	cfg.Timeout, cfg.timing.drain = 3*time.Second, 20*time.Millisecond
	h := start(t, cfg)
	stop := make(chan struct{})
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := run(t, h, "pause"); err != nil {
					t.Errorf("a post beside it: %v", err)
					return
				}
			}
		})
	}
	if err := run(t, h, "hang"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the post that hangs: %v", err)
	}
	eventually(t, "the process with the hung call is replaced", func() bool { return h.Plugins()[0].Restarts == 1 })
	close(stop)
	others.Wait()
}

func TestAPostAfterAnIdleDeathIsNotToBlame(t *testing.T) {
	h := start(t, config(t, []string{"parent"}, "parent"))
	for range 5 {
		s := h.current.Load().plugins[0]
		if err := syscall.Kill(pid(h), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		// Its child holds standard error, so that its owner hears of it a little later.
		eventually(t, "it is dead", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.process == nil || s.process.dead()
		})
		if err := run(t, h, "hello"); err != nil {
			t.Errorf("the next post: %v", err)
		}
		eventually(t, "it is back", func() bool { return pid(h) != 0 })
	}
}

func TestAPoisonWhosePluginStaysDownIsCharged(t *testing.T) {
	cfg := config(t, []string{"once"}, "once")
	cfg.Timeout = time.Second
	h := start(t, cfg)
	beside := make(chan error, 1)
	go func() { beside <- run(t, h, "pause") }()
	eventually(t, "another is under way", func() bool { return running(h) == 1 })
	if err := run(t, h, "exit"); err == nil || errors.Is(err, ErrDown) {
		t.Errorf("the post that killed it: %v", err)
	}
	<-beside // who of the two did it will never be known
}

func TestWaitingForAPluginIsNotPartOfItsTime(t *testing.T) {
	cfg := config(t, []string{"wild"}, "wild")
	cfg.Timeout = 1200 * time.Millisecond
	cfg.timing.minPause, cfg.timing.maxPause = 2*time.Second, 2*time.Second // a second at least
	h := start(t, cfg)
	if err := run(t, h, "exit"); err == nil {
		t.Fatal("it did not exit")
	}
	for {
		err := run(t, h, "pause") // 300 ms
		if err == nil {
			return
		}
		if !errors.Is(err, ErrDown) {
			t.Fatalf("a post that waited: %v", err)
		}
	}
}

func TestClosingByForceEndsWaiting(t *testing.T) {
	cfg := config(t, []string{"once"}, "once")
	h := start(t, cfg)
	if err := run(t, h, "exit"); err == nil {
		t.Fatal("it did not exit")
	}
	waiting := make(chan error, 1)
	go func() { waiting <- run(t, h, "hello") }()
	eventually(t, "a post waits", func() bool { return running(h) == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Close(ctx); err != nil {
		t.Error(err)
	}
	// It has not waited until the plugin was given up for down.
	if err := <-waiting; !errors.Is(err, ErrClosed) || !errors.Is(err, ErrDown) {
		t.Errorf("the post that waited: %v", err)
	}
}

func TestARunThatIsCancelledWhileItWaitsSaysSo(t *testing.T) {
	h := start(t, config(t, []string{"once"}, "once"))
	if err := run(t, h, "exit"); err == nil {
		t.Fatal("it did not exit")
	}
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error, 1)
	p := post(t, "hello")
	go func() { _, err := h.Run(ctx, p); waiting <- err }()
	eventually(t, "a post waits", func() bool { return running(h) == 1 })
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) || errors.Is(err, ErrDown) {
		t.Errorf("the error is %v", err)
	}
}

func TestAProgramReplacedOnDiskMayComeToWantTheBody(t *testing.T) {
	cfg := config(t, []string{"z"}, "bodiless")
	h := start(t, cfg)
	if err := run(t, h, "hello"); err != nil {
		t.Fatal(err)
	}
	first := pid(h)
	if err := os.WriteFile(filepath.Join(cfg.Dir, ".newer"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is replaced", func() bool { return h.Plugins()[0].Restarts == 1 })
	if err := run(t, h, "hello"); err != nil {
		t.Errorf("the program that wants the body: %v", err)
	}
}

func TestAPluginThatFloodsItsLogStillWorks(t *testing.T) {
	cfg := config(t, []string{"flood"}, "flood")
	log := &counter{}
	cfg.Logger = log.logger()
	h := start(t, cfg)
	for range 20 {
		if err := run(t, h, "hello"); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "lines are dropped", func() bool { return log.has("plugin prints too much") })
}

// counter is a logger that remembers messages, and not how often.
type counter struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (c *counter) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(c, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key != slog.MessageKey {
			return slog.Attr{}
		}
		return a
	}}))
}

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = map[string]bool{}
	}
	c.seen[cut(string(p), 100)] = true
	return len(p), nil
}

func (c *counter) has(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for line := range c.seen {
		if strings.Contains(line, text) {
			return true
		}
	}
	return false
}
