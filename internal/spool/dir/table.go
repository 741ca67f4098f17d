package dir

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"github.com/mlist/mlist/internal/segment"
)

// table is what an owner knows of its queue: which entries wait for their turn,
// which for a time, and which are handed out. Its size is bounded; what does not fit
// is left to a later scan. The owner's lock guards it.
type table struct {
	max     int
	items   map[entryName]*item
	lanes   map[segment.Key]*lane
	turns   lanesByAge // lanes with an entry to hand out
	delayed itemsByDue
	ready   int  // items in lanes
	more    bool // a lane ran dry that has more on disk
}

type place uint8

const (
	inLane place = iota
	inDelayed
	handedOut
)

type item struct {
	name  entryName
	st    state
	place place
	hold  int64 // not before this either; in memory only
	pos   int   // in delayed
	size  int64 // of its message, once it was handed out
	again bool  // it appeared anew while it was handed out
	fails int   // how often it could not be read, or given back, since it last could
}

// pause is until when an item must wait that failed; 0 if it did not.
func (it *item) pause(now time.Time) int64 {
	if it.fails == 0 {
		return 0
	}
	return now.Add(retryIO << min(it.fails-1, 6)).UnixMicro()
}

func (it *item) due() int64 { return max(it.st.due, it.hold) }

// lane holds the entries of one key. One of them is handed out at a time, and what follows it
// if that is asked for.
type lane struct {
	key   segment.Key
	items []*item // oldest first
	out   int     // handed out
	last  bool    // nothing may follow them
	more  bool    // newer ones were left on disk
	pos   int     // in turns, or -1
}

func newTable(max int) *table {
	return &table{max: max, items: map[entryName]*item{}, lanes: map[segment.Key]*lane{}}
}

// add takes in what a scan or an event tells. Of an entry that is known only a newer
// state counts: scans lag behind.
func (t *table) add(n entryName, st state, now time.Time) {
	it := t.items[n]
	if it == nil {
		it = &item{name: n, st: st}
		t.items[n] = it
		t.place(it, now)
		return
	}
	if it.place == handedOut {
		it.again = it.again || !st.side
		return
	}
	if !st.newer(it.st) {
		return
	}
	t.pull(it)
	it.st, it.hold = st, 0
	t.place(it, now)
}

// place puts an item where its state says.
func (t *table) place(it *item, now time.Time) {
	if it.due() > now.UnixMicro() {
		it.place = inDelayed
		heap.Push(&t.delayed, it)
		if len(t.delayed) > 2*t.max {
			t.trimDelayed()
		}
		return
	}
	it.place = inLane
	l := t.lanes[it.name.key]
	if l == nil {
		l = &lane{key: it.name.key, pos: -1}
		t.lanes[it.name.key] = l
	}
	i, _ := slices.BinarySearchFunc(l.items, it.name, func(a *item, n entryName) int { return cmp.Compare(a.name.id, n.id) })
	if l.more && i == len(l.items) {
		delete(t.items, it.name) // older ones on disk come first
		return
	}
	l.items = slices.Insert(l.items, i, it)
	t.ready++
	t.settle(l)
	if t.ready > 2*max(t.max, len(t.lanes)) { // each lane keeps one: no less would be left
		t.trim()
	}
}

// pull takes an item out of its place.
func (t *table) pull(it *item) {
	switch it.place {
	case inDelayed:
		heap.Remove(&t.delayed, it.pos)
	case inLane:
		l := t.lanes[it.name.key]
		if i := slices.Index(l.items, it); i >= 0 {
			l.items = slices.Delete(l.items, i, i+1)
			t.ready--
		}
		t.settle(l)
	}
}

// settle puts a lane in the order of turns after a change, or forgets an empty one.
func (t *table) settle(l *lane) {
	can := l.out == 0 && len(l.items) > 0
	switch {
	case can && l.pos < 0:
		heap.Push(&t.turns, l)
	case can:
		heap.Fix(&t.turns, l.pos)
	case l.pos >= 0:
		heap.Remove(&t.turns, l.pos)
	}
	if len(l.items) == 0 {
		t.more = t.more || l.more
		if l.out == 0 && !l.more {
			delete(t.lanes, l.key)
		}
	}
}

// take hands out the oldest entry that may go; nil if there is none.
func (t *table) take() *item {
	if len(t.turns) == 0 {
		return nil
	}
	return t.takeOf(t.turns[0])
}

