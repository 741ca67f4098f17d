package pg

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// Own implements spool.Spool.
func (s *Spool) Own(ctx context.Context, q spool.Queue, segments segment.Set, name string) (spool.Owner, error) {
	if q != spool.Incoming && q != spool.Bounces {
		return nil, fmt.Errorf("own %s: only incoming and bounces have owners of entries", q)
	}
	return s.ownEntries(q, func() (*lease, error) { return s.take(ctx, q, segments, name) })
}

func (s *Spool) ownEntries(q spool.Queue, take func() (*lease, error)) (spool.Owner, error) {
	l, err := take()
	if err != nil {
		return nil, err
	}
	o := &owner{lease: l, bell: make(chan struct{}, 1), busy: map[segment.Key]int{}, out: map[spool.ID]*found{}}
	s.listen(q, o.bell)
	if err := s.remember(o); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	l.watch(o.keys, o.moved)
	return o, nil
}

// remember keeps an owner to be closed with the spool.
func (s *Spool) remember(o interface{ Close() error }) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("the spool is closed")
	}
	s.owners[o] = struct{}{}
	return nil
}

func (s *Spool) forget(o interface{ Close() error }) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.owners, o)
}

// owner implements spool.Owner. What is handed out is known here alone: only one process
// owns a key.
type owner struct {
	*lease
	bell chan struct{}

	mu    sync.Mutex
	ready []*found            // and not handed out yet, oldest first
	busy  map[segment.Key]int // how many of each key are handed out
	out   map[spool.ID]*found // what is handed out
}

// found is an entry as it was found. Nobody but its owner finishes it.
type found struct {
	spool.Entry
	finished bool
	tried    bool // to be committed, so that finished is for the database to say
}

// Segments implements spool.Owner.
func (o *owner) Segments() segment.Set { return o.segments() }

// keys are those of what is handed out.
func (o *owner) keys() []segment.Key {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Collect(maps.Keys(o.busy))
}

// moved has Next look at other segments.
func (o *owner) moved() { o.again() }

// batch is how many entries are read at once.
const batch = 64

// Next implements spool.Owner.
func (o *owner) Next(ctx context.Context) (spool.Entry, error) {
	for {
		e, ok, wake, err := o.pick(ctx)
		if ok || err != nil {
			return e, err
		}
		timer := time.NewTimer(wake)
		select {
		case <-o.bell:
		case <-timer.C:
		case <-o.ended:
			timer.Stop()
			return spool.Entry{}, spool.ErrFenced
		case <-ctx.Done():
			timer.Stop()
			return spool.Entry{}, ctx.Err()
		}
		timer.Stop()
	}
}

// pick hands an entry out. If there is none it tells for how long there may be none.
func (o *owner) pick(ctx context.Context) (e spool.Entry, ok bool, wake time.Duration, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over() {
		return e, false, 0, spool.ErrFenced
	}
	if e, ok = o.fromReady(); ok {
		return e, true, 0, nil
	}
	if err := o.fill(ctx); err != nil {
		return e, false, 0, fmt.Errorf("look for entries in %s: %w", o.queue, err)
	}
	if e, ok = o.fromReady(); ok {
		o.again()
		return e, true, 0, nil
	}
	wake, err = o.untilDue(ctx)
	return e, false, wake, err
}

// again has another Next look as well: one bell wakes one of them.
func (o *owner) again() {
	select {
	case o.bell <- struct{}{}:
	default:
	}
}

func (o *owner) fromReady() (spool.Entry, bool) {
	for i, e := range o.ready {
		if o.busy[e.Key] == 0 && o.has(e.Key) {
			return o.handOut(i), true
		}
	}
	return spool.Entry{}, false
}

func (o *owner) handOut(i int) spool.Entry {
	e := o.ready[i]
	o.ready = slices.Delete(o.ready, i, i+1)
	o.busy[e.Key]++
	o.out[e.ID] = e
	return e.Entry
}

