package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mlist/mlist/sdk/proto"
)

// launcher is what starting a process takes.
type launcher struct {
	dir               string // for sockets
	hostname, version string
	memory            int64
	check             bool
	timing            timing
	logger            *slog.Logger
	force             context.Context

	members  Members             // nil: none are told
	state    State               // nil: none is kept
	readers  *semaphore.Weighted // of members
	counters *counters
	pins     map[string]string // checksums by file name
}

// supervised is a plugin that is kept running: one goroutine owns its process, starts
// a new one when that dies or is not well, and stops it in the end.
type supervised struct {
	*launcher
	path   string
	name   string
	want   []string          // the stages that are in use
	tables map[string][]byte // their configuration
	tally  *tally

	end   context.CancelFunc
	owner sync.WaitGroup // the owner and processes that are ending
	turns *semaphore.Weighted

	mu       sync.Mutex
	process  *process // nil while it is down
	version  string
	needs    []string
	offered  map[string]*proto.Stage
	restarts int
	why      error // it is down
	losses   losses
	changed  chan struct{} // closed when any of these change
}

// supervise takes a process over.
func (l *launcher) supervise(path string, p *process, want []string, tables map[string][]byte) *supervised {
	ctx, cancel := context.WithCancel(context.Background())
	s := &supervised{launcher: l, path: path, name: p.name, want: want, tables: tables, tally: l.counters.tally(p.name), end: cancel,
		turns: semaphore.NewWeighted(everyone), process: p, changed: make(chan struct{})}
	s.learn(p)
	s.owner.Go(func() { s.own(ctx, p) })
	return s
}

// own is the owner's life.
func (s *supervised) own(ctx context.Context, p *process) {
	for restarts := 0; ; restarts++ {
		s.log(p).Info("plugin started", "version", p.version, "stages", s.want)
		begun := time.Now()
		why := s.watch(ctx, p)
		if why == nil {
			s.set(nil, ErrClosed)
			p.stop(s.force, s.launcher)
			s.log(p).Info("plugin stopped")
			return
		}
		s.set(nil, why)
		s.lose(why)
		_, tail := p.output.last()
		s.log(p).Error("plugin lost", "err", why, "stderr", tail)
		lost := p
		s.owner.Go(func() { lost.stop(s.force, s.launcher) })
		if time.Since(begun) > s.timing.settled {
			restarts = 0
		}
		if p, restarts = s.restart(ctx, restarts); p == nil {
			return
		}
	}
}

// restart tries to start the program until it does, and returns nil when ctx ends.
func (s *supervised) restart(ctx context.Context, restarts int) (*process, int) {
	for ; ; restarts++ {
		pause := time.NewTimer(s.timing.pause(restarts))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			s.set(nil, ErrClosed)
			return nil, 0
		}
		p, err := s.start(ctx)
		if err == nil {
			s.set(p, nil)
			return p, restarts
		}
		if ctx.Err() == nil {
			s.set(nil, err)
			s.logger.Error("plugin does not start", "plugin", s.name, "err", err)
		}
	}
}

// start starts the program again. What it offers must not have changed: that takes a
// reload.
func (s *supervised) start(ctx context.Context) (*process, error) {
	if s.check {
		if err := checkProgram(s.path); err != nil {
			return nil, fmt.Errorf("plugin %s: %w", s.path, err)
		}
	}
	p, err := s.launch(ctx, s.path)
	if err != nil {
		return nil, err
	}
	for _, stage := range s.want {
		if !offers(p, stage) {
			p.abandon()
			return nil, fmt.Errorf("plugin %s: it offers no stage %s any more", s.path, stage)
		}
	}
	if err := p.configure(ctx, s.launcher, s.tables); err != nil {
		p.abandon()
		return nil, err
	}
	return p, nil
}

