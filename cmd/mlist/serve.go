package main

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"regexp"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/control"
	"github.com/mlist/mlist/internal/listen"
)

func (a *app) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "run all daemons in the foreground",
		Long: `Runs lmtpd, milter, pipeline and outbound in one process, in the foreground, and logs to standard error; "ready" says that
all of them work. SIGTERM and SIGINT let what is under way finish; a second one ends mlist at once, and loses nothing.
` + "`mlist reload`" + ` and SIGHUP read the configuration again: a bad file changes nothing.`,
		Example: "  mlist serve\n  mlist --config /tmp/try/mlist.toml serve",
		Args:    between(0, 0, "nothing"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cure(a.serve(cmd.Context(), everything, "", "")) },
	}
}

// daemonCommands run one daemon each.
func (a *app) daemonCommands() []*cobra.Command {
	var out []*cobra.Command
	for _, d := range []struct {
		name, short string
		parts       parts
	}{
		{"lmtpd", "run only the daemon that takes mail in", parts{lmtpd: true}},
		{"milter", "run only the daemon that refuses mail while the sender is connected", parts{milter: true}},
		{"pipeline", "run only the daemon that prepares mail", parts{pipeline: true}},
		{"outbound", "run only the daemon that hands mail to the MTA", parts{outbound: true}},
	} {
		var segments, metricsAt string
		c := &cobra.Command{
			Use:     d.name,
			Short:   d.short,
			Long:    "As `mlist serve`, with this daemon alone. Daemons in processes of their own meet in the spool.",
			Example: "  mlist " + d.name,
			Args:    between(0, 0, "nothing"),
			RunE: func(cmd *cobra.Command, _ []string) error {
				return cure(a.serve(cmd.Context(), d.parts, segments, metricsAt))
			},
		}
		c.Flags().StringVar(&metricsAt, "metrics", "", "where its metrics are read, in place of metrics.listen")
		if d.parts.outbound {
			c.Example += "\n  mlist outbound --segments 0000-7fff"
			c.Flags().StringVar(&segments, "segments", "", "what this daemon owns, in place of outbound.segments")
		}
		out = append(out, c)
	}
	return out
}

// parts are the daemons that a process runs.
type parts struct{ lmtpd, milter, pipeline, outbound bool }

var everything = parts{lmtpd: true, milter: true, pipeline: true, outbound: true}

// serve runs daemons until a signal or an error ends them. segments, if not empty, are in
// place of those of the configuration, and so is metricsAt in place of metrics.listen.
func (a *app) serve(ctx context.Context, which parts, segments, metricsAt string) error {
	// First of all: nothing that is started later may take these for its own.
	above := findSupervisor()
	if metricsAt != "" {
		if _, _, err := listen.Split(metricsAt); err != nil {
			return usageError{fmt.Errorf("--metrics: %w", err)}
		}
	}
	segments = fromUnitName(segments)
	inherited, err := listen.Inherit()
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	hangups := a.signals(ctx, stop)
	path, _ := a.path()
	load := func() (*config.Config, error) { return a.loadFor(segments) }
	c, err := load()
	if err != nil {
		return err
	}
	tuneMemory()
	var level slog.LevelVar
	log := newLogger(a.err, c.Log, &level)
	// The milter library knows only the standard log; it tells of peers that break its protocol.
	stdlog.SetFlags(0)
	stdlog.SetOutput(slog.NewLogLogger(log.Handler(), slog.LevelWarn).Writer())
	if _, err := os.Stat(path); err != nil {
		log.Warn("no configuration file: the defaults hold", "config", path)
	}
	for {
		s := &server{which: which, path: path, instance: segments, cfg: c, log: log, level: &level, load: load, reloads: make(chan chan reloaded), metricsAt: metricsAt, above: above, inherited: inherited,
			suspend: make(chan net.Conn, 1)}
		err := s.run(ctx, hangups)
		if !errors.Is(err, errSuspended) {
			if err != nil {
				return fmt.Errorf("serve: %w", err)
			}
			log.Info("stopped")
			return nil
		}
		if c, err = s.wait(ctx); err != nil {
			return fmt.Errorf("serve: %w", err)
		}
		if ctx.Err() != nil {
			log.Info("stopped")
			return nil
		}
	}
}

// errSuspended ends the daemons of a process, which goes on.
var errSuspended = errors.New("suspended")

const alreadySuspended = "another command has asked for the same"

// wait waits while spool and store are moved, and returns the configuration to go on with: the
// one that the file has then.
func (s *server) wait(ctx context.Context) (*config.Config, error) {
	select {
	case second := <-s.suspend:
		control.Refuse(second, alreadySuspended)
	default:
	}
	s.log.Info("suspended: spool and store are let go of, since they are moved")
	begun := time.Now()
	waiting, done := context.WithCancel(ctx)
	var well sync.WaitGroup
	well.Go(func() { s.above.watchOver(waiting, func() error { return nil }) })
	control.Suspended(ctx, s.held)
	done()
	well.Wait()
	c, err := s.load()
	if err != nil {
		return nil, err
	}
	s.log.Info("goes on", "suspended", time.Since(begun).Round(time.Millisecond), "store", c.Store.URL, "spool", c.Spool.URL)
	return c, nil
}

// escaped is how systemd writes what may not stand in the name of a unit.
var escaped = regexp.MustCompile(`\\x[0-9a-f]{2}`)

// fromUnitName reads the name of an instance: mlist-outbound@0000-3fff,8000-bfff is
// 0000-3fff\x2c8000-bfff to systemd, which hands that over.
func fromUnitName(instance string) string {
	return escaped.ReplaceAllStringFunc(instance, func(s string) string {
		n, _ := strconv.ParseUint(s[2:], 16, 8)
		return string(byte(n))
	})
}

// loadFor is load, with these segments if there are any.
func (a *app) loadFor(segments string) (*config.Config, error) {
	c, err := a.load()
	if err == nil && segments != "" {
		if err = c.Outbound.Segments.UnmarshalText([]byte(segments)); err != nil {
			err = usageError{fmt.Errorf("--segments: %w", err)}
		} else if _, onDisk := spoolDir(c); c.Outbound.Segments.Auto && onDisk {
			err = usageError{errors.New("--segments auto needs a spool in a database (spool.url); in a directory each daemon has ranges of its own, such as 0000-7fff and 8000-ffff")}
		}
	}
	return c, err
}

// errStopped is why ctx ends when a signal asked for it.
var errStopped = errors.New("stopped by a signal")

// signals ends ctx at the first SIGTERM or SIGINT, and the process at the second. It
// returns SIGHUPs, of which one may wait.
func (a *app) signals(ctx context.Context, stop context.CancelCauseFunc) <-chan os.Signal {
	ends := make(chan os.Signal, 2)
	hangups := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGTERM, os.Interrupt)
	signal.Notify(hangups, syscall.SIGHUP)
	// The goroutine lives as long as the process: the second signal may come at any time.
	go func() {
		<-ends
		stop(errStopped)
		<-ends
		fmt.Fprintln(a.err, "mlist: ended at once by a second signal; what was under way is taken up at the next start")
		os.Exit(exitError)
	}()
	return hangups
}

// memoryLimit is when Go's collector begins to work harder: everything together, plugins
// included, is to stay below 100 MiB.
const memoryLimit = 64 << 20

// tuneMemory sets limits for the collector where the user did not.
func tuneMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
}
