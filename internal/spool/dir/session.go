package dir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// session is this process's own directory in tmp/. It holds a lock on the directory's
// file as long as it lives: the next process sweeps directories whose lock is free.
type session struct {
	dir  string
	lock *os.File
}

const lockFile = "lock"

// temp returns a new path in this process's own temporary directory.
func (s *Spool) temp(kind string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return "", errClosed
	}
	if s.session == nil {
		made, err := s.newSession()
		if err != nil {
			return "", fmt.Errorf("make a temporary directory: %w", err)
		}
		s.session = made
	}
	return filepath.Join(s.session.dir, kind+"-"+strconv.FormatInt(s.serial.Add(1), 10)), nil
}

func (s *Spool) newSession() (*session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	unlock, err := s.lockAll(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	s.sweepSessions()
	dir := filepath.Join(s.root, tempDir, fmt.Sprintf("%s-pid%d", s.newID(), os.Getpid()))
	if err := s.fs.mkdir(dir); err != nil {
		return nil, err
	}
	f, err := s.fs.create(filepath.Join(dir, lockFile))
	if err == nil {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
		}
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return &session{dir, f}, nil
}

// sweepSessions removes what dead processes left in tmp. The caller holds the lock.
func (s *Spool) sweepSessions() {
	dirs, err := os.ReadDir(filepath.Join(s.root, tempDir))
	if err != nil {
		return // the next session tries again
	}
	for _, d := range dirs {
		path := filepath.Join(s.root, tempDir, d.Name())
		f, err := os.OpenFile(filepath.Join(path, lockFile), os.O_RDWR|unix.O_NOFOLLOW, 0)
		if errors.Is(err, os.ErrNotExist) && d.IsDir() {
			_ = os.RemoveAll(path) // its maker died, or it was swept half
			continue
		}
		if err != nil {
			continue // not a session's
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.RemoveAll(path)
		}
		f.Close()
	}
}

func (s *session) end() error {
	err := os.RemoveAll(s.dir)
	return errors.Join(err, s.lock.Close())
}

// lockAll takes the one lock of the spool, which guards who may own what. It is held
// for a few system calls only.
func (s *Spool) lockAll(ctx context.Context) (unlock func(), err error) {
	path := filepath.Join(s.root, ownersDir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, ctx.Err())
		case <-time.After(2 * time.Millisecond): // flock has no wait that can be ended
		}
	}
}
