package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

func (a *app) segmentCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "segment",
		Short: "see which daemon serves which segments, and have hosts give them up",
		Long: `Queues are cut into segments by a hash, so that daemons on several machines share them. With segments = "auto" each has a
part that fits how fast its MTA is; docs/segments.md tells how. Drains and pins hold until they are ended, whatever is restarted.`,
		Example: `  mlist segment ls
  mlist segment drain mail3 --wait && ssh mail3 apt-get upgrade
  mlist segment undrain mail3
  mlist segment pin 0000-0fff mail1`,
	}, a.segmentLs(), a.segmentDrain(true), a.segmentDrain(false), a.segmentPin(), a.segmentUnpin())
}

// segmentsJSON is what `mlist segment ls --json` prints.
type segmentsJSON struct {
	Owners   []ownerJSON    `json:"owners"`
	Unserved []unservedJSON `json:"unserved"`
	Pins     []pinJSON      `json:"pins"`
	Drained  []string       `json:"drained"` // hosts
}

type pinJSON struct {
	Segments string `json:"segments"`
	Host     string `json:"host"`
	Void     bool   `json:"void,omitempty"` // no daemon of the host shares outgoing, or it is drained
}

func (a *app) segmentLs() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "print who serves which segments, how fast, and what waits there",
		Long: `Prints every daemon that has segments, on any host that shares the spool: its part of the hash space, how many recipients a
second it does and could do (as measured), how many chunks of outgoing wait in its segments and since when; and pins and drained hosts.`,
		Example: "  mlist segment ls\n  mlist segment ls --json | jq '.owners[] | {host, share, waiting}'",
		Args:    between(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withSpool(cmd.Context(), func(sp spool.Admin) error {
				out, err := gatherSegments(cmd.Context(), sp)
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(cmd.OutOrStdout(), out)
				}
				out.print(cmd.OutOrStdout(), time.Now())
				return nil
			})
		},
	}
}

func gatherSegments(ctx context.Context, sp spool.Admin) (*segmentsJSON, error) {
	out := &segmentsJSON{Pins: []pinJSON{}, Drained: []string{}}
	var err error
	if out.Owners, out.Unserved, err = ownersOf(ctx, sp); err != nil {
		return nil, err
	}
	shared, ok := sp.(spool.SharedSegments)
	if !ok {
		return out, nil
	}
	pins, drained, err := shared.Wants(ctx)
	for _, p := range pins {
		out.Pins = append(out.Pins, pinJSON{p.Range.String(), p.Host, out.sharing(spool.Outgoing, p.Host) == 0 || slices.Contains(drained, p.Host)})
	}
	out.Drained = append(out.Drained, drained...)
	return out, err
}

// sharing counts the daemons that share a queue, or any if that is "", on a host or any.
func (s *segmentsJSON) sharing(q spool.Queue, host string) int {
	n := 0
	for _, o := range s.Owners {
		if o.Auto && (q == "" || o.Queue == q) && (host == "" || o.Host == host) {
			n++
		}
	}
	return n
}

func (s *segmentsJSON) print(w io.Writer, now time.Time) {
	printOwners(w, s.Owners, now)
	for _, u := range s.Unserved {
		fmt.Fprintf(w, "%-9s %s: nobody serves it\n", u.Queue, u.Segments)
	}
	for _, p := range s.Pins {
		void := ""
		if p.Void {
			void = ", which is not there or drained: others serve it"
		}
		fmt.Fprintf(w, "pinned    %s to %s%s\n", p.Segments, printable(p.Host, false), void)
	}
	for _, h := range s.Drained {
		there := ""
		if s.sharing("", h) == 0 {
			there = ", which is not there"
		}
		fmt.Fprintf(w, "drained   %s%s\n", printable(h, false), there)
	}
}

// ownerJSON is a daemon that has segments.
type ownerJSON struct {
	Queue    spool.Queue `json:"queue"`
	Segments string      `json:"segments"`
	Name     string      `json:"name"`
	PID      int         `json:"pid"`
	Share    float64     `json:"share"` // of the hash space, 0 to 1

	// Of a spool in a database:
	Host    string     `json:"host,omitempty"`
	Auto    bool       `json:"auto,omitempty"`
	Epoch   int64      `json:"epoch,omitempty"` // of its lease
	Since   *time.Time `json:"since,omitempty"`
	Rate    float64    `json:"rate"`               // recipients a second, of late
	Can     float64    `json:"can"`                // that it could do, as measured; 0 is not known yet
	Failing bool       `json:"failing,omitempty"`  // its MTA takes nothing
	Waiting int        `json:"waiting"`            // chunks of outgoing
	Delayed int        `json:"deferred,omitempty"` // of those
	Oldest  *time.Time `json:"oldest,omitempty"`   // of those
}

