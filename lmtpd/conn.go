package lmtpd

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// What ends a connection from our side. Each is told to the peer once: as the reply to
// DATA, or else as errorReplies has it.
var (
	errBareNewline = errors.New("bare CR or LF")
	errLongLine    = errors.New("line too long")
	errIdle        = errors.New("idle for too long")
	errSlowData    = errors.New("message took too long")
	errErrors      = errors.New("too many errors")
	errFlood       = errors.New("message far over the limit")
	errStopping    = errors.New("shutting down")
)

var errorReplies = map[error]string{
	errBareNewline: "500 5.5.2 bare CR or LF (RFC 5321 2.3.8), closing connection",
	errLongLine:    "500 5.5.2 line too long, closing connection",
	errIdle:        "421 4.4.2 idle for too long, closing connection",
	errSlowData:    "421 4.4.2 took too long, closing connection",
	errErrors:      "421 4.7.0 too many errors, closing connection",
	errFlood:       "421 4.3.0 message far over the limit, closing connection",
	errStopping:    "421 4.3.2 shutting down, try again later",
}

// tolerance is how many 5xx replies in a row, over those that one transaction's
// recipients can cause, a peer may get.
const tolerance = 100

// After an error the peer is given lingerTime and lingerSize to finish what it was
// sending: closing with unread octets would take our reply away again (TCP resets).
const (
	lingerTime = 2 * time.Second
	lingerSize = 64 << 20
)

// freshTime is how long one who connected just before we stop may take to begin a
// transaction: to be told 421 then costs the MTA minutes.
const freshTime = time.Second

// conn stands between the socket and the SMTP library. It lets pass only lines that
// end in CRLF, of bounded length; keeps the deadlines; and ends connections at
// shutdown. After a failure no further octet gets past it, so whatever a broken or
// hostile peer sends next is never taken for a command.
type conn struct {
	net.Conn
	daemon *Daemon
	peer   string
	once   sync.Once
	closed error
	lines  lineCheck // used by the one goroutine that reads

	mu       sync.Mutex
	inData   bool
	busy     bool // between MAIL and the last reply to DATA
	stopping bool
	fresh    time.Time // until then a peer that has just connected may begin; zero once it has
	greeted  bool
	failure  error
	told     bool      // the peer knows of the failure
	mute     bool      // nothing may follow what it was told
	errors   int       // 5xx replies in a row
	alive    time.Time // the last complete line, or reply
	dataEnd  time.Time
}

func newConn(d *Daemon, raw net.Conn) *conn {
	return &conn{Conn: raw, daemon: d, peer: peerName(raw), alive: time.Now(), fresh: time.Now().Add(freshTime), lines: lineCheck{limit: maxCommandLine}}
}

func peerName(c net.Conn) string {
	if c.RemoteAddr().Network() == "unix" {
		return "unix"
	}
	return c.RemoteAddr().String()
}

// Read is called by one goroutine at a time.
func (c *conn) Read(p []byte) (int, error) {
	if err := c.beforeRead(); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		good, newline, bad := c.lines.check(p[:n])
		c.afterRead(newline, bad)
		if bad == nil || good > 0 {
			return good, nil // the failure waits for the next Read: until then the phase may change
		}
		return 0, c.surface()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, c.expired()
	}
	return n, err
}

func (c *conn) beforeRead() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping && !c.busyLocked() && c.failure == nil {
		c.failure = errStopping
	}
	if c.failure != nil {
		return c.surfaceLocked()
	}
	idle := c.daemon.Config().IdleTimeout
	deadline := c.alive.Add(idle)
	if c.inData {
		deadline = time.Now().Add(idle)
		if c.dataEnd.Before(deadline) {
			deadline = c.dataEnd
		}
	}
	if c.stopping && !c.busy && c.fresh.Before(deadline) {
		deadline = c.fresh
	}
	return c.Conn.SetReadDeadline(deadline)
}

func (c *conn) afterRead(newline bool, bad error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if newline {
		c.alive = time.Now()
	}
	if c.failure == nil {
		c.failure = bad
	}
}

