package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
)

// Secret implements store.Secrets. It asks the writer: what another process has just made
// must not be made again.
func (s *Store) Secret(ctx context.Context, name string) ([]byte, error) {
	var value []byte
	err := s.update(ctx, func(tx *sql.Tx) error {
		known := func() error { return tx.StmtContext(ctx, s.q.secret).QueryRowContext(ctx, name).Scan(&value) }
		if err := known(); err == nil {
			return errUnchanged
		} else if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		fresh := make([]byte, 32)
		rand.Read(fresh) // never fails
		if _, err := tx.StmtContext(ctx, s.q.addSecret).ExecContext(ctx, name, fresh); err != nil {
			return err
		}
		return known()
	})
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", name, err)
	}
	return value, nil
}
