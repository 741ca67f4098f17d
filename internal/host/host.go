// Package host runs plugins: it finds the programs in the plugin directory, starts
// them, watches them, gives every call a deadline, restarts what dies and replaces all
// of them on reload while posts flow.
//
// A plugin that crashes, hangs, answers nonsense or eats memory costs one error of one
// Handle. No plugin outlives the process that started it, however that ended.
package host

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/wire"
)

// ErrClosed is what Run and Reload return after Close.
var ErrClosed = errors.New("the plugins are stopped")

// ErrDown is in the error of Run when a plugin was not running and did not come back
// in time. It says nothing about the post, which no handler has seen.
var ErrDown = errors.New("the plugin is down")

// Config says which plugins to run and how.
type Config struct {
	Dir      string                    // the plugin directory
	RunDir   string                    // for sockets: made with mode 0700; "" is a new temporary directory
	Stages   []string                  // in the order of the pipeline
	Plugins  map[string]map[string]any // the tables [plugin.STAGE], by stage
	Hostname string
	Version  string        // mlist's own
	Timeout  time.Duration // of one call to a plugin; 0 is 30 s
	// ConsultTimeout is for a whole consultation, at which an SMTP session waits; 0 is 5 s.
	ConsultTimeout time.Duration
	Memory         int64 // bytes that one plugin may use, in round numbers; 0 is no limit
	// CheckOwner refuses plugins, or a directory, that someone other than root or the
	// current user owns or can write.
	CheckOwner bool
	Logger     *slog.Logger
	// Members and State answer what plugins ask. One that needs what is nil is refused.
	Members Members
	State   State
	// SHA256 pins programs of the directory, by their file names, to checksums in
	// hexadecimal. A program that differs is not started; one without a pin is.
	SHA256 map[string]string

	timing timing // the zero value is defaultTiming
}

// StateEdit changes one value that a plugin keeps for a list.
type StateEdit = wire.StateEdit

// Kept is a post as a stage wanted it kept.
type Kept = wire.Kept

// Post is a post on its way through the stages. Run changes Header, Body, Rules and
// Notes as the stages ask; State and Submissions are to be committed with the post, once,
// if it is accepted. Call and Counts are Run's own.
type Post = wire.Post

// Result is what the stages made of a post.
type Result struct {
	Verdict sdk.Verdict
	Stage   string // the stage that decided, if it was not accepted
	Stages  []StageTime
}

// StageTime is how long one stage took, as its plugin measured it.
type StageTime struct {
	Stage   string        `json:"stage"`
	Verdict sdk.Kind      `json:"verdict"`
	Took    time.Duration `json:"took"`
}

// Host runs plugins. Use Start to make one.
type Host struct {
	dir      *runDir
	counters *counters
	readers  *semaphore.Weighted
	current  atomic.Pointer[generation] // nil when closed

	life    context.Context // ends when Close begins
	end     context.CancelFunc
	force   context.Context // ends when Close has no patience left
	compel  context.CancelFunc
	changes sync.Mutex     // one Reload or Close at a time
	drains  sync.WaitGroup // of generations that were replaced
}

// Start starts the plugins that the configured stages need, and waits until they are
// ready. A stage that no plugin offers, or two do, is an error, as is a plugin that
// refuses its configuration.
func Start(ctx context.Context, cfg Config) (*Host, error) {
	dir, err := makeRunDir(cfg.RunDir)
	if err != nil {
		return nil, err
	}
	h := &Host{dir: dir, counters: &counters{}, readers: semaphore.NewWeighted(maxReaders)}
	h.life, h.end = context.WithCancel(context.Background())
	h.force, h.compel = context.WithCancel(context.Background())
	g, err := h.assemble(ctx, cfg.complete())
	if err != nil {
		h.end()
		h.compel()
		return nil, errors.Join(err, dir.remove())
	}
	h.current.Store(g)
	return h, nil
}

// Reload starts the plugins of a new configuration beside those that run, swaps them
// in, and drains the old. On an error the old ones go on. When ctx ends while posts
// are still with the old plugins, Reload returns nil and they go on draining.
func (h *Host) Reload(ctx context.Context, cfg Config) error {
	h.changes.Lock()
	defer h.changes.Unlock()
	old := h.current.Load()
	if old == nil {
		return ErrClosed
	}
	starting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.life, cancel)()
	g, err := h.assemble(starting, cfg.complete())
	if err != nil {
		return err
	}
	h.current.Store(g)
	drained := make(chan struct{})
	h.drains.Go(func() {
		defer close(drained)
		old.close()
	})
	select {
	case <-drained:
	case <-ctx.Done():
	}
	return nil
}

// Plugins describes the plugins that run.
func (h *Host) Plugins() []PluginInfo {
	g := h.current.Load()
	if g == nil {
		return nil
	}
	infos := make([]PluginInfo, len(g.plugins))
	for i, p := range g.plugins {
		infos[i] = p.describe()
	}
	return infos
}

// Totals counts what the host has done since it started.
type Totals struct {
	Posts int64 // that entered Run; a post that is tried again counts again
	Calls int64 // to all plugins, those of earlier configurations included
}

// Totals tells how many calls the posts so far took.
func (h *Host) Totals() Totals {
	return Totals{Posts: h.counters.posts.Load(), Calls: h.counters.calls.Load()}
}

// Close drains and stops every plugin, forcibly when ctx ends. Runs that are under way
// may finish; new ones get ErrClosed.
func (h *Host) Close(ctx context.Context) error {
	h.end()
	defer context.AfterFunc(ctx, h.compel)()
	h.changes.Lock()
	defer h.changes.Unlock()
	g := h.current.Swap(nil)
	if g == nil {
		return nil
	}
	g.close()
	h.drains.Wait()
	h.compel()
	return h.dir.remove()
}

// PluginInfo describes a plugin that runs.
type PluginInfo struct {
	Name, Version, Path string
	PID                 int // 0 while it is down
	Stages              []string
	Restarts            int
	Needs               []string         // the capabilities that it asked for
	AtSMTP              []string         // those of Stages that may be asked at SMTP time
	Counts              map[string]int64 // what it counted since the host started

	Healthy bool  // its process is there, and not known to be dead
	Why     error // it is down; nil while it is not
	// Lost is how often its process was lost lately (Lately), at most ten times, and LostWhy why
	// the last time.
	Lost    int
	LostWhy error
	// Since the host started, over restarts and reloads. A call that is tried again counts
	// again; an error is a call that failed, or whose reply was not valid.
	Calls, Errors int64
	P50, P99      time.Duration // that so many hundredths of the calls stayed below, to a quarter; 0 before the first
	Spent         time.Duration // in all of them
}
