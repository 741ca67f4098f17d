// Package pipeline prepares mail: it takes entries from the incoming and bounces
// queues, runs the stages on them, and turns each into one outgoing post by one
// commit.
//
// Until that commit nothing of a post is visible to outbound; after it the incoming
// entry is gone, or recognised as done. What is counted is keyed by the entry's id.
// So an entry can be run again after a crash at any instant and nothing is lost or
// done twice. An entry whose stages fail is tried again with back-off, and parked in
// failed with the reason after MaxTries (a store that is down or a disk that is full is
// waited for instead); posts of one list keep their order, and
// other lists do not wait.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/archive"
	"github.com/mlist/mlist/internal/describe"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/moderate"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/internal/trace"
)

// Config is how a pipeline works. Workers and Name cannot change at run time.
type Config struct {
	Name     string // what another daemon that wants the same segments is told
	Hostname string // how mlist names itself in the messages it writes
	Segments segment.Set
	Auto     bool // share all segments with other pipelines, and disregard Segments
	Workers  int  // posts of different lists prepared at once
	MaxTries int  // before a post goes to failed
	RetryMin time.Duration
	RetryMax time.Duration
	// RecipientsPerChunk is how many recipients outbound hands over in one transaction.
	RecipientsPerChunk int
	// NoticesPerDay is how many automatic replies one address may get in 24 hours.
	NoticesPerDay int
	// Texts are what is written to people; nil is what is built in.
	Texts *templates.Set
	// StateLimits bound what one plugin keeps for one list.
	StateLimits store.StateLimits
	// SignKeys are the keys with which outbound signs what mlist itself writes for lists of a
	// domain; nil is none.
	SignKeys func(domain string) []spool.SignKey
}

// Spool is what the pipeline needs of the spool.
type Spool interface {
	spool.Putter
	moderate.Spool
	Own(ctx context.Context, q spool.Queue, segments segment.Set, name string) (spool.Owner, error)
}

// Store is what the pipeline needs of the store.
type Store interface {
	List(ctx context.Context, addr address.Address) (*list.List, error)
	Memberships(ctx context.Context, listID int64, addrs []address.Address) ([]list.Membership, error)
	Aliases(ctx context.Context, listID int64) ([]address.Address, error)
	OpenApprovals(ctx context.Context, listID int64, entry string, at time.Time) ([]string, error)
	MatchBans(ctx context.Context, listID int64, domain string, addrs []address.Address) (map[string]list.Ban, error)
	Recipients(ctx context.Context, sources ...store.Source) iter.Seq2[[]store.Recipient, error]
	AllLists(ctx context.Context, domain string) iter.Seq2[*list.List, error]
	Members(ctx context.Context, listID int64, f store.Filter) iter.Seq2[list.Membership, error]
	ResumeMembers(ctx context.Context, now time.Time) (int64, error)
	RolesOf(ctx context.Context, addr address.Address) iter.Seq2[store.ListRole, error]
	CountMembers(ctx context.Context, listID int64, f store.Filter) (int64, error)
	store.Journal
	store.Archive
	store.Digests
	store.Bounces
	store.Requests
	store.Invitations
	store.People
	store.Moderation
	store.Secrets
}

// Stages runs the handlers on a post.
type Stages interface {
	Run(ctx context.Context, p *host.Post) (host.Result, error)
}

// Daemon is the pipeline.
type Daemon struct {
	cfg       atomic.Pointer[Config]
	spool     Spool
	store     Store
	describer *describe.Describer
	stages    Stages
	tracer    Tracer
	meter     Meter
	archive   archive.Archive // nil: nothing is kept
	// together is nil where spool and store have no transaction in common.
	together *together
	closed   chan struct{} // there is a digest to file
	waits    chan struct{} // moderators are to be told what waits
	bounced  chan struct{} // people are to be told what bounces did

	verpSecret     secret // of the keys of return paths
	oneClickSecret secret // of those of one-click unsubscription

	issues sync.Mutex // held while a message of a digest is put, or enters the journal
	log    *slog.Logger
	now    func() time.Time

	ready  chan struct{}
	moved  chan struct{}               // has a token when other segments are wanted
	lacks  atomic.Pointer[string]      // why Run waits for them
	serves atomic.Pointer[spool.Owner] // of incoming, while Run has one
}

// New returns a pipeline that Run starts.
func New(cfg Config, sp Spool, st Store, stages Stages, log *slog.Logger) *Daemon {
	d := &Daemon{spool: sp, store: st, describer: describe.New(st), stages: stages, tracer: noTracer{}, meter: noMeter{}, log: log, now: time.Now, closed: make(chan struct{}, 1), bounced: make(chan struct{}, 1), waits: make(chan struct{}, 1), ready: make(chan struct{}), moved: make(chan struct{}, 1)}
	d.cfg.Store(&cfg)
	return d
}

