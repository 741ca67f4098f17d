package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mlist/mlist/internal/store"
)

// statements run the store's prepared queries in a transaction: one of its own, or one of
// somebody else's in the same database.
type statements interface {
	row(ctx context.Context, q *sql.Stmt, args ...any) scanner
	exec(ctx context.Context, q *sql.Stmt, args ...any) (rows int64, err error)
}

type sqlStatements struct{ tx *sql.Tx }

func (s sqlStatements) row(ctx context.Context, q *sql.Stmt, args ...any) scanner {
	return s.tx.StmtContext(ctx, q).QueryRowContext(ctx, args...)
}

func (s sqlStatements) exec(ctx context.Context, q *sql.Stmt, args ...any) (int64, error) {
	result, err := s.tx.StmtContext(ctx, q).ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

type pgxStatements struct {
	tx    pgx.Tx
	texts map[*sql.Stmt]string
}

func (s pgxStatements) row(ctx context.Context, q *sql.Stmt, args ...any) scanner {
	return s.tx.QueryRow(ctx, s.texts[q], args...)
}

func (s pgxStatements) exec(ctx context.Context, q *sql.Stmt, args ...any) (int64, error) {
	tag, err := s.tx.Exec(ctx, s.texts[q], args...)
	return tag.RowsAffected(), err
}

// SharesDatabase tells whether the store's tables are where somebody else finds its own, who
// holds an advisory lock in a transaction that has not ended, with a schema and a user. So it
// is the database that says whether two URLs mean the same.
func (s *Store) SharesDatabase(ctx context.Context, lock int64, schema, user string) (same bool, err error) {
	if s.dialect != &postgresDialect {
		return false, nil
	}
	err = s.writer.QueryRowContext(ctx, `SELECT NOT pg_try_advisory_xact_lock($1) AND current_schema() = $2 AND current_user = $3`, lock, schema, user).Scan(&same)
	if err != nil {
		return false, fmt.Errorf("look for another's lock in store %s: %w", s.url, err)
	}
	return same, nil
}

// errOtherNumber ends a transaction in which a post would get another number than it was
// prepared with, or was filed before.
var errOtherNumber = errors.New("it was filed before, or its number is another's")

// Filing is FilePosts, and FilePost of one without a number, in a transaction of somebody who
// shares the store's database. Each post is new, and gets the number beside it, 0 is none: or else there is an
// error, and the transaction is to be given up. What need not be known at once is queued.
//
// Posts of several lists may be filed at the same time so, on many connections, but none while
// another of the store's writers is at work: those who file share the lock of writers, and
// meet only at the row of a list.
func (s *Store) Filing(posts []store.Post, numbers []int64, window time.Duration) func(context.Context, pgx.Tx, *pgx.Batch) error {
	return func(ctx context.Context, tx pgx.Tx, all *pgx.Batch) error {
		all.Queue(shareWrites)
		for i, p := range posts {
			if err := s.fileWithin(ctx, tx, all, p, numbers[i], window); err != nil {
				return fmt.Errorf("file post %s: %w", p.Entry, err)
			}
		}
		return nil
	}
}

func (s *Store) fileWithin(ctx context.Context, tx pgx.Tx, all *pgx.Batch, p store.Post, number int64, window time.Duration) error {
	if err := checkPost(p); err != nil {
		return err
	}
	numbered := number > 0
	// The row of the list is locked from here on.
	all.Queue(s.texts[s.q.nextNumber], p.ListID, btoi(numbered)).QueryRow(func(row pgx.Row) error {
		var next int64
		if err := row.Scan(&next); err != nil {
			return notFound(err)
		}
		if numbered && next != number {
			return errOtherNumber
		}
		return nil
	})
	all.Queue(s.texts[s.q.filedPost], p.ListID, p.Entry, p.Digest, p.At.Add(-window).UnixMicro()).QueryRow(func(row pgx.Row) error {
		var f filedPost
		if err := f.scan(row); err != nil {
			return err
		}
		if f.entry.Valid {
			return errOtherNumber
		}
		return nil
	})
	all.Queue(s.texts[s.q.addPost], p.ListID, p.Entry, p.Digest, sql.NullInt64{Int64: number, Valid: numbered}, p.At.UnixMicro())
	if !numbered {
		return nil
	}
	if p.Kept != nil {
		all.Queue(s.texts[s.q.addArchived], archivedArgs(archived(p, number))...)
	}
	if len(p.State) == 0 && p.Approval == "" {
		return nil
	}
	// What these find decides what they do: all that was queued comes first.
	if err := tx.SendBatch(ctx, all).Close(); err != nil {
		return err
	}
	*all = pgx.Batch{}
	on := pgxStatements{tx, s.texts}
	if err := s.editState(ctx, on, p); err != nil {
		return err
	}
	if p.Approval == "" {
		return nil
	}
	return s.useApproval(ctx, on, p)
}