// expired turns a passed deadline into what it meant.
func (c *conn) expired() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.failure != nil:
	case c.stopping && !c.busy:
		c.failure = errStopping
	case c.inData && !time.Now().Before(c.dataEnd):
		c.failure = errSlowData
	default:
		c.failure = errIdle
	}
	return c.surfaceLocked()
}

func (c *conn) surface() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.surfaceLocked()
}

// surfaceLocked returns the failure to whoever reads a message, who replies to it; a
// reader of commands gets the end of the connection, after the peer was told.
func (c *conn) surfaceLocked() error {
	if c.inData {
		c.told = true
		return c.failure
	}
	if !c.told {
		c.told, c.mute = true, true
		c.writeLine(errorReplies[c.failure])
	}
	return io.EOF
}

func (c *conn) writeLine(s string) {
	_ = c.Conn.SetWriteDeadline(time.Now().Add(c.daemon.Config().IdleTimeout))
	_, _ = io.WriteString(c.Conn, s+"\r\n") // the connection ends in any case
}

// fail ends the connection with the next Read.
func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure == nil {
		c.failure = err
	}
	c.told = true
}

// enterData is called before a message is read, leaveData when all of it was.
func (c *conn) enterData() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inData, c.dataEnd = true, time.Now().Add(c.daemon.Config().DataTimeout)
	c.lines.limit = maxDataLine
}

func (c *conn) leaveData() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inData, c.alive = false, time.Now()
	c.lines.limit = maxCommandLine
}

func (c *conn) setBusy(busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy, c.fresh = busy, time.Time{}
}

// busyLocked tells whether there is, or is about to be, a transaction.
func (c *conn) busyLocked() bool { return c.busy || time.Now().Before(c.fresh) }

// stop ends the connection now if it is idle, else when it becomes so.
func (c *conn) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	switch {
	case !c.busyLocked():
		_ = c.Conn.SetReadDeadline(time.Unix(1, 0)) // wakes Read
	case !c.busy:
		_ = c.Conn.SetReadDeadline(c.fresh)
	}
}

// Write passes the library's replies on, a line each.
func (c *conn) Write(p []byte) (int, error) {
	cfg := c.daemon.Config()
	line := c.reply(string(p), cfg)
	if line == "" {
		return len(p), nil
	}
	if err := c.Conn.SetWriteDeadline(time.Now().Add(cfg.IdleTimeout)); err != nil {
		return 0, err
	}
	if _, err := io.WriteString(c.Conn, line); err != nil {
		return 0, err
	}
	return len(p), nil
}

// reply counts errors, and puts right what the library would say wrongly: it always
// offers CHUNKING (which it answers wrongly over LMTP when the last chunk fails, and
// which no MTA uses here), and its own limit on SIZE is off by one.
func (c *conn) reply(line string, cfg *Config) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alive = time.Now()
	if line != "" && line[0] == '5' {
		c.errors++
		if c.errors > cfg.MaxRecipients+tolerance && c.failure == nil {
			c.failure = errErrors
		}
	} else {
		c.errors = 0
	}
	switch {
	case c.mute:
		return "" // the library takes the start of a command, before the end, for a command
	case !c.greeted:
		c.greeted = true
		return fmt.Sprintf("220 %s LMTP mlist\r\n", cfg.Hostname)
	case line == "250-CHUNKING\r\n":
		return ""
	case line == "250 SIZE\r\n":
		return fmt.Sprintf("250 SIZE %d\r\n", cfg.MaxMessageSize)
	}
	return line
}

// Close ends the connection, once.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.linger()
		c.closed = c.Conn.Close()
		c.daemon.conns.Forget(c)
	})
	return c.closed
}

func (c *conn) linger() {
	c.mu.Lock()
	failed := c.failure != nil && c.failure != errIdle && c.failure != errStopping
	c.mu.Unlock()
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !failed || !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.Conn.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.Copy(io.Discard, io.LimitReader(c.Conn, lingerSize))
}
