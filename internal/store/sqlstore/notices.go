package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
)

// foreign makes text that a stranger wrote into text that every database takes.
func foreign(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// AllowNotice implements store.Journal. A refusal is recorded, too: the entry is to
// get the same answer when the window has moved on.
func (s *Store) AllowNotice(ctx context.Context, addr address.Address, entry string, at time.Time, limit int, window time.Duration) (bool, error) {
	var allowed bool
	err := s.update(ctx, func(tx *sql.Tx) error {
		err := tx.StmtContext(ctx, s.q.noticeOf).QueryRowContext(ctx, key(addr), entry).Scan(&allowed)
		if err == nil {
			return errUnchanged
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		var n int
		if err := tx.StmtContext(ctx, s.q.countNotices).QueryRowContext(ctx, key(addr), at.Add(-window).UnixMicro()).Scan(&n); err != nil {
			return err
		}
		allowed = n < limit
		_, err = tx.StmtContext(ctx, s.q.addNotice).ExecContext(ctx, key(addr), entry, at.UnixMicro(), btoi(allowed))
		return err
	})
	if err != nil {
		return false, fmt.Errorf("ask for a notice to %s: %w", addr, err)
	}
	return allowed, nil
}