// watch returns why the process must be replaced, or nil when ctx ends.
func (s *supervised) watch(ctx context.Context, p *process) error {
	timer := time.NewTimer(s.timing.health)
	defer timer.Stop()
	for bad := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-p.done:
			return fmt.Errorf("died: %s%s", p.status(), p.said())
		case <-p.silent.ch:
			return errors.New("does not answer: a call ran out of time, and so did a health check")
		case <-timer.C:
		}
		err := p.health(ctx, s.timing.answer)
		select {
		case <-p.done:
			continue
		default:
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			bad = 0
		case status.Code(err) == codes.FailedPrecondition:
			return fmt.Errorf("not well: %s", words(err))
		default:
			if bad++; bad == 2 {
				return fmt.Errorf("does not answer: %s", words(err))
			}
		}
		timer.Reset(s.timing.health)
	}
}

// get returns the process, and waits for it while it is down, but not for long. Its
// error is ErrDown with what keeps it so, or that of ctx if the caller gave up.
func (s *supervised) get(ctx context.Context, patience time.Duration) (*process, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		s.mu.Lock()
		p, why, changed := s.process, s.why, s.changed
		s.mu.Unlock()
		if p != nil && !p.useless() {
			return p, nil
		}
		if why == nil {
			why = errors.New("it has just ended")
		}
		if errors.Is(why, ErrClosed) {
			return nil, fmt.Errorf("%w: %w", ErrDown, why)
		}
		select {
		case <-changed: // soon, if it ended and its owner has yet to notice
		case <-timer.C:
			return nil, fmt.Errorf("%w: %w", ErrDown, why)
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil, ctx.Err()
			}
			return nil, fmt.Errorf("%w: %w", ErrDown, why)
		}
	}
}

func (s *supervised) set(p *process, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil && p != nil {
		s.restarts++
		s.learn(p)
	}
	s.process, s.why = p, why
	close(s.changed)
	s.changed = make(chan struct{})
}

// Lately is the time in which losses of a process are counted.
const Lately = 15 * time.Minute

// losses are when a plugin's process was lost, and why the last time: as many of the last ones as
// tell that it is lost again and again.
type losses struct {
	at  []time.Time
	why error
}

// maxLosses bounds how many are remembered.
const maxLosses = 10

func (s *supervised) lose(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.losses.at = append(s.losses.at, time.Now()); len(s.losses.at) > maxLosses {
		s.losses.at = s.losses.at[1:]
	}
	s.losses.why = why
}

// lately counts those that were not long ago.
func (l losses) lately(now time.Time) (n int) {
	for _, at := range l.at {
		if now.Sub(at) < Lately {
			n++
		}
	}
	return n
}

// learn keeps what a process said of itself.
func (s *supervised) learn(p *process) {
	s.version, s.needs, s.offered = p.version, p.needs, map[string]*proto.Stage{}
	for _, st := range p.stages {
		s.offered[st.GetName()] = st
	}
}

// offer is what the plugin says of a stage; nil if it has none of that name any more.
func (s *supervised) offer(stage string) *proto.Stage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.offered[stage]
}

// close stops the plugin and waits for all that belongs to it.
func (s *supervised) close() {
	s.end()
	s.owner.Wait()
}

func (s *supervised) describe() PluginInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	info := PluginInfo{Name: s.name, Version: s.version, Path: s.path, Stages: slices.Clone(s.want), Restarts: s.restarts, Needs: slices.Clone(s.needs),
		Counts: s.counters.of(s.name),
		Calls:  s.tally.calls.Load(), Errors: s.tally.errors.Load(), P50: s.tally.percentile(50), P99: s.tally.percentile(99),
		Spent: time.Duration(s.tally.spent.Load())}
	if info.Lost = s.losses.lately(time.Now()); info.Lost > 0 {
		info.LostWhy = s.losses.why
	}
	for _, stage := range s.want {
		if s.offered[stage].GetAtSmtp() {
			info.AtSMTP = append(info.AtSMTP, stage)
		}
	}
	if s.process != nil {
		info.PID = s.process.pid
		info.Healthy = !s.process.dead()
	} else {
		info.Why = s.why
	}
	return info
}

func (s *supervised) log(p *process) *slog.Logger {
	return s.logger.With("plugin", s.name, "pid", p.pid)
}

func offers(p *process, stage string) bool {
	for _, st := range p.stages {
		if st.GetName() == stage {
			return true
		}
	}
	return false
}
