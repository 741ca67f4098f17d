package dir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// outgoing is a spool.OutgoingOwner.
type outgoing struct {
	*tenure
	kick   chan struct{}
	reaper *reaper

	mu     sync.Mutex
	cond   *sync.Cond
	turns  *turns
	out    map[string]handed // by the chunk's ID
	ending bool
	after  string // where the next scan goes on; run's alone
}

// handed is a chunk that was handed out.
type handed struct {
	post  *post
	file  chunkFile
	index []int    // the numbers in the file of its recipients; nil if they are those of the chunk
	log   *journal // nil until there is progress
	fresh bool     // the post has become a directory, and that is not synced
}

var _ spool.OutgoingOwner = (*outgoing)(nil)

// Holds implements spool.OutgoingOwner: a lock lasts as long as the process does.
func (o *outgoing) Holds() error { return nil }

// OwnOutgoing implements spool.Spool.
func (s *Spool) OwnOutgoing(ctx context.Context, set segment.Set, name string) (spool.OutgoingOwner, error) {
	t, err := s.tenure(ctx, spool.Outgoing, set, name)
	if err != nil {
		return nil, err
	}
	o := &outgoing{tenure: t, kick: make(chan struct{}, 1), reaper: newReaper(s),
		turns: newTurns(s.opts.MaxReady), out: map[string]handed{}}
	o.cond = sync.NewCond(&o.mu)
	go o.w.run(o.stop)
	go o.run()
	go o.reaper.run(o.stop)
	if err := s.adopt(o); err != nil {
		return nil, errors.Join(fmt.Errorf("own outgoing: %w", err), o.Close())
	}
	return o, nil
}

// Close implements spool.OutgoingOwner.
func (o *outgoing) Close() error {
	o.once.Do(func() {
		o.mu.Lock()
		o.ending = true
		for _, p := range o.turns.posts {
			o.turns.close(p)
		}
		o.cond.Broadcast()
		o.mu.Unlock()
		o.err = o.end()
		<-o.reaper.done
		o.s.forget(o)
	})
	return o.err
}

// Next implements spool.OutgoingOwner.
func (o *outgoing) Next(ctx context.Context) (*spool.Chunk, error) {
	for {
		p, file, err := o.wait(ctx)
		if err != nil {
			return nil, fmt.Errorf("next chunk: %w", err)
		}
		if o.s.isPaused(p.name) {
			o.rest(p, file)
			continue
		}
		c, index, err := o.read(p, file)
		if err == nil {
			if o.handOut(c, handed{post: p, file: file, index: index}) {
				return c, nil
			}
			o.s.opts.Log.Error("two posts have one id: they are sent one after the other", "entry", c.Post, "list", c.List)
			o.back(p, file, time.Now().Add(time.Second))
			continue
		}
		switch {
		case isDamaged(err):
			o.setAside(p, file, err)
		case errors.Is(err, os.ErrNotExist):
			o.mu.Lock()
			p.stale = true // what was read of the directory is out of date
			o.mu.Unlock()
		default:
			o.back(p, file, time.Now().Add(retryIO))
			return nil, fmt.Errorf("next chunk: %w", err)
		}
		o.finished(p, file, 0)
	}
}

// read reads a chunk.
func (o *outgoing) read(p *post, file chunkFile) (c *spool.Chunk, index []int, err error) {
	if file.to == 0 { // nothing else is in its file
		return o.s.loadChunk(p.name, file)
	}
	f, err := o.open(&p.pack, o.s.chunkPath(p.name, file.String()))
	if err != nil {
		return nil, nil, err
	}
	defer o.left(f)
	return o.s.readChunk(f, f.info.Size(), p.name, file)
}

// Others implements spool.OutgoingOwner.
func (o *outgoing) Others(c *spool.Chunk) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.turns.others(o.out[c.ID()].post)
}

// handOut remembers what is handed out. Chunks of two posts that share an id (and so
// differ in their key) could not be told apart when they come back: the second waits.
func (o *outgoing) handOut(c *spool.Chunk, h handed) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, taken := o.out[c.ID()]; taken {
		return false
	}
	o.out[c.ID()] = h
	return true
}