// takeAfter hands out the oldest entry of a key of which another is handed out.
func (t *table) takeAfter(n entryName) *item {
	it, l := t.items[n], t.lanes[n.key]
	if it == nil || it.place != handedOut || l == nil || l.last || len(l.items) == 0 {
		return nil
	}
	return t.takeOf(l)
}

// last says that nothing may follow an item before all of its key are given back.
func (t *table) last(it *item) {
	if l := t.lanes[it.name.key]; l != nil {
		l.last = true
	}
}

func (t *table) takeOf(l *lane) *item {
	it := l.items[0]
	l.items = slices.Delete(l.items, 0, 1)
	t.ready--
	l.out++
	it.place, it.again = handedOut, false
	t.settle(l)
	return it
}

// give ends a handing out: the entry waits as st says, and until hold.
func (t *table) give(it *item, st state, hold int64, now time.Time) {
	t.free(it)
	it.st, it.hold = st, hold
	t.place(it, now)
}

// drop ends a handing out of an entry that has left the queue.
func (t *table) drop(it *item, now time.Time) {
	t.free(it)
	delete(t.items, it.name)
	if it.again {
		t.add(it.name, state{}, now)
	}
}

func (t *table) free(it *item) {
	if l := t.lanes[it.name.key]; l != nil {
		l.out--
		l.last = l.last && l.out > 0
		t.settle(l)
	}
}

// wake moves what is due to its lane, and returns when the next is due (0: never).
func (t *table) wake(now time.Time) int64 {
	for len(t.delayed) > 0 && t.delayed[0].due() <= now.UnixMicro() {
		t.place(heap.Pop(&t.delayed).(*item), now)
	}
	if len(t.delayed) == 0 {
		return 0
	}
	return t.delayed[0].due()
}

// scanned prepares for a scan: the lanes then learn again what is on disk.
func (t *table) scanned() {
	t.more = false
	for _, l := range t.lanes {
		l.more = false
		t.settle(l)
	}
}

// trim leaves the newest entries of the longest lanes on disk, so that a flood for
// one list does not keep the others out.
func (t *table) trim() {
	lens := make([]int, 0, len(t.lanes))
	for _, l := range t.lanes {
		lens = append(lens, len(l.items))
	}
	slices.Sort(lens)
	room, share := t.max, 1
	for i, n := range lens {
		share = max(1, room/(len(lens)-i))
		if n > share {
			break
		}
		room -= n
	}
	for _, l := range t.lanes {
		if len(l.items) <= share {
			continue
		}
		for _, it := range l.items[share:] {
			delete(t.items, it.name)
			t.ready--
		}
		clear(l.items[share:])
		l.items = l.items[:share]
		l.more = true
	}
}

// endHolds ends all waiting that is known in memory only: the clock that it was
// measured by has been put back.
func (t *table) endHolds() {
	for _, it := range t.delayed {
		it.hold = 0
	}
	heap.Init(&t.delayed)
}

// trimDelayed leaves those that are due last on disk; the slow scan finds them.
func (t *table) trimDelayed() {
	slices.SortFunc(t.delayed, func(a, b *item) int { return cmp.Compare(a.due(), b.due()) })
	for _, it := range t.delayed[t.max:] {
		delete(t.items, it.name)
	}
	clear(t.delayed[t.max:])
	t.delayed = t.delayed[:t.max]
	for i, it := range t.delayed {
		it.pos = i
	}
}

type lanesByAge []*lane

func (h lanesByAge) Len() int           { return len(h) }
func (h lanesByAge) Less(i, j int) bool { return h[i].items[0].name.id < h[j].items[0].name.id }
func (h lanesByAge) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}
func (h *lanesByAge) Push(x any) {
	l := x.(*lane)
	l.pos = len(*h)
	*h = append(*h, l)
}
func (h *lanesByAge) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	l.pos = -1
	return l
}

type itemsByDue []*item

func (h itemsByDue) Len() int           { return len(h) }
func (h itemsByDue) Less(i, j int) bool { return h[i].due() < h[j].due() }
func (h itemsByDue) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}
func (h *itemsByDue) Push(x any) {
	it := x.(*item)
	it.pos = len(*h)
	*h = append(*h, it)
}
func (h *itemsByDue) Pop() any {
	old := *h
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return it
}
