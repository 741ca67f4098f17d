// Package outbound hands prepared posts to the MTA.
//
// The daemon takes chunks of recipients from the outgoing queue, for the segments it
// owns, and sends each in one SMTP transaction over one of a few connections, or where
// copies differ from each other, in one for each recipient. What the
// MTA accepts is settled in the spool before the connection is used again, so that a
// kill repeats at most the transactions whose reply was on its way. What the MTA defers
// is tried again with back-off; what it refuses becomes an entry in bounces, in the form
// of a DSN. An MTA that cannot be reached is asked now and then by one prober, and
// charges no recipient a try.
//
// It knows neither lists nor members: a chunk and its content are all that it needs, and
// the store may be down.
package outbound

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/outbound/sender"
)

// Config is what the daemon is told. Zero values mean the defaults that are named.
type Config struct {
	MTA                      sender.Config
	Segments                 segment.Set   // segment.All
	Auto                     bool          // share all segments with other daemons, and disregard Segments
	Name                     string        // what a daemon that wants the same segments is told: "outbound"
	RecipientsPerTransaction int           // 1000
	Connections              int           // 8
	RetryMin                 time.Duration // wait after the first deferral: 1 minute; doubles each time
	RetryMax                 time.Duration // and stays here: 2 hours
	MaxAge                   time.Duration // since the post came in, after which a deferral is a refusal: 5 days
	DelayNotice              time.Duration // since the post came in, after which the owners are told of a deferral; 0 is never
	Idle                     time.Duration // after which a connection is closed: 5 seconds
	Grace                    time.Duration // for transactions under way when Run is to end: 10 seconds
}

func (c Config) withDefaults() Config {
	or(&c.Name, "outbound")
	or(&c.RecipientsPerTransaction, 1000)
	or(&c.Connections, 8)
	or(&c.RetryMin, time.Minute)
	or(&c.RetryMax, 2*time.Hour)
	or(&c.MaxAge, 5*24*time.Hour)
	or(&c.Idle, 5*time.Second)
	or(&c.Grace, 10*time.Second)
	if c.Segments == nil {
		c.Segments = segment.All
	}
	return c
}

// or sets v to what it is without a value.
func or[T int | time.Duration | string](v *T, otherwise T) {
	var zero T
	if *v <= zero {
		*v = otherwise
	}
}

// Spool is the part of a spool that the daemon needs.
type Spool interface {
	spool.Putter
	OwnOutgoing(ctx context.Context, segments segment.Set, name string) (spool.OutgoingOwner, error)
}

// Daemon is the outbound daemon. It is made by New and run once.
type Daemon struct {
	spool        Spool
	log          *slog.Logger
	cfg          atomic.Pointer[Config]
	owner        spool.OutgoingOwner
	mta          *mta
	keys         keys
	posts        summaries
	loads        loads
	trace        Tracer
	meter        Meter
	ready        chan struct{}
	destinations destinations
	stopping     chan struct{} // closed when no more is to be begun
	moved        chan struct{} // has a token when other segments are wanted
	lacks        atomic.Pointer[string]
	now          func() time.Time

	mu      sync.Mutex
	strikes map[string]int      // transactions that came to nothing, by chunk; not the chunk's fault
	turns   map[string]turnsSum // of chunks, to be traced
	delays  map[string]int64    // the day on which a list's owners were told last that a post is delayed
	partial map[string]*partial // chunks that need more than one transaction
}

// New makes a daemon.
func New(cfg Config, sp Spool, log *slog.Logger) *Daemon {
	cfg = cfg.withDefaults()
	d := &Daemon{
		spool: sp, log: log, ready: make(chan struct{}), moved: make(chan struct{}, 1), now: time.Now, trace: noTracer{}, meter: noMeter{},
		strikes: map[string]int{}, turns: map[string]turnsSum{}, partial: map[string]*partial{}, delays: map[string]int64{},
	}
	d.cfg.Store(&cfg)
	d.mta = newMTA(cfg, log)
	d.posts = summaries{log: log, some: make(chan struct{}, 1)}
	return d
}

// Ready is closed once the segments are owned. The MTA need not be up for that.
func (d *Daemon) Ready() <-chan struct{} { return d.ready }

// Reload makes the daemon go on with another configuration, from the next transaction
// on. With other segments, or with Auto changed, it finishes what is under way, gives up those
// that it has, and takes the new ones, as soon as whoever has them gives them up. The name stays
// as it is.
func (d *Daemon) Reload(cfg Config) {
	cfg = cfg.withDefaults()
	old := d.cfg.Load()
	cfg.Name = old.Name
	d.cfg.Store(&cfg)
	d.mta.configure(cfg)
	if cfg.wants() != old.wants() {
		wake(d.moved)
	}
}

// auto is what Config.wants says of segments that are shared.
const auto = "auto"

// wants says which segments the daemon is to have.
func (c *Config) wants() string {
	if c.Auto {
		return auto
	}
	return c.Segments.String()
}

