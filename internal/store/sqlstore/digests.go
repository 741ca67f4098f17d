package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// HasDigestReaders implements store.Digests.
func (s *Store) HasDigestReaders(ctx context.Context, listID int64) (has bool, err error) {
	if err := s.q.digestReaders.QueryRowContext(ctx, listID).Scan(&has); err != nil {
		return false, fmt.Errorf("look for readers of digests: %w", err)
	}
	return has, nil
}

// WaitingDigests implements store.Digests.
func (s *Store) WaitingDigests(ctx context.Context) iter.Seq2[store.Waiting, error] {
	return rowsOf(ctx, s, "read what waits for digests", func(row scanner) (store.Waiting, error) {
		var w store.Waiting
		var k, local string
		var oldest int64
		err := row.Scan(&w.ListID, &k, &local, &w.Posts, &w.Size, &oldest)
		w.List, w.Oldest = unkey(k, local), time.UnixMicro(oldest).UTC()
		return w, err
	}, s.q.waitingDigests, lastKey)
}

// WaitingDigest implements store.Digests.
func (s *Store) WaitingDigest(ctx context.Context, listID int64) (store.Waiting, error) {
	w := store.Waiting{ListID: listID}
	var oldest int64
	if err := s.q.waitingDigest.QueryRowContext(ctx, listID).Scan(&w.Posts, &w.Size, &oldest); err != nil {
		return w, fmt.Errorf("read what waits for a digest: %w", err)
	}
	if w.Posts > 0 {
		w.Oldest = time.UnixMicro(oldest).UTC()
	}
	return w, nil
}

// LastIssue implements store.Digests.
func (s *Store) LastIssue(ctx context.Context, listID int64) (store.Issue, time.Time, error) {
	i, at, err := scanIssue(s.q.lastIssue.QueryRowContext(ctx, listID))
	if errors.Is(err, sql.ErrNoRows) {
		return store.Issue{Volume: 1}, time.Time{}, nil
	}
	if err != nil {
		return i, at, fmt.Errorf("read the last digest's number: %w", err)
	}
	return i, at, nil
}

func scanIssue(row scanner) (i store.Issue, closed time.Time, err error) {
	var at int64
	if err = row.Scan(&i.Volume, &i.Issue, &at); err == nil && at != 0 {
		closed = time.UnixMicro(at).UTC()
	}
	return i, closed, err
}

