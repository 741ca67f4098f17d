package pipeline

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
)

// Together commits posts, which an owner has prepared, and files each under the number beside it,
// 0 for none, as one transaction: all of it or nothing. After an error the posts are as they were.
type Together func(ctx context.Context, owner spool.Owner, posts []spool.Prepared, filings []store.Post, numbers []int64, window time.Duration) error

// SetTogether says how spool and store commit together, where they can; it is called before Run.
func (d *Daemon) SetTogether(t Together) {
	if t != nil {
		d.together = &together{commit: t}
	}
}

// together has all lists that become ready while a transaction is under way share the next one: a
// transaction costs the database much the same, however many posts are in it.
type together struct {
	commit Together

	mu      sync.Mutex
	running bool // one is under way, or is somebody's to begin
	waiting []*share
}

// share is what one list has in a transaction.
type share struct {
	ctx     context.Context
	owner   spool.Owner
	posts   []spool.Prepared
	filings []store.Post
	numbers []int64

	lead chan struct{} // it is for this one to commit what waits
	done chan error
}

// do is commit for the posts of one list.
func (t *together) do(s *share) error {
	s.lead, s.done = make(chan struct{}, 1), make(chan error, 1)
	t.mu.Lock()
	t.waiting = append(t.waiting, s)
	if !t.running {
		t.running = true
		s.lead <- struct{}{}
	}
	t.mu.Unlock()
	select {
	case err := <-s.done:
		return err
	case <-s.lead:
	}
	t.mu.Lock()
	all := t.waiting // and s with them
	t.waiting = nil
	t.mu.Unlock()
	t.all(all)
	t.mu.Lock()
	if t.running = len(t.waiting) > 0; t.running {
		t.waiting[0].lead <- struct{}{}
	}
	t.mu.Unlock()
	return <-s.done
}

// all commits what there is, by lists, so that no two processes wait for each other's. If that fails, it may be
// for one of them: then each is for itself.
func (t *together) all(shares []*share) {
	slices.SortFunc(shares, func(a, b *share) int { return cmp.Compare(a.filings[0].ListID, b.filings[0].ListID) })
	first := shares[0]
	one := &share{ctx: first.ctx, owner: first.owner}
	for _, s := range shares {
		if s.owner != first.owner { // of a lease that has ended
			one = nil
			break
		}
		one.posts, one.filings, one.numbers = append(one.posts, s.posts...), append(one.filings, s.filings...), append(one.numbers, s.numbers...)
	}
	if one != nil {
		if err := t.alone(one); err == nil || len(shares) == 1 {
			for _, s := range shares {
				s.done <- err
			}
			return
		}
	}
	for _, s := range shares {
		s.done <- t.alone(s)
	}
}

func (t *together) alone(s *share) error {
	return t.commit(s.ctx, s.owner, s.posts, s.filings, s.numbers, duplicateWindow)
}
