package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/control"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/metrics"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// statusJSON is what `mlist status --json` prints.
type statusJSON struct {
	Processes []processJSON    `json:"processes"` // that answer here
	Plugins   []control.Plugin `json:"plugins"`
	Queues    []queueJSON      `json:"queues"`
	Owners    []ownerJSON      `json:"owners"` // of segments, on any machine that shares the spool
	Unserved  []unservedJSON   `json:"unserved"`
	Minute    metrics.Totals   `json:"minute"` // what the processes did in the last minute, together
	Totals    metrics.Totals   `json:"totals"` // and since each was started
	MTAs      []control.MTA    `json:"mtas"`   // how each outbound here gets on with its own
	Disks     []diskJSON       `json:"disks"`
	Checks    []metrics.Check  `json:"checks"`
	Problems  []string         `json:"problems"`
}

// queueJSON is a queue in short.
type queueJSON struct {
	Queue      spool.Queue `json:"queue"`
	Entries    int64       `json:"entries"` // of outgoing: posts
	Chunks     int64       `json:"chunks,omitempty"`
	Recipients int64       `json:"recipients,omitempty"` // of outgoing: that are left
	Deferred   int64       `json:"deferred"`             // that wait for a time; of outgoing, chunks
	Paused     int64       `json:"paused,omitempty"`     // posts of outgoing
	Oldest     *time.Time  `json:"oldest,omitempty"`
}

// who is the owner for people.
func (o ownerJSON) who() string { return fmt.Sprintf("%s (pid %d)", printable(o.Name, false), o.PID) }

// unservedJSON is a range that nobody serves.
type unservedJSON struct {
	Queue    spool.Queue `json:"queue"`
	Segments string      `json:"segments"`
}

// diskJSON is what is free on one file system, in octets.
type diskJSON struct {
	Of    []string `json:"of"` // what lies there: spool, store, archive, trace
	Path  string   `json:"path"`
	Free  uint64   `json:"free"`
	Total uint64   `json:"total"`
}

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "print how mlist fares: daemons, queues, rates, segments, plugins, disks, and what is wrong",
		Long: `Prints which daemons answer, what waits in the queues and for how long, what was done in the last minute, who serves which
segments, how the plugins and the way to the MTA fare and how full the disks are; and last what is wrong. It ends with status 1 if
something is. ` + "`mlist top`" + ` shows the same again and again.`,
		Example: "  mlist status\n  mlist status --json | jq .problems",
		Args:    between(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			st, err := a.gatherStatus(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				err = printJSON(cmd.OutOrStdout(), st)
			} else {
				st.print(cmd.OutOrStdout(), time.Now())
			}
			if err == nil && len(st.Problems) > 0 {
				return exitStatus(exitError)
			}
			return err
		},
	}
}

// gatherStatus tells what can be found out: what cannot is a problem that it tells of.
func (a *app) gatherStatus(ctx context.Context) (*statusJSON, error) {
	c, wrong := a.salvage()
	st, err := gatherLive(ctx, c)
	if err != nil {
		return nil, err
	}
	st.misconfigured(wrong)
	err = withSpoolOf(ctx, c, func(sp spool.Spool) (err error) {
		for _, q := range spool.Queues {
			j, err := summary(ctx, sp, q)
			if err != nil {
				return err
			}
			st.Queues = append(st.Queues, j)
		}
		st.Owners, st.Unserved, err = ownersOf(ctx, sp)
		return err
	})
	if err != nil {
		st.problem("the queues cannot be read: %s", printable(err.Error(), true))
	}
	st.judge()
	return st, nil
}

// misconfigured tells what is wrong with the configuration file, if something is.
func (st *statusJSON) misconfigured(wrong error) {
	if wrong != nil {
		st.problem("the configuration file would not be taken on, and what runs goes on with what it has: %s", printable(wrong.Error(), true))
	}
}

// gatherLive is what the running processes tell, and the disks.
func gatherLive(ctx context.Context, c *config.Config) (*statusJSON, error) {
	live, silent := ask(ctx, c)
	if errors.Is(silent, fs.ErrPermission) {
		return nil, silent // it is for mlist's user and root
	}
	st := liveStatus(live)
	if silent != nil {
		st.problem("a running mlist does not answer: %s", printable(silent.Error(), true))
	}
	st.addDisks(c)
	return st, nil
}

// liveStatus is what processes say, together.
func liveStatus(live []running) *statusJSON {
	st := &statusJSON{Processes: statuses(live), Plugins: []control.Plugin{}, Queues: []queueJSON{}, Owners: []ownerJSON{}, Unserved: []unservedJSON{},
		MTAs: []control.MTA{}, Disks: []diskJSON{}, Checks: []metrics.Check{}, Problems: []string{}}
	for _, r := range live {
		st.Plugins = append(st.Plugins, r.Plugins...)
		st.Checks = append(st.Checks, r.Checks...)
		st.Minute, st.Totals = st.Minute.Add(r.Minute), st.Totals.Add(r.Totals)
		if r.MTA != nil {
			st.MTAs = append(st.MTAs, *r.MTA)
		}
	}
	return st
}

