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
	"io/fs"
	"log/slog"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mlist/mlist/internal/listen"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
)

// Daemon is the LMTP server. Its methods may be called from any goroutine.
type Daemon struct {
	*listen.Service[Config]
	resolver store.Resolver
	spool    spool.Putter
	log      *slog.Logger
	tracer   Tracer
	meter    Meter
	space    space
	server   *smtp.Server
	work     context.Context // of look-ups and puts: ends with the grace period
	quit     context.CancelFunc
	conns    listen.Conns[*conn]
}

// lastWait bounds what Run waits for after every connection was cut: only a disk
// that does not answer can take so long.
const lastWait = 10 * time.Second

// New makes a daemon; Run starts it.
func New(cfg Config, resolver store.Resolver, putter spool.Putter, logger *slog.Logger) *Daemon {
	d := &Daemon{resolver: resolver, spool: putter, log: logger, tracer: noTracer{}, meter: noMeter{}, space: space{now: time.Now}}
	d.Service = listen.NewService(cfg, listen.Kind[Config]{
		Name:     "lmtpd",
		Complete: Config.completed,
		Sockets:  func(c *Config) ([]string, fs.FileMode) { return c.Listen, c.SocketMode },
		Serve:    func(l *listen.Listener) error { return d.server.Serve(&listener{l, d}) },
	})
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

// Run listens and serves until ctx ends or a listener fails, then stops: no new
// connections, 421 to idle ones, and the grace period for those in a transaction. It
// may be called once.
func (d *Daemon) Run(ctx context.Context) error {
	defer d.quit()
	err := d.Service.Run(ctx) // from here on no connection is new
	if d.Config() == nil {
		return err // it never listened
	}
	return errors.Join(err, d.stop())
}

func (d *Daemon) stop() error {
	d.conns.Each((*conn).stop)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = d.server.Shutdown(context.Background()) // waits for its connections; closing ours again is no error worth telling
	}()
	select {
	case <-ended:
		return nil
	case <-time.After(d.Config().Grace):
	}
	d.quit()
	d.conns.Each(func(c *conn) {
		d.log.Warn("lmtp connection cut at the end of the grace period", "peer", c.peer)
		c.Conn.Close()
	})
	select {
	case <-ended:
		return nil
	case <-time.After(lastWait):
		return fmt.Errorf("lmtpd: a transaction did not end within %s of being cut", lastWait)
	}
}

// serverLog takes what the SMTP library has to say: panics with their stack, and
// connections that broke.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Printf(format string, v ...any) { l.log.Warn("lmtp: " + fmt.Sprintf(format, v...)) }
func (l serverLog) Println(v ...any)               { l.log.Warn("lmtp: " + fmt.Sprint(v...)) }
