package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
)

// commits notes which lists were committed together. The first waits for start.
type commits struct {
	start chan struct{}
	fails func(lists []int64) error

	mu    sync.Mutex
	lists [][]int64
}

func (c *commits) commit(_ context.Context, _ spool.Owner, posts []spool.Prepared, filings []store.Post, numbers []int64, _ time.Duration) error {
	<-c.start
	var lists []int64
	for i, f := range filings {
		lists = append(lists, f.ListID)
		if fmt.Sprint(f.ListID) != f.Entry || numbers[i] != f.ListID || len(posts) != len(filings) {
			return errors.New("posts of one list have another's number")
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lists = append(c.lists, lists)
	if c.fails == nil {
		return nil
	}
	return c.fails(lists)
}

// doAll commits a post of each list, of an owner of its own if there are any: those behind the first wait for it together.
func (c *commits) doAll(t *testing.T, lists int, owners ...spool.Owner) []error {
	c.start = make(chan struct{})
	all := &together{commit: c.commit}
	errs := make([]error, lists)
	var group sync.WaitGroup
	for i := range lists {
		id := int64(lists - i)
		s := &share{ctx: t.Context(), posts: make([]spool.Prepared, 1), filings: []store.Post{{ListID: id, Entry: fmt.Sprint(id)}}, numbers: []int64{id}}
		if len(owners) > 0 {
			s.owner = owners[i%len(owners)]
		}
		group.Go(func() { errs[id-1] = all.do(s) })
		for { // so that they come in this order
			all.mu.Lock()
			there := all.running && len(all.waiting) == i
			all.mu.Unlock()
			if there {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	close(c.start)
	group.Wait()
	return errs
}

func TestListsThatWaitShareATransaction(t *testing.T) {
	c := &commits{}
	if err := errors.Join(c.doAll(t, 4)...); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.lists); got != "[[4] [1 2 3]]" {
		t.Errorf("committed together: %s", got)
	}
}

func TestAListThatFailsIsTheOnlyOne(t *testing.T) {
	bad := errors.New("bad")
	c := &commits{fails: func(lists []int64) error {
		if slices.Contains(lists, 2) {
			return bad
		}
		return nil
	}}
	errs := c.doAll(t, 4)
	if !errors.Is(errs[1], bad) || errors.Join(errs[0], errs[2], errs[3]) != nil {
		t.Errorf("errors %v", errs)
	}
	if got := fmt.Sprint(c.lists); got != "[[4] [1 2 3] [1] [2] [3]]" {
		t.Errorf("committed together: %s", got)
	}
}

// What was prepared under a lease that has ended is not mixed with what comes after it.
func TestOwnersDoNotShareATransaction(t *testing.T) {
	c := &commits{}
	if err := errors.Join(c.doAll(t, 3, &cutOwner{}, &cutOwner{s: &cutSpool{}})...); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.lists); got != "[[3] [1] [2]]" {
		t.Errorf("committed together: %s", got)
	}
}
