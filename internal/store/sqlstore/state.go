package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"github.com/mlist/mlist/internal/store"
)

// PluginState implements store.State.
func (s *Store) PluginState(ctx context.Context, listID int64, entry, plugin, key string) ([]byte, bool, error) {
	var place, found int
	var value []byte
	err := s.q.state.QueryRowContext(ctx, listID, entry, plugin, key).Scan(&place, &found, &value)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("state %s of plugin %s: %w", key, plugin, err)
	}
	return value, found != 0, nil
}

// editState makes a post's changes of state, and keeps what was there before. The list's
// row is locked.
func (s *Store) editState(ctx context.Context, tx *sql.Tx, p store.Post) error {
	for _, e := range p.State {
		if err := s.editOne(ctx, tx, p, e); err != nil {
			return fmt.Errorf("state %s of plugin %s: %w", e.Key, e.Plugin, err)
		}
	}
	return nil
}

func (s *Store) editOne(ctx context.Context, tx *sql.Tx, p store.Post, e store.StateEdit) error {
	var before []byte
	err := tx.StmtContext(ctx, s.q.oldState).QueryRowContext(ctx, p.ListID, e.Plugin, e.Key).Scan(&before)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if err == nil && before == nil {
		before = []byte{} // an empty value, which is not none
	}
	// Of several edits of one key only the first keeps what it finds.
	if _, err := tx.StmtContext(ctx, s.q.keepState).ExecContext(ctx, p.ListID, p.Entry, e.Plugin, e.Key, before); err != nil {
		return err
	}
	value := e.Value
	switch e.Kind {
	case store.StateDelete:
		_, err := tx.StmtContext(ctx, s.q.deleteState).ExecContext(ctx, p.ListID, e.Plugin, e.Key)
		return err
	case store.StateAdd:
		n, err := strconv.ParseInt(string(before), 10, 64)
		if err != nil {
			n = 0 // no number: as if there were none
		}
		value = strconv.AppendInt(nil, n+e.Delta, 10)
	case store.StateSet:
	default:
		return fmt.Errorf("%d is no kind of change", e.Kind)
	}
	if value == nil {
		value = []byte{} // nil would be NULL
	}
	_, err = tx.StmtContext(ctx, s.q.setState).ExecContext(ctx, p.ListID, e.Plugin, e.Key, value)
	return err
}
