// Package socketmap answers Postfix's question whether an address is a list's, from the
// store and so as it is at this moment. Postfix's tables of lists, which are files, know a
// list that another machine made a minute later; who does not want to wait has Postfix ask
// here what the tables do not have (`mlist postfix setup --live`).
//
// The protocol is Postfix's socketmap_table(5): netstrings, "recipients ADDRESS" one way,
// and OK, NOTFOUND or TEMP with something behind it the other way.
//
// It promises:
//   - the answer is the one that lmtpd gives at RCPT;
//   - a store that fails or hangs is TEMP, never NOTFOUND;
//   - what one peer can use of memory, time and connections is bounded.
package socketmap

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/listen"
	"github.com/mlist/mlist/internal/store"
)

// Recipients is the name of the one map.
const Recipients = "recipients"

const (
	// lookupTimeout bounds one look-up, as in lmtpd.
	lookupTimeout = 5 * time.Second
	// idleTime is how long a peer may say nothing: Postfix ends a connection after 10 s.
	idleTime = 2 * time.Minute
	// writeTime is what an answer may take, which fits into any socket buffer.
	writeTime = 10 * time.Second
)

// Config is how the daemon listens.
type Config struct {
	Listen         []string    // "unix:/PATH" or "tcp:HOST:PORT"; none is allowed, and makes Run wait
	SocketMode     fs.FileMode // permissions of unix sockets
	MaxConnections int         // at once; a further one is closed
}

func (c Config) completed() (*Config, error) {
	if err := listen.Check(c.Listen); err != nil {
		return nil, fmt.Errorf("socketmap.listen: %w", err)
	}
	if c.MaxConnections <= 0 {
		return nil, errors.New("socketmap.max_connections: want more than 0")
	}
	return &c, nil
}

// Daemon is the server. Its methods may be called from any goroutine.
type Daemon struct {
	*listen.Service[Config]
	resolver store.Resolver
	log      *slog.Logger
	work     context.Context // of look-ups
	quit     context.CancelFunc
	conns    listen.Conns[net.Conn]
}

// New makes a daemon; Run starts it.
func New(cfg Config, resolver store.Resolver, log *slog.Logger) *Daemon {
	d := &Daemon{resolver: resolver, log: log}
	d.Service = listen.NewService(cfg, listen.Kind[Config]{
		Name:     "socketmap",
		Complete: Config.completed,
		Sockets:  func(c *Config) ([]string, fs.FileMode) { return c.Listen, c.SocketMode },
		Serve:    d.serve,
	})
	d.work, d.quit = context.WithCancel(context.Background())
	return d
}

// Run listens and serves until ctx ends or a listener fails, then cuts all connections:
// nothing is under way in them, and Postfix asks again. It may be called once.
func (d *Daemon) Run(ctx context.Context) error {
	defer d.quit()
	err := d.Service.Run(ctx) // from here on no connection is new
	d.quit()
	d.conns.Each(func(c net.Conn) { c.Close() })
	d.conns.Wait()
	return err
}

func (d *Daemon) serve(l *listen.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		if limit := d.Config().MaxConnections; !d.conns.Admit(c, limit) {
			d.log.Warn("socketmap connection refused: too many", "limit", limit)
			c.Close()
			continue
		}
		go func() {
			defer d.conns.Forget(c)
			defer c.Close()
			if err := d.talk(c); err != nil && d.work.Err() == nil {
				d.log.Warn("socketmap connection ended", "err", err)
			}
		}()
	}
}

// talk answers one peer until it goes; nil if it did so between two questions.
func (d *Daemon) talk(c net.Conn) error {
	in := bufio.NewReaderSize(c, maxRequest+8)
	for {
		if err := c.SetReadDeadline(time.Now().Add(idleTime)); err != nil {
			return err
		}
		request, err := read(in)
		var late net.Error
		if errors.Is(err, io.EOF) || errors.As(err, &late) && late.Timeout() {
			return nil
		} else if err != nil {
			return err
		}
		if err := c.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
			return err
		}
		if err := write(c, d.answer(request)); err != nil {
			return err
		}
	}
}

func (d *Daemon) answer(request string) string {
	name, key, ok := strings.Cut(request, " ")
	if !ok || name != Recipients {
		return "PERM there is one map here: " + Recipients
	}
	a, err := address.Parse(key)
	if err != nil {
		return "NOTFOUND " // Postfix asks for @DOMAIN and the like, too
	}
	ctx, cancel := context.WithTimeout(d.work, lookupTimeout)
	defer cancel()
	_, err = d.resolver.Resolve(ctx, a)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return "NOTFOUND "
	case err != nil:
		d.log.Error("look-up failed", "recipient", a.String(), "err", err)
		return "TEMP the list store cannot be asked"
	}
	return "OK list"
}
