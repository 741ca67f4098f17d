package lmtpd

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/listen"
	"github.com/mlist/mlist/sdk/message"
)

// Config is how the daemon listens, and what it lets a peer use.
type Config struct {
	Listen     []string    // "unix:/PATH" or "tcp:HOST:PORT", one or more
	SocketMode fs.FileMode // permissions of unix sockets
	Hostname   string      // how mlist names itself in the greeting

	MaxMessageSize int64 // octets of a message; one more is 552 5.3.4
	MaxHeaderSize  int64 // octets of its header block; one more is 554 5.6.0
	MinFree        int64 // octets that must be free where messages are kept, or MAIL gets 452 4.3.1; 0 is no matter
	MaxConnections int   // at once, on all listeners together; one more is 421 4.3.2
	MaxRecipients  int   // of a transaction; one more is 452 4.5.3

	// IdleTimeout bounds the wait for a command, and in DATA for the next octets: a
	// slow sender that makes progress goes on.
	IdleTimeout time.Duration
	// DataTimeout bounds the whole of DATA, progress or not; 0 is half an hour.
	DataTimeout time.Duration
	// Grace is how long transactions may go on after Run was told to stop; 0 is 20 seconds.
	Grace time.Duration
}

const (
	defaultDataTimeout = 30 * time.Minute
	defaultGrace       = 20 * time.Second
)

// completed returns the configuration with its defaults, or the first key that has
// an impossible value.
func (c Config) completed() (*Config, error) {
	if c.DataTimeout == 0 {
		c.DataTimeout = defaultDataTimeout
	}
	if c.Grace == 0 {
		c.Grace = defaultGrace
	}
	switch {
	case len(c.Listen) == 0:
		return nil, errors.New("lmtpd.listen: want one address or more")
	case c.MaxMessageSize <= 0:
		return nil, errors.New("lmtpd.max_message_size: want more than 0")
	case c.MaxHeaderSize <= 0 || c.MaxHeaderSize > message.MaxHeader/2: // the list's own fields need room
		return nil, fmt.Errorf("lmtpd.max_header_size: want 1 to %d", message.MaxHeader/2)
	case c.MinFree < 0:
		return nil, errors.New("spool.min_free: want 0 or more")
	case c.MaxConnections <= 0:
		return nil, errors.New("lmtpd.max_connections: want more than 0")
	case c.MaxRecipients <= 0:
		return nil, errors.New("lmtpd.max_recipients: want more than 0")
	case c.IdleTimeout <= 0:
		return nil, errors.New("lmtpd.idle_timeout: want more than 0")
	case c.DataTimeout < 0 || c.Grace < 0:
		return nil, errors.New("lmtpd: a timeout is less than 0")
	case strings.ContainsFunc(c.Hostname, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return nil, fmt.Errorf("hostname %q: space or control character", c.Hostname)
	}
	if c.Hostname == "" {
		c.Hostname = "localhost"
	}
	if err := listen.Check(c.Listen); err != nil {
		return nil, fmt.Errorf("lmtpd.listen: %w", err)
	}
	return &c, nil
}