// wait takes a chunk whose turn it is.
func (o *outgoing) wait(ctx context.Context) (*post, chunkFile, error) {
	unwatch := context.AfterFunc(ctx, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.cond.Broadcast()
	})
	defer unwatch()
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		if o.ending {
			return nil, chunkFile{}, spool.ErrFenced
		}
		if err := ctx.Err(); err != nil {
			return nil, chunkFile{}, err
		}
		p := o.turns.front()
		if p == nil {
			o.cond.Wait()
			continue
		}
		if p.hold > time.Now().UnixMicro() {
			o.turns.settle(p)
			o.look()
			continue
		}
		file, ok := o.turns.pop(p)
		if !ok && p.stale && !p.loading {
			o.load(p)
		}
		o.turns.settle(p)
		if ok {
			return p, file, nil
		}
		o.tidy(p)
	}
}

// load reads from disk what chunks a post has. It lets the lock go meanwhile.
func (o *outgoing) load(p *post) {
	p.stale, p.loading = false, true
	room := o.turns.room()
	o.mu.Unlock()
	l, err := o.list(p, room)
	o.mu.Lock()
	p.loading = false
	if err != nil {
		o.s.opts.Log.Error("cannot read a post's chunks", "entry", p.name.id, "err", err)
		p.stale, p.hold = true, time.Now().Add(retryIO).UnixMicro()
		return
	}
	p.ready = append(p.ready, l.ready...)
	o.turns.loaded += len(l.ready)
	p.stale = p.stale || l.more
	if l.due != 0 {
		o.turns.note(p, l.due)
	}
	if l.empty {
		o.reaper.bury(p.name)
	}
	o.look()
	o.cond.Broadcast() // others may go on with this post
}

// tidy drops a post from memory of which nothing is left to know.
func (o *outgoing) tidy(p *post) {
	if o.turns.posts[p.name] != p || !p.idle() || p.next != 0 {
		return
	}
	o.turns.forget(p)
	if o.turns.more {
		o.look()
	}
}

// listing is what a look at a post's directory tells.
type listing struct {
	ready []chunkFile
	more  bool  // there are more that are ready
	due   int64 // the first of the others is due then; 0: none
	empty bool  // there are no chunks, of nobody
}

// list finds up to room chunks of this owner that are due.
func (o *outgoing) list(p *post, room int) (listing, error) {
	var l listing
	now := time.Now().UnixMicro()
	for g, err := range o.s.chunkGroups(p.name) {
		if errors.Is(err, os.ErrNotExist) {
			return listing{empty: true}, nil
		}
		if err != nil {
			return l, err
		}
		if !o.set.Contains(g.newest.key) {
			continue
		}
		for _, old := range g.outdone {
			// A crash came between the two steps of a deferral.
			if err := o.s.fs.removeIf(o.s.chunkPath(p.name, old)); err != nil {
				return l, err
			}
		}
		due := max(g.newest.due, o.busy(p, g.newest.base()))
		switch {
		case due == never:
		case due > now:
			if l.due == 0 || due < l.due {
				l.due = due
			}
		case len(l.ready) == room:
			l.more = true
			return l, nil
		default:
			l.ready = append(l.ready, g.newest)
		}
	}
	if len(l.ready) == 0 && l.due == 0 {
		l.empty = o.s.fs.remove(o.s.chunksPath(p.name)) == nil // refused unless it is empty
	}
	return l, nil
}

// busy returns until when a chunk may not be handed out.
func (o *outgoing) busy(p *post, base string) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	until, ok := p.busy[base]
	if ok && until <= time.Now().UnixMicro() {
		delete(p.busy, base)
		return 0
	}
	return until
}

// finished ends the handing out of a chunk; due is when it is to be looked at again, or 0.
func (o *outgoing) finished(p *post, file chunkFile, due int64) {
	o.mu.Lock()
	delete(p.busy, file.base())
	p.out--
	if due != 0 {
		o.turns.note(p, due)
	}
	last := p.out == 0 && len(p.ready) == 0 && due == 0
	if p.out == 0 && len(p.ready) == 0 {
		o.turns.close(p)
	}
	o.turns.settle(p)
	o.tidy(p)
	o.mu.Unlock()
	if due != 0 {
		o.look()
	}
	if last {
		// The kernel refuses it while any owner has a chunk there; if it allows it, no
		// chunk can come any more.
		err := o.s.fs.remove(o.s.chunksPath(p.name))
		if err == nil || errors.Is(err, os.ErrNotExist) {
			o.reaper.bury(p.name)
		}
	}
}

