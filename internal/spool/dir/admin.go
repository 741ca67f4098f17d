package dir

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"strings"

	"github.com/mlist/mlist/internal/spool"
)

// Entries implements spool.Admin. An entry that cannot be read is yielded too, with
// what is wrong as its Reason.
func (s *Spool) Entries(ctx context.Context, q spool.Queue) iter.Seq2[spool.Entry, error] {
	return func(yield func(spool.Entry, error) bool) {
		if q == spool.Outgoing || s.syncs[q] == nil {
			yield(spool.Entry{}, fmt.Errorf("entries of %s: not a queue of messages", q))
			return
		}
		stopped := false
		err := s.eachGroup(q, func(g group) bool {
			if ctx.Err() != nil || !g.exists {
				return ctx.Err() == nil
			}
			e, err := s.show(q, g.name, g.st)
			if errors.Is(err, os.ErrNotExist) {
				return true // gone meanwhile
			}
			if err != nil {
				err = fmt.Errorf("entries of %s: %w", q, err)
			}
			stopped = !yield(e, err)
			return !stopped
		})
		if err == nil {
			err = ctx.Err()
		}
		if err != nil && !stopped {
			yield(spool.Entry{}, fmt.Errorf("entries of %s: %w", q, err))
		}
	}
}

// show is load for people: an entry may be damaged.
func (s *Spool) show(q spool.Queue, n entryName, st state) (spool.Entry, error) {
	e, _, err := s.load(q, n, st)
	if !isDamaged(err) {
		return e, err
	}
	e = spool.Entry{ID: n.id, Queue: q, Reason: err.Error(), Tries: st.tries, Due: st.dueTime()}
	e.Key = n.key
	if info, err := os.Lstat(s.path(q, n.String())); err == nil {
		e.Size = info.Size()
	}
	if q == spool.Held || q == spool.Failed { // whoever found the damage may have told more
		if nt, _, err := s.loadNote(q, n, st); err == nil && nt.reason != "" {
			e.Reason, e.Tries = nt.reason, nt.tries
		}
	}
	return e, nil
}

// Find implements spool.Admin.
func (s *Spool) Find(ctx context.Context, id spool.ID) (spool.Entry, error) {
	if _, err := spool.CheckID(string(id)); err != nil {
		return spool.Entry{}, err
	}
	// An entry may move from one queue to another behind our back: look twice.
	for range 2 {
		for _, q := range []spool.Queue{spool.Incoming, spool.Bounces, spool.Held, spool.Failed} {
			if err := ctx.Err(); err != nil {
				return spool.Entry{}, fmt.Errorf("find entry %s: %w", id, err)
			}
			e, err := s.findIn(q, id)
			if err == nil {
				return e, nil
			}
			if !errors.Is(err, os.ErrNotExist) {
				return spool.Entry{}, fmt.Errorf("find entry %s: %w", id, err)
			}
		}
	}
	return spool.Entry{}, fmt.Errorf("find entry %s: %w", id, spool.ErrNotFound)
}

func (s *Spool) findIn(q spool.Queue, id spool.ID) (spool.Entry, error) {
	for name, err := range sortedNames(s.path(q, ""), string(id), 64) {
		if err != nil {
			return spool.Entry{}, err
		}
		if !strings.HasPrefix(name, string(id)) {
			break
		}
		n, st, err := parseName(name)
		if err != nil || st.side {
			continue
		}
		if st, _, err = s.newest(q, n); err != nil {
			return spool.Entry{}, err
		}
		return s.show(q, n, st)
	}
	return spool.Entry{}, os.ErrNotExist
}

// Retry implements spool.Admin.
func (s *Spool) Retry(_ context.Context, e spool.Entry, flags ...string) error {
	n, err := s.check(e)
	if err == nil {
		if e.Queue == spool.Held || e.Queue == spool.Failed {
			err = s.unpark(e.Queue, n, flags)
		} else {
			err = s.dueNow(e.Queue, n, flags)
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		err = spool.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("retry entry %s: %w", e.ID, err)
	}
	return nil
}

// dueNow gives an entry a state without a due time, which outdoes that with one.
func (s *Spool) dueNow(q spool.Queue, n entryName, flags []string) error {
	st, _, err := s.newest(q, n)
	if err != nil {
		return err
	}
	_, err = os.Lstat(s.path(q, n.String()))
	if err != nil || st.due == 0 && len(flags) == 0 {
		return err // gone, or due already
	}
	nt, st, err := s.loadNote(q, n, st)
	if err != nil {
		return err
	}
	nt.flags = union(nt.flags, flags)
	now := st
	now.side, now.due = true, 0
	if err := s.writeSide(q, n, now, nt); err != nil {
		return err
	}
	if st.due != 0 {
		if err := s.fs.removeIf(s.sidePath(q, n, st)); err != nil {
			return err
		}
	}
	return s.syncs[q].sync()
}

// unpark moves an entry back to the queue it came from. Its flags and notes go first,
// as the state that no event needs to tell of.
func (s *Spool) unpark(from spool.Queue, n entryName, flags []string) error {
	whyPath := s.sidePath(from, n, state{})
	why, _ := os.Lstat(whyPath) // nil if there is none
	e, _, err := s.load(from, n, state{})
	if err != nil && !isDamaged(err) {
		return err
	}
	to := s.origin(from, n, e)
	_, stale, err := s.newest(to, n)
	if err != nil {
		return err
	}
	for _, side := range stale {
		if err := s.fs.removeIf(s.path(to, side)); err != nil {
			return err
		}
	}
	first := state{side: true}
	if err := s.writeSide(to, n, first, note{flags: union(e.Flags, flags), notes: e.Notes}); err != nil {
		return err
	}
	if err := s.move(from, n, to, n, false); err != nil {
		if there, _ := exists(s.path(to, n.String())); !there {
			s.removeSide(to, n, first)
		}
		return err
	}
	// An owner may have parked the entry anew by now: then there is a new reason.
	if now, err := os.Lstat(whyPath); err == nil && os.SameFile(why, now) {
		_ = s.fs.removeIf(whyPath) // else it is an orphan
	}
	return nil
}

// origin is the queue that an entry in held or failed came from.
func (s *Spool) origin(q spool.Queue, n entryName, e spool.Entry) spool.Queue {
	if nt, _, err := s.loadNote(q, n, state{}); err == nil && (nt.queue == spool.Incoming || nt.queue == spool.Bounces) {
		return nt.queue
	}
	f, info, err := s.fs.openRegular(s.path(q, n.String()))
	if err == nil {
		defer f.Close()
		if put, _, _, _, err := readEntry(f, info); err == nil && put == spool.Bounces {
			return put
		}
	}
	return spool.Incoming
}

// Remove implements spool.Admin.
func (s *Spool) Remove(_ context.Context, e spool.Entry) error {
	n, err := s.check(e)
	if err == nil {
		err = s.removeEntry(e.Queue, n)
	}
	if errors.Is(err, os.ErrNotExist) {
		err = spool.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("remove entry %s: %w", e.ID, err)
	}
	return nil
}

func (s *Spool) removeEntry(q spool.Queue, n entryName) error {
	_, sides, err := s.newest(q, n)
	if err != nil {
		return err
	}
	if err := s.fs.remove(s.path(q, n.String())); err != nil {
		return err
	}
	for _, side := range sides {
		_ = s.fs.removeIf(s.path(q, side)) // else it is an orphan
	}
	return s.syncs[q].sync()
}