// own owns the segments that are configured. An error says which.
func (d *Daemon) own(ctx context.Context, cfg *Config) (spool.OutgoingOwner, error) {
	if !cfg.Auto {
		return d.spool.OwnOutgoing(ctx, cfg.Segments, cfg.Name)
	}
	sharing, ok := d.spool.(spool.Sharing)
	if !ok {
		return nil, errors.New("share the segments of outgoing: this kind of spool has none to share")
	}
	return sharing.ShareOutgoing(ctx, spool.Partner{Name: cfg.Name, Load: d.load})
}

// Run owns the segments and delivers until ctx ends, then finishes what is under way,
// within the grace period, and gives the rest back. It returns nil when ctx has ended,
// else why it could not go on: segments that are owned by another or were lost to it.
func (d *Daemon) Run(ctx context.Context) error {
	cfg := d.cfg.Load()
	owner, err := d.own(ctx, cfg)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	close(d.ready)

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var helpers sync.WaitGroup
	helpers.Go(func() { d.mta.run(ctx) })
	helpers.Go(func() { d.posts.run(ctx) })
	for owner != nil && err == nil {
		err = d.serve(ctx, owner, cfg.wants())
		owner = nil
		if cfg.Auto && errors.Is(err, spool.ErrFenced) {
			d.log.Warn("outbound: the lease is lost; taking part anew") // and others have its share by now
			err = nil
		}
		if err == nil && ctx.Err() == nil {
			owner, cfg, err = d.takeOver(ctx)
		}
	}
	stop()
	helpers.Wait()
	d.mta.close()
	d.posts.flush(0)
	return err
}

// serve delivers what an owner hands out until ctx ends or other segments are wanted, and
// closes it.
func (d *Daemon) serve(ctx context.Context, owner spool.OutgoingOwner, set string) (err error) {
	d.owner, d.stopping = owner, make(chan struct{})
	defer func() {
		// Of shared segments nothing needs to be given up that cannot be: the lease ends by itself.
		if cerr := owner.Close(); cerr != nil && err == nil && set != auto {
			err = fmt.Errorf("give up outgoing %s: %w", set, cerr)
		}
	}()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var jobs, watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-ctx.Done():
		case <-d.moved:
			stop(errMoved)
		}
	})
	d.dispatch(ctx, work, stop, &jobs)
	close(d.stopping)
	timer := time.AfterFunc(d.cfg.Load().Grace, cut)
	jobs.Wait()
	timer.Stop()
	stop(nil)
	watch.Wait()
	if cause := context.Cause(ctx); errors.Is(cause, spool.ErrFenced) {
		return fmt.Errorf("outgoing %s: %w", set, cause)
	}
	return nil
}

// errMoved ends serve when other segments are wanted.
var errMoved = errors.New("the segments have changed")

// takeOver owns other segments than before. The daemon that has them may not have heard yet
// that it is to give them up, so it waits, and goes by the newest configuration. Without an
// owner and an error, ctx has ended.
func (d *Daemon) takeOver(ctx context.Context) (spool.OutgoingOwner, *Config, error) {
	wait := delay{first: 50 * time.Millisecond, most: 2 * time.Second}
	cfg := d.cfg.Load()
	for told := false; ; told = true {
		owner, err := d.own(ctx, cfg)
		switch {
		case err == nil:
			d.lacks.Store(nil)
			d.log.Info("outbound: other segments now", "segments", cfg.wants())
			return owner, cfg, nil
		case ctx.Err() != nil:
			return nil, cfg, nil
		case !cfg.Auto && !errors.Is(err, spool.ErrOwned) && !errors.Is(err, spool.ErrFenced):
			return nil, cfg, err
		case !told:
			d.log.Warn("outbound: waiting for segments", "segments", cfg.wants(), "err", err)
		}
		why := err.Error()
		d.lacks.Store(&why)
		if !sleep(ctx, wait.next()) {
			return nil, cfg, nil
		}
		if next := d.cfg.Load(); next.wants() != cfg.wants() {
			cfg, told = next, false
		}
	}
}

// Lacks tells why the daemon has to wait for the segments that it is to have; empty if it does not.
func (d *Daemon) Lacks() string {
	if why := d.lacks.Load(); why != nil {
		return *why
	}
	return ""
}

// dispatch takes chunks and starts a job for each, no more at once than there may be
// connections, until ctx ends. Jobs run under work.
func (d *Daemon) dispatch(ctx, work context.Context, stop context.CancelCauseFunc, jobs *sync.WaitGroup) {
	wait := delay{first: 100 * time.Millisecond, most: 10 * time.Second}
	for d.mta.acquire(ctx) {
		c, err := d.owner.Next(ctx)
		d.mta.filled()
		switch {
		case err == nil:
			wait.reset()
			jobs.Go(func() {
				defer d.mta.release()
				if err := d.deliver(work, c); err != nil {
					stop(err)
				}
			})
			continue
		case ctx.Err() != nil:
		case errors.Is(err, spool.ErrFenced):
			d.log.Error("outbound: the segments have another owner now; stopping", "err", err)
			stop(err)
		default:
			d.log.Error("outbound: cannot take a chunk", "err", err)
			sleep(ctx, wait.next())
		}
		d.mta.release()
	}
}
