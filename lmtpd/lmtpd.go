// Package lmtpd takes mail in: it speaks LMTP (RFC 2033) with the MTA, asks at each
// RCPT whether that list address exists, and puts what comes after DATA into the
// spool.
//
// It promises:
//   - 250 after DATA means that the entry is on stable storage;
//   - every failure before that is a 4xx (or a 5xx where the message itself is at
//     fault) and leaves nothing behind;
//   - one message for several addresses becomes one entry for each distinct list,
//     role and detail, and each address gets its own reply, in order;
//   - a line ends in CRLF and in nothing else, so that no peer can disagree with
//     mlist on where a message ends;
//   - what one peer can use of memory, time and connections is bounded.
package lmtpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mlist/mlist/internal/listen"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
)

// Daemon is the LMTP server. Its methods may be called from any goroutine.
type Daemon struct {
	resolver store.Resolver
	spool    spool.Putter
	log      *slog.Logger
	tracer   Tracer
	server   *smtp.Server
	ready    chan struct{}
	failed   chan error      // a listener that can no longer accept
	work     context.Context // of look-ups and puts: ends with the grace period
	quit     context.CancelFunc
	first    Config
	cfg      atomic.Pointer[Config]

	mu        sync.Mutex
	state     state
	listeners listen.Set
	conns     map[*conn]struct{}
	serving   sync.WaitGroup // one for each goroutine in server.Serve
}

type state int

const (
	fresh state = iota
	running
	stopped
)

// lastWait bounds what Run waits for after every connection was cut: only a disk
// that does not answer can take so long.
const lastWait = 10 * time.Second

// New makes a daemon; Run starts it.
func New(cfg Config, resolver store.Resolver, putter spool.Putter, logger *slog.Logger) *Daemon {
	d := &Daemon{
		resolver: resolver, spool: putter, log: logger, tracer: noTracer{}, first: cfg,
		ready: make(chan struct{}), failed: make(chan error, 1),
		conns: map[*conn]struct{}{},
	}
	d.work, d.quit = context.WithCancel(context.Background())
	d.server = smtp.NewServer(smtp.BackendFunc(d.newSession))
	d.server.LMTP = true
	d.server.EnableSMTPUTF8 = true
	// Limits on size, lines, recipients and time are ours, in conn and session: the
	// library's are off by one (size), one for commands and content together (lines),
	// and of a whole transfer where idleness is meant (time).
	d.server.MaxLineLength = 0
	d.server.ErrorLog = serverLog{logger}
	return d
}

// Ready is closed when all listeners are bound.
func (d *Daemon) Ready() <-chan struct{} { return d.ready }

// Addrs are the addresses that the daemon listens on, in the order of the configuration.
func (d *Daemon) Addrs() []net.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.listeners.Addrs()
}

// Run listens and serves until ctx ends or a listener fails, then stops: no new
// connections, 421 to idle ones, and the grace period for those in a transaction. It
// may be called once.
func (d *Daemon) Run(ctx context.Context) error {
	defer d.quit()
	if err := d.start(); err != nil {
		return fmt.Errorf("lmtpd: %w", err)
	}
	close(d.ready)
	var err error
	select {
	case <-ctx.Done():
	case err = <-d.failed:
	}
	return errors.Join(err, d.stop())
}

func (d *Daemon) start() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state != fresh {
		return errors.New("was run before")
	}
	d.state = stopped // unless all goes well
	if err := d.apply(d.first); err != nil {
		return err
	}
	d.state = running
	return nil
}

// Reload takes on a new configuration. Listeners whose address is unchanged stay
// open, and connections go on, under the new limits. After an error everything is as
// it was. Before Run it sets what Run starts with.
func (d *Daemon) Reload(cfg Config) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch d.state {
	case fresh:
		if _, err := cfg.completed(); err != nil {
			return err
		}
		d.first = cfg
		return nil
	case stopped:
		return errors.New("lmtpd: reload: has stopped")
	}
	if err := d.apply(cfg); err != nil {
		return fmt.Errorf("lmtpd: reload: %w", err)
	}
	return nil
}

// apply takes a configuration on, whole or not at all.
func (d *Daemon) apply(cfg Config) error {
	c, err := cfg.completed()
	if err != nil {
		return err
	}
	opened, err := d.listeners.Change(c.Listen, c.SocketMode)
	if err != nil {
		return err
	}
	d.cfg.Store(c)
	for _, l := range opened {
		d.serving.Add(1)
		go d.serve(&listener{l, d})
	}
	return nil
}

func (d *Daemon) serve(l *listener) {
	defer d.serving.Done()
	err := d.server.Serve(l)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		select {
		case d.failed <- fmt.Errorf("lmtpd: accept on %s: %w", l.Addr(), err):
		default: // one is enough to end Run
		}
	}
}

func (d *Daemon) stop() error {
	d.mu.Lock()
	d.state = stopped
	d.listeners.Close()
	d.mu.Unlock()
	d.serving.Wait() // from here on no connection is new
	for _, c := range d.open() {
		c.stop()
	}
	grace, cancel := context.WithTimeout(context.Background(), d.cfg.Load().Grace)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = d.server.Shutdown(context.Background()) // waits for its connections; closing ours again is no error worth telling
	}()
	select {
	case <-ended:
		return nil
	case <-grace.Done():
	}
	d.quit()
	for _, c := range d.open() {
		d.log.Warn("lmtp connection cut at the end of the grace period", "peer", c.peer)
		c.Conn.Close()
	}
	select {
	case <-ended:
		return nil
	case <-time.After(lastWait):
		return fmt.Errorf("lmtpd: a transaction did not end within %s of being cut", lastWait)
	}
}

func (d *Daemon) open() []*conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]*conn, 0, len(d.conns))
	for c := range d.conns {
		out = append(out, c)
	}
	return out
}

// serverLog takes what the SMTP library has to say: panics with their stack, and
// connections that broke.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Printf(format string, v ...any) { l.log.Warn("lmtp: " + fmt.Sprintf(format, v...)) }
func (l serverLog) Println(v ...any)               { l.log.Warn("lmtp: " + fmt.Sprint(v...)) }
