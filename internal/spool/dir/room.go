package dir

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/spool"
)

// The part of a file system that new mail may not fill: what came in before needs
// room for its chunks, states and owner files, or a full disk could never drain.
const (
	reservePart = 16       // a sixteenth of it,
	reserveMost = 64 << 20 // or this, whichever is less
)

// room refuses a new entry of so many bytes when it would take of the reserve.
func (s *Spool) room(size int64) error {
	free, total, err := s.fs.space(s.path(spool.Incoming, ""))
	if err != nil {
		return fmt.Errorf("ask for free space: %w", err)
	}
	if free < min(total/reservePart, reserveMost)+uint64(size) {
		return fmt.Errorf("the spool's disk has %d MiB left, which are kept for mail that is here already: %w", free>>20, unix.ENOSPC)
	}
	return nil
}

// space is how many bytes of a file system mlist may still use, and how many it has.
func space(path string) (free, total uint64, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0, 0, err
	}
	return fs.Bavail * uint64(fs.Bsize), fs.Blocks * uint64(fs.Bsize), nil
}
