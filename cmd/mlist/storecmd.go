package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/spool/transfer"
	"github.com/mlist/mlist/internal/store/sqlstore"
)

func (a *app) storeCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:     "store",
		Short:   "the database of lists and members",
		Long:    "What the database of lists, members and counters is kept in.",
		Example: "  mlist store migrate --to postgres://mlist@db.example.org/mlist --dry-run",
	}, a.storeMigrate())
}

// moveFlags say what is to be moved, and how.
type moveFlags struct {
	to, spool     string
	dry, switchTo bool
}

func (a *app) storeMigrate() *cobra.Command {
	var f moveFlags
	c := &cobra.Command{
		Use:   "migrate --to URL",
		Short: "move store and queues to PostgreSQL, or back, with a pause of seconds",
		Long: `Moves everything in the store, that is lists, members, counters, what handlers keep, the index of the archive, held posts and
requests, to an empty one at URL: from SQLite to PostgreSQL, or back. The queues move with it: to the same database, or back into a
directory; --spool says where to, or --spool=keep that they stay. Rows and messages are all compared before anything is given up.

With --switch, a running mlist need not be stopped. While it runs nearly everything is copied; then it lets go of store and queues
for some seconds, in which what has changed is copied, all is compared once more, and store.url and spool.url are changed in the
configuration; then it goes on. (Connections wait meanwhile, if systemd holds the sockets.) Without --switch mlist must be stopped,
and the lines to change are printed. In both cases it must be stopped on other machines.

Cut short anywhere, it is run again, and goes on from what is there. The old store stays as it was; queues are empty where they
were, and refuse to be used. --dry-run copies and compares the store, and takes the copy back, and counts what is in the queues.`,
		Example: `  mlist store migrate --to 'postgres://mlist@db.example.org/mlist?passfile=/etc/mlist/pgpass' --dry-run
  mlist store migrate --to 'postgres://mlist@db.example.org/mlist?passfile=/etc/mlist/pgpass' --switch
  mlist store migrate --to sqlite:/var/lib/mlist/mlist.db --spool dir:/var/spool/mlist --switch`,
		Args: between(0, 0, "no argument, but --to"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.migrateStore(cmd, f) },
	}
	c.Flags().StringVar(&f.to, "to", "", "where to: sqlite:PATH or postgres://USER@HOST/DATABASE")
	c.Flags().StringVar(&f.spool, "spool", "", "where the queues go: dir:PATH, postgres://…, or keep")
	c.Flags().BoolVar(&f.switchTo, "switch", false, "change the configuration, and have a running mlist go on with it")
	c.Flags().BoolVar(&f.dry, "dry-run", false, "leave nothing there but empty tables")
	return c
}

// migrateJSON is what was moved.
type migrateJSON struct {
	From     string               `json:"from"`
	To       string               `json:"to"`
	Tables   []sqlstore.TableRows `json:"tables"`
	Rows     int64                `json:"rows"`
	Queues   *queuesJSON          `json:"queues,omitempty"`
	Seconds  float64              `json:"seconds"`
	Pause    float64              `json:"pause_seconds"` // for which mlist did not run
	DryRun   bool                 `json:"dry_run"`
	Already  bool                 `json:"already"` // the store was all there, and was only compared
	Switched bool                 `json:"switched"`
	Change   []string             `json:"change"` // of the configuration, unless it was switched
}

// queuesJSON is what was moved of the queues.
type queuesJSON struct {
	From string `json:"from"`
	To   string `json:"to"`
	transfer.Round
}

func (r *migrateJSON) print(w io.Writer) error {
	var b strings.Builder
	if r.From != r.To {
		fmt.Fprintf(&b, "%s -> %s\n  %s in %d tables, compared row by row", printable(r.From, false), printable(r.To, false), count(r.Rows, "row", "rows"), len(r.Tables))
		if r.Already {
			b.WriteString(": all of it was there already")
		}
		b.WriteString(".\n")
	}
	if q := r.Queues; q != nil {
		fmt.Fprintf(&b, "%s -> %s\n  %s that wait or are held, %s on the way to %s; %s in all", printable(q.From, false), printable(q.To, false),
			count(q.Entries, "message", "messages"), count(q.Posts, "post", "posts"), count(q.Recipients, "recipient", "recipients"), size(q.Octets))
		if !r.DryRun {
			b.WriteString(", compared by hash")
		}
		b.WriteString(".\n")
		for _, d := range q.Damaged {
			fmt.Fprintf(&b, "  left where it is, since it cannot be read: %s\n", printable(d, false))
		}
	}
	if r.DryRun {
		fmt.Fprintf(&b, "It can be moved, and was not (--dry-run). The copy took %.1f s.\n", r.Seconds)
		_, err := io.WriteString(w, b.String())
		return err
	}
	fmt.Fprintf(&b, "It took %.1f s", r.Seconds)
	if r.Pause > 0 {
		fmt.Fprintf(&b, "; mlist paused for %.1f s", r.Pause)
	}
	b.WriteString(".\n")
	if r.Switched {
		b.WriteString("The configuration names the new place. ")
	} else {
		fmt.Fprintf(&b, "Now change the configuration, and start mlist:\n  %s\n", printable(strings.Join(r.Change, "\n  "), true))
	}
	if r.From != r.To {
		b.WriteString("The old store is as it was; keep it until you are content.")
	}
	_, err := io.WriteString(w, strings.TrimRight(b.String(), " \n")+"\n")
	return err
}

func (a *app) migrateStore(cmd *cobra.Command, f moveFlags) error {
	m, err := a.planMove(f)
	if err != nil {
		return err
	}
	if status, done, err := m.becomeOwner(); done || err != nil {
		return errors.Join(err, status)
	}
	err = m.run(cmd.Context())
	m.bar.clear()
	if err = errors.Join(err, m.close()); err != nil {
		return m.cure(err)
	}
	if a.json {
		return printJSON(cmd.OutOrStdout(), m.result)
	}
	return m.result.print(cmd.OutOrStdout())
}
