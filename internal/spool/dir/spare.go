package dir

import (
	"errors"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/spool"
)

// spares are small files whose messages have left the spool, and in which the next ones are
// written. To make and remove an inode for each message is what some file systems do
// slowest: ext4 without a journal looks through all inodes of the last minutes for one.
//
// Such a file must be nobody's: no crash may bring its old name back, hence the sync that
// has to come first, and nobody may have it open still, which the kernel tells by granting a
// lease, or not.
type spares struct {
	mu   sync.Mutex
	free []spare // the oldest first
	size int64   // of all of them
	off  bool    // the file system knows no leases
}

type spare struct {
	path string
	size int64
	dir  *syncer // of the directory that it has left
	mark int64   // and when
}

const (
	// maxSpares is more than a burst leaves behind, since each file that is removed makes the
	// next ones slower.
	maxSpares    = 4096
	maxSpareSize = 128 << 10 // of the message in one
	spareBlock   = 4 << 10   // what a file takes is a multiple of this
	maxSpareRoom = 32 << 20  // what all take together
)

// discard takes a file of a queue away whose message is small, as removeIf would.
func (s *Spool) discard(q spool.Queue, path string) error {
	s.spares.mu.Lock()
	full := s.spares.off || len(s.spares.free) >= maxSpares || s.spares.size >= maxSpareRoom
	s.spares.mu.Unlock()
	if full {
		return s.fs.removeIf(path)
	}
	to, err := s.temp("spare")
	if err == nil {
		err = s.fs.rename(path, to)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return s.fs.removeIf(path)
	}
	info, err := os.Lstat(to)
	if err != nil {
		return nil // somebody tidied up
	}
	size := (info.Size() + spareBlock - 1) / spareBlock * spareBlock
	s.spares.mu.Lock()
	defer s.spares.mu.Unlock()
	s.spares.free = append(s.spares.free, spare{to, size, s.syncs[q], s.syncs[q].mark()})
	s.spares.size += size
	return nil
}

// take returns a file that no power cut brings back under its old name; "" if there is none.
func (a *spares) take() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.free) == 0 || !a.free[0].dir.since(a.free[0].mark) {
		return ""
	}
	first := a.free[0]
	a.free = a.free[1:]
	a.size -= first.size
	return first.path
}

// newFile makes a file in tmp, or takes a spare one, of which more than size is left over.
func (s *Spool) newFile(kind string) (f *os.File, path string, size int64, err error) {
	if path, err = s.temp(kind); err != nil {
		return nil, "", 0, err
	}
	if old := s.spares.take(); old != "" {
		if f, size, err = s.reopen(old, path); err == nil {
			return f, path, size, nil
		}
	}
	f, err = s.fs.create(path)
	return f, path, 0, err
}

// reopen takes a spare under another name. After an error there is nothing of that name.
func (s *Spool) reopen(old, path string) (f *os.File, size int64, err error) {
	if err = s.fs.rename(old, path); err != nil {
		_ = s.fs.removeIf(old) // else it is swept with tmp
		return nil, 0, err
	}
	if f, size, err = s.fs.reuse(path); err == nil {
		return f, size, nil
	}
	if errors.Is(err, unix.EINVAL) {
		s.spares.mu.Lock()
		s.spares.off = true
		s.spares.mu.Unlock()
	}
	return nil, 0, errors.Join(err, s.fs.removeIf(path))
}

// writeNew makes a synced file in tmp of the parts. After an error there is none.
func (s *Spool) writeNew(kind string, parts ...[]byte) (string, error) {
	f, path, over, err := s.newFile(kind)
	if err != nil {
		return "", err
	}
	size := int64(0)
	for _, p := range parts {
		if _, err = s.fs.write(f, p); err != nil {
			break
		}
		size += int64(len(p))
	}
	if err == nil && size < over {
		err = s.fs.truncate(f, size)
	}
	return path, s.fs.finish(f, err)
}

var errInUse = errors.New("somebody has the file open")

// reuse opens a file to write it anew, if it has no other name and is open nowhere.
func reuse(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	size, err := ownFile(f)
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

// ownFile makes sure that an open file is nobody else's, and tells how large it is.
func ownFile(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() || st.Nlink != 1 {
		return 0, errInUse
	}
	// A lease to write is granted only while the file is open nowhere else.
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		return 0, err
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK); err != nil {
		return 0, err
	}
	return info.Size(), nil
}
