package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/transfer"
	"github.com/mlist/mlist/internal/store/sqlstore"
)

// siteMove is a site that is moved: from what the configuration says now to what it will say.
type siteMove struct {
	a         *app
	flags     moveFlags
	path      string // of the configuration
	cfg, next *config.Config
	text      []byte // of the next one

	// What is moved; nil is what stays.
	storeFrom, storeTo *sqlstore.Store
	spoolFrom, spoolTo spool.Movable
	lock               spool.Owner // of the new queues
	mover              *transfer.Transfer
	closers            []func() error

	bar    *progress
	result migrateJSON
}

// keep is the word for queues that stay.
const keep = "keep"

// planMove works out the next configuration, and that it is a good one.
func (a *app) planMove(f moveFlags) (*siteMove, error) {
	cfg, err := a.load()
	if err != nil {
		return nil, err
	}
	m := &siteMove{a: a, flags: f, cfg: cfg, bar: newProgress(a.err)}
	m.path, _ = a.path()
	if f.to == "" && (f.spool == "" || f.spool == keep) {
		return nil, usageError{errors.New("--to is missing: where to?")}
	}
	to, queues := f.to, f.spool
	if to == "" {
		to = cfg.Store.URL
	}
	_, isDir := spoolDir(cfg)
	database := !strings.HasPrefix(to, "sqlite:")
	switch {
	case queues == keep, queues == "" && isDir == !database:
		queues = cfg.Spool.URL
	case queues == "" && database:
		queues = to
	case queues == "":
		queues = config.Default().Spool.URL
	}
	if to == cfg.Store.URL && queues == cfg.Spool.URL {
		return nil, usageError{errors.New("store and queues are there already")}
	}
	if m.text, err = os.ReadFile(m.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if isDir && cfg.Trace.Dir == "" && !strings.HasPrefix(queues, "dir:") {
		err = m.change("trace", "dir", tracePath(cfg)) // where it is
	} else {
		err = nil
	}
	if err == nil && to != cfg.Store.URL {
		err = m.change("store", "url", to)
	}
	if err == nil && queues != cfg.Spool.URL {
		err = m.change("spool", "url", queues)
	}
	if err == nil {
		m.next, err = config.Parse(m.path, m.text)
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// change changes a key of the next configuration.
func (m *siteMove) change(section, key, value string) error {
	text, err := config.SetText(m.path, m.text, section, key, value)
	if err != nil {
		return fmt.Errorf("with %s.%s = %q: %w", section, key, value, err)
	}
	m.text = text
	m.result.Change = append(m.result.Change, fmt.Sprintf("[%s] %s = %q", section, key, value))
	return nil
}

// becomeOwner has what is made be the daemons' user's, where only the new place tells whose it is.
func (m *siteMove) becomeOwner() (status error, done bool, err error) {
	uid, gid, ok := ownerOf(m.next)
	if os.Geteuid() != 0 || !ok || uid == 0 {
		return nil, false, nil
	}
	code, err := runAs(uid, gid, os.Args[1:])
	if err != nil {
		return nil, true, fmt.Errorf("run as the user of the spool (uid %d): %w", uid, err)
	}
	return exitStatus(code), true, nil
}

// close closes what was opened, the last first.
func (m *siteMove) close() error {
	var errs []error
	for i := len(m.closers) - 1; i >= 0; i-- {
		errs = append(errs, m.closers[i]())
	}
	m.closers = nil
	return errors.Join(errs...)
}

// cure adds what to do about an error.
func (m *siteMove) cure(err error) error {
	var hint hintError
	switch {
	case errors.As(err, &hint):
	case errors.Is(err, sqlstore.ErrNotEmpty):
		return withHint(err, "--to an empty database, or another schema of it: search_path=NAME in the URL. An old file is to be moved away.")
	case errors.Is(err, spool.ErrNotEmpty):
		return withHint(err, "--spool names another place, or keep.")
	case errors.Is(err, spool.ErrOwned):
		return withHint(err, stopAll)
	}
	return err
}

const stopAll = "Stop it on every machine: `systemctl stop mlist.socket mlist.service`. Postfix keeps the mail meanwhile."
