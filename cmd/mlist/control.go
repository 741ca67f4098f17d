package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/control"
	"github.com/mlist/mlist/internal/metrics"
)

// controlPath is the control socket of a process that runs these daemons, or "".
func controlPath(c *config.Config, which parts, instance string) string {
	path := strings.TrimPrefix(c.Control.Listen, "unix:")
	if path == "" {
		return ""
	}
	for _, s := range singles {
		if which == s.which {
			return besideSocket(path, s.name, instance)
		}
	}
	return path
}

// listenControl makes the control socket, or returns nil. Mail flows without it, so its
// trouble ends nothing.
func (s *server) listenControl(ctx context.Context) net.Listener {
	path := controlPath(s.cfg, s.which, s.instance)
	if path == "" {
		return nil
	}
	l, err := control.Listen(path)
	if err != nil {
		s.log.Warn(unasked, "err", err)
		return nil
	}
	return l
}

const unasked = "`mlist reload` and `mlist plugin ls` cannot ask this process"

// serveControl answers the mlist command until ctx ends.
func (s *server) serveControl(ctx context.Context, l net.Listener) {
	err := control.Serve(ctx, l, control.Operations{
		Status: s.status,
		Reload: func() ([]string, error) {
			r := s.askReload(ctx)
			return r.keys, r.err
		},
		Suspend: func(conn net.Conn) {
			select {
			case s.suspend <- conn:
			default:
				control.Refuse(conn, alreadySuspended)
			}
		},
	})
	if err != nil {
		s.log.Warn(unasked, "err", err)
	}
}

// reloaded is what came of a reload.
type reloaded struct {
	keys []string // that need a restart
	err  error
}

// askReload has the one goroutine that reloads do so, and waits for what comes of it.
func (s *server) askReload(ctx context.Context) reloaded {
	answer := make(chan reloaded, 1)
	select {
	case s.reloads <- answer:
	case <-ctx.Done():
		return reloaded{err: errors.New("mlist is stopping")}
	}
	select {
	case r := <-answer:
		return r
	case <-ctx.Done():
		return reloaded{err: errors.New("mlist is stopping")}
	}
}

// status is what the process says of itself.
func (s *server) status() control.Status {
	st := s.look()
	st.Checks = s.checks()
	return st
}

// look is status as far as nothing outside of the process is asked.
func (s *server) look() control.Status {
	st := control.Status{Version: versionText(), PID: os.Getpid(), Daemons: names(s.running), Plugins: []control.Plugin{}, Checks: []metrics.Check{},
		Started: s.started, Totals: s.metrics.Totals(), MTA: s.mtaStatus(), Connections: s.connections(), Config: *s.taken.Load()}
	st.Minute = s.rates.Minute(st.Totals)
	if s.host == nil {
		return st
	}
	totals := s.host.Totals()
	st.Posts, st.Calls = totals.Posts, totals.Calls
	for _, p := range s.host.Plugins() {
		have := control.Plugin{Name: p.Name, Version: p.Version, Path: p.Path, PID: p.PID, Stages: p.Stages,
			Healthy: p.Healthy, Restarts: p.Restarts, Calls: p.Calls, Errors: p.Errors, P50: milliseconds(p.P50), P99: milliseconds(p.P99),
			Counts: p.Counts, Lost: p.Lost}
		if p.Why != nil {
			have.Why = p.Why.Error()
		}
		if p.LostWhy != nil {
			have.LostWhy = p.LostWhy.Error()
		}
		st.Plugins = append(st.Plugins, have)
	}
	return st
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// running is a process of mlist that answers.
type running struct {
	path string
	control.Status
}

// ask finds the processes of mlist that answer. The error is about those that do not, as they
// should.
func ask(ctx context.Context, c *config.Config) ([]running, error) {
	var out []running
	var silent []error
	if c.Control.Listen == "" {
		return nil, nil
	}
	path := controlPath(c, everything, "")
	// A single daemon's name stands before .sock. A pattern is only bad if the path has [ in it.
	alone, err := filepath.Glob(strings.TrimSuffix(path, ".sock") + "-*.sock")
	if err != nil {
		return nil, fmt.Errorf("control.listen: %w", err)
	}
	for _, path := range append([]string{path}, alone...) {
		st, err := control.Ask(ctx, path)
		switch {
		case err == nil:
			out = append(out, running{path, st})
		case !errors.Is(err, control.ErrNotRunning):
			silent = append(silent, err)
		}
	}
	return out, errors.Join(silent...)
}

// reloadJSON is what `mlist reload --json` says of one process.
type reloadJSON struct {
	Daemons  []string `json:"daemons"`
	PID      int      `json:"pid"`
	Reloaded bool     `json:"reloaded"`
	Error    string   `json:"error,omitempty"`

	NeedRestart []string `json:"need_restart,omitempty"` // keys that were changed, and are as before until then
}

func (a *app) reloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "have a running mlist read its configuration again",
		Long: `Checks the configuration, has every running process of mlist read it again, as SIGHUP does, and says what came of it.
A configuration that is bad changes nothing. Plugins are started anew beside the old ones; no post waits or is lost.`,
		Example: "  mlist config check && mlist reload",
		Args:    between(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load()
			if err != nil {
				return withHint(err, "A running mlist was not asked, and goes on as before.")
			}
			found, silent := ask(cmd.Context(), c)
			if len(found) == 0 && silent == nil {
				return withHint(control.ErrNotRunning, "control.listen says where it is asked: %q. SIGHUP does the same.", c.Control.Listen)
			}
			results := []reloadJSON{}
			for _, r := range found {
				j := reloadJSON{Daemons: r.Daemons, PID: r.PID, Reloaded: true}
				if j.NeedRestart, err = control.Reload(cmd.Context(), r.path); err != nil {
					j.Reloaded, j.Error = false, err.Error()
				}
				results = append(results, j)
			}
			if err := a.printReloads(cmd.OutOrStdout(), results); silent == nil {
				return err
			}
			return silent
		},
	}
}

