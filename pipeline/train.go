package pipeline

import (
	"bytes"
	"context"
	"errors"
	"sync"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/moderate"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
)

// train is posts of one list that wait behind one another. While one is being committed,
// which is mostly waiting for the disk, the stages run on the next ones; and those that are
// ready by then are committed together, in their order. It is as if one came after the
// other, as it is with one that comes alone:
//
//   - the number of each is that after the one before it, and a copy of one that is not
//     filed yet is found by waiting for that;
//   - a handler that reads what it keeps for the list waits until the posts before have
//     been counted (so does all that is no accepted post: decisions, commands, notices);
//   - after one that cannot be committed, those behind it start anew.
type train struct {
	d     *Daemon
	ctx   context.Context
	owner spool.Owner

	posts   []*ready       // all that were accepted so far; the goroutine of run alone has it
	writing sync.WaitGroup // for the last of them, which is written in the background

	mu      sync.Mutex
	changed sync.Cond // queue or running
	queue   []*ready  // to be committed
	running bool      // a goroutine commits
	broken  bool      // a post could not be committed
	commits sync.WaitGroup
}

const (
	// maxTrain bounds how many posts of one list follow one another before other lists get
	// their turn.
	maxTrain = 64
	// maxQueue bounds those that are ready and not committed, and with them the memory and
	// open files of a train.
	maxQueue = 16
)

// errBroken says that a post before this one could not be committed, so that this one has
// to start anew. It has not had its try.
var errBroken = errors.New("a post before this one was not committed")

// run does all that is to be done with an entry, and with those that wait behind it.
func (d *Daemon) run(ctx context.Context, owner spool.Owner, e spool.Entry) {
	t := &train{d: d, ctx: ctx, owner: owner}
	t.changed.L = &t.mu
	defer t.commits.Wait()
	defer t.drain()
	for n := 1; ; n++ {
		before := len(t.posts)
		if err := d.incoming(ctx, t, e); err != nil {
			if t.drain() != nil {
				owner.Release(e)
				return
			}
			d.giveBack(ctx, owner, e, err)
		} else if len(t.posts) == before {
			d.meter.Trouble(nil) // it went through without the train, to its end
		}
		if n == maxTrain {
			return
		}
		var ok bool
		if e, ok = t.following(); !ok {
			return
		}
	}
}

// following takes the entry behind the last post, if that is still to be committed.
func (t *train) following() (spool.Entry, bool) {
	if len(t.posts) == 0 {
		return spool.Entry{}, false
	}
	last := t.posts[len(t.posts)-1]
	next, ok, err := t.owner.Following(t.ctx, last.p.entry)
	if err != nil || !ok {
		return spool.Entry{}, false
	}
	if len(t.posts) == 1 {
		// A post that was filed before its daemon was killed has a number that tells
		// nothing of the next one's.
		filed, err := t.d.store.IsFiled(t.ctx, last.p.list.ID, string(last.p.entry.ID))
		if err != nil || filed {
			t.owner.Release(next)
			return spool.Entry{}, false
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken {
		t.owner.Release(next)
		return spool.Entry{}, false
	}
	t.start()
	for len(t.queue) >= maxQueue {
		t.changed.Wait()
	}
	return next, true
}

// start has a goroutine commit what is ready. The caller holds the lock.
func (t *train) start() {
	if !t.running && len(t.queue) > 0 {
		t.running = true
		t.commits.Go(t.commit)
	}
}

// add takes a post that is ready to be committed.
func (t *train) add(r *ready) {
	t.posts = append(t.posts, r)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue = append(t.queue, r)
}

// write takes a post that is written while the stages run on the next one: one at a time, so
// that the copies of the first go out first.
func (t *train) write(r *ready, write func() error) {
	t.writing.Wait()
	t.writing.Add(1)
	r.keep.Go(func() error {
		defer t.writing.Done()
		return write()
	})
	t.add(r)
}

// drain commits all that is ready, and returns errBroken if that was not possible.
func (t *train) drain() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.running && len(t.queue) > 0 {
		t.running = true
		t.mu.Unlock()
		t.commit() // there is nothing to do meanwhile
		t.mu.Lock()
	}
	for t.running {
		t.changed.Wait()
	}
	if t.broken {
		return errBroken
	}
	return nil
}

// commit commits until nothing is left.
func (t *train) commit() {
	for {
		t.mu.Lock()
		group, broken := t.queue, t.broken
		t.queue = nil
		t.running = len(group) > 0
		t.changed.Broadcast()
		t.mu.Unlock()
		if len(group) == 0 {
			return
		}
		if broken {
			t.putBack(group)
			continue
		}
		n, err := t.d.commit(t.ctx, t.owner, group)
		if err == nil {
			continue
		}
		t.mu.Lock()
		t.broken = true
		t.mu.Unlock()
		t.d.giveBack(t.ctx, t.owner, group[n].p.entry, err)
		for _, r := range group[n+1:] {
			t.owner.Release(r.p.entry)
		}
	}
}

// putBack gives posts back that are behind one that could not be committed.
func (t *train) putBack(group []*ready) {
	for _, r := range group {
		r.abort()
		t.owner.Release(r.p.entry)
	}
}

// waits tells whether a post is not committed yet.
func (t *train) waits() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.running || len(t.queue) > 0
}

// peek tells which number a post will have, and whether it is a copy, when those before it
// have been committed.
func (t *train) peek(p *post, filing store.Post) (store.PostRecord, error) {
	behind := t.waits()
	if behind && t.canFollow(p, filing) {
		record, err := t.d.peek(t.ctx, filing)
		if err != nil || record.Duplicate {
			return record, err
		}
		if !record.Filed {
			record.Number = t.posts[len(t.posts)-1].number + 1
			return record, nil
		}
	}
	if behind {
		if err := t.drain(); err != nil {
			return store.PostRecord{}, err
		}
	}
	return t.d.peek(t.ctx, filing)
}

// canFollow tells whether what the journal will say to a post that is not filed yet is known
// before those in front of it are.
func (t *train) canFollow(p *post, filing store.Post) bool {
	for _, r := range t.posts {
		if r.p.list.ID != p.list.ID || r.number == 0 || bytes.Equal(r.filing.Digest, filing.Digest) {
			return false // lists may share a key; a digest has no number; this is a copy
		}
	}
	return !p.isDigest()
}

// isAlone tells whether an entry is to be dealt with when all before it are committed.
func isAlone(e spool.Entry) bool {
	_, rejected := moderate.Rejection(e.Flags)
	return rejected || e.Role != string(address.RolePost)
}
