package pg

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// tempPrefix begins the names of directories in which processes keep the messages that they
// have open: plugins are handed a message as a file.
const tempPrefix = "mlist-spool-"

// makeTemp makes a directory for this process, and removes those of processes that were
// killed: whoever lives holds a lock.
func makeTemp(in string) (dir string, lock *os.File, err error) {
	if in == "" {
		in = os.TempDir()
	}
	others, err := filepath.Glob(filepath.Join(in, tempPrefix+"*"))
	if err != nil {
		return "", nil, err
	}
	for _, other := range others {
		removeDead(other)
	}
	if dir, err = os.MkdirTemp(in, tempPrefix); err != nil {
		return "", nil, err
	}
	if lock, err = os.Open(dir); err == nil {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, lock, nil
}

// removeDead removes a directory that is ours and that nobody has locked. What cannot be
// removed stays: it is in nobody's way.
func removeDead(dir string) {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 {
		return
	}
	d, err := os.OpenFile(dir, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	defer d.Close()
	// Between its making and its locking a directory is empty, and is left alone.
	if names, err := d.Readdirnames(1); err != nil || len(names) == 0 {
		return
	}
	if unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		_ = os.RemoveAll(dir)
	}
}

// closeAndRemove ends a file of this process.
func closeAndRemove(f *os.File) error {
	err := os.Remove(f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(f.Close(), err)
}
