package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/control"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/listen"
	"github.com/mlist/mlist/internal/metrics"
	"github.com/mlist/mlist/internal/socketmap"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/store/sqlstore"
	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/lmtpd"
	"github.com/mlist/mlist/milter"
	"github.com/mlist/mlist/outbound"
	"github.com/mlist/mlist/pipeline"
)

// server is daemons in one process, with what they share. What a daemon does not use is
// not opened: outbound works while the store is down.
type server struct {
	which parts
	path  string // of the configuration
	// written is whether there is anything in that file, as far as was seen.
	written bool
	// instance tells processes with the same daemons apart; empty is the only one.
	instance  string
	above     *supervisor       // who started mlist
	inherited *listen.Inherited // sockets from there
	cfg       *config.Config
	log       *slog.Logger
	level     *slog.LevelVar
	load      func() (*config.Config, error)
	// reloads are asked for over the control socket; what came of it goes back.
	reloads   chan chan reloaded
	metricsAt string // in place of metrics.listen
	// suspend takes the connection of who wants spool and store to be let go of, and held is
	// the one for which that was done.
	suspend chan net.Conn
	held    net.Conn

	set      *settings // what the daemons have
	spool    spool.Spool
	store    store.Store
	host     *host.Host
	trace    *trace.Journal // nil: not configured
	lmtpd    *lmtpd.Daemon
	milter   *milter.Daemon
	live     *socketmap.Daemon
	pipeline *pipeline.Daemon
	outbound *outbound.Daemon
	ping     func(context.Context) error // of the store; nil: not opened

	metrics   *metrics.Metrics
	rates     metrics.Rates
	probes    probes
	effective atomic.Pointer[config.Config] // cfg, for other goroutines than that which reloads
	taken     atomic.Pointer[control.Config]
	running   []namedDaemon
	disk      string // that alive asks: a reload replaces cfg, but does not move this
	started   time.Time
}

// cfgNow is the configuration in effect.
func (s *server) cfgNow() *config.Config { return s.effective.Load() }

// pluginGrace is how long plugins may take to stop, after the pipeline has.
const pluginGrace = 10 * time.Second

// daemon is what all daemons are.
type daemon interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{}
}

// run opens what is needed, runs the daemons until ctx ends or one of them fails, and
// closes everything again.
func (s *server) run(ctx context.Context, hangups <-chan os.Signal) (err error) {
	defer func() {
		if cerr := s.close(); errors.Is(err, errSuspended) && cerr != nil {
			s.log.Warn("suspended", "err", cerr)
		} else {
			err = errors.Join(err, cerr)
		}
	}()
	s.effective.Store(s.cfg)
	s.taken.Store(&control.Config{Taken: time.Now()})
	if info, err := os.Stat(s.path); err == nil && info.Size() > 0 {
		s.written = true
	}
	s.metrics, s.started, s.disk = metrics.New(), time.Now(), localDir(s.cfg)
	s.metrics.CountLists(s.cfg.Metrics.Lists)
	if s.set, err = translate(s.cfg, s.log); err != nil {
		return err
	}
	if err := s.readTexts(s.cfg, s.set); err != nil {
		return withHint(err, "`mlist template check` tells of them all, and mlist is not started with texts that are not what they were meant to be.")
	}
	if err := s.openInTime(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // asked to stop before it had started
		}
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	daemons := s.daemons()
	s.running = daemons
	for _, d := range daemons {
		g.Go(func() error { return runOne(ctx, d.name, d.daemon) })
	}
	// Before anybody is told that it is ready, so that it can be asked then.
	if l := s.listenControl(ctx); l != nil {
		g.Go(func() error {
			s.serveControl(ctx, l)
			return nil
		})
	}
	if l := s.listenMetrics(); l != nil {
		g.Go(func() error {
			s.serveMetrics(ctx, l)
			return nil
		})
	}
	g.Go(func() error {
		s.sample(ctx)
		return nil
	})
	g.Go(func() error { return s.watch(ctx, daemons, hangups) })
	g.Go(func() error {
		select {
		case conn := <-s.suspend:
			s.held = conn
			return errSuspended
		case <-ctx.Done():
			return nil
		}
	})
	if s.which.lmtpd {
		g.Go(func() error {
			s.keepTables(ctx)
			return nil
		})
	}
	g.Go(func() error {
		s.above.watchOver(ctx, s.alive)
		return nil
	})
	return g.Wait()
}

// openInTime is open, however long it takes.
func (s *server) openInTime(ctx context.Context) error {
	opening, opened := context.WithCancel(ctx)
	var asking sync.WaitGroup
	asking.Go(func() { s.above.takesLong(opening) })
	defer asking.Wait()
	defer opened()
	return s.open(ctx, s.set)
}

// readTexts reads the templates for the daemons that write to people.
func (s *server) readTexts(c *config.Config, set *settings) error {
	if !s.which.pipeline && !s.which.milter {
		return nil
	}
	texts, err := templates.Load(c.Templates.Dir, c.Templates.Language)
	if err != nil {
		return err
	}
	set.pipeline.Texts, set.milter.Texts = texts, texts
	return nil
}

