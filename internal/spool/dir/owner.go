package dir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// retryIO is how long an entry waits that could not be read or moved. An entry's wait
// doubles when it fails again, up to 64 times this.
const retryIO = 5 * time.Second

// tenure is what owners of both kinds have in common: a claim, and its end.
type tenure struct {
	s     *Spool
	q     spool.Queue
	set   segment.Set
	claim *claim
	w     *watcher
	stop  chan struct{}
	done  chan struct{} // closed by the goroutine that runs the owner
	once  sync.Once
	err   error // of close

	life   sync.RWMutex // read-locked during each change to the spool
	closed bool
}

func (s *Spool) tenure(ctx context.Context, q spool.Queue, set segment.Set, name string) (*tenure, error) {
	c, err := s.claim(ctx, q, set, name)
	if err != nil {
		return nil, err
	}
	w, err := watch(s.path(q, ""))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("own %s: %w", q, err), c.end())
	}
	return &tenure{s: s, q: q, set: set, claim: c, w: w, stop: make(chan struct{}), done: make(chan struct{})}, nil
}

// enter begins a change; the caller calls t.life.RUnlock at its end.
func (t *tenure) enter() error {
	t.life.RLock()
	if t.closed {
		t.life.RUnlock()
		return spool.ErrFenced
	}
	return nil
}

// end waits for changes under way, and gives the segments up.
func (t *tenure) end() error {
	close(t.stop)
	t.w.close()
	<-t.done
	t.life.Lock()
	defer t.life.Unlock()
	t.closed = true
	return t.claim.end()
}

// owner is a spool.Owner.
type owner struct {
	*tenure
	kick  chan struct{} // the table has changed: when is the next one due?
	small bool          // a small post may be one file

	mu     sync.Mutex
	cond   *sync.Cond
	table  *table
	ending bool
}

// Segments implements spool.Owner.
func (o *owner) Segments() segment.Set { return o.set }

// Own implements spool.Spool.
func (s *Spool) Own(ctx context.Context, q spool.Queue, set segment.Set, name string) (spool.Owner, error) {
	if q != spool.Incoming && q != spool.Bounces {
		return nil, fmt.Errorf("own %s: want incoming or bounces", q)
	}
	t, err := s.tenure(ctx, q, set, name)
	if err != nil {
		return nil, err
	}
	o := &owner{tenure: t, kick: make(chan struct{}, 1), table: newTable(s.opts.MaxReady), small: s.canExchange()}
	o.cond = sync.NewCond(&o.mu)
	go o.w.run(o.stop)
	go o.run()
	if err := s.adopt(o); err != nil {
		return nil, errors.Join(fmt.Errorf("own %s: %w", q, err), o.Close())
	}
	return o, nil
}

// Close implements spool.Owner.
func (o *owner) Close() error {
	o.once.Do(func() {
		o.mu.Lock()
		o.ending = true
		o.cond.Broadcast()
		o.mu.Unlock()
		o.err = o.end()
		o.s.forget(o)
	})
	return o.err
}

// Next implements spool.Owner.
func (o *owner) Next(ctx context.Context) (spool.Entry, error) {
	for {
		it, err := o.wait(ctx)
		if err != nil {
			return spool.Entry{}, fmt.Errorf("next entry of %s: %w", o.q, err)
		}
		if e, ok := o.load(it); ok {
			return e, nil
		}
	}
}

// Following implements spool.Owner.
func (o *owner) Following(ctx context.Context, e spool.Entry) (spool.Entry, bool, error) {
	for {
		if err := ctx.Err(); err != nil {
			return spool.Entry{}, false, fmt.Errorf("entry after %s: %w", e.ID, err)
		}
		o.mu.Lock()
		var it *item
		if !o.ending {
			it = o.table.takeAfter(entryName{e.ID, e.Key})
		}
		o.mu.Unlock()
		if it == nil {
			return spool.Entry{}, false, nil
		}
		if next, ok := o.load(it); ok {
			return next, true, nil
		}
	}
}