// Following implements spool.Owner.
func (o *owner) Following(ctx context.Context, e spool.Entry) (spool.Entry, bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over() {
		return spool.Entry{}, false, spool.ErrFenced
	}
	if _, is := o.out[e.ID]; !is || !o.has(e.Key) {
		return spool.Entry{}, false, nil
	}
	ofKey := func(r *found) bool { return r.Key == e.Key }
	i := slices.IndexFunc(o.ready, ofKey)
	if i < 0 {
		if err := o.fillKey(ctx, e.Key); err != nil {
			return spool.Entry{}, false, fmt.Errorf("look for what follows entry %s in %s: %w", e.ID, o.queue, err)
		}
		if i = slices.IndexFunc(o.ready, ofKey); i < 0 {
			return spool.Entry{}, false, nil
		}
	}
	return o.handOut(i), true, nil
}

// fillKey reads the oldest entries of one key that are not handed out.
func (o *owner) fillKey(ctx context.Context, key segment.Key) error {
	var out []string
	for id, e := range o.out {
		if e.Key == key {
			out = append(out, string(id))
		}
	}
	rows, err := o.s.pool.Query(ctx, `SELECT `+entryColumns+`, `+isFinished+` FROM spool_entries WHERE queue = $1 AND due <= $2 AND key = $3 AND id <> ALL ($4)
		ORDER BY id LIMIT $5`, string(o.queue), time.Now().UnixMicro(), int32(key), out, batch)
	if err != nil {
		return err
	}
	found, err := collectEntries(rows)
	o.ready = append(o.ready, found...)
	return err
}

// isFinished is a column beside entryColumns.
const isFinished = `EXISTS (SELECT 1 FROM spool_finished f WHERE f.id = spool_entries.id)`

func collectEntries(rows pgx.Rows) ([]*found, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (*found, error) {
		var e found
		r, err := scanEntry(also{row, []any{&e.finished}})
		e.Entry = r.Entry
		return &e, err
	})
}

// fill reads the oldest entries whose keys are free. What was read and not handed out is read
// anew: it may have been changed.
func (o *owner) fill(ctx context.Context) error {
	first, last := ranges(o.segments())
	busy := make([]int32, 0, len(o.busy))
	for k := range o.busy {
		busy = append(busy, int32(k))
	}
	rows, err := o.s.pool.Query(ctx, `SELECT `+entryColumns+`, `+isFinished+` FROM spool_entries WHERE queue = $1 AND due <= $2 AND key <> ALL ($3) AND `+inRanges(4, 5)+`
		ORDER BY id LIMIT $6`, string(o.queue), time.Now().UnixMicro(), busy, first, last, batch)
	if err != nil {
		return err
	}
	o.ready, err = collectEntries(rows)
	return err
}

// untilDue is how long to wait for the next deferred entry.
func (o *owner) untilDue(ctx context.Context) (time.Duration, error) {
	first, last := ranges(o.segments())
	var due int64
	err := o.s.pool.QueryRow(ctx, `SELECT coalesce(min(due), 0) FROM spool_entries WHERE queue = $1 AND due > $2 AND `+inRanges(3, 4),
		string(o.queue), time.Now().UnixMicro(), first, last).Scan(&due)
	if err != nil {
		return 0, fmt.Errorf("look for entries in %s: %w", o.queue, err)
	}
	return o.s.wait(due), nil
}

// wait is how long until something is due, or one looks again anyway.
func (s *Spool) wait(due int64) time.Duration {
	if due == 0 {
		return s.opts.Rescan
	}
	return max(time.Millisecond, min(s.opts.Rescan, time.Until(fromMicros(due))))
}

// Open implements spool.Owner.
func (o *owner) Open(ctx context.Context, e spool.Entry) (spool.Message, error) {
	return o.s.openEntry(ctx, e)
}