// ownersOf tells who serves what, and what nobody does.
func ownersOf(ctx context.Context, sp spool.Admin) ([]ownerJSON, []unservedJSON, error) {
	waiting, err := waitingIn(ctx, sp)
	if err != nil {
		return nil, nil, err
	}
	return ownersWith(ctx, sp, waiting)
}

// waitingIn counts what waits, by keys, where segments are shared.
func waitingIn(ctx context.Context, sp spool.Admin) ([]spool.Waiting, error) {
	if shared, ok := sp.(spool.SharedSegments); ok {
		return shared.Waiting(ctx)
	}
	return nil, nil
}

// ownersWith is ownersOf for who has counted already what waits.
func ownersWith(ctx context.Context, sp spool.Admin, waiting []spool.Waiting) ([]ownerJSON, []unservedJSON, error) {
	owners, err := sp.Owners(ctx)
	if err != nil {
		return nil, nil, err
	}
	out := make([]ownerJSON, len(owners))
	for i, o := range owners {
		out[i] = ownerJSON{Queue: o.Queue, Segments: o.Segments.String(), Name: o.Name, PID: o.PID, Share: o.Segments.Part(),
			Host: o.Host, Auto: o.Auto, Epoch: o.Epoch, Rate: o.Flow, Can: o.Rate, Failing: o.Failing}
		if !o.Since.IsZero() {
			out[i].Since = &o.Since
		}
	}
	unserved := []unservedJSON{}
	for _, q := range []spool.Queue{spool.Incoming, spool.Bounces, spool.Outgoing} {
		if left := unservedIn(q, owners); len(left) > 0 {
			unserved = append(unserved, unservedJSON{q, left.String()})
		}
	}
	for _, w := range waiting {
		i := slices.IndexFunc(owners, func(o spool.Ownership) bool { return o.Queue == spool.Outgoing && o.Segments.Contains(w.Key) })
		if i < 0 {
			continue
		}
		out[i].Waiting, out[i].Delayed = out[i].Waiting+w.Chunks, out[i].Delayed+w.Deferred
		if out[i].Oldest == nil || w.Since.Before(*out[i].Oldest) {
			out[i].Oldest = &w.Since
		}
	}
	return out, unserved, nil
}

// unservedIn is what of a queue nobody serves, nor is about to.
func unservedIn(q spool.Queue, owners []spool.Ownership) segment.Set {
	left := segment.All
	for _, o := range owners {
		if o.Queue == q {
			left = left.Without(o.Segments).Without(o.Coming)
		}
	}
	return left
}

// printOwners prints a line for each daemon. Those that share have many ranges: --json has them.
func printOwners(w io.Writer, owners []ownerJSON, now time.Time) {
	if len(owners) == 0 {
		return
	}
	shared := slices.ContainsFunc(owners, func(o ownerJSON) bool { return o.Host != "" })
	if !shared {
		fmt.Fprintf(w, "\n%-17s %-11s %s\n", "QUEUE", "SEGMENTS", "OWNER")
		for i := 0; i < len(owners); {
			o, queues := owners[i], []string{}
			for ; i < len(owners) && owners[i].who() == o.who() && owners[i].Segments == o.Segments; i++ {
				queues = append(queues, string(owners[i].Queue))
			}
			fmt.Fprintf(w, "%-17s %-11s %s\n", strings.Join(queues, ", "), o.Segments, o.who())
		}
		return
	}
	fmt.Fprintf(w, "\n%-9s %-16s %-11s %6s %9s %9s %8s %7s  %s\n", "QUEUE", "HOST", "SEGMENTS", "SHARE", "RATE", "CAN", "WAITING", "OLDEST", "OWNER")
	for _, o := range owners {
		segments, can, oldest := o.Segments, "-", "-"
		if o.Auto {
			segments = "auto"
		}
		if o.Can > 0 {
			can = thousands(int64(o.Can + 0.5))
		}
		if o.Failing {
			can = "MTA fails"
		}
		if o.Oldest != nil {
			oldest = age(*o.Oldest, now)
		}
		fmt.Fprintf(w, "%-9s %-16s %-11s %5.1f%% %9s %9s %8s %7s  %s\n", o.Queue, printable(o.Host, false), segments, 100*o.Share,
			thousands(int64(o.Rate+0.5)), can, thousands(int64(o.Waiting)), oldest, o.who())
	}
}

