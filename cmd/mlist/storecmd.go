package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/control"
	"github.com/mlist/mlist/internal/list"
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

func (a *app) storeMigrate() *cobra.Command {
	var to string
	var dry bool
	c := &cobra.Command{
		Use:   "migrate --to URL",
		Short: "copy the store to another database; mlist must be stopped",
		Long: `Copies everything in the store, that is lists, members, counters, what handlers keep, the index of the archive, held posts and
requests, to an empty one at URL: from SQLite to PostgreSQL, or back. Both are compared row by row before the copy is there for
anybody; if it is cut short, nothing of it is. It may be run again: a copy that is complete is compared once more.

Nothing else is touched: not the old store, nor the configuration, nor queues and archives, which stay where they are. Afterwards
store.url names the new one. --dry-run copies and compares, and then takes the copy back.`,
		Example: `  systemctl stop mlist.socket mlist.service
  mlist store migrate --to 'postgres://mlist@db.example.org/mlist?passfile=/etc/mlist/pgpass'
  mlist store migrate --to sqlite:/var/lib/mlist/mlist.db --dry-run`,
		Args: between(0, 0, "no argument, but --to"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.migrateStore(cmd, to, dry) },
	}
	c.Flags().StringVar(&to, "to", "", "where to: sqlite:PATH or postgres://USER@HOST/DATABASE")
	c.Flags().BoolVar(&dry, "dry-run", false, "leave nothing there but empty tables")
	return c
}

// migrateJSON is what was copied.
type migrateJSON struct {
	From    string               `json:"from"`
	To      string               `json:"to"`
	Tables  []sqlstore.TableRows `json:"tables"`
	Rows    int64                `json:"rows"`
	Seconds float64              `json:"seconds"`
	DryRun  bool                 `json:"dry_run"`
	Already bool                 `json:"already"` // it was all there, and was only compared
}

func (a *app) migrateStore(cmd *cobra.Command, url string, dry bool) error {
	ctx := cmd.Context()
	if url == "" {
		return usageError{errors.New("--to is missing: where to?")}
	}
	cfg, err := a.load()
	if err != nil {
		return err
	}
	if err := isStopped(ctx, cfg); err != nil {
		return err
	}
	styles, err := list.ReadStyles(cfg.Styles)
	if err != nil {
		return err
	}
	begun := time.Now()
	from, err := sqlstore.Open(ctx, cfg.Store.URL, sqlstore.Options{Styles: styles})
	if err != nil {
		return err
	}
	defer from.Close() // nothing was written
	to, err := sqlstore.Open(ctx, url, sqlstore.Options{Migrate: true, Styles: styles})
	if err != nil {
		return err
	}
	bar := newProgress(a.err)
	result := migrateJSON{From: from.URL(), To: to.URL(), DryRun: dry}
	done, err := sqlstore.Transfer(ctx, from, to, dry, func(t sqlstore.TableRows) {
		result.Rows += t.Rows
		bar.show(result.Rows, -1)
	})
	bar.clear()
	if err = closing(err, to.Close); err != nil {
		if errors.Is(err, sqlstore.ErrNotEmpty) {
			return withHint(err, "--to an empty database, or another schema of it: search_path=NAME in the URL.")
		}
		return err
	}
	result.Tables, result.Already, result.Seconds = done.Tables, done.Already, time.Since(begun).Seconds()
	if a.json {
		return printJSON(cmd.OutOrStdout(), result)
	}
	return result.print(cmd.OutOrStdout())
}

// isStopped refuses while mlist runs here or, as far as a shared spool tells, elsewhere.
func isStopped(ctx context.Context, cfg *config.Config) error {
	who := ""
	if socket, ok := strings.CutPrefix(cfg.Control.Listen, "unix:"); ok {
		if s, err := control.Ask(ctx, socket); err == nil {
			who = fmt.Sprintf("pid %d", s.PID)
		}
	}
	if who == "" {
		sp, err := openSpool(ctx, cfg, slog.New(slog.DiscardHandler), false)
		if err != nil {
			return nil // there is none yet, or nobody can use it now
		}
		owners, err := sp.Owners(ctx)
		if err = closing(err, sp.Close); err != nil {
			return err
		}
		if len(owners) > 0 {
			who = owners[0].Name
		}
	}
	if who == "" {
		return nil
	}
	return withHint(fmt.Errorf("mlist is running (%s): what it writes now would be missing in the copy", who),
		"Stop it on every machine: `systemctl stop mlist.socket mlist.service`. Postfix keeps the mail meanwhile.")
}

func (r *migrateJSON) print(w io.Writer) error {
	what := fmt.Sprintf("%s in %d tables, compared row by row, in %.1f s", count(r.Rows, "row", "rows"), len(r.Tables), r.Seconds)
	switch {
	case r.Already:
		what += ": all of it was there already"
	case r.DryRun:
		what += ": it can be copied, and was not (--dry-run)"
	}
	if _, err := fmt.Fprintf(w, "%s -> %s\n%s.\n", printable(r.From, false), printable(r.To, false), what); err != nil || r.DryRun {
		return err
	}
	_, err := fmt.Fprintln(w, "Set store.url to the new one, and start mlist. The old store is as it was; keep it until you are content.")
	return err
}