// act makes a change of an entry that is handed out, which then no longer is.
func (o *owner) act(ctx context.Context, e spool.Entry, what string, f func(tx pgx.Tx) error) error {
	if err := o.change(ctx, f); err != nil {
		return fmt.Errorf("%s entry %s of %s: %w", what, e.ID, e.Queue, err)
	}
	o.Release(e)
	return nil
}

// Done implements spool.Owner. An operator may have removed the entry.
func (o *owner) Done(ctx context.Context, e spool.Entry) error {
	return o.act(ctx, e, "remove", func(tx pgx.Tx) error {
		if err := removeEntry(ctx, tx, e); err != nil && !errors.Is(err, spool.ErrNotFound) {
			return err
		}
		return nil
	})
}

// Defer implements spool.Owner.
func (o *owner) Defer(ctx context.Context, e spool.Entry, due time.Time, reason string) error {
	return o.act(ctx, e, "defer", func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE spool_entries SET tries = tries + 1, due = $3, reason = $4 WHERE queue = $1 AND id = $2`,
			string(e.Queue), string(e.ID), micros(due), []byte(reason))
		return err
	})
}

// Park implements spool.Owner.
func (o *owner) Park(ctx context.Context, e spool.Entry, q spool.Queue, reason string, notes map[string]string) error {
	if q != spool.Held && q != spool.Failed {
		return fmt.Errorf("park entry %s in %s: want held or failed", e.ID, q)
	}
	return o.act(ctx, e, "park", func(tx pgx.Tx) error {
		r, err := scanEntry(tx.QueryRow(ctx, `SELECT `+entryColumns+` FROM spool_entries WHERE queue = $1 AND id = $2 FOR UPDATE`, string(e.Queue), string(e.ID)))
		if err != nil {
			return notFound(err)
		}
		for k, v := range notes {
			if r.Notes == nil {
				r.Notes = map[string]string{}
			}
			r.Notes[k] = v
		}
		env, err := encode(r.Envelope)
		if err != nil {
			return err
		}
		return moveEntry(ctx, tx, e, q, e.Queue, env, r.Tries, reason)
	})
}

// moveEntry moves an entry to another queue, where none of its id may be but one that is the
// same: that goes.
func moveEntry(ctx context.Context, tx pgx.Tx, e spool.Entry, to, origin spool.Queue, env []byte, tries int, reason string) error {
	if err := removeEntry(ctx, tx, spool.Entry{ID: e.ID, Queue: to}); err != nil && !errors.Is(err, spool.ErrNotFound) {
		return err
	}
	_, err := tx.Exec(ctx, `UPDATE spool_entries SET queue = $3, origin = $4, envelope = $5, tries = $6, due = 0, reason = $7 WHERE queue = $1 AND id = $2`,
		string(e.Queue), string(e.ID), string(to), string(origin), env, tries, []byte(reason))
	return err
}

// Release implements spool.Owner.
func (o *owner) Release(e spool.Entry) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if out, ok := o.out[e.ID]; ok {
		key := out.Key
		delete(o.out, e.ID)
		if o.busy[key]--; o.busy[key] == 0 {
			delete(o.busy, key)
		}
		// What was read of the key may be younger than what comes back.
		o.ready = slices.DeleteFunc(o.ready, func(r *found) bool { return r.Key == key })
		o.again()
	}
}

// Finished implements spool.Owner.
func (o *owner) Finished(ctx context.Context, e spool.Entry) (is bool, err error) {
	o.mu.Lock()
	out := o.out[e.ID]
	known := out != nil && !out.tried
	o.mu.Unlock()
	if known {
		return out.finished, nil
	}
	if err := o.s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM spool_finished WHERE id = $1)`, string(e.ID)).Scan(&is); err != nil {
		return false, fmt.Errorf("look for entry %s among those that are done: %w", e.ID, down(err))
	}
	return is, nil
}

// Close implements spool.Owner.
func (o *owner) Close() error {
	o.s.unlisten(o.queue, o.bell)
	o.s.forget(o)
	return o.giveUp()
}
