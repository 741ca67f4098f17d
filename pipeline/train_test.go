package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/dir"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/store/sqlstore"
	"github.com/mlist/mlist/sdk"
)

// yard is where a train is put together: the journal takes the first post only when the
// stages have seen so many, so that those behind it are ready by then.
type yard struct {
	*sqlstore.Store
	until int
	fail  func(posts []store.Post) error // asked once for each filing; nil: none fails

	mu      sync.Mutex
	changed sync.Cond
	seen    []string // entry and number, as the stages saw them
	groups  []int    // how many were filed at once
}

func newYard(st *sqlstore.Store, until int) *yard {
	y := &yard{Store: st, until: until}
	y.changed.L = &y.mu
	return y
}

// Run stands in for the handlers.
func (y *yard) Run(ctx context.Context, p *host.Post) (host.Result, error) {
	y.mu.Lock()
	y.seen = append(y.seen, fmt.Sprint(p.Entry, " ", p.Number))
	y.changed.Broadcast()
	y.mu.Unlock()
	switch p.Header.Get("Subject") {
	case "state":
		if err := p.BeforeState(ctx); err != nil {
			return host.Result{}, err
		}
		filed, err := y.Store.PeekPost(ctx, store.Post{ListID: p.ListID, Entry: "another", Digest: []byte("x"), At: time.Now()}, time.Hour)
		if err == nil && filed.Number != p.Number {
			err = permanentError{fmt.Errorf("what the handler keeps is that of post %d, and this is %d", filed.Number-1, p.Number)}
		}
		if err != nil {
			return host.Result{}, err
		}
	case "nobody":
		return host.Result{Verdict: sdk.Accept}, nil // no rule chooses anybody
	case "discard":
		return verdict(sdk.Discard("no", "No."))(ctx, p)
	}
	return verdict(sdk.Accept)(ctx, p)
}

func (y *yard) file(posts []store.Post) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.groups = append(y.groups, len(posts))
	for len(y.groups) == 1 && len(y.seen) < y.until {
		y.changed.Wait()
	}
	if y.fail == nil {
		return nil
	}
	return y.fail(posts)
}

func (y *yard) FilePost(ctx context.Context, p store.Post, numbered bool, window time.Duration) (store.PostRecord, error) {
	if err := y.file([]store.Post{p}); err != nil {
		return store.PostRecord{}, err
	}
	return y.Store.FilePost(ctx, p, numbered, window)
}

func (y *yard) FilePosts(ctx context.Context, posts []store.Post, window time.Duration) ([]store.PostRecord, error) {
	if err := y.file(posts); err != nil {
		return nil, err
	}
	return y.Store.FilePosts(ctx, posts, window)
}

// waitingPosts stops the daemon and puts posts of these subjects.
func waitingPosts(t *testing.T, subjects ...string) (w *world, ids []spool.ID) {
	t.Helper()
	w = newWorld(t, verdict(sdk.Accept))
	w.stop()
	w.add(list.Member, "a@x.test")
	for i, s := range subjects {
		text := strings.Replace(hello, "Subject: hello", "Subject: "+s, 1)
		if s != "copy" {
			text += fmt.Sprint(i)
		} else {
			text = strings.Replace(hello, "Subject: hello", "Subject: "+subjects[0], 1) + "0"
		}
		ids = append(ids, w.post(text))
	}
	return w, ids
}

