package host

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Times are counted in buckets of which each doubling has four, so that a percentile is
// at most a quarter too high. They reach from a microsecond to more than an hour.
const (
	perDoubling = 4
	buckets     = 32 * perDoubling
)

// tally is what the calls to one plugin came to. Nothing in it waits.
type tally struct {
	calls, errors atomic.Int64
	spent         atomic.Int64 // nanoseconds
	times         [buckets]atomic.Int64
}

// add counts a call.
func (t *tally) add(took time.Duration, failed bool) {
	t.calls.Add(1)
	if failed {
		t.errors.Add(1)
	}
	t.times[bucket(took)].Add(1)
	t.spent.Add(int64(took))
}

// bucket is where a time is counted.
func bucket(took time.Duration) int {
	us := uint64(max(took.Microseconds(), 1))
	doublings := bits.Len64(us) - 1
	// The two bits below the highest say which quarter of the doubling it is.
	quarter := int(us << 2 >> doublings & 3)
	return min(doublings*perDoubling+quarter, buckets-1)
}

// below is the time that everything in a bucket is below.
func below(bucket int) time.Duration {
	doublings, quarter := bucket/perDoubling, bucket%perDoubling
	return time.Microsecond << doublings * time.Duration(perDoubling+quarter+1) / perDoubling
}

// percentile is the time that so many hundredths of the calls stayed below; 0 if there
// was none.
func (t *tally) percentile(percent int64) time.Duration {
	var counts [buckets]int64
	var all int64
	for i := range t.times {
		counts[i] = t.times[i].Load()
		all += counts[i]
	}
	if all == 0 {
		return 0
	}
	rank := (all*percent + 99) / 100
	for i, n := range counts {
		if rank -= n; rank <= 0 {
			return below(i)
		}
	}
	return below(buckets - 1)
}
