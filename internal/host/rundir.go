package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxRunDir is how long the path of a run directory can be, so that those of the
// sockets below it fit into the 108 bytes that a socket address has.
const maxRunDir = 107 - len("/h-4294967295/plugin-dir4294967295/plugin4294967295")

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
	if parent != "" {
		if err := os.MkdirAll(parent, 0o700); err != nil {
			return nil, fmt.Errorf("plugin sockets: %w", err)
		}
		if err := removeStale(parent); err != nil {
			return nil, fmt.Errorf("plugin sockets: %w", err)
		}
	}
	if len(parent) > maxRunDir {
		parent = ""
	}
	name := "h-"
	if parent == "" {
		name = "mlist-" // it stands among everyone's files
	}
	for {
		path, err := os.MkdirTemp(parent, name)
		if err != nil {
			return nil, fmt.Errorf("plugin sockets: %w", err)
		}
		lock, err := lockDir(path)
		if err != nil {
			return nil, fmt.Errorf("plugin sockets: %w", err)
		}
		if lock != nil {
			return &runDir{path, lock}, nil
		}
	}
}

// lockDir locks a directory. It returns nil if someone else has the lock, or removed
// the directory before this lock was had.
func lockDir(path string) (*os.File, error) {
	f, err := os.Open(path)
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

func removeStale(parent string) error {
	paths, err := filepath.Glob(filepath.Join(parent, "h-*"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		lock, err := lockDir(path)
		if err != nil || lock == nil {
			continue // in use, or not ours to judge
		}
		err = os.RemoveAll(path)
		_ = lock.Close() // never written
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *runDir) remove() error {
	err := os.RemoveAll(d.path)
	return errors.Join(err, d.lock.Close())
}