// inOrder makes sure that posts were seen, filed and put into outgoing with these numbers, 0
// for one that was not.
func inOrder(t *testing.T, w *world, y *yard, ids []spool.ID, numbers ...int64) {
	t.Helper()
	w.idle()
	w.stop()
	if failed := w.entries(spool.Failed); len(failed) > 0 {
		t.Fatalf("failed has %+v", failed)
	}
	out := w.outgoing()
	for i, id := range ids {
		p := store.Post{ListID: w.list.ID, Entry: string(id), Digest: []byte(id), At: time.Now()}
		r, err := w.store.PeekPost(t.Context(), p, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if numbers[i] == 0 {
			if len(out[id]) > 0 {
				t.Errorf("post %d went out", i)
			}
			continue
		}
		if r.Number != numbers[i] || len(out[id]) != 1 {
			t.Errorf("post %d has number %d and %d chunks, want %d and one", i, r.Number, len(out[id]), numbers[i])
		}
		if y != nil && !slices.Contains(y.seen, fmt.Sprint(id, " ", numbers[i])) {
			t.Errorf("the stages have not seen post %d as number %d, but %v", i, numbers[i], y.seen)
		}
	}
}

func TestPostsThatWaitAreCommittedTogether(t *testing.T) {
	w, ids := waitingPosts(t, "a", "b", "c", "d", "e", "f")
	y := newYard(w.store, len(ids))
	w.startWith(y, y)
	inOrder(t, w, y, ids, 1, 2, 3, 4, 5, 6)
	// The first group, however many it has, is held until the stages have the last post, and
	// all others are ready then: they are the second group, and the last may be the third.
	if len(y.groups) > 3 {
		t.Errorf("posts were filed in groups of %v", y.groups)
	}
	if len(y.seen) != len(ids) {
		t.Errorf("the stages have seen %v", y.seen)
	}
}

func TestALongQueueIsPreparedInOrder(t *testing.T) {
	w, ids := waitingPosts(t, strings.Fields(strings.Repeat("x ", 2*maxTrain+maxQueue))...)
	y := newYard(w.store, maxQueue)
	w.startWith(y, y)
	var numbers []int64
	for i := range ids {
		numbers = append(numbers, int64(i+1))
	}
	inOrder(t, w, y, ids, numbers...)
	if slices.Max(y.groups) > maxQueue {
		t.Errorf("posts were filed in groups of %v, want at most %d", y.groups, maxQueue)
	}
}

func TestACopyOfAPostThatIsNotFiledYetIsDropped(t *testing.T) {
	w, ids := waitingPosts(t, "a", "b", "copy", "c")
	y := newYard(w.store, 2)
	w.startWith(y, y)
	inOrder(t, w, y, ids, 1, 2, 0, 3)
}

func TestWhatDependsOnPostsBeforeWaitsForThem(t *testing.T) {
	w, ids := waitingPosts(t, "a", "b", "state", "c", "discard", "state", "d")
	y := newYard(w.store, 2)
	w.startWith(y, y)
	inOrder(t, w, y, ids, 1, 2, 3, 4, 0, 5, 6)
}

func TestAPostThatCannotBeFiledStopsThoseBehindItAlone(t *testing.T) {
	for bad := range 5 {
		t.Run(fmt.Sprint(bad), func(t *testing.T) {
			w, ids := waitingPosts(t, "a", "b", "c", "d", "e")
			y := newYard(w.store, 4)
			failed := false
			y.fail = func(posts []store.Post) error {
				if failed || !slices.ContainsFunc(posts, func(p store.Post) bool { return p.Entry == string(ids[bad]) }) {
					return nil
				}
				failed = true
				return errors.New("the disk does not answer")
			}
			w.startWith(y, y)
			w.idle()
			w.stop()
			var got []int64
			for i, id := range ids {
				r, err := w.store.PeekPost(t.Context(), store.Post{ListID: w.list.ID, Entry: string(id), Digest: []byte(id), At: time.Now()}, time.Hour)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, r.Number)
				if n := len(w.outgoing()[id]); n != 1 {
					t.Errorf("post %d has %d chunks", i, n)
				}
				if !slices.Contains(y.seen, fmt.Sprint(id, " ", r.Number)) {
					t.Errorf("post %d has number %d, and the stages have seen %v", i, r.Number, y.seen)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, []int64{1, 2, 3, 4, 5}) {
				t.Errorf("numbers %v", got)
			}
		})
	}
}

// cutSpool commits only the first posts of a group, and then stops the daemon, as its death
// would between two steps.
type cutSpool struct {
	*dir.Spool
	after int // posts of the group that are committed
	stop  context.CancelFunc
}

type cutOwner struct {
	spool.Owner
	s *cutSpool
}

func (s *cutSpool) Own(ctx context.Context, q spool.Queue, set segment.Set, name string) (spool.Owner, error) {
	o, err := s.Spool.Own(ctx, q, set, name)
	return &cutOwner{o, s}, err
}

func (o *cutOwner) Commit(ctx context.Context, posts ...spool.Prepared) (int, error) {
	if len(posts) < 2 {
		return o.Owner.Commit(ctx, posts...)
	}
	n, err := o.Owner.Commit(ctx, posts[:min(o.s.after, len(posts)-1)]...)
	for _, p := range posts[n:] {
		err = errors.Join(err, p.Abort())
	}
	o.s.stop()
	return n, errors.Join(err, context.Canceled)
}

// The journal has the whole group, and the spool only some of it: whoever comes next goes on
// with the same numbers.
func TestADeathWithinAGroupChangesNothing(t *testing.T) {
	for after := range 4 {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			w, ids := waitingPosts(t, "a", "b", "c", "d", "e")
			y := newYard(w.store, 4)
			ctx, cancel := context.WithCancel(t.Context())
			cut := &cutSpool{Spool: w.spool, after: after, stop: cancel}
			d := New(*w.daemon.cfg.Load(), cut, y, y, w.daemon.log)
			d.SetArchive(w.archive)
			if err := d.Run(ctx); err != nil {
				t.Fatal(err)
			}
			if left := len(w.entries(spool.Incoming)); left == 0 {
				t.Fatal("nothing is left to go on with")
			}
			y.until = 0
			w.startWith(y, y)
			inOrder(t, w, y, ids, 1, 2, 3, 4, 5)
		})
	}
}

// Posts that nobody is to receive are numbered with those around them, and nothing goes out.
func TestPostsForNobodyAreCommittedWithOthers(t *testing.T) {
	w, ids := waitingPosts(t, "a", "nobody", "b", "nobody", "c")
	y := newYard(w.store, len(ids))
	w.startWith(y, y)
	w.idle()
	w.stop()
	if failed := w.entries(spool.Failed); len(failed) > 0 {
		t.Fatalf("failed has %+v", failed)
	}
	out := w.outgoing()
	for i, id := range ids {
		r, err := w.store.PeekPost(t.Context(), store.Post{ListID: w.list.ID, Entry: string(id), Digest: []byte(id), At: time.Now()}, time.Hour)
		if err != nil || r.Number != int64(i+1) {
			t.Errorf("post %d has number %d: %v", i, r.Number, err)
		}
		if got, want := len(out[id]), 1-i%2; got != want {
			t.Errorf("post %d has %d chunks, want %d", i, got, want)
		}
	}
}