// problem tells of one more, and of each once: several daemons may say the same.
func (st *statusJSON) problem(format string, args ...any) {
	p := inOneLine(fmt.Sprintf(format, args...))
	if !slices.Contains(st.Problems, p) {
		st.Problems = append(st.Problems, p)
	}
}

// inOneLine puts the lines of a text behind each other.
func inOneLine(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.ReplaceAll(strings.Join(lines, "; "), ":; ", ": ")
}

// addDisks tells how full the file systems are on which something lies, each once.
func (st *statusJSON) addDisks(c *config.Config) {
	seen := map[uint64]int{}
	for _, at := range disksOf(c) {
		d, err := diskAt(at.of, at.path)
		if err != nil {
			st.problem("%s", printable(err.Error(), true))
			continue
		}
		if i, ok := seen[d.Device]; ok {
			st.Disks[i].Of = append(st.Disks[i].Of, at.of)
			continue
		}
		seen[d.Device] = len(st.Disks)
		st.Disks = append(st.Disks, diskJSON{Of: []string{at.of}, Path: at.path, Free: d.Free, Total: d.Total})
	}
}

// summary counts what is in a queue.
func summary(ctx context.Context, sp spool.Admin, q spool.Queue) (queueJSON, error) {
	out := queueJSON{Queue: q}
	if counting, ok := sp.(spool.Counting); ok {
		c, err := counting.Count(ctx, q)
		out.Entries, out.Chunks, out.Recipients, out.Deferred, out.Paused = c.Entries, c.Chunks, c.Recipients, c.Deferred, c.Paused
		if !c.Oldest.IsZero() {
			out.Oldest = &c.Oldest
		}
		return out, err
	}
	for e, err := range entriesOf(ctx, sp, q) {
		if err != nil {
			return out, err
		}
		out.Entries++
		out.Chunks += int64(e.Chunks)
		out.Recipients += int64(e.Recipients)
		switch {
		case q == spool.Outgoing:
			out.Deferred += int64(e.Deferred)
		case e.Due != nil:
			out.Deferred++
		}
		if e.Paused {
			out.Paused++
		}
		if out.Oldest == nil || e.Received.Before(*out.Oldest) {
			received := e.Received
			out.Oldest = &received
		}
	}
	return out, nil
}

// diskLow is the part of the disk that should be free, and diskEnough what is enough of any.
const (
	diskLow    = 10
	diskEnough = 10 << 30
)

// isLow tells whether so many octets are too few.
func isLow(free, total uint64) bool { return total > 0 && free < total/diskLow && free < diskEnough }

// judge says what is wrong.
func (st *statusJSON) judge() {
	add := st.problem
	if len(st.Processes) == 0 {
		add("mlist is not running, or does not answer")
	}
	for _, u := range st.Unserved {
		if u.Segments == segment.All.String() {
			add("nobody serves %s", u.Queue)
		} else {
			add("nobody serves %s of %s", u.Segments, u.Queue)
		}
	}
	st.judgeLive()
	for _, q := range st.Queues {
		if q.Queue == spool.Failed && q.Entries > 0 {
			add("%s in failed: mlist failed ls", count(q.Entries, "message", "messages"))
		}
	}
	for _, m := range st.MTAs {
		if !m.Up {
			add("the MTA at %s is down since %s, and mail waits: %s", printable(m.Address, false), moment(m.DownSince), printable(m.Reason, true))
		}
	}
	for _, d := range st.Disks {
		if isLow(d.Free, d.Total) {
			add("%d %% of the disk with %s is free", d.Free*100/d.Total, strings.Join(d.Of, ", "))
		}
	}
}

// oftenLost is how often a plugin is lost lately that is lost again and again.
const oftenLost = 3

// judgeLive tells what the running processes say that is wrong.
func (st *statusJSON) judgeLive() {
	st.judgeConfigs()
	for _, c := range st.Checks {
		if !c.OK {
			st.problem("%s: %s", printable(c.Name, false), printable(c.Reason, true))
		}
	}
	for _, p := range st.Plugins {
		if p.Lost >= oftenLost {
			st.problem("plugin %s is lost again and again, and posts wait meanwhile: %d times in %d minutes, last because of this: %s",
				printable(p.Name, false), p.Lost, int(host.Lately.Minutes()), printable(p.LostWhy, true))
		}
	}
}

