package dir

import (
	"cmp"
	"container/heap"
	"container/list"
	"slices"
	"time"
)

// turns is what an outgoing owner knows: posts that take turns, and posts that wait
// for a time. It holds the names of some chunks of each; the rest are read from disk
// when those are used up. The owner's lock guards it.
type turns struct {
	max    int
	posts  map[entryName]*post
	ring   *list.List // of *post, those with something to do
	due    postsByDue
	loaded int  // names of chunks, of all posts
	kept   int  // files that are kept open, of all posts
	more   bool // posts were left on disk
}

type post struct {
	name    entryName
	ready   []chunkFile
	stale   bool    // there may be more on disk
	loading bool    // someone is reading the directory
	queued  bool    // in the ring
	out     int     // chunks handed out
	next    int64   // when something is due, in µs; 0: nothing known
	hold    int64   // the whole post waits until then
	doubled bool    // detach has left a file beside a part that it could not remove
	pos     int     // in due, or -1
	pack    *opened // with the chunk that was read last, if there are others in it
	text    *opened // the content that was read last
	// busy has chunks not to be handed out: until a time, or while handed out (never).
	busy map[string]int64
}

const never = int64(1<<63 - 1)

// maxBusy bounds the released chunks that a post remembers one by one. With more the
// whole post waits.
const maxBusy = 1024

func newTurns(max int) *turns {
	return &turns{max: max, posts: map[entryName]*post{}, ring: list.New()}
}

// see takes in that there is a post, or that it has changed.
func (t *turns) see(n entryName) {
	p := t.posts[n]
	if p == nil {
		if len(t.posts) >= t.max {
			t.more = true
			return
		}
		p = &post{name: n, pos: -1, busy: map[string]int64{}}
		t.posts[n] = p
	}
	p.stale = true
	t.settle(p)
}

// settle puts a post where it belongs after a change: in the ring, among those that
// wait, or out of memory.
func (t *turns) settle(p *post) {
	if t.posts[p.name] != p {
		return
	}
	now := time.Now().UnixMicro()
	work := len(p.ready) > 0 || p.stale && !p.loading
	if work && p.hold > now {
		work = false
		t.note(p, p.hold)
	}
	if work && !p.queued {
		p.queued = true
		t.ring.PushBack(p)
	}
	switch {
	case p.next != 0 && p.pos < 0:
		heap.Push(&t.due, p)
	case p.next != 0:
		heap.Fix(&t.due, p.pos)
	case p.pos >= 0:
		heap.Remove(&t.due, p.pos)
	}
}

// idle tells whether nothing of a post is known but, perhaps, that it waits.
func (p *post) idle() bool {
	return len(p.ready) == 0 && !p.stale && !p.loading && !p.queued && p.out == 0
}

// forget drops a post from memory.
func (t *turns) forget(p *post) {
	if p.pos >= 0 {
		heap.Remove(&t.due, p.pos)
	}
	t.loaded -= len(p.ready)
	p.ready = nil
	t.close(p)
	delete(t.posts, p.name)
}

// close closes the files that a post keeps open.
func (t *turns) close(p *post) {
	t.letGo(&p.pack)
	t.letGo(&p.text)
}

// note remembers that something of the post is due then. The caller settles it.
func (t *turns) note(p *post, due int64) {
	if p.next == 0 || due < p.next {
		p.next = due
	}
}

// front takes the post whose turn it is; nil if none has anything to do.
func (t *turns) front() *post {
	for e := t.ring.Front(); e != nil; e = t.ring.Front() {
		t.ring.Remove(e)
		p := e.Value.(*post)
		p.queued = false
		if t.posts[p.name] == p {
			return p
		}
	}
	return nil
}

// others tells whether a post other than p has something to do.
func (t *turns) others(p *post) bool {
	for e := t.ring.Front(); e != nil; e = e.Next() {
		if q := e.Value.(*post); q != p && t.posts[q.name] == q {
			return true
		}
	}
	return false
}

// pop takes a chunk of a post that is not handed out; ok is false if there is none.
func (t *turns) pop(p *post) (c chunkFile, ok bool) {
	for len(p.ready) > 0 {
		c, p.ready = p.ready[0], p.ready[1:]
		t.loaded--
		if p.busy[c.base()] <= time.Now().UnixMicro() {
			p.busy[c.base()] = never
			p.out++
			return c, true
		}
	}
	return c, false
}

// room is how many names of chunks a post may load now.
func (t *turns) room() int { return max(8, min(4096, t.max-t.loaded)) }

// wake gives their turn to posts of which something is due, and returns when the next is.
func (t *turns) wake() int64 {
	now := time.Now().UnixMicro()
	for len(t.due) > 0 && t.due[0].next <= now {
		p := t.due[0]
		p.next, p.stale = 0, true
		t.settle(p)
	}
	if len(t.due) == 0 {
		return 0
	}
	return t.due[0].next
}

// evict forgets posts that wait longer than until: the scan then finds them again.
func (t *turns) evict(until int64) {
	for _, p := range t.posts {
		if p.idle() && len(p.busy) == 0 && p.next > until {
			t.forget(p)
		}
	}
}

// makeRoom forgets an eighth of the posts when there is no room for a new one: those
// that wait longest, and longer than until. The scan then finds them again.
func (t *turns) makeRoom(until int64) {
	if len(t.posts) < t.max {
		return
	}
	var waiting []*post
	for _, p := range t.posts {
		if p.idle() && len(p.busy) == 0 && p.next > until {
			waiting = append(waiting, p)
		}
	}
	slices.SortFunc(waiting, func(a, b *post) int { return cmp.Compare(b.next, a.next) })
	for _, p := range waiting[:min(len(waiting), max(1, t.max/8))] {
		t.forget(p)
		t.more = true
	}
}

// endHolds ends all waiting that is known in memory only: the clock that it was
// measured by has been put back.
func (t *turns) endHolds() {
	for _, p := range t.posts {
		for base, until := range p.busy {
			if until != never {
				delete(p.busy, base)
				p.stale = true
			}
		}
		if p.hold != 0 {
			p.hold, p.stale = 0, true
		}
		t.settle(p)
	}
}

type postsByDue []*post

func (h postsByDue) Len() int           { return len(h) }
func (h postsByDue) Less(i, j int) bool { return h[i].next < h[j].next }
func (h postsByDue) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}
func (h *postsByDue) Push(x any) {
	p := x.(*post)
	p.pos = len(*h)
	*h = append(*h, p)
}
func (h *postsByDue) Pop() any {
	old := *h
	p := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	p.pos = -1
	return p
}
