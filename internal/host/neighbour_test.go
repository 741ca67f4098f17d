package host

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mlist/mlist/sdk"
)

// deadline is the deadline of a call in these tests. Beside it a post may wait as long
// for a plugin that is down, and be at it twice if it dies under both: see handle. The
// rest of tooLong is for a busy machine; what hangs does so for longer.
const (
	deadline = 2 * time.Second
	tooLong  = patience / 2
)

// neighbour is another list, whose posts go through the same plugins.
type neighbour struct {
	posts, tries, down, charged atomic.Int64
	slowest                     atomic.Int64 // in ns
	stop                        func()
}

// beside sends posts of another list until it is told to stop. A post that fails is tried
// again, as the pipeline does; it is lost if it does not get through within five tries
// that count.
func beside(t *testing.T, h *Host) *neighbour {
	n := &neighbour{}
	end := make(chan struct{})
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for pace := time.NewTicker(5 * time.Millisecond); ; {
				select {
				case <-end:
					pace.Stop()
					return
				case <-pace.C:
					n.send(t, h)
				}
			}
		})
	}
	n.stop = sync.OnceFunc(func() { close(end); all.Wait() })
	t.Cleanup(n.stop)
	return n
}

func (n *neighbour) send(t *testing.T, h *Host) {
	for charged := 0; charged < 5; {
		p := post(t, "hello")
		p.List.Address = "other@lists.example.org"
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		begun := time.Now()
		r, err := h.Run(ctx, p)
		took := time.Since(begun)
		cancel()
		n.tries.Add(1)
		n.slowest.Store(max(n.slowest.Load(), int64(took)))
		if took > tooLong {
			t.Errorf("a post of another list took %s: %v", took, err)
		}
		switch {
		case err == nil:
			if r.Verdict != sdk.Accept || strings.Count(text(t, p), "X-Stage: a\r\n") != 1 {
				t.Errorf("a post of another list has %+v, and became %q", r, text(t, p))
			}
			n.posts.Add(1)
			return
		case errors.Is(err, ErrClosed):
			t.Errorf("a post of another list: %v", err)
			return
		case errors.Is(err, ErrDown): // no handler has seen it
			if n.down.Add(1) > 50 {
				t.Errorf("a post of another list is stuck: %v", err)
				return
			}
		default:
			charged++
			n.charged.Add(1)
			t.Logf("a post of another list, try %d: %v", charged, err)
		}
	}
	t.Error("a post of another list is lost")
}

// processes returns the pids of programs that run from a directory.
func processes(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, p := range paths {
		line, err := os.ReadFile(p) // it may have ended
		if err == nil && strings.HasPrefix(string(line), dir+"/") {
			found = append(found, filepath.Base(filepath.Dir(p)))
		}
	}
	return found
}

// closeFast closes a host, within patience, and checks that no process of a directory is left.
func closeFast(t *testing.T, h *Host, dir string) {
	t.Helper()
	if len(processes(t, dir)) == 0 {
		t.Error("no process is there before the end; that none is after it proves nothing")
	}
	begun := time.Now()
	if err := h.Close(t.Context()); err != nil {
		t.Errorf("close: %v", err)
	}
	if took := time.Since(begun); took > patience {
		t.Errorf("close took %s", took)
	}
	if left := processes(t, dir); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

// bad is the plugin that stands beside the good one.
func bad(h *Host) PluginInfo {
	for _, p := range h.Plugins() {
		if p.Name != "good" {
			return p
		}
	}
	return PluginInfo{}
}

func restarted(t *testing.T, h *Host, times int) {
	t.Helper()
	eventually(t, "the plugin is started again", func() bool { p := bad(h); return p.Restarts >= times && p.PID != 0 })
}

// fails runs a post that must fail, in time.
func fails(t *testing.T, h *Host, subject, want string) {
	t.Helper()
	begun := time.Now()
	err := run(t, h, subject)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the post %q: %v, want %q", subject, err, want)
	}
	if took := time.Since(begun); took > tooLong {
		t.Errorf("the post %q took %s", subject, took)
	}
}

// impatient is a configuration with short deadlines.
func impatient(t *testing.T, stages []string, animals ...string) Config {
	cfg := config(t, stages, animals...)
	cfg.Logger = (&counter{}).logger() // a flood is no reading
	cfg.Timeout, cfg.timing.answer, cfg.timing.drain = deadline, time.Second, 500*time.Millisecond
	return cfg
}

func addAnimal(t *testing.T, dir, animal string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// By a rename, as a package manager does, so that there is no instant without it.
	if err := os.Symlink(self, filepath.Join(dir, ".new")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, ".new"), filepath.Join(dir, animal)); err != nil {
		t.Fatal(err)
	}
}

// buildEater is for a program of its own, as in TestAPluginThatEatsMemoryDiesAlone.
func buildEater(t *testing.T, cfg *Config) {
	t.Helper()
	build := exec.Command("go", "build", "-race=false", "-o", filepath.Join(cfg.Dir, "eater"), "./testdata/eater")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	cfg.Memory = 64 << 20
}