// judgeConfigs tells of reloads that came to nothing: once, of daemons that say the same.
func (st *statusJSON) judgeConfigs() {
	told := map[string]bool{}
	for _, p := range st.Processes {
		r := p.Config.Refused
		if r == nil || told[r.Reason] {
			continue
		}
		told[r.Reason] = true
		var who []string
		for _, other := range st.Processes {
			if o := other.Config.Refused; o != nil && o.Reason == r.Reason {
				who = append(who, other.Daemons...)
			}
		}
		st.problem("%s did not take the configuration on at %s, and what was before stays in effect: %s",
			printable(strings.Join(who, ", "), false), moment(r.At), printable(r.Reason, true))
	}
}

func (st *statusJSON) print(w io.Writer, now time.Time) {
	st.printProcesses(w, now)
	st.printQueues(w, now)
	printDoneHeadings(w)
	printTotals(w, "last minute", st.Minute)
	printTotals(w, "since start", st.Totals)
	st.printParts(w)
	for _, p := range st.Problems {
		fmt.Fprintf(w, "PROBLEM: %s\n", p)
	}
}

func (st *statusJSON) printProcesses(w io.Writer, now time.Time) {
	for _, p := range st.Processes {
		fmt.Fprintf(w, "mlist %s (pid %d) runs %s; up %s", printable(p.Version, false), p.PID, printable(strings.Join(p.Daemons, ", "), false), age(p.Started, now))
		for _, daemon := range sortedKeys(p.Connections) {
			if n := p.Connections[daemon]; n > 0 {
				fmt.Fprintf(w, "; %s to %s", count(int64(n), "connection", "connections"), printable(daemon, false))
			}
		}
		fmt.Fprintf(w, "%s\n", untilRestart(p.Config.NeedRestart))
	}
}

func (st *statusJSON) printQueues(w io.Writer, now time.Time) {
	if len(st.Queues) == 0 {
		return // they cannot be read
	}
	fmt.Fprintf(w, "\n%-9s %8s %11s %9s %7s\n", "QUEUE", "ENTRIES", "RECIPIENTS", "DEFERRED", "OLDEST")
	for _, q := range st.Queues {
		oldest, recipients := "-", "-"
		if q.Oldest != nil {
			oldest = age(*q.Oldest, now)
		}
		if q.Queue == spool.Outgoing {
			recipients = thousands(q.Recipients)
		}
		fmt.Fprintf(w, "%-9s %8s %11s %9s %7s", q.Queue, thousands(q.Entries), recipients, thousands(q.Deferred), oldest)
		if q.Paused > 0 {
			fmt.Fprintf(w, "  (%s paused)", thousands(q.Paused))
		}
		fmt.Fprintln(w)
	}
}

// printDone prints a line of the table of what was done: its headings, or figures.
func printDone(w io.Writer, what, taken, refused, prepared, held, delivered, deferred, bounced string) {
	fmt.Fprintf(w, "%-11s %9s %9s %9s %6s %11s %9s %9s\n", what, taken, refused, prepared, held, delivered, deferred, bounced)
}

func printDoneHeadings(w io.Writer) {
	fmt.Fprintln(w)
	printDone(w, "DONE", "TAKEN", "REFUSED", "PREPARED", "HELD", "DELIVERED", "DEFERRED", "BOUNCED")
}

func printTotals(w io.Writer, what string, t metrics.Totals) {
	printDone(w, what, thousands(t.Taken), thousands(t.Refused), thousands(t.Prepared), thousands(t.Held), thousands(t.Delivered), thousands(t.Deferred), thousands(t.Bounced))
}

// printParts tells of what mlist is made of and needs: plugins, the MTA, disks, segments.
func (st *statusJSON) printParts(w io.Writer) {
	if len(st.Plugins) > 0 {
		fmt.Fprintf(w, "\n%-16s %8s %8s %9s %8s %9s %9s\n", "PLUGIN", "PID", "RESTARTS", "CALLS", "ERRORS", "P50", "P99")
		for _, p := range st.Plugins {
			fmt.Fprintf(w, "%-16s %8d %8d %9s %8s %7.1fms %7.1fms\n", printable(p.Name, false), p.PID, p.Restarts, thousands(p.Calls), thousands(p.Errors), p.P50, p.P99)
		}
	}
	for _, m := range st.MTAs {
		state := "up"
		if !m.Up {
			state = "DOWN"
		}
		fmt.Fprintf(w, "MTA %s: %s; %d of %s under way\n", printable(m.Address, false), state, m.Transactions, count(int64(m.Limit), "transaction", "transactions"))
	}
	for _, d := range st.Disks {
		fmt.Fprintf(w, "%s free of %s at %s (%s)\n", size(int64(d.Free)), size(int64(d.Total)), printable(d.Path, false), strings.Join(d.Of, ", "))
	}
	printOwners(w, st.Owners, time.Now())
}
