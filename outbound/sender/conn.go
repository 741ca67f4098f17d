package sender

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Conn is a connection to the MTA, ready for transactions. It is used by one
// goroutine at a time.
type Conn struct {
	cfg    Config
	raw    net.Conn // what is closed to stop everything
	nc     net.Conn // raw, or TLS over it
	in     waiter
	br     *bufio.Reader
	ext    extensions
	broken bool // nothing more may be sent
	reset  bool // a transaction is open that must be cleared by RSET
	tls    bool

	batch   []byte // commands of a transaction
	block   []byte // content as read
	dotted  []byte // content as sent
	results []Recipient
	sent    []int // indexes of the recipients that were named in RCPT
}

// extensions are those of the server that matter here.
type extensions struct {
	pipelining, eightBit, utf8, size, startTLS, xverp bool
	auth                                              []string
}

// waiter gives each reply its time: the deadline is set when a read has to wait for
// the network, and only once for each reply, so that a server cannot gain time by
// sending single octets.
type waiter struct {
	nc    net.Conn
	limit time.Duration
	armed bool
}

func (w *waiter) Read(p []byte) (int, error) {
	if !w.armed {
		if err := w.nc.SetReadDeadline(time.Now().Add(w.limit)); err != nil {
			return 0, err
		}
		w.armed = true
	}
	return w.nc.Read(p)
}

// Dial connects to the MTA and goes through greeting, EHLO, STARTTLS and AUTH. All
// its errors are of type *Error and kind Unavailable, except that a ctx that ends
// gives ctx's error wrapped in one.
func Dial(ctx context.Context, cfg Config) (*Conn, error) {
	cfg = cfg.withDefaults()
	c, err := dial(ctx, cfg)
	var e *Error
	if errors.As(err, &e) && e.Op == opStartTLS && cfg.TLS == TLSOpportunistic &&
		cfg.Username == "" && ctx.Err() == nil {
		// The server offers what it cannot do. To go on is no worse than with a server
		// that does not offer it.
		cfg.TLS = TLSNever
		return dial(ctx, cfg)
	}
	return c, err
}

const (
	opConnect  = "connect"
	opGreeting = "greeting"
	opEHLO     = "EHLO"
	opStartTLS = "STARTTLS"
	opAuth     = "AUTH"
)

func dial(ctx context.Context, cfg Config) (*Conn, error) {
	fail := func(op string, err error) error {
		return &Error{Kind: Unavailable, Op: op, MTA: cfg.String(), Err: err}
	}
	for _, r := range cfg.Hostname {
		if r <= ' ' || r >= 0x7f {
			return nil, fail(opEHLO, fmt.Errorf("hostname %q: character %q", cfg.Hostname, r))
		}
	}
	d := net.Dialer{Timeout: cfg.limit(waitConnect)}
	raw, err := d.DialContext(ctx, cfg.Network, cfg.Address)
	if err != nil {
		return nil, fail(opConnect, err)
	}
	c := &Conn{cfg: cfg, raw: raw}
	stop := context.AfterFunc(ctx, c.abort)
	err = c.open(ctx)
	if !stop() && err == nil {
		err = fail(opConnect, ctx.Err())
	}
	if err != nil {
		c.abort()
		if ctx.Err() != nil {
			err = fail(opConnect, ctx.Err())
		}
		return nil, err
	}
	return c, nil
}

// abort ends the connection at once, and with it every read and write.
func (c *Conn) abort() { c.raw.Close() }

// use makes nc the stream that is spoken on.
func (c *Conn) use(nc net.Conn) {
	c.nc = nc
	c.in = waiter{nc: nc}
	c.br = bufio.NewReaderSize(&c.in, 4*maxReplyLine)
}

// open goes from a fresh connection to one that is ready for MAIL.
func (c *Conn) open(ctx context.Context) error {
	c.use(c.raw)
	if c.cfg.TLS == TLSImplicit {
		if err := c.handshake(ctx); err != nil {
			return err
		}
	}
	r, err := c.reply(opGreeting, waitGreeting, false, nil)
	if err != nil {
		return err
	}
	if r.Code != 220 {
		return c.refused(opGreeting, r)
	}
	if err := c.hello(); err != nil {
		return err
	}
	if err := c.maybeStartTLS(ctx); err != nil {
		return err
	}
	if c.cfg.Username == "" {
		return nil
	}
	return c.authenticate()
}

func (c *Conn) hello() error {
	var ext extensions
	first := true
	r, err := c.command(opEHLO, "EHLO "+c.cfg.Hostname, func(line []byte) {
		if !first {
			ext.add(string(line))
		}
		first = false
	})
	if err != nil {
		return err
	}
	if r.permanent() && r.Code != 554 {
		// RFC 5321 3.2: a server without extensions.
		ext = extensions{}
		if r, err = c.command(opEHLO, "HELO "+c.cfg.Hostname, nil); err != nil {
			return err
		}
	}
	if !r.positive() {
		return c.refused(opEHLO, r)
	}
	c.ext = ext
	return nil
}

func (x *extensions) add(line string) {
	words := strings.Fields(strings.ToUpper(line))
	if len(words) == 0 {
		return
	}
	switch words[0] {
	case "PIPELINING":
		x.pipelining = true
	case "8BITMIME":
		x.eightBit = true
	case "SMTPUTF8":
		x.utf8 = true
	case "SIZE":
		x.size = true
	case "STARTTLS":
		x.startTLS = true
	case "XVERP":
		x.xverp = true
	case "AUTH":
		x.auth = words[1:]
	}
}

// Usable tells whether Send may be called again.
func (c *Conn) Usable() bool { return !c.broken }

// Encrypted tells whether the connection is under TLS.
func (c *Conn) Encrypted() bool { return c.tls }

// XVERP tells whether the MTA makes a return path for each recipient where
// Transaction.XVERP asks for it.
func (c *Conn) XVERP() bool { return c.ext.xverp }

// Close says QUIT, if the connection is usable, and closes it. It takes two seconds at
// most.
func (c *Conn) Close() error {
	if !c.broken {
		c.broken = true
		deadline := time.Now().Add(waitQuit)
		if c.nc.SetDeadline(deadline) == nil {
			if _, err := c.nc.Write([]byte("QUIT\r\n")); err == nil {
				c.in.armed = true
				_, _ = readReply(c.br, false, nil) // a courtesy: the 221 changes nothing
			}
		}
	}
	return c.raw.Close()
}
