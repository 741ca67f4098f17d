package pg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/balance"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// lease is the ownership of segments, kept up by a goroutine until it is given up. The
// segments are those asked for, or whatever the plan says.
type lease struct {
	s     *Spool
	queue spool.Queue
	who   spool.Partner
	auto  bool
	epoch int64

	meter balance.Meter // of the goroutine
	// valid is until when the lease lasts for sure, by a clock that goes on while the machine
	// is suspended: nanoseconds. Nothing is begun or ended at an MTA after that.
	valid atomic.Int64

	mu    sync.Mutex
	set   segment.Set          // what may be handed out
	busy  func() []segment.Key // of what is handed out; nil before there is an owner
	moved func()               // told when set has changed

	ended chan struct{} // closed when the lease is over, for whatever reason
	once  sync.Once
	stop  context.CancelFunc
	gone  chan struct{} // closed when the goroutine has ended
}

func (s *Spool) newLease(q spool.Queue, who spool.Partner, auto bool) *lease {
	return &lease{s: s, queue: q, who: who, auto: auto, ended: make(chan struct{}), gone: make(chan struct{})}
}

// take claims segments. One that somebody else was told to have is refused, but not before that
// owner has shown that it lives: of a daemon that was killed and starts again, the lease is
// waited for. What others only share is waited for, too: they give it up.
func (s *Spool) take(ctx context.Context, q spool.Queue, set segment.Set, name string) (*lease, error) {
	if set.Size() == 0 {
		return nil, fmt.Errorf("own %s: no segments", q)
	}
	l := s.newLease(q, spool.Partner{Name: name}, false)
	seen := map[int64]time.Time{} // when the lease of each epoch ends, as first read
	for {
		err := s.tryTake(ctx, l, set, seen)
		if err == nil {
			break
		}
		if !errors.Is(err, errWait) {
			return nil, fmt.Errorf("own %s %s: %w", q, set, err)
		}
		if werr := l.pause(ctx); werr != nil {
			return nil, fmt.Errorf("own %s %s: %w: %w", q, set, err, werr)
		}
	}
	l.begin()
	for !l.serves(set) {
		if err := l.pause(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("own %s %s, of which others have some: %w", q, set, err), l.giveUp())
		}
	}
	return l, nil
}

// join takes part in sharing.
func (s *Spool) join(ctx context.Context, q spool.Queue, who spool.Partner) (*lease, error) {
	l := s.newLease(q, who, true)
	if err := s.insert(ctx, s.keep, l, nil, nil); err != nil {
		return nil, fmt.Errorf("share the segments of %s: %w", q, err)
	}
	l.begin()
	return l, nil
}

func (l *lease) begin() {
	ctx, stop := context.WithCancel(l.s.work)
	l.stop = stop
	go l.keep(ctx)
}

// pause waits a little, or until ctx or the lease ends.
func (l *lease) pause(ctx context.Context) error {
	select {
	case <-time.After(l.s.opts.Lease / 16):
		return nil
	case <-l.ended:
		return spool.ErrFenced
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errWait: an owner has not been heard of since it was first asked about.
var errWait = errors.New("wait for the lease of an owner to end")

func (s *Spool) tryTake(ctx context.Context, l *lease, set segment.Set, seen map[int64]time.Time) error {
	return s.changeBy(ctx, s.keep, func(tx pgx.Tx) error {
		owners, err := lockOwners(ctx, tx)
		if err != nil {
			return err
		}
		var others segment.Set
		for _, o := range owners {
			if o.Queue != l.queue {
				continue
			}
			others = others.Union(o.Segments)
			r, overlap := o.wished.Overlap(set)
			if !overlap || o.Auto {
				continue
			}
			if first, known := seen[o.Epoch]; !known || first.Equal(o.until) {
				seen[o.Epoch] = o.until
				return fmt.Errorf("%s belongs to %s (pid %d): %w: %w", r, o.Name, o.PID, spool.ErrOwned, errWait)
			}
			return fmt.Errorf("%s belongs to %s (pid %d): %w", r, o.Name, o.PID, spool.ErrOwned)
		}
		return s.insert(ctx, tx, l, set.Without(others), set)
	})
}

// insert makes the row of a lease.
func (s *Spool) insert(ctx context.Context, tx querier, l *lease, has, wished segment.Set) error {
	l.set = has
	asked := boottime()
	err := tx.QueryRow(ctx, `INSERT INTO spool_owners (queue, segments, wished, auto, name, host, pid, lease, until)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8::bigint, clock_timestamp() + $8::bigint * interval '1 microsecond') RETURNING epoch`,
		string(l.queue), has.String(), wished.String(), l.auto, l.who.Name, s.opts.Host, os.Getpid(), s.opts.Lease.Microseconds()).Scan(&l.epoch)
	if err == nil {
		l.renewed(asked)
	}
	return err
}

// boottime is a clock that never goes back, nor stands still while the machine does.
func boottime() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 1<<63 - 1 // no lease lasts so long: without a clock nothing is certain
	}
	return now.Nano()
}

