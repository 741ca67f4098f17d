package main

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/mlist/mlist/internal/balance"
	"github.com/mlist/mlist/internal/segment"
)

const (
	step  = 500 * time.Millisecond
	lease = 10 * time.Second
	// margin is what of its lease a daemon does not use, as in the spool.
	margin    = time.Second
	turnEvery = time.Second
	perChunk  = 1000
	// silent is when a member that renews its lease every second is asked for nothing more.
	silent = 2500 * time.Millisecond
)

// chunk is recipients that one transaction serves.
type chunk struct {
	key   segment.Key
	since time.Duration
	giant bool
}

// daemon is an outbound daemon on a host of its own.
type daemon struct {
	host string
	rate float64 // recipients/s that its MTA takes when all connections are busy
	slow float64 // what of that it takes now

	// Troubles, each until a time.
	dead, hung, cut, failing time.Duration

	id      int64 // of its lease; 0 is none
	serves  segment.Set
	valid   time.Duration // until when the lease surely holds, as it knows
	turn    time.Duration // when its next turn is
	meter   balance.Meter
	done    int64
	busy    time.Duration
	flying  []chunk       // one at most: what is under way
	left    float64       // of that
	spent   time.Duration // on that
	waiting [2][]chunk
}

// row is what the database knows of a daemon.
type row struct {
	balance.Member
	until time.Duration
}

// world is a site: its daemons, its database, and the mail that waits.
type world struct {
	r        *rand.Rand
	now      time.Duration
	daemons  []*daemon
	rows     []*row
	planned  time.Duration
	lastID   int64
	pins     []balance.Pin
	drained  []string
	static   bool                    // equal ranges, and nobody takes another's
	homeless map[segment.Key][]chunk // of keys that nobody serves
	changed  bool                    // since the last look
	serving  int                     // daemons, at the last look
	unowned  []hole

	// what is measured
	delivered, chunks  int64
	moved, movedMost   int // keys; by one plan from those that work well
	movedUrgent        int // by one plan from others
	plans, movingPlans int
	unownedMost        time.Duration
	twice              int // keys served by two at once
	ranges             int // of one member, at most
	onDone             func(chunk, time.Duration)
	onPlan             func(moved int)
}

// hole is keys that nobody has owned since.
type hole struct {
	keys  segment.Set
	since time.Duration
}

func newWorld(seed uint64) *world {
	return &world{r: rand.New(rand.NewPCG(seed, 1)), homeless: map[segment.Key][]chunk{}, planned: -time.Hour}
}

func (w *world) add(host string, rate float64) *daemon {
	d := &daemon{host: host, rate: rate, slow: 1, turn: time.Duration(w.r.Int64N(int64(turnEvery)))}
	w.daemons = append(w.daemons, d)
	return d
}

func (d *daemon) runs(now time.Duration) bool { return now >= d.dead && now >= d.hung }

// mayServe tells whether the daemon would send something now.
func (w *world) mayServe(d *daemon) bool { return d.runs(w.now) && d.id != 0 && w.now < d.valid }

// arrive puts a chunk into the queue.
func (w *world) arrive(c chunk) {
	for _, d := range w.daemons {
		if d.serves.Contains(c.key) && w.mayServe(d) {
			d.put(c)
			return
		}
	}
	w.homeless[c.key] = append(w.homeless[c.key], c)
}

func (d *daemon) put(c chunk) {
	i := 0
	if c.giant { // posts take turns: the giant one does not keep the others
		i = 1
	}
	d.waiting[i] = append(d.waiting[i], c)
}

// advance is one step of time.
func (w *world) advance() {
	w.now += step
	for _, i := range w.r.Perm(len(w.daemons)) {
		d := w.daemons[i]
		if d.dead > 0 && w.now >= d.dead { // started again: it knows nothing of before
			w.serve(d, nil)
			for _, c := range d.flying {
				w.arrive(c)
			}
			*d = daemon{host: d.host, rate: d.rate, slow: d.slow, hung: d.hung, cut: d.cut, failing: d.failing, turn: w.now}
		}
		if !d.runs(w.now) {
			continue
		}
		if w.now >= d.cut && w.now >= d.turn {
			w.takeTurn(d)
		}
		w.work(d)
	}
	if w.now%(10*time.Second) == 0 { // who serves them may have been silent
		old := w.homeless
		w.homeless = map[segment.Key][]chunk{}
		for _, k := range slices.Sorted(maps.Keys(old)) {
			for _, c := range old[k] {
				w.arrive(c)
			}
		}
	}
	w.look()
}

