package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// lockRetry is how often a lock that another process holds is tried again.
const lockRetry = 5 * time.Millisecond

// lockDir takes the lock of a directory, which the kernel gives back when the process
// ends, however it ends; and it leaves no file behind. Not the database file's own
// lock: closing a descriptor of that would drop SQLite's locks of this process.
func lockDir(ctx context.Context, dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(lockRetry)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			d.Close()
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			d.Close()
			return nil, fmt.Errorf("lock %s, which another process holds: %w", dir, ctx.Err())
		}
	}
	return func() { d.Close() }, nil
}
