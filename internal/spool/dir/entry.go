package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/spool"
)

// orphanAge is how old a file must be that lies beside no entry before it is swept:
// it is written before its entry comes, and left over when its entry went.
const orphanAge = time.Hour

// eachGroup calls f for what a queue holds, oldest first, and sweeps orphans.
func (s *Spool) eachGroup(q spool.Queue, f func(group) bool) error {
	for g, err := range groups(s.path(q, ""), func(name string) { s.foreign(q, name) }) {
		if err != nil {
			return err
		}
		if !g.exists {
			s.sweepOrphans(q, g)
		}
		if !f(g) {
			return nil
		}
	}
	return nil
}

func (s *Spool) sweepOrphans(q spool.Queue, g group) {
	for _, side := range g.sides {
		info, err := os.Lstat(s.path(q, side))
		if err != nil || time.Since(info.ModTime()) < orphanAge {
			continue
		}
		if there, err := exists(s.path(q, g.name.String())); err == nil && !there {
			_ = s.fs.removeIf(s.path(q, side)) // else the next scan does it
		}
	}
}

// newest looks in the directory for the state of one entry.
func (s *Spool) newest(q spool.Queue, n entryName) (st state, sides []string, err error) {
	d, err := os.Open(s.path(q, ""))
	if err != nil {
		return st, nil, err
	}
	defer d.Close()
	prefix := n.String() + "."
	for {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			if !strings.HasPrefix(name, prefix) {
				continue
			}
			sides = append(sides, name)
			if _, t, err := parseName(name); err == nil && !strings.HasSuffix(name, whySuffix) && t.newer(st) {
				st = t
			}
		}
		if err == io.EOF {
			return st, sides, nil
		}
		if err != nil {
			return st, nil, err
		}
	}
}

// sidePath is the file beside an entry that is in state st.
func (s *Spool) sidePath(q spool.Queue, n entryName, st state) string {
	if q == spool.Held || q == spool.Failed {
		return s.path(q, n.String()+whySuffix)
	}
	return s.path(q, n.String()+st.suffix())
}

// loadNote reads what lies beside an entry. An entry that came back from held or
// failed has a first state that no event tells of.
func (s *Spool) loadNote(q spool.Queue, n entryName, st state) (note, state, error) {
	read := func(st state) (note, error) {
		f, _, err := s.fs.openRegular(s.sidePath(q, n, st))
		if err != nil {
			return note{}, err
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, 2*maxHead))
		if err != nil {
			return note{}, err
		}
		return parseNote(data)
	}
	side := st
	side.side = true
	nt, err := read(side)
	if errors.Is(err, os.ErrNotExist) && st.side {
		if side, _, err = s.newest(q, n); err == nil && side.side {
			nt, err = read(side)
		}
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		return note{}, state{}, nil
	case isDamaged(err):
		s.opts.Log.Warn("the file beside an entry is damaged: ignored", "entry", n.id, "err", err)
		return note{}, side, nil
	}
	return nt, side, err
}

// load reads an entry, and tells in what state it really is.
func (s *Spool) load(q spool.Queue, n entryName, st state) (spool.Entry, state, error) {
	f, info, err := s.fs.openRegular(s.path(q, n.String()))
	if err != nil {
		return spool.Entry{}, st, err
	}
	defer f.Close()
	_, env, _, size, err := readEntry(f, info)
	if err != nil {
		return spool.Entry{}, st, err
	}
	nt, st, err := s.loadNote(q, n, st)
	if err != nil {
		return spool.Entry{}, st, err
	}
	e := spool.Entry{ID: n.id, Queue: q, Envelope: env, Size: size, Tries: max(st.tries, nt.tries), Due: st.dueTime()}
	e.Key = n.key
	nt.apply(&e)
	return e, st, nil
}

// writeSide puts a file beside an entry, in one step. The caller syncs the directory.
func (s *Spool) writeSide(q spool.Queue, n entryName, st state, nt note) error {
	temp, err := s.temp("state")
	if err != nil {
		return err
	}
	if err := s.fs.writeFile(temp, nt.bytes()); err != nil {
		return err
	}
	if err := s.fs.rename(temp, s.sidePath(q, n, st)); err != nil {
		_ = s.fs.remove(temp)
		return err
	}
	return nil
}

// removeSide takes away what lay beside an entry. What stays after an error is an
// orphan, or outdone by a newer state.
func (s *Spool) removeSide(q spool.Queue, n entryName, st state) {
	if !st.side {
		return
	}
	_ = s.fs.removeIf(s.sidePath(q, n, st))
	if st.due != 0 { // an operator's retry may have taken the due time away
		st.due = 0
		_ = s.fs.removeIf(s.sidePath(q, n, st))
	}
}

// handed finds what was handed out, and begins a change to it.
func (o *owner) handed(e spool.Entry) (*item, error) {
	if err := o.enter(); err != nil {
		return nil, err
	}
	o.mu.Lock()
	it := o.table.items[entryName{e.ID, e.Key}]
	out := it != nil && it.place == handedOut
	o.mu.Unlock()
	if !out {
		o.life.RUnlock()
		return nil, fmt.Errorf("not handed out: %w", spool.ErrNotFound)
	}
	return it, nil
}