// Reload takes a new configuration for the entries that are taken up from now on. With other
// segments, or with Auto changed, it gives up those that it has, with what is under way, and
// takes the new ones as soon as whoever has them gives them up.
func (d *Daemon) Reload(cfg Config) {
	if old := d.cfg.Swap(&cfg); cfg.wants() != old.wants() {
		select {
		case d.moved <- struct{}{}:
		default: // it knows already
		}
	}
}

// wants says which segments the daemon is to have.
func (c *Config) wants() string {
	if c.Auto {
		return "auto"
	}
	return c.Segments.String()
}

// texts are what is written to people from now on.
func (d *Daemon) texts() *templates.Set { return d.cfg.Load().Texts }

// Ready is closed when the daemon owns its segments.
func (d *Daemon) Ready() <-chan struct{} { return d.ready }

// bounceWorkers is enough for bounces: each is a little parsing and one transaction.
const bounceWorkers = 2

// Run works until ctx ends; entries in hand are finished or given back. It returns nil
// when it ended because of ctx.
func (d *Daemon) Run(ctx context.Context) error {
	isReady, told := false, "" // told of which segments that they are waited for
	for {
		cfg := d.cfg.Load()
		err := d.serve(ctx, cfg, func() {
			if isReady {
				d.log.Info("pipeline: at work again", "segments", cfg.wants())
			} else {
				close(d.ready)
			}
			isReady, told = true, ""
			d.lacks.Store(nil)
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errMoved):
			continue
		case cfg.Auto && errors.Is(err, spool.ErrFenced):
			d.log.Warn("pipeline: the lease is lost; taking part anew") // and others have its share by now
		case isReady && (cfg.Auto || errors.Is(err, spool.ErrOwned)):
			// The database may be away, or who has the segments has not heard yet that it is to
			// give them up.
			if wants := cfg.wants(); told != wants {
				d.log.Warn("pipeline: waiting for segments", "segments", wants, "err", err)
				told = wants
			}
			why := err.Error()
			d.lacks.Store(&why)
		default:
			return err
		}
		wait(ctx, time.Second)
	}
}

// Lacks tells why the daemon has to wait for the segments that it is to have; empty if it does not.
func (d *Daemon) Lacks() string {
	if why := d.lacks.Load(); why != nil {
		return *why
	}
	return ""
}

// errMoved ends serve when other segments are wanted.
var errMoved = errors.New("the segments have changed")

// own owns the segments of a queue that are configured. An error says which.
func (d *Daemon) own(ctx context.Context, cfg *Config, q spool.Queue) (spool.Owner, error) {
	if !cfg.Auto {
		return d.spool.Own(ctx, q, cfg.Segments, cfg.Name)
	}
	sharing, ok := d.spool.(spool.Sharing)
	if !ok {
		return nil, fmt.Errorf("share the segments of %s: this kind of spool has none to share", q)
	}
	return sharing.Share(ctx, q, spool.Partner{Name: cfg.Name})
}

