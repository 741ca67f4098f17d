// Simulate runs a day of a large site on the code that balances segments: 64 daemons of unequal
// speed, some of whose MTAs slow down or fail, 10^9 deliveries with the tides of a day, and one
// list of 20 million members. It prints how long mail took, what was moved and how fair the
// shares were, and draws it; and the same day with equal shares that nobody moves.
package main

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"time"
)

const (
	day        = 24 * time.Hour
	daemons    = 64
	deliveries = 1e9
	giant      = 20_000_000 // recipients of one post, at noon
	slot       = 5 * time.Minute
)

func main() {
	seed := flag.Uint64("seed", 1, "of all that is random")
	svg := flag.String("svg", "", "a file to draw into")
	length := flag.Duration("time", day, "how long the day is")
	flag.Parse()
	if err := run(*seed, *svg, *length); err != nil {
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(1)
	}
}

func run(seed uint64, svg string, length time.Duration) error {
	auto, static := simulate(seed, length, false), simulate(seed, length, true)
	auto.print("segments = \"auto\"")
	static.print("equal ranges that nobody moves")
	if svg != "" {
		if err := os.WriteFile(svg, draw(auto, static), 0o644); err != nil {
			return err
		}
	}
	if auto.w.twice > 0 || auto.w.unownedMost > lease+time.Second {
		return errors.New("a promise was broken: see above")
	}
	return nil
}

// record is a day.
type record struct {
	w        *world
	small    []time.Duration // how long each post to a few took
	giant    []time.Duration // each chunk of the giant one
	waiting  []int           // recipients, for each slot
	moved    []int           // keys
	worst    []time.Duration // the slowest small post that was finished
	off      []float64       // of the shares
	shares   [][]float64     // of each daemon
	quietOff []float64       // off, while nothing had happened for ten minutes
}

// simulate runs a day.
func simulate(seed uint64, length time.Duration, static bool) *record {
	w := newWorld(seed)
	w.static = static
	rec := &record{w: w}
	sum := 0.0
	for i := range daemons {
		sum += w.add(fmt.Sprintf("host%02d", i+1), 150*math.Exp(1.8*w.r.Float64())).rate
	}
	mean := deliveries / day.Seconds()
	for _, d := range w.daemons { // all together they can do a little more than the tide asks for
		d.rate *= 2.4 * mean / sum
	}
	worst := time.Duration(0)
	w.onDone = func(c chunk, took time.Duration) {
		if c.giant {
			rec.giant = append(rec.giant, took)
			return
		}
		rec.small = append(rec.small, took)
		worst = max(worst, took)
	}
	moved := 0
	w.onPlan = func(n int) { moved += n }
	happened := time.Duration(0)
	for w.now < length {
		if w.now > 0 && w.now%slot == 0 {
			if len(rec.waiting) == int(length/2/slot) {
				w.giantPost()
			}
			rec.note(moved, worst)
			if w.now-happened > 15*time.Minute {
				rec.quietOff = append(rec.quietOff, w.off())
			}
			moved, worst = 0, 0
		}
		happened = max(happened, w.incident())
		tide := 1 + 0.8*math.Sin(2*math.Pi*(w.now.Hours()*float64(day)/float64(length)-9)/24)
		w.load(mean * tide)
		w.advance()
	}
	return rec
}

// giantPost is a post to the list of millions.
func (w *world) giantPost() {
	for range giant / perChunk {
		w.arrive(chunk{w.anyKey(), w.now, true})
	}
}

// incident lets something happen to one of the daemons every quarter of an hour or so.
// It returns when that is over.
func (w *world) incident() time.Duration {
	if w.r.IntN(int(20*time.Minute/step)) > 0 {
		return 0
	}
	d := w.daemons[w.r.IntN(len(w.daemons))]
	long := time.Minute + time.Duration(w.r.ExpFloat64()*float64(10*time.Minute))
	switch w.r.IntN(5) {
	case 0:
		d.dead = w.now + long
	case 1:
		d.hung = w.now + long
	case 2:
		d.cut = w.now + long
	case 3:
		d.failing = w.now + long
	default:
		if d.slow != 1 {
			d.slow = 1
		} else {
			d.slow = 0.3 + 0.9*w.r.Float64()
		}
	}
	return w.now + long
}

func (r *record) note(moved int, worst time.Duration) {
	r.waiting, r.moved, r.worst = append(r.waiting, r.w.backlog()), append(r.moved, moved), append(r.worst, worst)
	r.off = append(r.off, r.w.off())
	shares := make([]float64, len(r.w.daemons))
	for i, d := range r.w.daemons {
		if r.w.mayServe(d) {
			shares[i] = float64(d.serves.Size()) / 65536
		}
	}
	r.shares = append(r.shares, shares)
}

func (r *record) print(name string) {
	w := r.w
	fmt.Printf("\n%s: %d daemons, %s\n", name, len(w.daemons), w.now)
	fmt.Printf("  deliveries            %d million, %d million are left\n", w.delivered/1e6, w.backlog()/1e6)
	fmt.Printf("  a post to a few took  %s half of the time, %s in 99 of 100, %s at most\n", part(r.small, 0.5), part(r.small, 0.99), part(r.small, 1))
	fmt.Printf("  the post to %d million took %s, half of it %s\n", giant/1_000_000, part(r.giant, 1), part(r.giant, 0.5))
	if !w.static {
		fmt.Printf("  plans                 %d, %d of them moved something: %.1f %% of the space an hour, %.1f %% by one plan at most (%.1f %% from members in trouble)\n",
			w.plans, w.movingPlans, float64(w.moved)/655.36/w.now.Hours(), float64(w.movedMost)/655.36, float64(w.movedUrgent)/655.36)
		fmt.Printf("  fairness              after a quarter of an hour without incidents the worst share is %.1f %% off, at most %.1f %%\n",
			100*mean(r.quietOff), 100*slices.Max(append(r.quietOff, 0)))
		fmt.Printf("  ranges                of one member: %d at most\n", w.ranges)
	}
	fmt.Printf("  nobody's              a segment was for %s at most; served by two: %d times\n", w.unownedMost, w.twice)
}

// part is what that part of all durations does not exceed.
func part(all []time.Duration, p float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	all = slices.Clone(all)
	slices.Sort(all)
	return all[min(len(all)-1, int(p*float64(len(all))))].Round(time.Second / 10)
}

func mean(all []float64) float64 {
	sum := 0.0
	for _, v := range all {
		sum += v
	}
	return sum / max(1, float64(len(all)))
}
