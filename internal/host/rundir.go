package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxRunDir is how long the path above a run directory can be, so that those of the
// sockets below it fit into the 108 bytes that a socket address has.
const maxRunDir = 107 - len("/mlist-plugins-4294967295/plugin-dir4294967295/plugin4294967295")

// runDir is a host's own directory for sockets, 0700, below the configured one. Its
// owner holds a lock on it, which ends with the process, so that the next host can
// tell what a killed one left behind.
type runDir struct {
	path string
	lock *os.File
}

// makeRunDir makes a directory below parent, and removes those of hosts that are gone.
// Without a parent, or with one too long for sockets, it goes below the system's
// temporary directory; it is as private there.
func makeRunDir(parent string) (*runDir, error) {
	name := "h-"
	if parent != "" {
		if err := os.MkdirAll(parent, 0o700); err != nil {
			return nil, fmt.Errorf("plugin sockets: %w", err)
		}
	}
	if parent == "" || len(parent) > maxRunDir {
		parent, name = os.TempDir(), "mlist-plugins-" // it stands among everyone's files
	}
	if len(parent) > maxRunDir {
		parent = "/tmp"
	}
	removeStale(parent, name)
	for range 100 {
		d, err := newRunDir(parent, name)
		if d != nil || err != nil {
			return d, err
		}
	}
	return nil, fmt.Errorf("plugin sockets: a new directory in %s does not stay", parent)
}

// newRunDir returns nil if another host, which is cleaning up, took the directory for one
// of those left behind before it was locked.
func newRunDir(parent, name string) (*runDir, error) {
	path, err := os.MkdirTemp(parent, name)
	if err != nil {
		return nil, fmt.Errorf("plugin sockets: %w", err)
	}
	lock, err := lockDir(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("plugin sockets: %w", err), os.Remove(path))
	}
	if lock == nil {
		_ = os.Remove(path) // gone already, as a rule
		return nil, nil
	}
	return &runDir{path, lock}, nil
}

// lockDir locks a directory. It returns nil if someone else has the lock, or removed
// the directory before this lock was had.
func lockDir(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_DIRECTORY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		if _, err = os.Lstat(path); err == nil {
			return f, nil
		}
	}
	_ = f.Close() // never written
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}

// removeStale removes the directories of hosts that are gone. What it cannot remove does
// no harm.
func removeStale(parent, name string) {
	paths, err := filepath.Glob(filepath.Join(parent, name+"*"))
	if err != nil {
		return // no path is that odd
	}
	for _, path := range paths {
		lock, err := lockDir(path)
		if err != nil || lock == nil {
			continue // in use, or not ours to judge
		}
		if isOurs(lock) {
			_ = os.RemoveAll(path)
		}
		_ = lock.Close() // never written
	}
}

// isOurs tells a run directory from what someone else gave such a name: it belongs to
// this user alone, and holds nothing but directories for sockets.
func isOurs(dir *os.File) bool {
	var st unix.Stat_t
	if unix.Fstat(int(dir.Fd()), &st) != nil || int(st.Uid) != os.Geteuid() || st.Mode&0o777 != 0o700 {
		return false
	}
	names, err := dir.Readdirnames(-1)
	return err == nil && !slices.ContainsFunc(names, func(n string) bool { return !strings.HasPrefix(n, "plugin-dir") })
}

func (d *runDir) remove() error {
	err := os.RemoveAll(d.path)
	return errors.Join(err, d.lock.Close())
}
