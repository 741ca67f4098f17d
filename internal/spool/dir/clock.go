package dir

import "time"

// stopwatch measures both clocks of the machine: the one on the wall, which due times
// are told by and which may be put back, and the one that only runs.
type stopwatch struct{ last time.Time }

// lap returns what both clocks say has passed since the last lap.
func (w *stopwatch) lap(now time.Time) (wall, real time.Duration) {
	wall, real = now.Round(0).Sub(w.last.Round(0)), now.Sub(w.last)
	w.last = now
	return wall, real
}

// steppedBack tells whether the clock on the wall was put back. Waiting that is known in
// memory alone (a few seconds, usually) then ends, or it might last for hours.
func steppedBack(wall, real time.Duration) bool { return wall < real-time.Second }
