package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/mlist/mlist/internal/store"
)

// AddApproval implements store.Approvals.
func (s *Store) AddApproval(ctx context.Context, a store.Approval) error {
	if a.Added.IsZero() {
		a.Added = s.now()
	}
	err := s.update(ctx, func(tx *sql.Tx) error {
		_, err := tx.StmtContext(ctx, s.q.addApproval).ExecContext(ctx, a.ListID, a.Hash, a.Note, a.Added.UnixMicro(), a.Expires.UnixMicro())
		switch {
		case s.dialect.isDuplicate(err):
			return store.ErrExists
		case s.dialect.isOrphan(err):
			return fmt.Errorf("the list: %w", store.ErrNotFound)
		case err != nil:
			return err
		}
		var n int
		if err := tx.StmtContext(ctx, s.q.countApprovals).QueryRowContext(ctx, a.ListID, a.Added.UnixMicro()).Scan(&n); err != nil {
			return err
		}
		if n > store.MaxApprovals {
			return fmt.Errorf("the list has %d already that are not used", store.MaxApprovals)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("add a one-time password: %w", err)
	}
	return nil
}

// Approvals implements store.Approvals.
func (s *Store) Approvals(ctx context.Context, listID int64) ([]store.Approval, error) {
	var out []store.Approval
	rows, err := s.q.approvals.QueryContext(ctx, listID)
	if err == nil {
		err = eachRow(ctx, rows, func(rows *sql.Rows) error {
			a := store.Approval{ListID: listID}
			var added, expires int64
			var used sql.NullInt64
			var entry sql.NullString
			if err := rows.Scan(&a.Hash, &a.Note, &added, &expires, &used, &entry); err != nil {
				return err
			}
			a.Added, a.Expires, a.Entry = time.UnixMicro(added).UTC(), time.UnixMicro(expires).UTC(), entry.String
			if used.Valid {
				a.Used = time.UnixMicro(used.Int64).UTC()
			}
			out = append(out, a)
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read the one-time passwords: %w", err)
	}
	return out, nil
}

// OpenApprovals implements store.Approvals.
func (s *Store) OpenApprovals(ctx context.Context, listID int64, entry string, at time.Time) ([]string, error) {
	var out []string
	rows, err := s.q.openApprovals.QueryContext(ctx, listID, at.UnixMicro(), entry)
	if err == nil {
		err = eachRow(ctx, rows, func(rows *sql.Rows) error {
			var hash string
			err := rows.Scan(&hash)
			out = append(out, hash)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read the one-time passwords: %w", err)
	}
	return out, nil
}

// RevokeApproval implements store.Approvals.
func (s *Store) RevokeApproval(ctx context.Context, listID int64, hash string) error {
	err := s.update(ctx, func(tx *sql.Tx) error {
		result, err := tx.StmtContext(ctx, s.q.revokeApproval).ExecContext(ctx, listID, hash)
		return changedOne(result, err)
	})
	if err != nil {
		return fmt.Errorf("revoke a one-time password: %w", err)
	}
	return nil
}

// useApproval uses up the one-time password of a post that is filed.
func (s *Store) useApproval(ctx context.Context, on statements, p store.Post) error {
	n, err := on.exec(ctx, s.q.useApproval, p.ListID, p.Approval, s.now().UnixMicro(), p.Entry)
	if err != nil {
		return fmt.Errorf("use a one-time password: %w", err)
	}
	if n == 0 {
		return store.ErrApprovalGone
	}
	return nil
}
