package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/store"
)

// What archive.digest says.
const (
	digestNone    = 0
	digestWaiting = 1
	digestClosed  = 2
)

// addArchived enters a post into the index. The list's row is locked.
func (s *Store) addArchived(ctx context.Context, tx *sql.Tx, a store.Archived) error {
	if _, err := tx.StmtContext(ctx, s.q.addArchived).ExecContext(ctx, archivedArgs(a)...); err != nil {
		return fmt.Errorf("enter it into the archive: %w", err)
	}
	return nil
}

// archivedArgs are the parameters of the statement that enters a post.
func archivedArgs(a store.Archived) []any {
	digest := digestNone
	if a.DigestPlace != "" {
		digest = digestWaiting
	}
	sum := a.SHA256
	if sum == nil {
		sum = []byte{} // nil would be NULL
	}
	return []any{a.ListID, a.Number, a.Entry, foreign(a.MessageID), a.Hash, a.Parent,
		foreign(strings.Join(a.Refs, " ")), a.Date.UnixMicro(), a.Received.UnixMicro(), foreign(a.From), foreign(a.FromName), foreign(a.Subject),
		a.Size, sum, a.Place, digest, a.DigestPlace, a.DigestSize}
}

func scanArchived(row scanner) (store.Archived, error) {
	var (
		a              store.Archived
		refs           string
		date, received int64
		digest         int
		removed        sql.NullInt64
	)
	err := row.Scan(&a.ListID, &a.Number, &a.Entry, &a.MessageID, &a.Hash, &a.Parent, &refs, &date, &received, &a.From, &a.FromName, &a.Subject,
		&a.Size, &a.SHA256, &a.Place, &digest, &a.DigestPlace, &a.DigestSize, &a.Issue.Volume, &a.Issue.Issue, &removed)
	a.Refs = strings.Fields(refs)
	a.Date, a.Received = time.UnixMicro(date).UTC(), time.UnixMicro(received).UTC()
	if len(a.SHA256) == 0 {
		a.SHA256 = nil
	}
	a.Waiting = digest == digestWaiting
	if removed.Valid {
		a.Removed = time.UnixMicro(removed.Int64).UTC()
	}
	return a, err
}

// Archived implements store.Archive.
func (s *Store) Archived(ctx context.Context, listID int64, f store.ArchiveFilter) iter.Seq2[store.Archived, error] {
	last, since, until := f.Last, int64(math.MinInt64), int64(math.MaxInt64)
	if last == 0 {
		last = math.MaxInt64
	}
	if !f.Since.IsZero() {
		since = f.Since.UnixMicro()
	}
	if !f.Until.IsZero() {
		until = f.Until.UnixMicro()
	}
	stmt, args := s.q.archived, []any{listID, f.First, last, since, until, btoi(f.Unarchived)}
	if f.Hash != "" {
		stmt, args = s.q.archivedHash, append(args, f.Hash)
	}
	return rowsOf(ctx, s, "read the archive", scanArchived, stmt, args...)
}

// rowsOf yields what scan reads from the rows of a query on the stream.
func rowsOf[T any](ctx context.Context, s *Store, what string, scan func(scanner) (T, error), stmt *sql.Stmt, args ...any) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		err := s.snapshot(ctx, func(tx *sql.Tx) error {
			rows, err := tx.Stmt(stmt).Query(args...)
			if err != nil {
				return err
			}
			return eachRow(ctx, rows, func(rows *sql.Rows) error {
				v, err := scan(rows)
				if err == nil && !yield(v, nil) {
					return errStopped
				}
				return err
			})
		})
		if err != nil {
			var none T
			yield(none, fmt.Errorf("%s: %w", what, err))
		}
	}
}

// ImportPosts implements store.Archive, in one transaction.
func (s *Store) ImportPosts(ctx context.Context, listID int64, posts []store.Archived) (added int, err error) {
	err = s.update(ctx, func(tx *sql.Tx) error {
		added = 0
		for _, a := range posts {
			a.ListID = listID
			isNew, err := s.importPost(ctx, tx, a)
			if err != nil {
				return fmt.Errorf("post %s: %w", a.Entry, err)
			}
			if isNew {
				added++
			}
		}
		if added == 0 {
			return errUnchanged
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("import %d posts: %w", len(posts), err)
	}
	return added, nil
}

func (s *Store) importPost(ctx context.Context, tx *sql.Tx, a store.Archived) (isNew bool, err error) {
	err = tx.StmtContext(ctx, s.q.archivedEntry).QueryRowContext(ctx, a.ListID, a.Entry).Scan(&a.Number)
	if !errors.Is(err, sql.ErrNoRows) {
		return false, err
	}
	if err := tx.StmtContext(ctx, s.q.nextNumber).QueryRowContext(ctx, a.ListID, 1).Scan(&a.Number); err != nil {
		return false, notFound(err)
	}
	return true, s.addArchived(ctx, tx, a)
}

// RemoveArchived implements store.Archive.
func (s *Store) RemoveArchived(ctx context.Context, listID, number int64, at time.Time) (places []string, err error) {
	err = s.update(ctx, func(tx *sql.Tx) error {
		var place, digest string
		if err := tx.StmtContext(ctx, s.q.places).QueryRowContext(ctx, listID, number).Scan(&place, &digest); err != nil {
			return notFound(err)
		}
		places = slices.DeleteFunc(slices.Compact([]string{place, digest}), func(p string) bool { return p == "" })
		_, err := tx.StmtContext(ctx, s.q.removeArchived).ExecContext(ctx, listID, number, at.UnixMicro(), []byte{})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("remove post %d: %w", number, err)
	}
	return places, nil
}

// InArchive implements store.Archive.
func (s *Store) InArchive(ctx context.Context, entry, place string) (is bool, err error) {
	if err := s.q.inArchive.QueryRowContext(ctx, entry, place).Scan(&is); err != nil {
		return false, fmt.Errorf("look for %s in the archive: %w", entry, err)
	}
	return is, nil
}
