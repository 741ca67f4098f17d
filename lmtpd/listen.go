package lmtpd

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// listener hands out connections that keep mlist's limits, and refuses those over
// the limit itself.
type listener struct {
	net.Listener
	daemon *Daemon
	path   string      // of a unix socket
	file   fs.FileInfo // of that path once bound
	close  sync.Once
	err    error
}

func (d *Daemon) listen(address string, mode fs.FileMode) (*listener, error) {
	network, addr, err := splitAddress(address)
	if err != nil {
		return nil, err
	}
	if network == "unix" {
		return d.listenUnix(addr, mode)
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return &listener{Listener: l, daemon: d}, nil
}

// listenUnix binds path, after taking away a socket that a killed daemon left. A lock
// on the directory keeps two daemons that start together from each taking away the
// other's socket.
func (d *Daemon) listenUnix(path string, mode fs.FileMode) (_ *listener, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("listen on unix:%s: %w", path, err)
		}
	}()
	dir, err := os.Open(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("directory %s does not exist", filepath.Dir(path))
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
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // by then the path may be another daemon's
	out := &listener{Listener: l, daemon: d, path: path}
	if out.file, err = os.Lstat(path); err == nil {
		err = out.setMode(mode)
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
		return errors.New("another daemon answers there")
	}
	return os.Remove(path)
}

func (l *listener) setMode(mode fs.FileMode) error {
	if l.path == "" {
		return nil
	}
	return os.Chmod(l.path, mode.Perm())
}

// Accept returns the next connection within the limit.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if out, ok := l.daemon.admit(c); ok {
			return out, nil
		}
		refuse(c, l.daemon.cfg.Load().Hostname)
	}
}

// refuse must not hold up Accept: what it writes fits any socket buffer.
func refuse(c net.Conn, hostname string) {
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	fmt.Fprintf(c, "421 4.3.2 %s too many connections, try again later\r\n", hostname)
	c.Close()
}

func (d *Daemon) admit(raw net.Conn) (*conn, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.conns) >= d.cfg.Load().MaxConnections {
		d.log.Warn("lmtp connection refused: too many", "peer", peerName(raw), "limit", d.cfg.Load().MaxConnections)
		return nil, false
	}
	c := newConn(d, raw)
	d.conns[c] = struct{}{}
	return c, true
}

func (d *Daemon) forget(c *conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.conns, c)
}

// Close stops accepting and removes the socket, if it is still ours.
func (l *listener) Close() error {
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