// withShared runs f on a spool whose segments are shared.
func (a *app) withShared(ctx context.Context, f func(sp spool.Admin, shared spool.SharedSegments) error) error {
	return a.withSpool(ctx, func(sp spool.Admin) error {
		shared, ok := sp.(spool.SharedSegments)
		if !ok {
			return withHint(errors.New("the segments of a spool in a directory are not shared"),
				"outbound.segments says which each daemon has: change that, and `mlist reload`.")
		}
		return f(sp, shared)
	})
}

// drainJSON is what `mlist segment drain --json` prints.
type drainJSON struct {
	Host    string `json:"host"`
	Drained bool   `json:"drained"`
	Changed bool   `json:"changed"`
	Left    int    `json:"left"`            // keys that the host has yet, of all queues together
	Alone   bool   `json:"alone,omitempty"` // there is a queue that no other host shares: it stays where it is
}

// isAlone tells whether there is a queue that a host shares with none that could take over.
func isAlone(ctx context.Context, sp spool.Admin, host string) (bool, error) {
	s, err := gatherSegments(ctx, sp)
	if err != nil {
		return false, err
	}
	for _, q := range []spool.Queue{spool.Incoming, spool.Bounces, spool.Outgoing} {
		others := s.sharing(q, "") - s.sharing(q, host)
		for _, drained := range s.Drained {
			if drained != host {
				others -= s.sharing(q, drained)
			}
		}
		if s.sharing(q, host) > 0 && others == 0 {
			return true, nil
		}
	}
	return false, nil
}

// checkHost refuses what no host can be called.
func checkHost(host string) error {
	if host == "" || printable(host, false) != host {
		return usageError{fmt.Errorf("host %q: want a name as `mlist segment ls` shows it", host)}
	}
	return nil
}

func (a *app) segmentDrain(drain bool) *cobra.Command {
	var wait time.Duration
	c := &cobra.Command{
		Use:   "drain HOST",
		Short: "have a host give up its segments, and take no more",
		Long: `Has the daemons of a host give up all segments that they share, each when what is in flight is finished, and take none until
` + "`mlist segment undrain`" + `. Others take them at once. While no other host shares them, they stay where they are.`,
		Example: "  mlist segment drain mail3\n  mlist segment drain mail3 --wait=5m && ssh mail3 systemctl stop mlist",
		Args:    between(1, 1, "a host, as `mlist segment ls` names it"),
	}
	if drain {
		c.Flags().DurationVar(&wait, "wait", 0, "wait until the host has none, for so long at most")
		c.Flags().Lookup("wait").NoOptDefVal = "1m"
	} else {
		c.Use, c.Short = "undrain HOST", "let a host take segments again"
		c.Long, c.Example = "Ends what `mlist segment drain` began: the host gets its share again.", "  mlist segment undrain mail3"
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withShared(cmd.Context(), func(sp spool.Admin, shared spool.SharedSegments) error {
			j := drainJSON{Host: args[0], Drained: drain}
			if err := checkHost(j.Host); err != nil {
				return err
			}
			left, known, err := hasSegments(cmd.Context(), sp, j.Host)
			if err != nil {
				return err
			}
			if j.Changed, err = shared.Drain(cmd.Context(), j.Host, drain); err != nil {
				return err
			}
			if !known && drain {
				fmt.Fprintf(a.err, "mlist: no daemon on %s shares segments now; it holds for those that come\n", printable(j.Host, false))
			}
			if drain && left > 0 {
				if j.Alone, err = isAlone(cmd.Context(), sp, j.Host); err != nil {
					return err
				}
			}
			if j.Alone {
				fmt.Fprintf(a.err, "mlist: no other host shares the segments of %s: it serves them until one does, or until it ends\n", printable(j.Host, false))
			}
			if j.Left = left; wait > 0 && left > 0 {
				if j.Left, err = a.waitDrained(cmd.Context(), sp, j.Host, wait); err != nil {
					return err
				}
			}
			if a.json {
				return printJSON(cmd.OutOrStdout(), j)
			}
			switch {
			case !drain:
				fmt.Fprintf(cmd.OutOrStdout(), "%s takes segments again\n", printable(j.Host, false))
			case j.Left == 0:
				fmt.Fprintf(cmd.OutOrStdout(), "%s is drained\n", printable(j.Host, false))
			default:
				fmt.Fprintf(cmd.OutOrStdout(), "%s gives its segments up: `mlist segment ls` shows how far it is\n", printable(j.Host, false))
			}
			return nil
		})
	}
	return c
}