// back gives a chunk back, not before due.
func (o *outgoing) back(p *post, file chunkFile, due time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p.out--
	delete(p.busy, file.base())
	switch wait := due.After(time.Now()); {
	case !wait:
		p.ready = append(p.ready, file)
		o.turns.loaded++
	case len(p.busy) >= maxBusy:
		p.hold, p.stale = max(p.hold, due.UnixMicro()), true
	default:
		p.busy[file.base()] = due.UnixMicro()
		o.turns.note(p, due.UnixMicro())
	}
	o.turns.settle(p)
	o.cond.Broadcast()
	o.look()
}

// setAside moves a chunk that cannot be read out of the way, where it keeps the
// post's content with it.
func (o *outgoing) setAside(p *post, file chunkFile, why error) {
	if file.small {
		o.s.setAsideSmall(p.name, why)
		return
	}
	to := filepath.Join(o.s.postPath(p.name), damagedPrefix+file.String())
	o.s.opts.Log.Error("a chunk is damaged: set aside", "entry", p.name.id, "path", to, "err", why)
	if err := o.s.fs.rename(o.s.chunkPath(p.name, file.String()), to); err != nil {
		o.s.opts.Log.Error("cannot set the chunk aside", "entry", p.name.id, "err", err)
	}
}

func (o *outgoing) look() {
	select {
	case o.kick <- struct{}{}:
	default:
	}
}

// run keeps the turns in step with the directory until stop.
func (o *outgoing) run() {
	defer close(o.done)
	var next, soonest time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	lost := false
	clock := stopwatch{time.Now()}
	for {
		now := time.Now()
		o.mu.Lock()
		if steppedBack(clock.lap(now)) {
			o.turns.endHolds()
		}
		due := o.turns.wake()
		if lost {
			lost, next, o.after = false, now, ""
		}
		// A look that had to stop goes on when there is room: posts that only wait for a
		// time make some. Looks from the start are Rescan apart.
		more := o.turns.more && o.after != "" && len(o.turns.posts)-len(o.turns.due) <= o.turns.max/2
		o.cond.Broadcast()
		o.mu.Unlock()
		if !now.Before(next) || more && !now.Before(soonest) {
			start := o.after
			o.scan()
			took := time.Since(now)
			soonest = time.Now().Add(4 * took)
			if stuck := start == o.after; start == "" || stuck || !now.Before(next) {
				next = time.Now().Add(max(o.s.opts.Rescan, 4*took))
				if stuck {
					soonest = next
				}
			}
			continue
		}
		wake := next
		if more {
			wake = soonest
		}
		names, gone, ok := o.w.wait(timer, earlier(wake, atMicros(due)), o.kick, o.stop)
		if !ok {
			return
		}
		lost = gone
		if len(names) > 0 {
			o.apply(names)
		}
	}
}

const pokeSuffix = ".poke" // a file whose coming tells owners to look at a post again

// apply takes in the names of new posts, and of posts that were changed.
func (o *outgoing) apply(names []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.turns.makeRoom(time.Now().Add(o.s.opts.Rescan).UnixMicro())
	for _, s := range names {
		n, beside, err := parsePost(s)
		switch {
		case err != nil:
			o.s.foreign(spool.Outgoing, s)
		case beside == "" || beside == pokeSuffix:
			o.turns.see(n)
		}
	}
	o.cond.Broadcast()
}

// scan takes in what posts are on disk: as many as there is room for, going on where
// the last scan had to stop.
func (o *outgoing) scan() {
	o.mu.Lock()
	after := o.after
	if o.turns.more {
		o.turns.evict(time.Now().Add(o.s.opts.Rescan).UnixMicro())
	}
	o.turns.more = false
	o.mu.Unlock()
	err := o.s.eachPost(after, func(n entryName) bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.turns.see(n)
		o.cond.Broadcast()
		if o.turns.more {
			return false
		}
		o.after = n.String()
		return !o.ending
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err != nil:
		o.s.opts.Log.Error("cannot scan the queue", "queue", spool.Outgoing, "err", err)
		o.after = ""
	case !o.turns.more:
		o.turns.more = after != "" // the first part was left out this time
		o.after = ""
	}
}
