package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
)

// ErrNoCopy says that a store is not a file.
var ErrNoCopy = errors.New("PostgreSQL keeps this store: its own tools copy it, such as pg_dump, pg_basebackup or a standby")

// Copy writes the store, as of one instant, to a new file at path, which becomes a store of
// its own. While it runs still, nothing in the store changes, of any process: what still
// does elsewhere belongs to the same instant. It is told in which places of the archive are
// the posts that wait for a digest: nothing else in the archive goes away by itself. Copying
// comes after that and disturbs nobody, but it keeps the write-ahead log from being cut.
func (s *Store) Copy(ctx context.Context, path string, still func(ctx context.Context, waiting []string) error) error {
	if s.dialect != &sqliteDialect {
		return ErrNoCopy
	}
	path, err := filepath.Abs(path) // in a URL of SQLite's it has to be
	if err == nil {
		err = s.copyTo(ctx, path, still)
	}
	if err == nil {
		err = CheckFile(ctx, path)
	}
	if err != nil {
		return fmt.Errorf("copy store %s: %w", s.url, errors.Join(err, removeIf(path)))
	}
	return nil
}

func (s *Store) copyTo(ctx context.Context, path string, still func(ctx context.Context, waiting []string) error) error {
	if err := createFile(path, 0o600); err != nil {
		return err
	}
	conn, err := s.stream.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	snapshot, err := s.freeze(ctx, conn, still)
	if err != nil {
		return err
	}
	defer snapshot.Rollback() // nothing was written
	return conn.Raw(func(c any) error {
		from, ok := c.(interface {
			NewBackup(uri string) (*sqlite.Backup, error)
		})
		if !ok {
			return errors.New("the driver cannot copy")
		}
		to := url.URL{Scheme: "file", Path: path}
		b, err := from.NewBackup(to.String() + "?mode=rw")
		if err != nil {
			return err
		}
		for more := true; more && err == nil; {
			if err = ctx.Err(); err == nil {
				more, err = b.Step(1024)
			}
		}
		return errors.Join(err, b.Finish())
	})
}

// freeze begins a snapshot, and calls still while no other may begin to write.
func (s *Store) freeze(ctx context.Context, conn *sql.Conn, still func(ctx context.Context, waiting []string) error) (snapshot *sql.Tx, err error) {
	err = s.update(ctx, func(*sql.Tx) error {
		if snapshot, err = conn.BeginTx(context.WithoutCancel(ctx), &sql.TxOptions{ReadOnly: true}); err != nil {
			return err
		}
		rows, err := snapshot.QueryContext(ctx, `SELECT digest_place FROM archive WHERE digest <> 0 AND digest_place <> ''`)
		if err != nil {
			return err
		}
		var waiting []string
		err = eachRow(ctx, rows, func(rows *sql.Rows) error {
			var place string
			err := rows.Scan(&place)
			waiting = append(waiting, place)
			return err
		})
		if err == nil {
			err = still(ctx, waiting)
		}
		if err == nil {
			err = errUnchanged
		}
		return err
	})
	if err != nil && snapshot != nil {
		snapshot.Rollback()
	}
	return snapshot, err
}

// CheckFile reads all of a store's file, as SQLite's own check does. The file stays as it is.
func CheckFile(ctx context.Context, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	name := url.URL{Scheme: "file", Path: path}
	db, err := sql.Open("sqlite", name.String()+"?mode=ro&immutable=1")
	if err != nil {
		return err
	}
	defer db.Close()
	var said string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&said); err != nil {
		return fmt.Errorf("check %s: %w", path, err)
	}
	if said != "ok" {
		return fmt.Errorf("check %s: SQLite says: %s", path, said)
	}
	have, err := schemaVersion(ctx, db, &sqliteDialect)
	if err != nil {
		return fmt.Errorf("check %s: %w", path, err)
	}
	if want := latestSchema(&sqliteDialect); have > want {
		return &SchemaError{Have: have, Want: want}
	} else if have == 0 {
		return fmt.Errorf("check %s: it is no store of mlist's", path)
	}
	return nil
}

func removeIf(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
