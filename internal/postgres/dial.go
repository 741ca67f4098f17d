package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// hurry is how long a server may take that lately did not answer, where there are others
	// to try: whoever wants a connection has not got long.
	hurry = 500 * time.Millisecond
	// lately is for how long that is remembered.
	lately = 10 * time.Second
)

// dialer makes connections, and remembers which servers do not answer: the driver tries the
// servers of a URL in their order, and the first may be the one that is cut off.
type dialer struct {
	net  net.Dialer
	many bool // there are others

	mu    sync.Mutex
	until map[string]time.Time // how long an address is not waited for
	open  map[*link]struct{}   // connections that there are
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	begun, wait := time.Now(), time.Duration(0)
	if d.many && d.silent(address) {
		wait = hurry
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	c, err := d.net.DialContext(ctx, network, address)
	if err != nil {
		d.heard(address, time.Since(begun) < hurry) // refused, say
		return nil, err
	}
	l := &link{Conn: c, dialer: d, address: address, first: true, wait: wait}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == nil {
		d.open = map[*link]struct{}{}
	}
	d.open[l] = struct{}{}
	return l, nil
}

func (d *dialer) silent(address string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Now().Before(d.until[address])
}

// heard notes whether an address answers. One that was not given long stays where it is: now
// and then it gets all the time there is.
func (d *dialer) heard(address string, is bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case is:
		delete(d.until, address)
	case time.Now().After(d.until[address]):
		if d.until == nil {
			d.until = map[string]time.Time{}
		}
		d.until[address] = time.Now().Add(lately)
	}
}

// lost ends all connections to an address whose machine does not acknowledge any more what is
// sent to it: each would have to find that out by itself, and whoever uses one after the other
// would wait for each.
func (d *dialer) lost(address string) {
	d.heard(address, false)
	d.mu.Lock()
	defer d.mu.Unlock()
	for l := range d.open {
		if l.address == address {
			_ = l.Conn.Close() // who uses it sees that
		}
	}
}

// link is a connection as the dialer knows it.
type link struct {
	net.Conn
	dialer  *dialer
	address string
	// first: the server has not said anything yet. A machine takes connections for a server that hangs.
	first bool
	wait  time.Duration // for that; 0 is as long as it takes
}

func (l *link) Read(p []byte) (int, error) {
	if !l.first {
		n, err := l.Conn.Read(p)
		return n, l.meaning(err)
	}
	if l.wait > 0 {
		late := time.AfterFunc(l.wait, func() { _ = l.Conn.Close() })
		defer late.Stop()
	}
	begun := time.Now()
	n, err := l.Conn.Read(p)
	l.dialer.heard(l.address, n > 0 || time.Since(begun) < hurry)
	l.first = n == 0
	return n, l.meaning(err)
}

func (l *link) Write(p []byte) (int, error) {
	n, err := l.Conn.Write(p)
	return n, l.meaning(err)
}

// meaning tells of a machine that is lost. The kernel calls that a time-out, which the driver
// takes for that of a caller, and the connection for good.
func (l *link) meaning(err error) error {
	if !errors.Is(err, syscall.ETIMEDOUT) && !errors.Is(err, syscall.EHOSTUNREACH) {
		return err
	}
	l.dialer.lost(l.address)
	return fmt.Errorf("%w: %s is lost", ErrSilent, l.address)
}

func (l *link) Close() error {
	l.dialer.mu.Lock()
	delete(l.dialer.open, l)
	l.dialer.mu.Unlock()
	err := l.Conn.Close()
	if errors.Is(err, net.ErrClosed) { // it was ended here, as lost, and nobody has looked at it since
		err = nil
	}
	return err
}

func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// ErrSilent: the server takes what it is sent, if at all, and says nothing.
var ErrSilent = errors.New("the database does not answer")

// bounded makes connections that wait for the server no longer than silence.
func bounded(dial pgconn.DialFunc, silence time.Duration) pgconn.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &conn{Conn: c, silence: silence}, nil
	}
}

// conn has each read and write end in time, whether those who wait have a deadline of their
// own or none. A context would not do: streams of rows last as long as their reader, and what
// the driver does by itself has none.
type conn struct {
	net.Conn
	silence time.Duration

	mu    sync.Mutex
	until time.Time // whoever uses the connection waits no longer; zero: as long as it takes
}

// SetDeadline implements net.Conn. The driver calls it, too, while another goroutine reads.
func (c *conn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = t
	return c.Conn.SetDeadline(t)
}

func (c *conn) Read(p []byte) (int, error) {
	if err := c.arm(c.Conn.SetReadDeadline); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	return n, c.meaning(err)
}

func (c *conn) Write(p []byte) (int, error) {
	if err := c.arm(c.Conn.SetWriteDeadline); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	return n, c.meaning(err)
}

func (c *conn) arm(set func(time.Time) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	deadline := time.Now().Add(c.silence)
	if !c.until.IsZero() && c.until.Before(deadline) {
		deadline = c.until
	}
	return set(deadline)
}

// meaning tells our own deadline from that of whoever uses the connection: after theirs the
// driver may go on with the connection, after ours nobody may.
func (c *conn) meaning(err error) error {
	if !timedOut(err) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.until.IsZero() && !time.Now().Before(c.until) {
		return err
	}
	return fmt.Errorf("%w: not a word for %s", ErrSilent, c.silence)
}