// renewed notes that the lease was prolonged by a statement begun at a time. A tenth of it is
// left alone: the time from looking at the clock to what is done then.
func (l *lease) renewed(asked int64) { l.valid.Store(asked + int64(l.s.opts.Lease-l.s.opts.Lease/10)) }

// holds tells whether the lease lasts for sure. One that does not may be prolonged yet.
func (l *lease) holds() bool { return !l.over() && boottime() < l.valid.Load() }

// keep prolongs the lease, and follows the plan. It ends when the lease has: then another may
// have the segments.
func (l *lease) keep(ctx context.Context) {
	defer close(l.gone)
	for wait := time.Duration(0); ; {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		var err error
		wait, err = l.turn(ctx)
		switch {
		case errors.Is(err, spool.ErrFenced):
			l.s.opts.Log.Error("spool: the lease of the segments has ended: another daemon may have them", "queue", string(l.queue), "segments", l.segments().String())
			l.end()
			return
		case err != nil && ctx.Err() == nil:
			l.s.opts.Log.Warn("spool: cannot renew the lease of the segments", "queue", string(l.queue), "segments", l.segments().String(), "err", err)
		}
	}
}

func (l *lease) end() { l.once.Do(func() { close(l.ended) }) }

// over tells whether the lease has ended, as far as is known here.
func (l *lease) over() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// segments is what may be handed out.
func (l *lease) segments() segment.Set {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.set
}

// serves tells whether all of a set may be handed out.
func (l *lease) serves(set segment.Set) bool { return set.Without(l.segments()).Size() == 0 }

// has tells whether what has a key may be handed out. An owner asks while it holds the lock
// under which it notes what it hands out: so whoever takes a key away sees either that it is
// busy, or that it will not be.
func (l *lease) has(k segment.Key) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.set.Contains(k)
}

// change runs f in a transaction that fails when the lease is over: it locks the owner's row,
// which nobody can take away until the transaction has ended. (It can be prolonged meanwhile.)
func (l *lease) change(ctx context.Context, f func(tx pgx.Tx) error) error {
	if l.over() {
		return spool.ErrFenced
	}
	return l.s.change(ctx, func(tx pgx.Tx) error {
		if err := l.inForce(tx.QueryRow(ctx, fence, l.epoch)); err != nil {
			return err
		}
		return f(tx)
	})
}

const fence = `SELECT 1 FROM spool_owners WHERE epoch = $1 FOR KEY SHARE`

// inForce reads the answer to fence.
func (l *lease) inForce(row pgx.Row) error {
	var one int
	err := row.Scan(&one)
	if errors.Is(err, pgx.ErrNoRows) {
		l.end()
		return spool.ErrFenced
	}
	return err
}

// fence is what change begins with, for a transaction that is a batch: its first answer.
func (l *lease) fence(all *pgx.Batch) {
	all.Queue(fence, l.epoch).QueryRow(func(row pgx.Row) error { return l.inForce(row) })
}

// giveUp ends the lease, so that another may take the segments at once.
func (l *lease) giveUp() error {
	l.end()
	l.stop()
	<-l.gone
	ctx, cancel := context.WithTimeout(context.Background(), l.s.opts.Lease)
	defer cancel()
	for tries := 0; ; tries++ {
		_, err := l.s.keep.Exec(ctx, `DELETE FROM spool_owners WHERE epoch = $1`, l.epoch)
		if err == nil {
			return nil
		}
		if tries < keepConnections && ctx.Err() == nil {
			continue // the connections may all be from before a restart of the server
		}
		return fmt.Errorf("give segments %s of %s up: %w", l.segments(), l.queue, err)
	}
}