// CloseDigest implements store.Digests.
func (s *Store) CloseDigest(ctx context.Context, listID int64, how store.CloseDigest) (store.Digest, error) {
	d := store.Digest{ListID: listID, Closed: how.At.Truncate(time.Microsecond).UTC()}
	err := s.update(ctx, func(tx *sql.Tx) error {
		last, more, err := s.gather(ctx, tx, &d, how)
		if err != nil {
			return err
		}
		if d.Issue, err = s.nextIssue(ctx, tx, listID, how); err != nil {
			return err
		}
		owed := s.q.assignOwed
		if more { // they are owed what is left, too
			owed = s.q.copyOwed
		}
		at := how.At.UnixMicro()
		for _, step := range []struct {
			stmt *sql.Stmt
			args []any
		}{
			{s.q.closePosts, []any{listID, d.Volume, d.Issue.Issue, last}},
			{s.q.addDigest, []any{listID, d.Volume, d.Issue.Issue, at, d.Posts, d.Size}},
			{s.q.setIssue, []any{listID, d.Volume, d.Issue.Issue, at}},
			{owed, []any{listID, d.Volume, d.Issue.Issue, at}},
		} {
			if _, err := tx.StmtContext(ctx, step.stmt).ExecContext(ctx, step.args...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return store.Digest{}, fmt.Errorf("close a digest: %w", err)
	}
	return d, nil
}

// gather counts the posts of the issue, and returns the number of the last, and whether more wait.
func (s *Store) gather(ctx context.Context, tx *sql.Tx, d *store.Digest, how store.CloseDigest) (last int64, more bool, err error) {
	rows, err := tx.StmtContext(ctx, s.q.waiting).QueryContext(ctx, d.ListID, how.MaxPosts+1)
	if err != nil {
		return 0, false, err
	}
	d.Posts, d.Size = 0, 0
	err = eachRow(ctx, rows, func(rows *sql.Rows) error {
		var number, size int64
		if err := rows.Scan(&number, &size); err != nil {
			return err
		}
		if more = more || d.Posts > 0 && (d.Posts == how.MaxPosts || d.Size+size > how.MaxSize); !more {
			d.Posts, d.Size, last = d.Posts+1, d.Size+size, number
		}
		return nil
	})
	if err == nil && d.Posts == 0 {
		err = store.ErrNotFound
	}
	return last, more, err
}

func (s *Store) nextIssue(ctx context.Context, tx *sql.Tx, listID int64, how store.CloseDigest) (store.Issue, error) {
	i, at, err := scanIssue(tx.StmtContext(ctx, s.q.lockIssue).QueryRowContext(ctx, listID))
	if err != nil {
		return i, err
	}
	if !at.IsZero() && how.NewVolume != nil && how.NewVolume(at) {
		return store.Issue{Volume: i.Volume + 1, Issue: 1}, nil
	}
	return store.Issue{Volume: i.Volume, Issue: i.Issue + 1}, nil
}

// BumpDigest implements store.Digests.
func (s *Store) BumpDigest(ctx context.Context, listID int64, at time.Time, next store.Issue) (store.Issue, error) {
	err := s.update(ctx, func(tx *sql.Tx) error {
		i, _, err := scanIssue(tx.StmtContext(ctx, s.q.lockIssue).QueryRowContext(ctx, listID))
		if s.dialect.isOrphan(err) {
			return store.ErrNotFound
		}
		if err != nil {
			return err
		}
		if next == (store.Issue{}) {
			next = store.Issue{Volume: i.Volume + 1, Issue: 1}
		}
		var taken bool
		if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM digests WHERE list_id = $1 AND (volume, issue) >= ($2, $3))`,
			listID, next.Volume, next.Issue).Scan(&taken); err != nil {
			return err
		}
		if taken || next.Volume < 1 || next.Issue < 1 {
			return fmt.Errorf("volume %d, issue %d: %w", next.Volume, next.Issue, store.ErrExists)
		}
		_, err = tx.StmtContext(ctx, s.q.setIssue).ExecContext(ctx, listID, next.Volume, next.Issue-1, at.UnixMicro())
		return err
	})
	if err != nil {
		return store.Issue{}, fmt.Errorf("number the next digest: %w", err)
	}
	return next, nil
}

func scanDigest(row scanner) (store.Digest, error) {
	var (
		d        store.Digest
		closed   int64
		filed    sql.NullInt64
		k, local string
	)
	err := row.Scan(&d.ListID, &d.Volume, &d.Issue.Issue, &closed, &d.Posts, &d.Size, &filed, &k, &local)
	d.Closed = time.UnixMicro(closed).UTC()
	if filed.Valid {
		d.Filed = time.UnixMicro(filed.Int64).UTC()
	}
	if k != "" {
		d.List = unkey(k, local)
	}
	return d, err
}

// Digests implements store.Digests.
func (s *Store) Digests(ctx context.Context, listID int64) iter.Seq2[store.Digest, error] {
	return rowsOf(ctx, s, "read the digests", scanDigest, s.q.digests, listID)
}

// UnfiledDigests implements store.Digests.
func (s *Store) UnfiledDigests(ctx context.Context) iter.Seq2[store.Digest, error] {
	return rowsOf(ctx, s, "read the digests", scanDigest, s.q.unfiledDigests, lastKey)
}

// DigestPosts implements store.Digests.
func (s *Store) DigestPosts(ctx context.Context, listID int64, issue store.Issue) ([]store.Archived, error) {
	var out []store.Archived
	for a, err := range rowsOf(ctx, s, "read a digest's posts", scanArchived, s.q.issuePosts, listID, issue.Volume, issue.Issue) {
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// DigestFiled implements store.Digests.
func (s *Store) DigestFiled(ctx context.Context, listID int64, issue store.Issue, at time.Time) (places []string, err error) {
	err = s.update(ctx, func(tx *sql.Tx) error {
		places = nil
		rows, err := tx.StmtContext(ctx, s.q.usedPlaces).QueryContext(ctx, listID, issue.Volume, issue.Issue)
		if err != nil {
			return err
		}
		if err := eachRow(ctx, rows, func(rows *sql.Rows) error {
			var place string
			err := rows.Scan(&place)
			places = append(places, place)
			return err
		}); err != nil {
			return err
		}
		result, err := tx.StmtContext(ctx, s.q.fileDigest).ExecContext(ctx, listID, issue.Volume, issue.Issue, at.UnixMicro())
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			places = nil
			return errors.Join(err, errUnchanged)
		}
		for _, stmt := range []*sql.Stmt{s.q.dropUsed, s.q.freeUsed} {
			if _, err := tx.StmtContext(ctx, stmt).ExecContext(ctx, listID, issue.Volume, issue.Issue); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("note that a digest is on its way: %w", err)
	}
	return places, nil
}

// OwedDigest implements store.Digests.
func (s *Store) OwedDigest(ctx context.Context, listID int64, issue store.Issue, mode list.Mode) iter.Seq2[address.Address, error] {
	code, err := modes.code(mode)
	if err != nil {
		return func(yield func(address.Address, error) bool) { yield(address.Address{}, err) }
	}
	return rowsOf(ctx, s, "read who is owed a digest", func(row scanner) (address.Address, error) {
		var k, local string
		err := row.Scan(&k, &local)
		return unkey(k, local), err
	}, s.q.owedOf, listID, issue.Volume, issue.Issue, code)
}

// IsFiled implements store.Digests.
func (s *Store) IsFiled(ctx context.Context, listID int64, entry string) (is bool, err error) {
	if err := s.q.isFiled.QueryRowContext(ctx, listID, entry).Scan(&is); err != nil {
		return false, fmt.Errorf("look for entry %s in the journal: %w", entry, err)
	}
	return is, nil
}

// leaveDigests sees to it that a member who no longer gets digests gets the one for which
// posts wait. The member's row still has the old mode.
func (s *Store) leaveDigests(ctx context.Context, tx *sql.Tx, listID int64, addr address.Address, to list.Mode) error {
	var code int64
	var local string
	err := tx.StmtContext(ctx, s.q.modeOf).QueryRowContext(ctx, listID, key(addr)).Scan(&code, &local)
	if errors.Is(err, sql.ErrNoRows) {
		return nil // the change will find out
	}
	if err != nil {
		return err
	}
	from, err := modes.word(code)
	switch {
	case err != nil:
		return err
	case to != list.Regular: // the next digest reaches them as a member
		_, err = tx.StmtContext(ctx, s.q.unowe).ExecContext(ctx, listID, key(addr))
	case from != list.Regular:
		_, err = tx.StmtContext(ctx, s.q.owe).ExecContext(ctx, listID, code, key(addr), local, s.now().UnixMicro())
	}
	return err
}
