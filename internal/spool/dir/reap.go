package dir

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/spool"
)

// syncDelay is how long after the removal of a chunk its directory is synced, with
// all others of that time.
const syncDelay = 200 * time.Millisecond

// maxGraves bounds the posts that the reaper remembers. A scan finds the others again.
const maxGraves = 16384

// reaper removes the posts of which no chunk is left, away from the delivery path.
// It leaves a post's directory as long as the entry it came from may come back:
// Finished then sees that the post was made.
type reaper struct {
	s    *Spool
	kick chan struct{}
	done chan struct{}

	mu     sync.Mutex
	dirty  map[entryName]struct{} // chunks were removed, and that is not synced
	graves map[entryName]struct{} // no chunks are left
}

func newReaper(s *Spool) *reaper {
	return &reaper{s: s, kick: make(chan struct{}, 1), done: make(chan struct{}),
		dirty: map[entryName]struct{}{}, graves: map[entryName]struct{}{}}
}

// wrote has the post's directory synced soon.
func (r *reaper) wrote(n entryName) {
	r.mu.Lock()
	r.dirty[n] = struct{}{}
	r.mu.Unlock()
	r.wake()
}

// bury has a post removed that has no directory for chunks any more.
func (r *reaper) bury(n entryName) {
	r.mu.Lock()
	if len(r.graves) < maxGraves {
		r.graves[n] = struct{}{}
	}
	r.mu.Unlock()
	r.wake()
}

func (r *reaper) wake() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// run works in batches until stop, and then once more.
func (r *reaper) run(stop <-chan struct{}) {
	defer close(r.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	waiting := false
	for {
		select {
		case <-stop:
			r.round()
			return
		case <-r.kick:
			if !waiting {
				timer.Reset(syncDelay)
				waiting = true
			}
		case <-timer.C:
			waiting = r.round()
			if waiting {
				timer.Reset(5 * syncDelay) // for the entries to go
			}
		}
	}
}

// round syncs and removes what was marked, and tells whether something is left to do.
func (r *reaper) round() bool {
	r.mu.Lock()
	dirty, graves := r.dirty, r.graves
	r.dirty, r.graves = map[entryName]struct{}{}, map[entryName]struct{}{}
	r.mu.Unlock()
	left := false
	for n := range dirty {
		if _, dead := graves[n]; dead {
			continue
		}
		err := r.s.fs.syncDir(r.s.chunksPath(n))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			r.s.opts.Log.Error("a power cut may repeat deliveries", "entry", n.id, "err", err)
		}
	}
	// That small posts are done is a name in outgoing.
	if err := r.s.syncs[spool.Outgoing].sync(); err != nil {
		r.s.opts.Log.Error("cannot remove the posts that are done, and a power cut may repeat deliveries", "posts", len(graves), "err", err)
		return left // a scan finds them again
	}
	var ready []entryName
	for n := range graves {
		if r.s.entryGone(n) {
			ready = append(ready, n)
			continue
		}
		left = true
		r.bury(n)
	}
	if len(ready) == 0 {
		return left
	}
	// The entries must not come back after a power cut when their posts do not.
	if err := errors.Join(r.s.syncs[spool.Incoming].sync(), r.s.syncs[spool.Bounces].sync()); err != nil {
		r.s.opts.Log.Error("cannot remove the posts that are done", "posts", len(ready), "err", err)
		return left // a scan finds them again
	}
	for _, n := range ready {
		if err := r.s.removePost(n); err != nil {
			r.s.opts.Log.Error("cannot remove a post that is done", "entry", n.id, "err", err) // a scan finds it again
		}
	}
	return left
}

// entryGone tells whether no queue has the entry of a post any more. An entry may move
// between queues meanwhile, hence the second look.
func (s *Spool) entryGone(n entryName) bool {
	for _, q := range []spool.Queue{spool.Incoming, spool.Bounces, spool.Held, spool.Failed, spool.Incoming, spool.Bounces} {
		if there, err := exists(s.path(q, n.String())); there || err != nil {
			return false
		}
	}
	return true
}

// removePost removes a post without chunks. One of which a damaged chunk was set
// aside stays, for an operator.
func (s *Spool) removePost(n entryName) error {
	dir := s.postPath(n)
	files, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		// A small one, or another owner was quicker.
		return errors.Join(s.fs.removeIf(s.pausedPath(n)), s.discard(spool.Outgoing, s.donePath(n)))
	}
	if errors.Is(err, unix.ENOTDIR) {
		return nil // it is not done at all
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		if !strings.HasPrefix(f.Name(), contentPrefix) {
			return nil
		}
	}
	if err := s.fs.syncDir(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, f := range files {
		if err := s.fs.removeIf(filepath.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	return errors.Join(s.fs.removeIf(s.pausedPath(n)), s.fs.removeIf(dir))
}