// serve works with one ownership, until ctx ends, or that has, or another is wanted.
func (d *Daemon) serve(ctx context.Context, cfg *Config, ready func()) error {
	incoming, err := d.own(ctx, cfg, spool.Incoming)
	if err != nil {
		return err
	}
	defer incoming.Close()
	bounces, err := d.own(ctx, cfg, spool.Bounces)
	if err != nil {
		return err
	}
	defer bounces.Close()
	d.serves.Store(&incoming)
	defer d.serves.Store(nil)
	ready()

	g, ctx := errgroup.WithContext(ctx)
	for range cfg.Workers {
		g.Go(func() error { return d.work(ctx, incoming, d.run) })
	}
	for range bounceWorkers {
		g.Go(func() error { return d.work(ctx, bounces, d.each(d.bounce)) })
	}
	g.Go(func() error {
		select {
		case <-d.moved:
			return errMoved
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	g.Go(func() error { return d.prune(ctx) })
	g.Go(func() error { return d.followBounces(ctx) })
	g.Go(func() error { return d.moderation(ctx) })
	if d.archive != nil {
		g.Go(func() error { return d.sweeps(ctx) })
		g.Go(func() error { return d.digests(ctx) })
	}
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// step does all that is to be done with an entry.
type step func(ctx context.Context, owner spool.Owner, e spool.Entry)

// each makes a step of work on one entry, which is given back after an error.
func (d *Daemon) each(do func(ctx context.Context, owner spool.Owner, e spool.Entry) error) step {
	return func(ctx context.Context, owner spool.Owner, e spool.Entry) {
		if err := do(ctx, owner, e); err != nil {
			d.giveBack(ctx, owner, e, err)
			return
		}
		d.meter.Trouble(nil)
	}
}

// work takes entries one after the other until ctx ends.
func (d *Daemon) work(ctx context.Context, owner spool.Owner, do step) error {
	for {
		e, err := owner.Next(ctx)
		switch {
		case ctx.Err() != nil:
			if err == nil {
				owner.Release(e)
			}
			return ctx.Err()
		case errors.Is(err, spool.ErrFenced):
			return fmt.Errorf("take an entry: %w", err)
		case err != nil: // a disk in trouble, perhaps: mail waits for it to come back
			d.log.Error("take an entry", "err", err)
			wait(ctx, d.cfg.Load().RetryMin)
			continue
		}
		do(ctx, owner, e)
	}
}

// permanentError is a failure that another try cannot mend.
type permanentError struct{ error }

func (p permanentError) Unwrap() error { return p.error }

// giveBack puts an entry back after a failed try.
func (d *Daemon) giveBack(ctx context.Context, owner spool.Owner, e spool.Entry, cause error) {
	log := d.log.With("entry", e.ID, "list", e.List)
	if ctx.Err() != nil {
		owner.Release(e) // the daemon is stopping; that is nobody's fault
		return
	}
	cfg := d.cfg.Load()
	if errors.Is(cause, host.ErrDown) {
		// No handler has seen the post, so it has not had its try: it waits for the plugin.
		log.Warn("post waits for a plugin", "err", cause)
		d.meter.Entry(e.List, "waits")
		wait(ctx, cfg.RetryMin)
		owner.Release(e)
		return
	}
	if err := d.record(ctx, owner, e, cause); err != nil {
		log.Error("record that a post was tried", "err", err)
		wait(ctx, cfg.RetryMin) // what cannot be recorded must not go round in circles
		owner.Release(e)
	}
}

// record notes in the spool that a try failed: the entry comes up again later, or goes
// to failed after its last try.
func (d *Daemon) record(ctx context.Context, owner spool.Owner, e spool.Entry, cause error) error {
	log, cfg := d.log.With("entry", e.ID, "list", e.List), d.cfg.Load()
	// What stopped the work must not stop the record of it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()

	spent := e.Tries+1 >= cfg.MaxTries
	if blameless(cause) {
		d.meter.Trouble(cause)
		spent = d.now().Sub(e.Received) >= patience
	}
	var permanent permanentError
	if errors.As(cause, &permanent) || spent {
		log.Error("post failed", "tries", e.Tries+1, "err", cause)
		d.countFailure(e.List, "failed", cause)
		d.tracer.Trace(string(e.ID), e.List, trace.Failed, "tries", e.Tries+1, "reason", cause)
		return owner.Park(ctx, e, spool.Failed, cause.Error(), e.Notes)
	}
	due := d.now().Add(backoff(e.Tries, cfg.RetryMin, cfg.RetryMax))
	log.Warn("post deferred", "tries", e.Tries+1, "due", due, "err", cause)
	d.countFailure(e.List, "deferred", cause)
	d.tracer.Trace(string(e.ID), e.List, trace.Deferred, "tries", e.Tries+1, "due", due, "reason", cause)
	return owner.Defer(ctx, e, due, cause.Error())
}

// wait waits, or until ctx ends.
func wait(ctx context.Context, long time.Duration) {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// prune forgets digests after a time in which no MTA still tries to deliver a copy
// (Postfix's maximal_queue_lifetime is 5 days).
func (d *Daemon) prune(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := d.store.Prune(ctx, d.now().Add(-duplicateWindow)); err != nil && ctx.Err() == nil {
			d.log.Error("prune the journal", "err", err)
		}
		if n, err := d.store.ResumeMembers(ctx, d.now()); err != nil && ctx.Err() == nil {
			d.log.Error("resume delivery to members who were away", "err", err)
		} else if n > 0 {
			d.log.Info("members who were away receive posts again", "members", n)
		}
		if err := d.store.PruneBounces(ctx, d.now().Add(-bounceMemory)); err != nil && ctx.Err() == nil {
			d.log.Error("prune the bounces", "err", err)
		}
		if err := d.store.PruneDecisions(ctx, d.now().Add(-decisionMemory)); err != nil && ctx.Err() == nil {
			d.log.Error("prune the decisions", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
