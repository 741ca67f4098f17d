package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/balance"
	"github.com/mlist/mlist/internal/segment"
)

const (
	seeds    = 16
	trouble  = 12 * time.Minute
	settling = 8 * time.Minute
	quiet    = 10 * time.Minute
)

// Whatever befalls daemons: nobody serves what another does, nothing is nobody's for longer
// than a lease and a second, plans move no more than they may; and when all is quiet shares
// are what each can drain, and stay.
func TestAnySite(t *testing.T) {
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(seed)
			total := 0.0
			for i := range 2 + w.r.IntN(11) {
				d := w.add(fmt.Sprint("h", i), 200*(1+9*w.r.Float64()))
				total += d.rate
			}
			for w.now < trouble {
				if seed%2 == 1 || w.well() {
					w.befall()
				}
				w.load(total * 0.5)
				w.advance()
			}
			w.drained, w.pins = nil, nil
			for _, d := range w.daemons {
				d.slow = 1
			}
			for end := w.now + settling + trouble/4; w.now < end; w.advance() {
				w.load(total * 0.7)
			}
			before := w.moved
			for end := w.now + quiet; w.now < end; w.advance() {
				w.load(total * 0.7)
			}
			if w.twice > 0 {
				t.Errorf("%d times a key was served by two", w.twice)
			}
			most := lease + time.Second
			if seed%2 == 1 { // who inherits may be in trouble itself, which shows after a moment
				most += silent + time.Second
			}
			if w.unownedMost > most {
				t.Errorf("a segment was nobody's for %s", w.unownedMost)
			}
			if off := w.off(); off > 0.1 {
				t.Errorf("a share is %.1f %% off what its daemon can drain", off*100)
			}
			if moved := w.moved - before; moved > 65536/10 {
				t.Errorf("%d keys moved in %s in which nothing happened", moved, quiet)
			}
			if p := balance.Default; w.movedMost > int(p.Most*65536) || w.movedUrgent > int(p.Urgent*65536) {
				t.Errorf("a plan moved %d keys from those that work, %d from others", w.movedMost, w.movedUrgent)
			}
			if w.ranges > 40 {
				t.Errorf("a member has %d ranges", w.ranges)
			}
		})
	}
}

// well tells whether nobody is in trouble, and all have noticed.
func (w *world) well() bool {
	for _, d := range w.daemons {
		if w.now < max(d.dead, d.hung, d.cut)+15*time.Second || d.id == 0 {
			return false
		}
	}
	return len(w.unowned) == 0
}

// befall lets something happen now and then.
func (w *world) befall() {
	if w.r.IntN(40) > 0 {
		return
	}
	d := w.daemons[w.r.IntN(len(w.daemons))]
	until := w.now + time.Duration(w.r.Int64N(int64(trouble/4)))
	switch w.r.IntN(8) {
	case 0:
		d.dead = until
	case 1:
		d.hung = until
	case 2:
		d.cut = until
	case 3:
		d.failing = until
	case 4:
		d.slow = 0.2 + 1.3*w.r.Float64()
	case 5:
		w.drained = []string{d.host}
	case 6:
		w.drained = nil
	case 7:
		w.pins = []balance.Pin{{Range: segment.Range{First: 0x1000, Last: segment.Key(0x1000 + w.r.UintN(0x2000))}, Host: d.host}}
	}
}

// A slow, a fast and a failing MTA.
func TestSlowFastAndFailing(t *testing.T) {
	w := newWorld(1)
	slow, fast, comes := w.add("slow", 300), w.add("fast", 3000), w.add("comes and goes", 1000)
	run := func(d time.Duration) (moved int) {
		before := w.moved
		for end := w.now + d; w.now < end; w.advance() {
			w.load(1800)
		}
		return w.moved - before
	}
	run(10 * time.Minute)
	part := func(d *daemon) float64 { return float64(d.serves.Size()) / 65536 }
	if off := w.off(); off > 0.1 {
		t.Errorf("%.0f %% off: slow %.3f, fast %.3f, third %.3f", off*100, part(slow), part(fast), part(comes))
	}
	comes.failing = w.now + 5*time.Minute
	run(time.Minute)
	if p := part(comes); p > 0.02 || p == 0 {
		t.Errorf("the one whose MTA has failed for a minute has %.3f of the space", p)
	}
	run(7 * time.Minute)
	if off := w.off(); off > 0.1 {
		t.Errorf("after it came back: %.0f %% off", off*100)
	}
	moved := 0
	for range 20 { // it comes and goes
		comes.failing = w.now + 20*time.Second
		moved += run(40 * time.Second)
	}
	if moved > 65536*3/2 {
		t.Errorf("an MTA that comes and goes had %d keys moved", moved)
	}
}