// load reads an entry that was taken out of the table, or deals with one that cannot be read.
func (o *owner) load(it *item) (spool.Entry, bool) {
	e, st, err := o.s.load(o.q, it.name, it.st)
	if err == nil {
		o.mu.Lock()
		it.st, it.fails, it.size = st, 0, e.Size
		o.mu.Unlock()
		return e, true
	}
	if errors.Is(err, os.ErrNotExist) {
		o.gone(it)
		return e, false
	}
	if isDamaged(err) {
		o.s.opts.Log.Error("an entry is damaged: moved to failed", "entry", it.name.id, "err", err)
		if err = o.quarantine(it, err); err == nil {
			return e, false
		}
	}
	// One entry must not stop the others.
	o.s.opts.Log.Error("an entry cannot be read: others go on", "entry", it.name.id, "queue", o.q, "err", err)
	o.failed(it)
	o.mu.Lock()
	o.table.give(it, it.st, it.pause(time.Now()), time.Now())
	o.mu.Unlock()
	o.look()
	return e, false
}

// wait takes an entry out of the table.
func (o *owner) wait(ctx context.Context) (*item, error) {
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
			return nil, spool.ErrFenced
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if it := o.table.take(); it != nil {
			return it, nil
		}
		o.cond.Wait()
	}
}

// quarantine moves an entry that cannot be read to failed, as it is.
func (o *owner) quarantine(it *item, why error) error {
	if err := o.enter(); err != nil {
		return err
	}
	defer o.life.RUnlock()
	n := note{queue: o.q, tries: it.st.tries, reason: why.Error()}
	as := it.name
	if there, _ := exists(o.s.path(spool.Failed, as.String())); there { // and may be whole
		as.id = o.s.newID()
		n.reason += fmt.Sprintf(" (it was entry %s, which is in failed too)", it.name.id)
	}
	err := o.s.park(o.q, it.name, it.st, spool.Failed, as, n)
	if err == nil || errors.Is(err, spool.ErrNotFound) {
		o.gone(it)
		return nil
	}
	return err
}

// gone forgets an entry that was handed out and has left the queue.
func (o *owner) gone(it *item) {
	o.mu.Lock()
	o.table.drop(it, time.Now())
	o.cond.Broadcast() // the next of its key may go
	o.mu.Unlock()
	o.look()
}

// look has the goroutine look at the table again.
func (o *owner) look() {
	select {
	case o.kick <- struct{}{}:
	default:
	}
}

// run keeps the table in step with the directory until stop.
func (o *owner) run() {
	defer close(o.done)
	var took time.Duration // by the last scan
	var next, soonest time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	lost := false
	clock := stopwatch{time.Now()}
	for {
		now := time.Now()
		o.mu.Lock()
		if steppedBack(clock.lap(now)) {
			o.table.endHolds()
		}
		due := o.table.wake(now)
		more := o.table.more
		o.cond.Broadcast()
		o.mu.Unlock()
		if lost || !now.Before(next) || more && !now.Before(soonest) {
			lost = false
			o.scan()
			// However long the queue, scans take a fifth of the time at most.
			took = time.Since(now)
			next, soonest = time.Now().Add(max(o.s.opts.Rescan, 4*took)), time.Now().Add(4*took)
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

// apply takes in the names of new files.
func (o *owner) apply(names []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range names {
		n, st, err := parseName(s)
		if err != nil {
			o.s.foreign(o.q, s)
			continue
		}
		// What lies beside an entry that is not known yet is found when the entry is read.
		if o.set.Contains(n.key) && (!st.side || o.table.items[n] != nil) {
			o.table.add(n, st, time.Now())
		}
	}
	o.cond.Broadcast()
}

// scan takes in what is on disk.
func (o *owner) scan() {
	o.mu.Lock()
	o.table.scanned()
	o.mu.Unlock()
	err := o.s.eachGroup(o.q, func(g group) bool {
		if g.exists && o.set.Contains(g.name.key) {
			o.mu.Lock()
			o.table.add(g.name, g.st, time.Now())
			o.cond.Broadcast()
			o.mu.Unlock()
		}
		select {
		case <-o.stop:
			return false
		default:
			return true
		}
	})
	if err != nil {
		o.s.opts.Log.Error("cannot scan the queue", "queue", o.q, "err", err)
	}
}
