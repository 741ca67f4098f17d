package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mlist/mlist/internal/address"
	archivedir "github.com/mlist/mlist/internal/archive/dir"
	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/dir"
	"github.com/mlist/mlist/internal/spool/pg"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/store/sqlstore"
)

// withStore runs f on the store. Only the daemons and `list create` make a store or
// bring one up to date: a command with a wrong --config should not leave one behind.
func (a *app) withStore(ctx context.Context, migrate bool, f func(st store.Store) error) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	styles, err := list.ReadStyles(c.Styles)
	if err != nil {
		return err
	}
	st, err := sqlstore.Open(ctx, c.Store.URL, sqlstore.Options{Migrate: migrate, Styles: styles})
	if err != nil {
		return err
	}
	st.SetSite(c.SiteName)
	return closing(a.thenTables(ctx, st, f(st)), st.Close)
}

// thenTables tells Postfix of lists that a command has made or removed, even if it failed
// half-way.
func (a *app) thenTables(ctx context.Context, st store.Lists, err error) error {
	path, _ := a.path()
	if _, terr := refreshTables(ctx, path, st); terr != nil && err == nil {
		return withHint(terr, "What was asked for is done, but Postfix does not know of it yet: `mlist postfix tables`.")
	}
	return err
}

// withSpool runs f on the spool, which the daemons make.
func (a *app) withSpool(ctx context.Context, f func(sp spool.Admin) error) error {
	return a.withWholeSpool(ctx, func(sp spool.Spool) error { return f(sp) })
}

// withWholeSpool is withSpool, for commands that put something into it.
func (a *app) withWholeSpool(ctx context.Context, f func(sp spool.Spool) error) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	return withSpoolOf(ctx, c, f)
}

// withSpoolOf runs f on the spool that a configuration names.
func withSpoolOf(ctx context.Context, c *config.Config, f func(sp spool.Spool) error) error {
	if path, ok := spoolDir(c); ok {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return withHint(fmt.Errorf("there is no spool at %s", path), "mlist's daemons make it: `mlist serve`. `mlist config` shows what is configured.")
		}
	}
	sp, err := openSpool(ctx, c, slog.New(slog.DiscardHandler), false)
	if err != nil {
		return err
	}
	return closing(f(sp), sp.Close)
}

// openSpool opens the spool, and makes the tables of one in a database if it may; a
// directory is made when something is put into it.
func openSpool(ctx context.Context, c *config.Config, log *slog.Logger, migrate bool) (spool.Spool, error) {
	path, ok := spoolDir(c)
	if !ok {
		sp, err := pg.Open(ctx, c.Spool.URL, pg.Options{Migrate: migrate, Log: log, Lease: c.Spool.Lease.Std(), Host: c.Spool.Host})
		if err != nil {
			return nil, err // not sp: a nil *pg.Spool is a spool.Spool that is not nil
		}
		return sp, nil
	}
	sp, err := dir.Open(path, dir.Options{Log: log})
	if err != nil {
		return nil, err
	}
	return sp, nil
}

// spoolDir is the directory of the spool, if it is one; config has checked the URL.
func spoolDir(c *config.Config) (path string, ok bool) { return strings.CutPrefix(c.Spool.URL, "dir:") }

// localDir is where what mlist writes most on this machine is: the spool, or else the trace.
func localDir(c *config.Config) string {
	if path, ok := spoolDir(c); ok {
		return path
	}
	return c.Trace.Dir
}

// openArchive returns the archive; nil if none is configured.
func openArchive(c *config.Config) *archivedir.Archive {
	path, ok := strings.CutPrefix(c.Archive.URL, "dir:")
	if !ok {
		return nil
	}
	return archivedir.New(path)
}

// closing closes something after its use; an error of the use matters more.
func closing(err error, close func() error) error {
	if cerr := close(); err == nil {
		return cerr
	}
	return err
}

// listAddress reads an argument that names a list.
func listAddress(arg string) (address.Address, error) {
	addr, err := address.Parse(arg)
	if err != nil {
		return addr, usageError{fmt.Errorf("list %w", err)}
	}
	return addr, nil
}

// withList opens the store and hands a list of it to what the command does.
func (a *app) withList(cmd *cobra.Command, name string, do func(store.Store, *list.List) error) error {
	return a.withStore(cmd.Context(), false, func(st store.Store) error {
		l, err := findList(cmd.Context(), st, name)
		if err != nil {
			return err
		}
		return do(st, l)
	})
}

// findList looks a list up, and says which one may have been meant.
func findList(ctx context.Context, st store.Lists, arg string) (*list.List, error) {
	addr, err := address.Parse(arg)
	if err == nil {
		var l *list.List
		if l, err = st.List(ctx, addr); err == nil {
			return l, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
	} else {
		addr.Local, _, _ = strings.Cut(arg, "@")
	}
	missing := fmt.Errorf("no list %s", arg)
	const all = "`mlist list ls` shows all."
	n := 0
	for l, err := range st.AllLists(ctx, "") {
		if n++; err != nil || n > 10_000 {
			break // a hint is not worth more
		}
		if strings.EqualFold(l.Address.Local, addr.Local) {
			return nil, withHint(missing, "Did you mean %s? %s", l.Address, all)
		}
	}
	return nil, withHint(missing, "%s", all)
}