// hasSegments counts the keys that daemons of a host have by their share.
func hasSegments(ctx context.Context, sp spool.Admin, host string) (left int, known bool, err error) {
	owners, err := sp.Owners(ctx)
	for _, o := range owners {
		if o.Host == host && o.Auto {
			known, left = true, left+o.Segments.Size()
		}
	}
	return left, known, err
}

// waitDrained waits until a host has no segments.
func (a *app) waitDrained(ctx context.Context, sp spool.Admin, host string, wait time.Duration) (left int, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	p, all := newProgress(a.err), 0
	defer p.clear()
	for {
		if left, _, err = hasSegments(ctx, sp, host); err == nil && left == 0 {
			return 0, nil
		}
		if err != nil && ctx.Err() == nil {
			return left, err
		}
		all = max(all, left, 1)
		p.show(int64(all-left), float64(all-left)/float64(all))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return left, withHint(fmt.Errorf("%s has segments yet, after %s", host, wait),
				"It goes on. Does another host share them? `mlist segment ls` shows it.")
		}
	}
}

func (a *app) segmentPin() *cobra.Command {
	return &cobra.Command{
		Use:   "pin RANGE HOST",
		Short: "have a range of outgoing served by a host",
		Long: `Has a range of outgoing, such as 0000-0fff, served by one host, as a part of its share or beyond it. While no daemon of that
host shares segments, or it is drained, the pin is void: others serve the range. A range that is pinned already gets the new host.`,
		Example: "  mlist segment pin 0000-0fff mail1",
		Args:    between(2, 2, "a range and a host"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := parseRange(args[0])
			if err != nil {
				return err
			}
			if err := checkHost(args[1]); err != nil {
				return err
			}
			return a.withShared(cmd.Context(), func(sp spool.Admin, shared spool.SharedSegments) error {
				if err := shared.Pin(cmd.Context(), spool.Pin{Range: r, Host: args[1]}); err != nil {
					if errors.Is(err, spool.ErrPinned) {
						err = withHint(err, "`mlist segment unpin` ends that.")
					}
					return err
				}
				now, err := gatherSegments(cmd.Context(), sp)
				if err != nil {
					return err
				}
				j := pinJSON{Segments: r.String(), Host: args[1]}
				if j.Void = now.sharing(spool.Outgoing, j.Host) == 0 || slices.Contains(now.Drained, j.Host); j.Void {
					fmt.Fprintf(a.err, "mlist: no daemon on %s shares outgoing now, or it is drained; until one does others serve the range\n", printable(j.Host, false))
				}
				if a.json {
					return printJSON(cmd.OutOrStdout(), j)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s is pinned to %s\n", r, printable(args[1], false))
				return nil
			})
		},
	}
}

func (a *app) segmentUnpin() *cobra.Command {
	return &cobra.Command{
		Use:     "unpin RANGE",
		Short:   "end all pins within a range",
		Example: "  mlist segment unpin 0000-0fff\n  mlist segment unpin 0000-ffff",
		Args:    between(1, 1, "a range"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := parseRange(args[0])
			if err != nil {
				return err
			}
			return a.withShared(cmd.Context(), func(_ spool.Admin, shared spool.SharedSegments) error {
				pins, err := shared.Unpin(cmd.Context(), r)
				if err != nil {
					return err
				}
				out := []pinJSON{}
				for _, p := range pins {
					out = append(out, pinJSON{Segments: p.Range.String(), Host: p.Host})
				}
				if a.json {
					return printJSON(cmd.OutOrStdout(), out)
				}
				if len(out) == 0 {
					return withHint(fmt.Errorf("nothing is pinned within %s", r), "`mlist segment ls` shows the pins.")
				}
				for _, p := range out {
					fmt.Fprintf(cmd.OutOrStdout(), "%s is no longer pinned to %s\n", p.Segments, printable(p.Host, false))
				}
				return nil
			})
		},
	}
}

func parseRange(arg string) (segment.Range, error) {
	set, err := segment.Parse(arg)
	if err == nil && len(set) != 1 {
		err = fmt.Errorf("%q: want one range", arg)
	}
	if err != nil {
		return segment.Range{}, usageError{err}
	}
	return set[0], nil
}
