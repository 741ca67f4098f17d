package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/mlist/mlist/internal/store"
)

// twoEnds is how many walks may go on from both ends of their lists at once; the others go
// on from one.
const twoEnds = 2

// walk yields what one walk finds. A list that is not done with the first batch is read by
// two connections, from both ends, until they meet: what a post has to wait for is how fast
// the rows come, and SQLite gives a connection no more than one core. (A server works beside
// us anyway.)
func (s *Store) walk(ctx context.Context, w *walk, yield func([]store.Recipient) error) error {
	if s.back == nil || runtime.GOMAXPROCS(0) == 1 {
		return s.walkAlone(ctx, w, yield)
	}
	select {
	case s.ends <- struct{}{}:
		defer func() { <-s.ends }()
	default:
		return s.walkAlone(ctx, w, yield)
	}
	small := true
	err := s.snapshot(ctx, func(tx *sql.Tx) error {
		var first []store.Recipient
		err := s.readBatches(ctx, tx, s.q.recipients, w, func(_ []string, some []store.Recipient, last bool) error {
			if small = last; small {
				first = some
			}
			return errStopped
		})
		if len(first) > 0 {
			return yield(first)
		}
		return err
	})
	if err != nil || small {
		return err
	}
	return s.sameInstant(ctx, func(a, b *sql.Tx) error { return s.walkEnds(ctx, a, b, w, yield) })
}

// walkAlone is walk over one connection.
func (s *Store) walkAlone(ctx context.Context, w *walk, yield func([]store.Recipient) error) error {
	all := func(_ []string, some []store.Recipient, _ bool) error { return yield(some) }
	if s.dialect == &postgresDialect {
		// A statement sees one instant by itself: no transaction, and a third of the round trips.
		rows, err := s.q.recipients.QueryContext(ctx, w.args(nil)...)
		if err != nil {
			return err
		}
		return batches(ctx, rows, all)
	}
	return s.snapshot(ctx, func(tx *sql.Tx) error { return s.readBatches(ctx, tx, s.q.recipients, w, all) })
}

// readBatches reads a walk. keys are those of the recipients, and good until the next batch.
func (s *Store) readBatches(ctx context.Context, tx *sql.Tx, query *sql.Stmt, w *walk, take func(keys []string, some []store.Recipient, last bool) error) error {
	rows, err := tx.Stmt(query).Query(w.args(nil)...)
	if err != nil {
		return err
	}
	return batches(ctx, rows, take)
}

func batches(ctx context.Context, rows *sql.Rows, take func(keys []string, some []store.Recipient, last bool) error) error {
	var r recipient
	var b batch
	var keys []string
	dest := []any{&r.key, &r.local, &r.flags}
	err := eachRow(ctx, rows, func(rows *sql.Rows) error {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		if b.full() {
			if err := take(keys, b.take(), false); err != nil {
				return err
			}
			keys = keys[:0]
		}
		b.add(&r)
		keys = append(keys, r.key)
		return nil
	})
	if err == nil && len(keys) > 0 {
		err = take(keys, b.take(), true)
	}
	return err
}

// sameInstant runs f with two transactions that see the store as of one instant. While
// others write all the time there may be none: then b is nil.
func (s *Store) sameInstant(ctx context.Context, f func(a, b *sql.Tx) error) error {
	conn, err := s.back.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for range 5 {
		done := false
		err := s.snapshot(ctx, func(a *sql.Tx) error {
			var before, between, after int64
			// It changes with every transaction of another connection. A transaction sees
			// the store as of its first query.
			const version = `PRAGMA data_version`
			if err := conn.QueryRowContext(ctx, version).Scan(&before); err != nil {
				return err
			}
			if err := a.QueryRow(version).Scan(&between); err != nil {
				return err
			}
			b, err := conn.BeginTx(context.WithoutCancel(ctx), &sql.TxOptions{ReadOnly: true})
			if err != nil {
				return err
			}
			defer b.Rollback() // nothing was written
			if err := b.QueryRow(version).Scan(&after); err != nil || before != after {
				return err
			}
			done = true
			return f(a, b)
		})
		if err != nil || done {
			return err
		}
	}
	return s.snapshot(ctx, func(a *sql.Tx) error { return f(a, nil) })
}

// walkEnds walks from both ends, or with one transaction from one.
func (s *Store) walkEnds(ctx context.Context, a, b *sql.Tx, w *walk, yield func([]store.Recipient) error) error {
	if b == nil {
		return s.readBatches(ctx, a, s.q.recipients, w, func(_ []string, some []store.Recipient, _ bool) error { return yield(some) })
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g, reading := errgroup.WithContext(ctx) // which ends when both walks have
	batches := make(chan []store.Recipient)
	ends := meeting{high: lastKey}
	read := func(tx *sql.Tx, query *sql.Stmt, keep func([]string, []store.Recipient) ([]store.Recipient, bool)) {
		g.Go(func() error {
			err := s.readBatches(reading, tx, query, w, func(keys []string, some []store.Recipient, _ bool) error {
				some, met := keep(keys, some)
				if len(some) > 0 {
					select {
					case batches <- some:
					case <-reading.Done():
						return reading.Err()
					}
				}
				if met {
					return errStopped
				}
				return nil
			})
			if errors.Is(err, errStopped) {
				return nil
			}
			return err
		})
	}
	read(a, s.q.recipients, ends.up)
	read(b, s.q.recipientsBack, ends.down)
	done := make(chan error, 1)
	go func() { done <- g.Wait(); close(batches) }()
	var err error
	for some := range batches {
		if err == nil {
			if err = ctx.Err(); err == nil {
				err = yield(some)
			}
			if err != nil {
				stop()
			}
		}
	}
	if readErr := <-done; err == nil {
		err = readErr
	}
	return err
}

// meeting is where the walks from both ends have come to: all below low and from high on has
// been taken by one of them. low and high are keys, "" and lastKey before the first.
type meeting struct {
	mu        sync.Mutex
	low, high string
}

// up takes a batch of rising keys: those of it that the other walk has not taken, and whether
// the two have met.
func (m *meeting) up(keys []string, some []store.Recipient) ([]store.Recipient, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, _ := slices.BinarySearch(keys, m.high)
	m.low = keys[len(keys)-1]
	return some[:n], n < len(keys)
}

// down is up for falling keys.
func (m *meeting) down(keys []string, some []store.Recipient) ([]store.Recipient, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	slices.Reverse(keys)
	slices.Reverse(some)
	n, found := slices.BinarySearch(keys, m.low)
	if found {
		n++
	}
	m.high = keys[0]
	return some[n:], n > 0
}