// Open implements spool.Owner.
func (o *owner) Open(ctx context.Context, e spool.Entry) (spool.Message, error) {
	if err := o.enter(); err != nil {
		return nil, fmt.Errorf("open entry %s: %w", e.ID, err)
	}
	defer o.life.RUnlock()
	return o.s.Read(ctx, e)
}

// Done implements spool.Owner.
func (o *owner) Done(_ context.Context, e spool.Entry) error {
	it, err := o.handed(e)
	if err != nil {
		return fmt.Errorf("remove entry %s: %w", e.ID, err)
	}
	defer o.life.RUnlock()
	err = o.s.fs.removeIf(o.s.path(o.q, it.name.String()))
	if err == nil {
		o.s.removeSide(o.q, it.name, it.st)
		err = o.s.syncs[o.q].sync()
	}
	if err != nil {
		return fmt.Errorf("remove entry %s: %w", e.ID, err)
	}
	o.gone(it)
	return nil
}

// Defer implements spool.Owner.
func (o *owner) Defer(_ context.Context, e spool.Entry, due time.Time, reason string) error {
	it, err := o.handed(e)
	if err != nil {
		return fmt.Errorf("defer entry %s: %w", e.ID, err)
	}
	defer o.life.RUnlock()
	st := stateAt(it.st.tries+1, due)
	err = o.s.writeSide(o.q, it.name, st, note{reason: reason, flags: e.Flags, notes: e.Notes})
	if err == nil {
		if err = o.s.syncs[o.q].sync(); err != nil {
			_ = o.s.fs.removeIf(o.s.sidePath(o.q, it.name, st))
		}
	}
	if err != nil {
		o.failed(it)
		return fmt.Errorf("defer entry %s: %w", e.ID, err)
	}
	o.s.removeSide(o.q, it.name, it.st)
	o.mu.Lock()
	o.table.give(it, st, 0, time.Now())
	o.mu.Unlock()
	o.look()
	return nil
}

// Park implements spool.Owner.
func (o *owner) Park(_ context.Context, e spool.Entry, q spool.Queue, reason string, notes map[string]string) error {
	if q != spool.Held && q != spool.Failed {
		return fmt.Errorf("park entry %s: in %s: want held or failed", e.ID, q)
	}
	it, err := o.handed(e)
	if err != nil {
		return fmt.Errorf("park entry %s: %w", e.ID, err)
	}
	defer o.life.RUnlock()
	n := note{queue: o.q, tries: it.st.tries, reason: reason, flags: e.Flags, notes: merge(e.Notes, notes)}
	if err := o.s.park(o.q, it.name, it.st, q, it.name, n); err != nil {
		o.failed(it)
		return fmt.Errorf("park entry %s: %w", e.ID, err)
	}
	o.gone(it)
	return nil
}

// park moves an entry to held or failed, under the name there: first the note, then
// the entry.
func (s *Spool) park(from spool.Queue, n entryName, st state, to spool.Queue, there entryName, nt note) error {
	if err := s.writeSide(to, there, state{}, nt); err != nil {
		return err
	}
	err := s.move(from, n, to, there, true)
	if err != nil {
		if moved, _ := exists(s.path(to, there.String())); !moved {
			_ = s.fs.removeIf(s.sidePath(to, there, state{}))
		}
		return err
	}
	s.removeSide(from, n, st)
	return nil
}

// move moves an entry's file to another queue, and syncs both directories. After an
// error it is where it was, or, if even that failed, moved: then moving it again works.
// (An NFS server too may have moved it, and its answer been lost.) With replace it takes
// the place of one of its name, which is the same message: it was put again after the
// other was parked.
func (s *Spool) move(from spool.Queue, n entryName, to spool.Queue, there entryName, replace bool) error {
	a, b := s.path(from, n.String()), s.path(to, there.String())
	err := s.fs.renameNew(a, b)
	if replace && errors.Is(err, os.ErrExist) {
		if err = s.fs.rename(a, b); err == nil {
			err = s.fs.removeIf(a) // which is still there if both were links to one file
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		if there, _ := exists(b); !there {
			return fmt.Errorf("%s: %w", a, spool.ErrNotFound)
		}
	} else if err != nil {
		return err
	}
	err = s.syncs[to].sync()
	if err == nil {
		err = s.syncs[from].sync()
	}
	if err != nil {
		_ = s.fs.rename(b, a)
	}
	return err
}

// failed remembers that an entry could not be deferred or parked: if it is released now
// it waits a little, or a full disk would keep everyone busy.
func (o *owner) failed(it *item) {
	o.mu.Lock()
	defer o.mu.Unlock()
	it.fails++
}

// Release implements spool.Owner.
func (o *owner) Release(e spool.Entry) {
	it, err := o.handed(e)
	if err != nil {
		return
	}
	defer o.life.RUnlock()
	o.mu.Lock()
	o.table.give(it, it.st, it.pause(time.Now()), time.Now())
	o.cond.Broadcast()
	o.mu.Unlock()
	o.look()
}

func merge(a, b map[string]string) map[string]string {
	out := make(map[string]string, len(a)+len(b))
	for _, m := range []map[string]string{a, b} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

// union appends the flags of b that a lacks.
func union(a, b []string) []string {
	a = slices.Clone(a)
	for _, f := range b {
		if !slices.Contains(a, f) {
			a = append(a, f)
		}
	}
	return a
}
