package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/mlist/mlist/internal/address"
)

// AllowResponse implements store.Journal.
func (s *Store) AllowResponse(ctx context.Context, listID int64, kind string, addr address.Address, entry string, at time.Time, grace time.Duration) (bool, error) {
	var allowed bool
	err := s.update(ctx, func(tx *sql.Tx) error {
		var last string
		var when int64
		err := tx.StmtContext(ctx, s.q.responseOf).QueryRowContext(ctx, listID, kind, key(addr)).Scan(&last, &when)
		switch {
		case errors.Is(err, sql.ErrNoRows):
		case err != nil:
			return err
		case last == entry:
			allowed = true
			return errUnchanged
		case at.UnixMicro() < when+grace.Microseconds():
			return errUnchanged
		}
		allowed = true
		_, err = tx.StmtContext(ctx, s.q.setResponse).ExecContext(ctx, listID, kind, key(addr), entry, at.UnixMicro())
		return err
	})
	if err != nil {
		return false, fmt.Errorf("ask for a response to %s: %w", addr, err)
	}
	return allowed, nil
}
