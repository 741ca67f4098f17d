package balance

import (
	"math"
	"time"
)

const (
	// over is how much work, in seconds in which all connections are busy, a rate is the
	// average of; what is older counts ever less.
	over = 45.0
	// flowOver is how many seconds a flow is the average of.
	flowOver = 15.0
	// failsAfter is for how long an MTA must take nothing before mail is kept from it: a
	// restart takes less.
	failsAfter = 5 * time.Second
	// calmFirst is for how long it must then take mail again before it gets its share back.
	// One that soon fails anew has to wait twice as long each time, up to calmMost, and
	// begins at calmFirst again when it has been well for forgiven.
	calmFirst = 30 * time.Second
	calmMost  = 10 * time.Minute
	forgiven  = 15 * time.Minute
)

// Meter measures how fast a daemon can drain. It counts only the time in which the daemon
// works: how much there was to do says nothing of what it could.
type Meter struct {
	done int64
	busy time.Duration

	sum, weight float64 // recipients and busy seconds, of late
	last        time.Time
	flow        float64

	down, up time.Time // since when; zero is not
	failing  bool
	calm     time.Duration // that it must show
}

// Add tells of the work of a daemon up to now: how many recipients it is done with, and for
// how long its connections were busy, each counting as its part of all of them. failing says
// that its MTA takes nothing.
func (m *Meter) Add(now time.Time, done int64, busy time.Duration, failing bool) {
	if n, b := float64(done-m.done), (busy - m.busy).Seconds(); n >= 0 && b > 0 {
		fade := math.Exp(-b / over)
		m.sum, m.weight = m.sum*fade+n, m.weight*fade+b
	}
	if dt := now.Sub(m.last).Seconds(); !m.last.IsZero() && dt > 0 && done >= m.done {
		fade := math.Exp(-dt / flowOver)
		m.flow = m.flow*fade + float64(done-m.done)/dt*(1-fade)
	}
	m.last = now
	m.done, m.busy = done, busy
	if failing {
		m.fails(now)
	} else {
		m.works(now)
	}
}

func (m *Meter) fails(now time.Time) {
	m.up = time.Time{}
	if m.down.IsZero() {
		m.down = now
	}
	if m.failing || now.Sub(m.down) < failsAfter {
		return
	}
	m.failing = true
	m.calm = min(max(2*m.calm, calmFirst), calmMost)
}

func (m *Meter) works(now time.Time) {
	m.down = time.Time{}
	if m.up.IsZero() {
		m.up = now
	}
	if m.failing && now.Sub(m.up) >= m.calm {
		m.failing = false
	}
	if now.Sub(m.up) >= forgiven {
		m.calm = 0
	}
}

// Rate is how many recipients a second the daemon can drain, and how sure that is, from 0 to 1.
func (m *Meter) Rate() (rate, sure float64) {
	if m.weight == 0 {
		return 0, 0
	}
	return m.sum / m.weight, min(1, m.weight/over)
}

// Flow is how many recipients a second the daemon has done of late, however few there were.
func (m *Meter) Flow() float64 { return m.flow }

// Failing tells whether mail is to be kept from the daemon.
func (m *Meter) Failing() bool { return m.failing }
