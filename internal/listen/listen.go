// Package listen opens the sockets on which mlist serves, and is the part of a daemon that
// serves them. A socket that a killed daemon
// left behind is replaced; one on which somebody answers is not, and two daemons that
// start together cannot take each other's away. A socket that systemd holds for mlist is
// used and left to it.
package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Listener is a bound socket. Close removes its path, if it has one that is still ours.
type Listener struct {
	net.Listener
	path  string      // of a unix socket
	file  fs.FileInfo // of that path once bound
	close sync.Once
	err   error
}

// ErrTaken says that somebody else listens at an address.
var ErrTaken = errors.New("another program answers there")

// maxPath is what fits into the kernel's sockaddr_un with its final NUL.
const maxPath = 107

// Split takes "unix:/PATH" or "tcp:HOST:PORT" apart.
func Split(s string) (network, address string, err error) {
	network, address, ok := strings.Cut(s, ":")
	switch {
	case ok && network == "unix":
		if !filepath.IsAbs(address) {
			return "", "", fmt.Errorf("%q: want an absolute path", s)
		}
		if len(address) > maxPath {
			return "", "", fmt.Errorf("%q: a socket's path has at most %d octets", s, maxPath)
		}
		return network, filepath.Clean(address), nil
	case ok && network == "tcp":
		if _, _, err := net.SplitHostPort(address); err != nil {
			return "", "", fmt.Errorf("%q: want tcp:HOST:PORT", s)
		}
		return network, address, nil
	}
	return "", "", fmt.Errorf("%q: want unix:PATH or tcp:HOST:PORT", s)
}

// Check refuses what is no list of addresses to listen on, or names one twice.
func Check(addresses []string) error {
	seen := map[string]bool{}
	for _, a := range addresses {
		if _, _, err := Split(a); err != nil {
			return err
		}
		if seen[a] {
			return fmt.Errorf("%s is there twice", a)
		}
		seen[a] = true
	}
	return nil
}

// Open listens on an address that Split takes. mode is for a unix socket.
func Open(address string, mode fs.FileMode) (*Listener, error) {
	network, addr, err := Split(address)
	if err != nil {
		return nil, err
	}
	if network == "unix" {
		return openUnix(addr, mode)
	}
	l, err := net.Listen(network, addr)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("listen on %s: %w", address, ErrTaken)
	} else if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return &Listener{Listener: l}, nil
}

// openUnix binds path. A lock on the directory keeps two daemons that start together
// from each taking away the other's socket.
func openUnix(path string, mode fs.FileMode) (_ *Listener, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("listen on unix:%s: %w", path, err)
		}
	}()
	dir, err := os.Open(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("directory %s does not exist (%w)", filepath.Dir(path), fs.ErrNotExist)
	} else if err != nil {
		return nil, err
	}
	defer dir.Close() // and with it the lock
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock directory %s: %w", dir.Name(), err)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// The kernel gives the file the mode that the socket has before it is bound, less the
	// umask: nobody gets in before SetMode who would not after it.
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), uint32(mode.Perm())) }); cerr != nil {
			return cerr
		}
		return err
	}}
	l, err := private.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // by then the path may be another daemon's
	}
	out := &Listener{Listener: l, path: path}
	if out.file, err = os.Lstat(path); err == nil {
		err = out.SetMode(mode)
	}
	if err != nil {
		out.Close()
		return nil, err
	}
	return out, nil
}

// removeStale removes a socket on which nobody answers.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file of that name which is no socket")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
	}
	// Anything but a refusal, a full backlog for instance, is a sign of life.
	if !errors.Is(err, unix.ECONNREFUSED) {
		return ErrTaken
	}
	return os.Remove(path)
}

// SetMode changes the permissions of a unix socket, and nothing of another.
func (l *Listener) SetMode(mode fs.FileMode) error {
	if l.path == "" {
		return nil
	}
	return os.Chmod(l.path, mode.Perm())
}

// Close stops listening, and removes the socket's path.
func (l *Listener) Close() error {
	l.close.Do(func() {
		if l.path != "" && l.file != nil {
			if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.file) {
				_ = os.Remove(l.path) // one that stays is taken for stale at the next start
			}
		}
		l.err = l.Listener.Close()
	})
	return l.err
}
