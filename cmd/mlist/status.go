package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/control"
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
	Disk      diskJSON         `json:"disk"`
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

type ownerJSON struct {
	Queue    spool.Queue `json:"queue"`
	Segments string      `json:"segments"`
	Name     string      `json:"name"`
	PID      int         `json:"pid"`
}

// unservedJSON is a range that nobody serves.
type unservedJSON struct {
	Queue    spool.Queue `json:"queue"`
	Segments string      `json:"segments"`
}

// diskJSON is what is free where the spool is, in octets.
type diskJSON struct {
	Path  string `json:"path"`
	Free  uint64 `json:"free"`
	Total uint64 `json:"total"`
}

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "print how mlist fares: daemons, queues, segments, plugins, disk, and what is wrong",
		Long: `Prints which daemons answer, what waits in the queues and for how long, who serves which segments, how the plugins fare
and how full the disk is; and last what is wrong. It ends with status 1 if something is.`,
		Example: "  mlist status\n  mlist status --json | jq .problems",
		Args:    between(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load()
			if err != nil {
				return err
			}
			return a.withSpool(cmd.Context(), func(sp spool.Admin) error {
				st, err := gatherStatus(cmd.Context(), c, sp)
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
			})
		},
	}
}

func gatherStatus(ctx context.Context, c *config.Config, sp spool.Admin) (*statusJSON, error) {
	live, err := ask(ctx, c)
	if err != nil {
		return nil, err
	}
	st := &statusJSON{Processes: statuses(live), Plugins: []control.Plugin{}, Owners: []ownerJSON{}, Unserved: []unservedJSON{}, Problems: []string{}}
	for _, r := range live {
		st.Plugins = append(st.Plugins, r.Plugins...)
	}
	for _, q := range spool.Queues {
		j, err := summary(ctx, sp, q)
		if err != nil {
			return nil, err
		}
		st.Queues = append(st.Queues, j)
	}
	if err := st.addOwners(ctx, sp); err != nil {
		return nil, err
	}
	var fs unix.Statfs_t
	st.Disk.Path = localDir(c)
	if err := unix.Statfs(st.Disk.Path, &fs); err != nil {
		return nil, fmt.Errorf("ask how much of %s is free: %w", st.Disk.Path, err)
	}
	st.Disk.Free, st.Disk.Total = fs.Bavail*uint64(fs.Bsize), fs.Blocks*uint64(fs.Bsize)
	st.judge()
	return st, nil
}

// summary counts what is in a queue.
func summary(ctx context.Context, sp spool.Admin, q spool.Queue) (queueJSON, error) {
	out := queueJSON{Queue: q}
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

// addOwners tells who serves what, and what nobody does.
func (st *statusJSON) addOwners(ctx context.Context, sp spool.Admin) error {
	owners, err := sp.Owners(ctx)
	if err != nil {
		return err
	}
	served := map[spool.Queue]segment.Set{}
	for _, o := range owners {
		st.Owners = append(st.Owners, ownerJSON{o.Queue, o.Segments.String(), o.Name, o.PID})
		served[o.Queue] = append(served[o.Queue], o.Segments...)
	}
	for _, q := range []spool.Queue{spool.Incoming, spool.Bounces, spool.Outgoing} {
		if left := segment.All.Without(served[q]); len(left) > 0 {
			st.Unserved = append(st.Unserved, unservedJSON{q, left.String()})
		}
	}
	return nil
}

// diskLow is the part of the disk that should be free.
const diskLow = 10

// judge says what is wrong.
func (st *statusJSON) judge() {
	add := func(format string, args ...any) { st.Problems = append(st.Problems, fmt.Sprintf(format, args...)) }
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
	for _, p := range st.Plugins {
		if p.PID == 0 || !p.Healthy {
			add("plugin %s is not healthy", printable(p.Name, false))
		}
	}
	for _, q := range st.Queues {
		if q.Queue == spool.Failed && q.Entries > 0 {
			add("%s in failed: mlist queue ls failed", count(q.Entries, "message", "messages"))
		}
	}
	if st.Disk.Total > 0 && st.Disk.Free < st.Disk.Total/diskLow {
		add("%d %% of the spool's disk is free", st.Disk.Free*100/st.Disk.Total)
	}
}

func (st *statusJSON) print(w io.Writer, now time.Time) {
	for _, p := range st.Processes {
		fmt.Fprintf(w, "mlist %s (pid %d) runs %s\n", printable(p.Version, false), p.PID, printable(strings.Join(p.Daemons, ", "), false))
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
	fmt.Fprintf(w, "\n%-9s %-11s %s\n", "QUEUE", "SEGMENTS", "OWNER")
	for _, o := range st.Owners {
		fmt.Fprintf(w, "%-9s %-11s %s (pid %d)\n", o.Queue, o.Segments, printable(o.Name, false), o.PID)
	}
	if len(st.Plugins) > 0 {
		fmt.Fprintf(w, "\n%-16s %8s %9s %8s %9s\n", "PLUGIN", "PID", "CALLS", "ERRORS", "P99")
		for _, p := range st.Plugins {
			fmt.Fprintf(w, "%-16s %8d %9s %8s %7.1fms\n", printable(p.Name, false), p.PID, thousands(p.Calls), thousands(p.Errors), p.P99)
		}
	}
	fmt.Fprintf(w, "\n%s free of %s at %s\n", size(int64(st.Disk.Free)), size(int64(st.Disk.Total)), printable(st.Disk.Path, false))
	for _, p := range st.Problems {
		fmt.Fprintf(w, "PROBLEM: %s\n", p)
	}
}