// takeTurn is what a daemon does every second: it renews its lease, tells how fast it is,
// makes a plan if it is time, and follows the plan.
func (w *world) takeTurn(d *daemon) {
	d.turn = w.now + turnEvery
	d.meter.Add(time.Unix(0, 0).Add(w.now), d.done, d.busy, w.now < d.failing)
	me := w.row(d.id)
	if me == nil { // it is new, or its lease has been taken from it
		w.lastID++
		d.id = w.lastID
		for _, c := range d.flying { // another may have sent it meanwhile; here it is sent again
			w.arrive(c)
		}
		d.flying, d.spent = nil, 0
		w.serve(d, nil)
		me = &row{Member: balance.Member{ID: d.id, Host: d.host}}
		if w.static {
			me.Fixed, me.Wished = true, w.equal(d)
		}
		w.rows = append(w.rows, me)
	}
	me.until, d.valid = w.now+lease, w.now+lease-margin
	me.Rate, me.Sure = d.meter.Rate()
	me.Failing = d.meter.Failing()
	w.serve(d, balance.Cease(me.Member, d.serves))

	w.rows = slices.DeleteFunc(w.rows, func(r *row) bool { return r.until < w.now })
	if site := w.site(); !w.static && balance.Default.Due(site, w.now-w.planned) {
		w.plan(site)
	}
	for _, r := range w.rows { // the earliest end of a lease is when all look again
		if r.until > w.now && r.until+step < d.turn {
			d.turn = r.until + step
		}
	}
	if balance.Settled(me.Member, d.serves) {
		return
	}
	var busy []segment.Key
	for _, c := range d.flying {
		busy = append(busy, c.key)
	}
	var others segment.Set
	for _, r := range w.rows {
		if r != me {
			others = others.Union(r.Owned)
		}
	}
	turn := balance.Follow(me.Member, busy, others)
	me.Owned, w.changed = turn.Own, true
	w.serve(d, turn.Serve)
}

func (w *world) row(id int64) *row {
	for _, r := range w.rows {
		if r.ID == id {
			return r
		}
	}
	return nil
}

func (w *world) site() balance.Site {
	s := balance.Site{Pins: w.pins, Drained: w.drained}
	for _, r := range w.rows {
		m := r.Member
		m.Silent = w.silent(r)
		s.Members = append(s.Members, m)
	}
	return s
}

func (w *world) silent(r *row) bool { return r.until < w.now+lease-silent }

// equal is a static part of the space, as without a coordinator.
func (w *world) equal(d *daemon) segment.Set {
	i, n := slices.Index(w.daemons, d), len(w.daemons)
	return segment.Set{{First: segment.Key(65536 * i / n), Last: segment.Key(65536*(i+1)/n - 1)}}
}

func (w *world) plan(site balance.Site) {
	w.planned = w.now
	w.plans++
	plan := balance.Default.Plan(site)
	moved, urgent := 0, 0
	var pinned segment.Set // moves at once
	for _, p := range w.pins {
		pinned = pinned.Union(segment.Set{p.Range})
	}
	for _, r := range w.rows {
		had := r.Wished
		if w.silent(r) {
			had = had.Intersect(r.Owned)
		}
		away := had.Without(plan[r.ID]).Without(pinned).Size()
		if r.Failing || slices.Contains(w.drained, r.Host) {
			urgent += away
		} else {
			moved += away
		}
		r.Wished = plan[r.ID]
		w.ranges = max(w.ranges, len(r.Wished))
	}
	w.moved += moved + urgent
	w.movedMost, w.movedUrgent = max(w.movedMost, moved), max(w.movedUrgent, urgent)
	if moved+urgent > 0 {
		w.movingPlans++
	}
	if w.onPlan != nil {
		w.onPlan(moved + urgent)
	}
}

// serve gives a daemon another set: what waits goes with its keys.
func (w *world) serve(d *daemon, set segment.Set) {
	if slices.Equal(d.serves, set) {
		return
	}
	w.changed = true
	gone, come := d.serves.Without(set), set.Without(d.serves)
	d.serves = set
	if len(gone) > 0 {
		for i, all := range d.waiting {
			var keep []chunk
			for _, c := range all {
				if gone.Contains(c.key) {
					w.arrive(c)
				} else {
					keep = append(keep, c)
				}
			}
			d.waiting[i] = keep
		}
	}
	if len(come) == 0 || len(w.homeless) == 0 {
		return
	}
	var found []chunk
	for k, all := range w.homeless {
		if come.Contains(k) {
			found = append(found, all...)
			delete(w.homeless, k)
		}
	}
	slices.SortFunc(found, func(a, b chunk) int { return int(a.since-b.since)*65536 + int(a.key) - int(b.key) })
	for _, c := range found {
		d.put(c)
	}
	for i := range d.waiting {
		slices.SortStableFunc(d.waiting[i], func(a, b chunk) int { return int(a.since - b.since) })
	}
}