// runOne runs a daemon; one that ends by itself has failed, so that the others end too.
func runOne(ctx context.Context, name string, d daemon) error {
	if err := d.Run(ctx); err != nil {
		if strings.HasPrefix(err.Error(), name+": ") {
			return err
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	if ctx.Err() == nil {
		return fmt.Errorf("%s: ended by itself", name)
	}
	return nil
}

// watch says when all are ready, and takes on the configuration at each SIGHUP
// and when the control socket asks.
func (s *server) watch(ctx context.Context, daemons []namedDaemon, hangups <-chan os.Signal) error {
	started := time.Now()
	for _, d := range daemons {
		select {
		case <-d.Ready():
		case <-ctx.Done():
			return nil
		}
	}
	s.log.Info("ready", "version", versionText(), "pid", os.Getpid(), "daemons", names(daemons), "took", time.Since(started).Round(time.Millisecond))
	for _, address := range s.inherited.Unused() {
		s.log.Warn("a socket that was handed over is in no listen key: who connects there waits for ever", "address", address)
	}
	s.above.tell("READY=1", "STATUS=runs "+strings.Join(names(daemons), ", "))
	for {
		select {
		case <-hangups:
			s.above.reloading()
			_, _ = s.reload(ctx) // the log has it
			s.above.tell("READY=1")
		case answer := <-s.reloads:
			keys, err := s.reload(ctx)
			answer <- reloaded{keys, err}
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), errSuspended) {
				s.above.tell("STATUS=has let go of spool and store, which are being moved")
				return nil
			}
			s.above.tell("STOPPING=1")
			if errors.Is(context.Cause(ctx), errStopped) {
				s.log.Info("stopping; a second signal ends at once")
			}
			return nil
		}
	}
}

type namedDaemon struct {
	name string
	daemon
}

func names(daemons []namedDaemon) []string {
	var out []string
	for _, d := range daemons {
		if l, ok := d.daemon.(*socketmap.Daemon); ok && len(l.Addrs()) == 0 {
			continue // it listens nowhere, unless the configuration says so
		}
		out = append(out, d.name)
	}
	return out
}

// open opens spool, store and plugins as far as the daemons need them, and makes the daemons.
func (s *server) open(ctx context.Context, set *settings) error {
	var err error
	if s.spool, err = openSpool(ctx, s.cfg, s.log, true); err != nil {
		return orHint(err, "spool.url in the configuration says where the queues are; `mlist doctor` looks at it.")
	}
	s.trace = openTrace(s.cfg, s.log)
	var together pipeline.Together
	if s.which.lmtpd || s.which.milter || s.which.pipeline {
		styles, err := list.ReadStyles(s.cfg.Styles)
		if err != nil {
			return err
		}
		st, err := sqlstore.Open(ctx, s.cfg.Store.URL, sqlstore.Options{Migrate: true, Styles: styles})
		if err != nil {
			return orHint(err, "store.url in the configuration says where lists and members are; `mlist doctor` looks at it, and `mlist restore` puts back what was there.")
		}
		s.store, s.ping = st, st.Ping
		s.store.SetSite(s.cfg.SiteName)
		if err := s.store.SetStyles(ctx, styles); err != nil {
			s.log.Error("mail to lists with a style that is not configured waits", "err", err)
		}
		if together, err = oneDatabase(ctx, s.spool, st); err != nil {
			return err
		}
	}
	if s.which.pipeline || s.which.milter {
		set.host.Members, set.host.State = members{s.store}, s.store
		if s.host, err = host.Start(ctx, set.host); err != nil {
			return withHint(fmt.Errorf("start the plugins: %w", err), "pipeline.plugin_dir says where they are, pipeline.stages which of them are needed.")
		}
	}
	if s.which.pipeline {
		s.pipeline = pipeline.New(set.pipeline, s.spool, s.store, s.host, s.log)
		s.pipeline.SetTogether(together)
		s.pipeline.SetTracer(s.trace)
		s.pipeline.SetMeter(s.metrics.Pipeline)
		if a := openArchive(s.cfg); a != nil {
			if err := a.Make(); err != nil {
				return withHint(err, "archive.url in the configuration says where it is; empty is none, and no digests.")
			}
			s.pipeline.SetArchive(a)
		}
	}
	if s.which.lmtpd {
		s.lmtpd = lmtpd.New(set.lmtpd, s.store, s.spool, s.log)
		s.lmtpd.SetTracer(s.trace)
		s.lmtpd.SetMeter(s.metrics.LMTPD)
		if path, ok := spoolDir(s.cfg); ok {
			s.lmtpd.SetSpace(func() (int64, error) {
				d, err := diskAt("spool", path)
				return int64(d.Free), err
			})
		}
		s.lmtpd.SetInherited(s.inherited)
		s.live = socketmap.New(set.live, s.store, s.log)
		s.live.SetInherited(s.inherited)
	}
	if s.which.milter {
		s.milter = milter.New(set.milter, s.store, s.host, s.log)
		s.milter.SetMeter(s.metrics.Milter)
		s.milter.SetInherited(s.inherited)
	}
	if s.which.outbound {
		s.outbound = outbound.New(set.outbound, s.spool, s.log)
		s.outbound.SetTracer(s.trace)
		s.outbound.SetMeter(s.metrics.Outbound)
	}
	return nil
}

func (s *server) daemons() []namedDaemon {
	var out []namedDaemon
	if s.which.lmtpd {
		out = append(out, namedDaemon{"lmtpd", s.lmtpd}, namedDaemon{"socketmap", s.live})
	}
	if s.which.milter {
		out = append(out, namedDaemon{"milter", s.milter})
	}
	if s.which.pipeline {
		out = append(out, namedDaemon{"pipeline", s.pipeline})
	}
	if s.which.outbound {
		out = append(out, namedDaemon{"outbound", s.outbound})
	}
	return out
}

// close closes what was opened, in the reverse order.
func (s *server) close() error {
	var errs []error
	if s.host != nil {
		ctx, cancel := context.WithTimeout(context.Background(), pluginGrace)
		defer cancel()
		errs = append(errs, s.host.Close(ctx))
	}
	errs = append(errs, s.trace.Close())
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	if s.spool != nil {
		errs = append(errs, s.spool.Close())
	}
	return errors.Join(errs...)
}
