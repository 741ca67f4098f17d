package milter

import (
	"bufio"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mlist/mlist/internal/listen"
)

// limiter hands out connections that keep the daemon's limits. Each is remembered until
// the library, which asks for a session next and in the same goroutine, has it.
type limiter struct {
	*listen.Listener
	daemon *Daemon
	last   atomic.Pointer[conn]
}

// Accept returns the next connection within the limit. One that is over it is closed: to
// the MTA that is a milter that is not there.
func (l *limiter) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.daemon.admit(raw); c != nil {
			l.last.Store(c)
			return c, nil
		}
		raw.Close()
	}
}

func (d *Daemon) admit(raw net.Conn) *conn {
	c := &conn{Conn: raw, daemon: d, in: bufio.NewReaderSize(raw, 8<<10)}
	if limit := d.Config().MaxSessions; !d.conns.Admit(c, limit) {
		d.log.Warn("milter session refused: too many", "limit", limit)
		return nil
	}
	return c
}

// conn is a connection of the MTA. The library reads it in small pieces, knows no
// time-outs, and closes it once, when its session ends for whatever reason.
type conn struct {
	net.Conn
	daemon *Daemon
	in     *bufio.Reader
	busy   atomic.Bool // a message is under way
	ended  sync.Once

	mu       sync.Mutex
	stopping bool
}

// Read waits for the MTA for a bounded time, and not at all when the daemon is stopping
// and no message is under way. To the library every end is the MTA's own: it logs others,
// to a log that is not ours.
func (c *conn) Read(p []byte) (int, error) {
	if c.in.Buffered() == 0 && !c.await() {
		return 0, io.EOF
	}
	n, err := c.in.Read(p)
	if err != nil && err != io.EOF {
		c.daemon.log.Debug("milter session ended", "err", err)
		err = io.EOF
	}
	return n, err
}

// await sets the deadline for the next octets; it tells whether they are wanted.
func (c *conn) await() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping && !c.busy.Load() {
		return false
	}
	return c.Conn.SetReadDeadline(time.Now().Add(c.daemon.Config().IdleTimeout)) == nil
}

// stop ends the connection unless a message is under way; then it ends after that.
func (c *conn) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	if !c.busy.Load() {
		_ = c.Conn.SetReadDeadline(time.Unix(1, 0)) // wakes Read
	}
}

// Write does not wait for an MTA that does not read.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.daemon.Config().IdleTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Close ends the connection.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.ended.Do(func() { c.daemon.conns.Forget(c) })
	return err
}
