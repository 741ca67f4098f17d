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

// stateSize is how much a plugin keeps for a list, or by how much that changes.
type stateSize struct{ keys, bytes int64 }

// editState makes a post's changes of state, and keeps what was there before. The list's
// row is locked.
func (s *Store) editState(ctx context.Context, on statements, p store.Post) error {
	grown := map[string]stateSize{} // by plugin
	for _, e := range p.State {
		by, err := s.editOne(ctx, on, p, e)
		if err != nil {
			return fmt.Errorf("state %s of plugin %s: %w", e.Key, e.Plugin, err)
		}
		all := grown[e.Plugin]
		grown[e.Plugin] = stateSize{all.keys + by.keys, all.bytes + by.bytes}
	}
	for plugin, by := range grown {
		if err := s.growState(ctx, on, p, plugin, by); err != nil {
			return err
		}
	}
	return nil
}

// growState keeps count of what a plugin keeps, and refuses what is too much. Less than
// before never is, for then the limit was a higher one.
func (s *Store) growState(ctx context.Context, on statements, p store.Post, plugin string, by stateSize) error {
	var now stateSize
	err := on.row(ctx, s.q.stateSize, p.ListID, plugin, by.keys, by.bytes).Scan(&now.keys, &now.bytes)
	if err != nil {
		return fmt.Errorf("size of the state of plugin %s: %w", plugin, err)
	}
	l := p.StateLimits
	if l.Keys > 0 && by.keys > 0 && now.keys > l.Keys || l.Bytes > 0 && by.bytes > 0 && now.bytes > l.Bytes {
		return &store.StateFullError{Plugin: plugin, Keys: now.keys, Bytes: now.bytes, Limits: l}
	}
	return nil
}

// editOne makes one change, and tells by how much there is more than before.
func (s *Store) editOne(ctx context.Context, on statements, p store.Post, e store.StateEdit) (by stateSize, err error) {
	var before []byte
	err = on.row(ctx, s.q.oldState, p.ListID, e.Plugin, e.Key).Scan(&before)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return by, err
	}
	if err == nil {
		by = stateSize{-1, -int64(len(e.Key) + len(before))}
		if before == nil {
			before = []byte{} // an empty value, which is not none
		}
	}
	// Of several edits of one key only the first keeps what it finds.
	if _, err := on.exec(ctx, s.q.keepState, p.ListID, p.Entry, e.Plugin, e.Key, before); err != nil {
		return by, err
	}
	value := e.Value
	switch e.Kind {
	case store.StateDelete:
		_, err := on.exec(ctx, s.q.deleteState, p.ListID, e.Plugin, e.Key)
		return by, err
	case store.StateAdd:
		n, err := strconv.ParseInt(string(before), 10, 64)
		if err != nil {
			n = 0 // no number: as if there were none
		}
		value = strconv.AppendInt(nil, n+e.Delta, 10)
	case store.StateSet:
	default:
		return by, fmt.Errorf("%d is no kind of change", e.Kind)
	}
	if value == nil {
		value = []byte{} // nil would be NULL
	}
	_, err = on.exec(ctx, s.q.setState, p.ListID, e.Plugin, e.Key, value)
	return stateSize{by.keys + 1, by.bytes + int64(len(e.Key)+len(value))}, err
}
