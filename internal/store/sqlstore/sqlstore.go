// Package sqlstore is the store over SQL.
//
// A write is one transaction that is on stable storage when the method returns.
// Writes of one process queue behind one connection, those of several processes
// behind the database's lock, on PostgreSQL an advisory one, and no method holds that
// lock while it waits for its caller. Iterators read from a snapshot as the caller
// consumes, each over a connection of its own; point reads have others, so that a caller
// may read while it iterates. An iterator that stays open keeps SQLite's write-ahead log
// from being cut, and PostgreSQL from vacuuming: do not wait for the network within one.
package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/postgres"
	"github.com/mlist/mlist/internal/store"
)

var _ store.Store = (*Store)(nil)

// Options of Open. The zero value opens a store that exists and is up to date.
type Options struct {
	// Migrate makes a store that is not there, and brings an older one up to date.
	Migrate bool
	// Filling opens a store that is being made a copy of another, too: see Transfer.
	Filling bool
	// FileMode is the permissions of a new database file; 0 means 0600.
	FileMode fs.FileMode
	// Styles are what lists follow; nil means the built-in ones.
	Styles *list.Styles
	// Now is the clock for creation times; nil means time.Now.
	Now func() time.Time
}

// Store is an open store. Its methods may be called at once.
type Store struct {
	url     string
	dialect *dialect
	now     func() time.Time
	styles  atomic.Pointer[list.Styles]
	site    atomic.Pointer[string] // local part of the site's own address

	writer *sql.DB // one connection: writes queue here rather than at the database's lock
	reader *sql.DB // point reads
	stream *sql.DB // iterators
	back   *sql.DB // those of them that read from both ends; nil if none do
	ends   chan struct{}
	q      queries
	texts  map[*sql.Stmt]string // of the queries

	patterns banPatterns
	parsed   parsed
}

// Open opens the store at a URL: "sqlite:PATH", or "postgres://USER@HOST/DATABASE" with what
// else libpq takes there. An error says what to do about it; a store of another schema than
// this version's is a *SchemaError.
func Open(ctx context.Context, url string, opts Options) (*Store, error) {
	scheme, rest, _ := strings.Cut(url, ":")
	if scheme == "postgresql" {
		scheme = "postgres"
	}
	if scheme != "sqlite" && scheme != "postgres" || rest == "" {
		// Only the scheme is printed: what follows it may hold a password.
		return nil, fmt.Errorf("store url of scheme %q: want sqlite:PATH or postgres://USER@HOST/DATABASE", scheme)
	}
	if opts.FileMode == 0 {
		opts.FileMode = 0o600
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Styles == nil {
		opts.Styles = list.BuiltinStyles()
	}
	s := &Store{url: url, now: opts.Now, dialect: &sqliteDialect}
	s.styles.Store(opts.Styles)
	var err error
	if scheme == "sqlite" {
		err = s.openSQLite(ctx, rest, opts)
	} else {
		s.url, s.dialect = postgres.WithoutPassword(url), &postgresDialect
		err = s.openPostgres(ctx, url, opts)
	}
	if err == nil && !opts.Filling {
		err = s.checkFilling(ctx)
	}
	if err == nil {
		err = s.prepare(ctx)
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("open store %s: %w", s.url, err)
	}
	return s, nil
}

// SetSite implements store.Applier.
func (s *Store) SetSite(local string) {
	local = strings.ToLower(local)
	s.site.Store(&local)
}

// Site implements store.Applier.
func (s *Store) Site() string {
	if site := s.site.Load(); site != nil {
		return *site
	}
	return ""
}

// SetStyles has lists follow other styles from now on. It fails, and changes nothing, if a list
// has one that is not there.
func (s *Store) SetStyles(ctx context.Context, styles *list.Styles) error {
	var missing error
	err := s.snapshot(ctx, func(tx *sql.Tx) error {
		rows, err := tx.Stmt(s.q.usedStyles).Query(lastKey)
		if err != nil {
			return err
		}
		return eachRow(ctx, rows, func(rows *sql.Rows) error {
			var k, local, style string
			if err := rows.Scan(&k, &local, &style); err != nil {
				return err
			}
			if _, err := styles.Base(style); err != nil && missing == nil {
				missing = fmt.Errorf("list %s: %w", unkey(k, local), err)
			}
			return nil
		})
	})
	if err = cmp.Or(err, missing); err != nil {
		return fmt.Errorf("styles: %w", err)
	}
	s.styles.Store(styles)
	return nil
}

// URL is where the store is, without a password.
func (s *Store) URL() string { return s.url }

// Ping reads a row, so that a database that is gone or broken is noticed.
func (s *Store) Ping(ctx context.Context) error {
	have, err := schemaVersion(ctx, s.reader, s.dialect)
	if err != nil {
		return fmt.Errorf("ping store %s: %w", s.url, err)
	}
	if have == 0 {
		return fmt.Errorf("ping store %s: its tables are gone", s.url)
	}
	return nil
}

// Close ends the store. An iterator that is under way keeps its connection until it ends.
func (s *Store) Close() error {
	var errs []error
	for _, db := range []*sql.DB{s.stream, s.back, s.reader, s.writer} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close store %s: %w", s.url, err)
	}
	return nil
}

// errUnchanged ends a transaction that has nothing to commit, and so costs no sync.
var errUnchanged = errors.New("unchanged")

// update runs f in a transaction of the writer and commits it.
func (s *Store) update(ctx context.Context, f func(tx *sql.Tx) error) error {
	var tx *sql.Tx
	err := s.patiently(ctx, func() (err error) {
		tx, err = s.writer.BeginTx(ctx, nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if s.dialect.lockWrites != "" {
		if _, err := tx.ExecContext(ctx, s.dialect.lockWrites); err != nil {
			tx.Rollback()
			return fmt.Errorf("wait for other writers: %w", err)
		}
	}
	if err := f(tx); err != nil {
		tx.Rollback() // its own error adds nothing: the transaction is over either way
		if errors.Is(err, errUnchanged) {
			return nil
		}
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// patiently tries f again while another process holds the database's lock.
func (s *Store) patiently(ctx context.Context, f func() error) error {
	for start := time.Now(); ; {
		err := f()
		if !s.dialect.isBusy(err) || time.Since(start) > busyTimeout {
			return err
		}
		if err := wait(ctx, busyRetry); err != nil {
			return err
		}
	}
}

// giveWay comes between two transactions of one piece of work. It lasts longer than a
// writer waits before it tries again, so that one who waits gets its turn.
func giveWay(ctx context.Context) error { return wait(ctx, 2*busyRetry) }

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