// work sends for one step.
func (w *world) work(d *daemon) {
	if !w.mayServe(d) {
		return
	}
	if w.now < d.failing { // nothing is tried while the MTA is down
		return
	}
	can := d.rate * d.slow * step.Seconds() * math.Max(0.2, 1+0.15*w.r.NormFloat64())
	whole := can
	for can > 0 {
		if len(d.flying) == 0 {
			i := 0
			if len(d.waiting[0]) == 0 || len(d.waiting[1]) > 0 && w.r.IntN(2) == 0 {
				i = 1
			}
			if len(d.waiting[i]) == 0 {
				break
			}
			d.flying, d.left = d.waiting[i][:1:1], perChunk
			d.waiting[i] = d.waiting[i][1:]
		}
		n := min(can, d.left)
		can, d.left = can-n, d.left-n
		d.spent += time.Duration(n / whole * float64(step))
		if d.left == 0 {
			c := d.flying[0]
			d.flying = nil
			d.done += perChunk
			d.busy, d.spent = d.busy+d.spent, 0
			w.delivered += perChunk
			w.chunks++
			if w.onDone != nil {
				w.onDone(c, w.now-c.since)
			}
		}
	}
}

// look checks what must hold at any time.
func (w *world) look() {
	serving := 0
	for _, d := range w.daemons {
		if w.mayServe(d) {
			serving++
		}
	}
	if !w.changed && serving == w.serving && len(w.unowned) == 0 {
		return // as before
	}
	w.changed, w.serving = false, serving
	var served, owned segment.Set
	keys, alive := 0, false
	for _, d := range w.daemons {
		if w.mayServe(d) {
			served, keys = served.Union(d.serves), keys+d.serves.Size()
			owned = owned.Union(d.serves)
			if r := w.row(d.id); r != nil {
				owned = owned.Union(r.Owned)
			}
		}
		alive = alive || d.runs(w.now) && w.now >= d.cut
	}
	w.twice += keys - served.Size()
	missing := segment.All.Without(owned)
	if !alive { // nobody is there to own anything
		missing = nil
	}
	var still []hole
	fresh := missing
	for _, h := range w.unowned {
		if keys := h.keys.Intersect(missing); len(keys) > 0 {
			still = append(still, hole{keys, h.since})
			fresh = fresh.Without(keys)
			w.unownedMost = max(w.unownedMost, w.now-h.since)
		}
	}
	if len(fresh) > 0 {
		still = append(still, hole{fresh, w.now})
	}
	w.unowned = still
}

// off is how far the share of the worst daemon that works is from what it can drain, as a
// part of that.
func (w *world) off() float64 {
	sum := 0.0
	for _, d := range w.daemons {
		if w.mayServe(d) && w.now >= d.failing {
			sum += d.rate * d.slow
		}
	}
	worst := 0.0
	for _, d := range w.daemons {
		if w.mayServe(d) && w.now >= d.failing {
			worst = max(worst, math.Abs(float64(d.serves.Size())/65536/(d.rate*d.slow/sum)-1))
		}
	}
	return worst
}

// load is mail at so many recipients a second, for one step.
func (w *world) load(rate float64) {
	for range w.poisson(rate * step.Seconds() / perChunk) {
		w.arrive(chunk{key: w.anyKey(), since: w.now})
	}
}

func (w *world) anyKey() segment.Key { return segment.Key(w.r.UintN(1 << 16)) }

func (w *world) poisson(mean float64) int {
	if mean > 100 {
		return max(0, int(mean+math.Sqrt(mean)*w.r.NormFloat64()+0.5))
	}
	n, p := 0, w.r.Float64()
	for limit := math.Exp(-mean); p > limit; n++ {
		p *= w.r.Float64()
	}
	return n
}

// backlog is how many recipients wait.
func (w *world) backlog() int {
	n := 0
	for _, d := range w.daemons {
		n += len(d.waiting[0]) + len(d.waiting[1]) + len(d.flying)
	}
	for _, all := range w.homeless {
		n += len(all)
	}
	return n * perChunk
}
