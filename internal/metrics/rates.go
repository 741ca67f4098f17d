package metrics

import (
	"sync"
	"time"
)

// Rates tells what was done in the last minute. The zero value is ready to use.
type Rates struct {
	mu      sync.Mutex
	samples [minuteSamples]sample // a ring
	n       int                   // that were ever taken
}

type sample struct {
	at     time.Time
	totals Totals
}

// SampleEvery is how often Sample is to be called.
const SampleEvery = 5 * time.Second

const minuteSamples = int(time.Minute / SampleEvery)

// Sample remembers what was done by now.
func (r *Rates) Sample(now time.Time, t Totals) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples[r.n%len(r.samples)] = sample{now, t}
	r.n++
}

// Minute is what was done since a minute ago, or since the first sample: what the totals
// are now, less what they were then.
func (r *Rates) Minute(t Totals) Totals {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == 0 {
		return t
	}
	oldest := 0
	if r.n > len(r.samples) {
		oldest = r.n % len(r.samples)
	}
	return t.Less(r.samples[oldest].totals)
}
