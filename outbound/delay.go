package outbound

import (
	"context"
	"math/rand/v2"
	"time"
)

// delay is a wait that doubles from first to most.
type delay struct {
	first, most time.Duration
	n           int
}

// next returns how long to wait now.
func (d *delay) next() time.Duration {
	w := doubled(d.first, d.most, d.n)
	d.n++
	return jitter(w)
}

func (d *delay) reset() { d.n = 0 }

// doubled is first, doubled n times, but not over most.
func doubled(first, most time.Duration, n int) time.Duration {
	w := first
	for ; n > 0 && w < most; n-- {
		w *= 2
	}
	return min(w, most)
}

// jitter spreads waits over a fifth to both sides, so that what failed together is not
// tried again together.
func jitter(w time.Duration) time.Duration {
	return w*4/5 + time.Duration(rand.Int64N(int64(w)*2/5+1))
}

// jitterUp makes a wait longer by up to a fifth.
func jitterUp(w time.Duration) time.Duration {
	return w + time.Duration(rand.Int64N(int64(w)/5+1))
}

// sleep waits for w, or until ctx ends, and tells whether it did not.
func sleep(ctx context.Context, w time.Duration) bool {
	t := time.NewTimer(w)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
