package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// fillingTable is there, with the name of the other store, while a store is made a copy of that.
const fillingTable = "filling"

// ErrFilling: a store is not yet a copy of another, or not any more.
var ErrFilling = errors.New("it is being made a copy of another store")

// oneRow is a pool or a transaction.
type oneRow interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// filledFrom is the store that this one is made a copy of, or "".
func filledFrom(ctx context.Context, on oneRow, d *dialect) (source string, err error) {
	var there int
	if err := on.QueryRowContext(ctx, d.countTables, fillingTable).Scan(&there); err != nil || there == 0 {
		return "", err
	}
	err = on.QueryRowContext(ctx, `SELECT url FROM `+fillingTable).Scan(&source)
	return source, err
}

// checkFilling refuses a store that is being filled.
func (s *Store) checkFilling(ctx context.Context) error {
	source, err := filledFrom(ctx, s.reader, s.dialect)
	if err == nil && source != "" {
		err = fmt.Errorf("%w, %s: `mlist store migrate` was cut short, or is at work", ErrFilling, source)
	}
	return err
}

// fill begins to fill a store.
func (s *side) fill(ctx context.Context, source string) error {
	if _, err := s.tx.ExecContext(ctx, `CREATE TABLE `+fillingTable+` (url TEXT NOT NULL)`); err != nil {
		return err
	}
	_, err := s.tx.ExecContext(ctx, `INSERT INTO `+fillingTable+` (url) VALUES ($1)`, source)
	return err
}

// Filled ends what Transfer began: the store is one like any other.
func (s *Store) Filled(ctx context.Context) error {
	err := s.update(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DROP TABLE IF EXISTS `+fillingTable)
		return err
	})
	if err != nil {
		return fmt.Errorf("fill store %s: %w", s.url, err)
	}
	return nil
}

// IsFilling tells whether a store is being filled.
func (s *Store) IsFilling(ctx context.Context) (bool, error) {
	source, err := filledFrom(ctx, s.reader, s.dialect)
	if err != nil {
		return false, fmt.Errorf("store %s: %w", s.url, err)
	}
	return source != "", nil
}
