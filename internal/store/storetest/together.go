package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// togetherTests are about several callers, and several processes, at once.
var togetherTests = []test{
	{"two handles see each other's changes", func(w *world) {
		l := w.list("dev@l.test")
		other := w.another()
		got, err := other.List(w.ctx, l.Address)
		w.ok(err)
		if got.ID != l.ID {
			w.Errorf("the other handle sees %+v", got)
		}
		w.ok(other.DeleteList(w.ctx, l.Address))
		_, err = w.Resolve(w.ctx, l.Address)
		w.wants(err, store.ErrNotFound)
	}},
	{"numbers are given once, whoever asks", testNumbersOnce},
	{"an iterator sees one instant", testSnapshot},
	{"recipients of a large list are those of one instant", testLargeSnapshot},
	{"a caller may use the store while it iterates", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "ann@n.test", "bob@n.test")
		for m, err := range w.Members(w.ctx, l.ID, store.Filter{}) {
			w.ok(err)
			w.ok(w.SetMember(w.ctx, l.ID, list.Member, m.Address, store.MemberChange{NoOwnPosts: ptr(true)}))
			_, err = w.Memberships(w.ctx, l.ID, []address.Address{m.Address})
			w.ok(err)
			w.add(l, list.Owner, m.Address.String())
			for _, err := range w.AllLists(w.ctx, "") {
				w.ok(err)
			}
		}
	}},
	{"many iterators are left early", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "ann@n.test", "bob@n.test")
		for range 100 {
			for range w.Members(w.ctx, l.ID, store.Filter{}) {
				break
			}
			for range w.Recipients(w.ctx, store.Source{ListID: l.ID}) {
				break
			}
		}
	}},
	{"an iterator ends when its context does", func(w *world) {
		l := w.list("dev@l.test")
		_, err := w.AddMembers(w.ctx, l.ID, many(w, 3_001), nil)
		w.ok(err)
		ctx, cancel := context.WithCancel(w.ctx)
		defer cancel()
		n := 0
		var last error
		for some, err := range w.Recipients(ctx, store.Source{ListID: l.ID}) {
			cancel()
			last = err
			n += len(some)
		}
		if !errors.Is(last, context.Canceled) || n > 1_000 {
			w.Errorf("after %d recipients it ended with %v", n, last)
		}
		_, err = w.List(ctx, l.Address)
		w.wants(err, context.Canceled)
		w.ok(w.Ping(w.ctx))
	}},
}

func testNumbersOnce(w *world) {
	const callers, posts = 4, 25
	l := w.list("dev@l.test")
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		got   = map[int64]string{}
	)
	for c := range callers {
		s := w.another()
		group.Go(func() {
			for i := range posts {
				// Every second post is filed by two callers, as after a crash.
				name := fmt.Sprint(c, "-", i)
				if i%2 == 0 {
					name = fmt.Sprint(c/2, "+", i)
				}
				r, err := s.FilePost(w.ctx, store.Post{ListID: l.ID, Entry: name, Digest: []byte(name), At: at}, true, time.Hour)
				if err != nil || r.Duplicate {
					w.Errorf("file %s: %+v, %v", name, r, err)
					return
				}
				mu.Lock()
				if other, ok := got[r.Number]; ok && other != name {
					w.Errorf("%s and %s have number %d", name, other, r.Number)
				}
				got[r.Number] = name
				mu.Unlock()
			}
		})
	}
	group.Wait()
	const want = callers*(posts/2) + callers/2*(posts/2+1)
	for n := range int64(want) {
		if got[n+1] == "" {
			w.Errorf("number %d of %d was not given", n+1, want)
		}
	}
	if len(got) != want {
		w.Errorf("%d numbers were given to %d posts", len(got), want)
	}
}

func testSnapshot(w *world) {
	l := w.list("dev@l.test")
	_, err := w.AddMembers(w.ctx, l.ID, many(w, 2_003), nil)
	w.ok(err)
	n := 0
	for _, err := range w.Members(w.ctx, l.ID, store.Filter{}) {
		w.ok(err)
		if n == 0 {
			w.add(l, list.Owner, "late@n.test")
			w.add(l, list.Member, "late@zzz.test")
		}
		n++
	}
	if n != 2_003 {
		w.Errorf("%d members, want those of the beginning", n)
	}
}

// Two members come and go together, of whom one sorts before all others and one behind them.
func testLargeSnapshot(w *world) {
	const others = 2_100
	l := w.list("dev@l.test")
	_, err := w.AddMembers(w.ctx, l.ID, many(w, others), nil)
	w.ok(err)
	pair := []address.Address{w.addr("first@0.test"), w.addr("last@zzz.test")}
	s := w.another()
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := s.AddMembers(w.ctx, l.ID, seq(list.Membership{Address: pair[0]}, list.Membership{Address: pair[1]}), nil); err != nil {
				w.Error(err)
				return
			}
			if n, err := s.RemoveMembers(w.ctx, l.ID, list.Member, seq(pair...)); err != nil || n != 2 {
				w.Error(n, err)
				return
			}
		}
	})
	with, without := 0, 0
	for range 12 {
		seen := map[string]int{}
		for _, r := range recipients(w, store.Source{ListID: l.ID}) {
			seen[r.Address]++
			if seen[r.Address] > 1 {
				w.Errorf("%s comes twice", r.Address)
			}
		}
		switch first, last := seen[pair[0].String()], seen[pair[1].String()]; {
		case first != last || len(seen) != others+first+last:
			w.Errorf("%d recipients of %d, the first of the pair %d times and the last %d", len(seen), others, first, last)
		case first > 0:
			with++
		default:
			without++
		}
	}
	close(stop)
	group.Wait()
	w.Logf("%d times with the pair, %d without", with, without)
	for range 5 { // one that is left early leaves nothing behind
		for range w.Recipients(w.ctx, store.Source{ListID: l.ID}) {
			break
		}
	}
}