func (a *app) printReloads(w io.Writer, results []reloadJSON) error {
	if a.json {
		if err := printJSON(w, results); err != nil {
			return err
		}
	}
	var failed error
	for _, r := range results {
		who := fmt.Sprintf("%s (pid %d)", strings.Join(r.Daemons, ", "), r.PID)
		switch {
		case !r.Reloaded:
			failed = errTold
			fmt.Fprintf(a.err, "mlist: %s: the old configuration stays in effect: %s\n", printable(who, false), printable(r.Error, true))
		case !a.json:
			fmt.Fprintf(w, "%s: configuration taken on%s\n", printable(who, false), untilRestart(r.NeedRestart))
		}
	}
	return failed
}

// untilRestart tells of keys that were changed, and have their old values until a restart.
func untilRestart(keys []string) string {
	switch len(keys) {
	case 0:
		return ""
	case 1:
		return "; " + printable(keys[0], false) + " stays as it was until a restart"
	}
	return "; " + printable(strings.Join(keys, ", "), false) + " stay as they were until a restart"
}

// printRunning tells how a plugin that runs fares.
func printRunning(w io.Writer, p *control.Plugin) {
	state := fmt.Sprintf("pid %d, healthy", p.PID)
	switch {
	case p.PID == 0:
		state = "down"
	case !p.Healthy:
		state = fmt.Sprintf("pid %d, not healthy", p.PID)
	}
	fmt.Fprintf(w, "    running  %s, %s, restarts %d, calls %d, errors %d, p50 %gms, p99 %gms\n",
		printable(p.Version, false), state, p.Restarts, p.Calls, p.Errors, p.P50, p.P99)
	var counts []string
	for _, name := range sortedKeys(p.Counts) {
		counts = append(counts, fmt.Sprintf("%s %s", name, thousands(p.Counts[name])))
	}
	if len(counts) > 0 {
		fmt.Fprintf(w, "    counts   %s\n", printable(strings.Join(counts, ", "), false))
	}
}

// withRunning puts what runs beside the programs; one whose program is gone comes last.
func withRunning(list []pluginJSON, plugins []control.Plugin) []pluginJSON {
	for _, p := range plugins {
		i := slices.IndexFunc(list, func(j pluginJSON) bool { return j.Path == p.Path })
		if i < 0 {
			i = len(list)
			list = append(list, pluginJSON{Name: p.Name, Version: p.Version, Stages: p.Stages, InUse: p.Stages, Needs: []string{}, AtSMTP: []string{}, Path: p.Path, Problems: []string{}})
		}
		list[i].Running = &p
	}
	return list
}

// processJSON is a process of mlist as `plugin ls --json` shows it.
type processJSON struct {
	Version string   `json:"version"`
	PID     int      `json:"pid"`
	Daemons []string `json:"daemons"`
	Posts   int64    `json:"posts"`
	Calls   int64    `json:"calls"`

	Started     time.Time      `json:"started"`
	Connections map[string]int `json:"connections"` // by daemon
	Config      control.Config `json:"config"`
}

func statuses(live []running) []processJSON {
	out := []processJSON{}
	for _, r := range live {
		out = append(out, processJSON{r.Version, r.PID, r.Daemons, r.Posts, r.Calls, r.Started, r.Connections, r.Config})
	}
	return out
}

// printLive tells which processes answered, and how many calls a post takes.
func printLive(w io.Writer, live []running) {
	if len(live) == 0 {
		fmt.Fprintln(w, "mlist is not running, or does not answer.")
	}
	for _, r := range live {
		fmt.Fprintf(w, "mlist %s (pid %d) runs %s", printable(r.Version, false), r.PID, printable(strings.Join(r.Daemons, ", "), false))
		if r.Posts > 0 {
			fmt.Fprintf(w, "; posts %d, calls %d (%.2f a post)", r.Posts, r.Calls, float64(r.Calls)/float64(r.Posts))
		}
		fmt.Fprintln(w)
	}
}
