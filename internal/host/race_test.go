package host

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestAStartThatIsCancelledAtAnyInstantLeavesNothing(t *testing.T) {
	for _, ms := range []time.Duration{0, 2, 10, 30, 60, 100, 200} {
		after := ms * time.Millisecond
		t.Run(after.String(), func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			cfg := config(t, []string{"a", "parent", "wild"}, "good", "parent", "wild")
			cfg.RunDir = shortDir(t)
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			h, err := Start(ctx, cfg)
			if err == nil { // it was faster
				if err := h.Close(t.Context()); err != nil {
					t.Error(err)
				}
			}
			for _, pid := range children(t, cfg.Dir) {
				eventually(t, "the child of a plugin is gone", func() bool { return !alive(pid) })
			}
			left, err := os.ReadDir(cfg.RunDir)
			if err != nil || len(left) > 0 {
				t.Errorf("left in the run directory: %v %v", left, err)
			}
		})
	}
}

func TestReloadsACloseAndRunsAtOnce(t *testing.T) {
	for _, patience := range []time.Duration{0, 50 * time.Millisecond, 10 * time.Second} {
		t.Run(patience.String(), func(t *testing.T) {
			cfg := config(t, []string{"wild"}, "wild")
			h := start(t, cfg)
			var all sync.WaitGroup
			for _, subject := range []string{"hello", "pause", "exit"} {
				all.Go(func() {
					for {
						err := run(t, h, subject)
						if errors.Is(err, ErrClosed) {
							return
						}
						if err != nil && subject == "hello" && patience > time.Second {
							t.Errorf("%s: %v", subject, err)
						}
					}
				})
			}
			for range 2 {
				all.Go(func() {
					for {
						ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
						err := h.Reload(ctx, cfg)
						cancel()
						if errors.Is(err, ErrClosed) {
							return
						}
					}
				})
			}
			time.Sleep(time.Second) // that long they have it all to themselves
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			for range 2 {
				all.Go(func() {
					if err := h.Close(ctx); err != nil {
						t.Errorf("close: %v", err)
					}
				})
			}
			all.Wait()
		})
	}
}
