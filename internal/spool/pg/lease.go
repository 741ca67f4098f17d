package pg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// lease is the ownership of segments, kept up by a goroutine until it is given up.
type lease struct {
	s     *Spool
	queue spool.Queue
	set   segment.Set
	epoch int64
	ended chan struct{} // closed when the lease is over, for whatever reason
	once  sync.Once
	stop  context.CancelFunc
	gone  chan struct{} // closed when the goroutine has ended
}

// take claims segments. One that somebody has is refused, but not before that owner has shown
// that it lives: of a daemon that was killed and starts again, the lease is waited for.
func (s *Spool) take(ctx context.Context, q spool.Queue, set segment.Set, name string) (*lease, error) {
	l := &lease{s: s, queue: q, set: set, ended: make(chan struct{}), gone: make(chan struct{})}
	seen := map[int64]time.Time{} // when the lease of each epoch ends, as first read
	for {
		err := s.tryTake(ctx, l, name, seen)
		if err == nil {
			ctx, l.stop = context.WithCancel(s.work)
			go l.renew(ctx)
			return l, nil
		}
		if !errors.Is(err, errWait) {
			return nil, fmt.Errorf("own segments %s of %s: %w", set, q, err)
		}
		select {
		case <-time.After(s.opts.Lease / 16):
		case <-ctx.Done():
			return nil, fmt.Errorf("own segments %s of %s: %w: %w", set, q, err, ctx.Err())
		}
	}
}

// errWait: an owner has not been heard of since it was first asked about.
var errWait = errors.New("wait for the lease of an owner to end")

func (s *Spool) tryTake(ctx context.Context, l *lease, name string, seen map[int64]time.Time) error {
	return s.change(ctx, func(tx pgx.Tx) error {
		// One at a time: of two who ask together, the second sees the first.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(leaseLock)); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM spool_owners WHERE until < clock_timestamp()`); err != nil {
			return err
		}
		owners, err := readOwners(ctx, tx)
		if err != nil {
			return err
		}
		for _, o := range owners {
			r, overlap := o.Segments.Overlap(l.set)
			if !overlap || o.Queue != l.queue {
				continue
			}
			if first, known := seen[o.epoch]; !known || first.Equal(o.until) {
				seen[o.epoch] = o.until
				return fmt.Errorf("segment %s of %s belongs to %s (pid %d): %w: %w", r, o.Queue, o.Name, o.PID, spool.ErrOwned, errWait)
			}
			return fmt.Errorf("segment %s of %s belongs to %s (pid %d): %w", r, o.Queue, o.Name, o.PID, spool.ErrOwned)
		}
		return tx.QueryRow(ctx, `INSERT INTO spool_owners (queue, segments, name, pid, until)
			VALUES ($1, $2, $3, $4, clock_timestamp() + $5 * interval '1 microsecond') RETURNING epoch`,
			string(l.queue), l.set.String(), name, os.Getpid(), s.opts.Lease.Microseconds()).Scan(&l.epoch)
	})
}

// ownerRow is an owner, and until when its lease lasts.
type ownerRow struct {
	spool.Ownership
	epoch int64
	until time.Time
}

func readOwners(ctx context.Context, tx interface {
	Query(ctx context.Context, text string, args ...any) (pgx.Rows, error)
}) ([]ownerRow, error) {
	rows, err := tx.Query(ctx, `SELECT epoch, queue, segments, name, pid, until FROM spool_owners WHERE until >= clock_timestamp() ORDER BY epoch`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (o ownerRow, err error) {
		var set string
		if err := row.Scan(&o.epoch, &o.Queue, &set, &o.Name, &o.PID, &o.until); err != nil {
			return o, err
		}
		o.Segments, err = segment.Parse(set)
		return o, err
	})
}

// renew keeps the lease up. It ends when another has the segments, or may have: a database
// that does not answer until the lease is out may have given them away.
func (l *lease) renew(ctx context.Context) {
	defer close(l.gone)
	tick := time.NewTicker(l.s.opts.Lease / 4)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		asked, cancel := context.WithTimeout(ctx, l.s.opts.Lease/2)
		tag, err := l.s.pool.Exec(asked, `UPDATE spool_owners SET until = clock_timestamp() + $2 * interval '1 microsecond' WHERE epoch = $1`,
			l.epoch, l.s.opts.Lease.Microseconds())
		cancel()
		switch {
		case err == nil && tag.RowsAffected() == 0:
			l.s.opts.Log.Error("spool: the lease of the segments has ended: another daemon may have them", "queue", string(l.queue), "segments", l.set.String())
			l.end()
			return
		case err != nil && ctx.Err() == nil:
			l.s.opts.Log.Warn("spool: cannot renew the lease of the segments", "queue", string(l.queue), "segments", l.set.String(), "err", err)
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

// change runs f in a transaction that fails when the lease is over: it locks the owner's row,
// which nobody can take away until the transaction has ended.
func (l *lease) change(ctx context.Context, f func(tx pgx.Tx) error) error {
	if l.over() {
		return spool.ErrFenced
	}
	return l.s.change(ctx, func(tx pgx.Tx) error {
		var one int
		err := tx.QueryRow(ctx, `SELECT 1 FROM spool_owners WHERE epoch = $1 FOR SHARE`, l.epoch).Scan(&one)
		if errors.Is(err, pgx.ErrNoRows) {
			l.end()
			return spool.ErrFenced
		}
		if err != nil {
			return err
		}
		return f(tx)
	})
}

// giveUp ends the lease, so that another may take the segments at once.
func (l *lease) giveUp() error {
	l.end()
	l.stop()
	<-l.gone
	ctx, cancel := context.WithTimeout(context.Background(), l.s.opts.Lease)
	defer cancel()
	if _, err := l.s.pool.Exec(ctx, `DELETE FROM spool_owners WHERE epoch = $1`, l.epoch); err != nil {
		return fmt.Errorf("give segments %s of %s up: %w", l.set, l.queue, err)
	}
	return nil
}

// Owners implements spool.Admin.
func (s *Spool) Owners(ctx context.Context) ([]spool.Ownership, error) {
	rows, err := readOwners(ctx, s.pool)
	if err != nil {
		return nil, fmt.Errorf("read the owners: %w", err)
	}
	out := make([]spool.Ownership, len(rows))
	for i, r := range rows {
		out[i] = r.Ownership
	}
	return out, nil
}
