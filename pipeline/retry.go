package pipeline

import (
	"math/rand/v2"
	"time"
)

// backoff is how long to wait after the tries-th try failed: least doubled each time,
// most at most, with a fifth of jitter so that what failed together does not come
// back together.
func backoff(tries int, least, most time.Duration) time.Duration {
	wait := most
	if tries < 30 && least<<tries < most && least<<tries > 0 {
		wait = least << tries
	}
	return wait - time.Duration(rand.Int64N(int64(wait)/5+1))
}
