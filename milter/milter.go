// Package milter says no while the sender is still connected: Postfix asks it at each
// RCPT and at the end of the message, over the milter protocol.
//
// It refuses, or it lets pass; it never holds, edits or accepts on behalf of others. A
// post that the list's own stages would reject is refused with their reason, so that the
// sender's own MTA tells the sender and no bounce leaves this machine. All else is for
// the pipeline, which judges every post again: mail may come where there is no milter.
//
// It promises:
//   - one recipient that is refused costs the others of the same message nothing;
//   - the message as a whole is refused only if it is for lists alone and each of them
//     would reject it;
//   - when store or handlers fail it says "try again later" or lets mail pass, as it is
//     configured, and never 5xx;
//   - what one MTA can use of memory, disk, time and connections is bounded.
package milter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	gomilter "github.com/emersion/go-milter"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/describe"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/listen"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/templates"
)

// Store is what the milter asks about addresses and lists.
type Store interface {
	store.Resolver
	store.Arrivals
	describe.Store
}

// Stages judge a post by what is there at SMTP time.
type Stages interface {
	Consult(ctx context.Context, p *host.Post) (host.Result, error)
	// ConsultEnvelope asks at RCPT: a rejection holds whatever the message will be.
	ConsultEnvelope(ctx context.Context, p *host.Post) (host.Result, error)
}

// OnFailure is what happens to mail when the milter cannot judge it.
type OnFailure string

// Tempfail has the sender's MTA try again later; Pass leaves the mail to the pipeline.
const (
	Tempfail OnFailure = "tempfail"
	Pass     OnFailure = "pass"
)

// Config is how the daemon listens and what it does.
type Config struct {
	Listen     []string    // "unix:/PATH" or "tcp:HOST:PORT"; none is allowed, and makes Run wait
	SocketMode fs.FileMode // permissions of unix sockets
	Hostname   string      // for messages to people
	// Texts are what stages are given for people to read; nil is what is built in.
	Texts     *templates.Set
	OnFailure OnFailure
	// ListDomains are domains in which every address belongs to a list: one that does not
	// is refused. In other domains an address may also be a user's.
	ListDomains    []string
	MaxSessions    int           // at once; a further one is closed, and the MTA does as it is configured
	MaxMessageSize int64         // octets; a larger message is not judged by its content
	IdleTimeout    time.Duration // without a word from the MTA
	// Grace is how long messages under way may take after Run was told to stop; 0 is 10 seconds.
	Grace time.Duration
}

const defaultGrace = 10 * time.Second

func (c Config) completed() (*Config, error) {
	if c.Grace == 0 {
		c.Grace = defaultGrace
	}
	if c.OnFailure == "" {
		c.OnFailure = Tempfail
	}
	if err := listen.Check(c.Listen); err != nil {
		return nil, fmt.Errorf("milter.listen: %w", err)
	}
	switch {
	case c.OnFailure != Tempfail && c.OnFailure != Pass:
		return nil, fmt.Errorf("milter.on_failure %q: want tempfail or pass", c.OnFailure)
	case c.MaxSessions <= 0:
		return nil, errors.New("milter.max_sessions: want more than 0")
	case c.MaxMessageSize <= 0:
		return nil, errors.New("milter: the largest message: want more than 0")
	case c.IdleTimeout <= 0:
		return nil, errors.New("milter.idle_timeout: want more than 0")
	}
	domains := make([]string, len(c.ListDomains))
	for i, d := range c.ListDomains {
		parsed, err := address.ParseDomain(d)
		if err != nil {
			return nil, fmt.Errorf("milter.list_domains: %w", err)
		}
		domains[i] = strings.ToLower(parsed)
	}
	c.ListDomains = domains
	return &c, nil
}

// Daemon is the milter. Its methods may be called from any goroutine.
type Daemon struct {
	*listen.Service[Config]
	store     Store
	stages    Stages
	describer *describe.Describer
	log       *slog.Logger
	meter     Meter
	now       func() time.Time
	work      context.Context // of look-ups and consultations: ends with the grace period
	quit      context.CancelFunc
	conns     listen.Conns[*conn]
}

// New makes a daemon; Run starts it.
func New(cfg Config, st Store, stages Stages, log *slog.Logger) *Daemon {
	d := &Daemon{store: st, describer: describe.New(st), stages: stages, log: log, meter: noMeter{}, now: time.Now}
	d.Service = listen.NewService(cfg, listen.Kind[Config]{
		Name:     "milter",
		Complete: Config.completed,
		Sockets:  func(c *Config) ([]string, fs.FileMode) { return c.Listen, c.SocketMode },
		Serve:    d.serve,
	})
	d.work, d.quit = context.WithCancel(context.Background())
	return d
}

// Run listens and serves until ctx ends or a listener fails, then stops: no new
// connections, the end of idle ones, and the grace period for those in a message. It may
// be called once.
func (d *Daemon) Run(ctx context.Context) error {
	defer d.quit()
	err := d.Service.Run(ctx) // from here on no connection is new
	if d.Config() != nil {    // it listened
		d.stop()
	}
	return err
}

// serve has a server of the library's own for each listener: it keeps them in a slice
// without a lock. Macros: the queue id at the end, for the log.
func (d *Daemon) serve(l *listen.Listener) error {
	in := &limiter{Listener: l, daemon: d}
	server := &gomilter.Server{
		NewMilter: func() gomilter.Milter { return newSession(d, in.last.Swap(nil)) },
		Actions:   gomilter.OptSetSymList,
		Protocol:  gomilter.OptNoHelo,
		SymList:   map[gomilter.Stage][]string{gomilter.StageEOM: {"i"}},
	}
	return server.Serve(in)
}

func (d *Daemon) stop() {
	d.conns.Each((*conn).stop)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.conns.Wait()
	}()
	grace := time.NewTimer(d.Config().Grace)
	defer grace.Stop()
	select {
	case <-ended:
		return
	case <-grace.C:
	}
	d.quit()
	d.conns.Each(func(c *conn) {
		d.log.Warn("milter session cut at the end of the grace period")
		c.Conn.Close()
	})
	<-ended // look-ups and consultations end with d.work
}
