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
	if err := s.keepSession(); err != nil {
		return "", fmt.Errorf("make a temporary directory: %w", err)
	}
	return filepath.Join(s.session.dir, kind+"-"+strconv.FormatInt(s.serial.Add(1), 10)), nil
}

// keepSession makes sure that there is a session and that its directory and lock are
// still there: other programs like to tidy up in directories that are called tmp.
func (s *Spool) keepSession() error {
	if s.session != nil && s.session.intact() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	unlock, err := s.lockAll(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if old := s.session; old != nil {
		s.opts.Log.Warn("another program has removed files of mlist's from the spool's tmp: see that it leaves it alone", "path", old.dir)
		if f, err := s.lockSession(old.dir); err == nil { // what else is there can still be used
			old.lock.Close()
			s.session = &session{old.dir, f}
			return nil
		}
	}
	made, err := s.newSession()
	if err != nil {
		return err
	}
	if s.session != nil {
		s.session.lock.Close()
	}
	s.session = made
	return nil
}

// newSession makes a directory in tmp. The caller holds the lock.
func (s *Spool) newSession() (*session, error) {
	s.sweepSessions()
	tmp := filepath.Join(s.root, tempDir)
	dir := filepath.Join(tmp, fmt.Sprintf("%s-pid%d", s.newID(), os.Getpid()))
	err := s.fs.mkdir(dir)
	if errors.Is(err, os.ErrNotExist) {
		if err = s.fs.mkdir(tmp); err == nil {
			err = s.fs.mkdir(dir)
		}
	}
	if err != nil {
		return nil, err
	}
	f, err := s.lockSession(dir)
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return &session{dir, f}, nil
}

// lockSession makes and locks the file that keeps others from sweeping the directory.
func (s *Spool) lockSession(dir string) (*os.File, error) {
	f, err := s.fs.create(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, err
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// intact tells whether the lock is still the file that others look at.
func (s *session) intact() bool { return isAt(s.lock, filepath.Join(s.dir, lockFile)) }

// isAt tells whether an open file is the one that lies at path.
func isAt(f *os.File, path string) bool {
	there, err := os.Lstat(path)
	if err != nil {
		return false
	}
	info, err := f.Stat()
	return err == nil && os.SameFile(info, there)
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
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isAt(f, path) { // else the file was removed: its lock means nothing
			return func() { f.Close() }, nil
		}
		f.Close()
		if err != nil && err != unix.EWOULDBLOCK && err != unix.EINTR {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s: %w", path, ctx.Err())
		case <-time.After(2 * time.Millisecond): // flock has no wait that can be ended
		}
	}
}
