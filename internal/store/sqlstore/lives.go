package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// SetState implements store.Lives.
func (s *Store) SetState(ctx context.Context, addr address.Address, state list.State, why string) (*list.List, error) {
	code, err := states.code(state)
	if err == nil {
		err = list.CheckWhy(why)
	}
	if err != nil {
		return nil, fmt.Errorf("change list %s: %w", addr, err)
	}
	var l *list.List
	err = s.update(ctx, func(tx *sql.Tx) error {
		var err error
		if l, err = s.scanList(tx.StmtContext(ctx, s.q.lockList).QueryRowContext(ctx, key(addr))); err != nil {
			return notFound(err)
		}
		if l.State == state && l.StateWhy == why {
			return errUnchanged
		}
		if l.State != state {
			l.StateSince = s.now().UTC().Truncate(time.Microsecond)
		}
		l.State, l.StateWhy = state, why
		_, err = tx.StmtContext(ctx, s.q.setListState).ExecContext(ctx, l.ID, code, why, l.StateSince.UnixMicro())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("change list %s: %w", addr, err)
	}
	return l, nil
}

// RenameList implements store.Lives.
func (s *Store) RenameList(ctx context.Context, from, to address.Address) (*list.List, error) {
	var l *list.List
	err := s.update(ctx, func(tx *sql.Tx) error {
		var err error
		if l, err = s.scanList(tx.StmtContext(ctx, s.q.lockList).QueryRowContext(ctx, key(from))); err != nil {
			return notFound(err)
		}
		if l.Address == to {
			return errUnchanged
		}
		old := l.Address
		if err := s.move(ctx, tx, l, to); err != nil {
			return err
		}
		if key(old) == key(to) {
			return nil // another spelling of the same address
		}
		return s.addAlias(ctx, tx, l.ID, old)
	})
	if err != nil {
		return nil, fmt.Errorf("rename list %s to %s: %w", from, to, err)
	}
	return l, nil
}

// move gives a list an address: another one, one of its aliases, or none before.
func (s *Store) move(ctx context.Context, tx *sql.Tx, l *list.List, to address.Address) error {
	if err := list.CheckAddress(to); err != nil {
		return err
	}
	if _, err := tx.StmtContext(ctx, s.q.dropAliasOf).ExecContext(ctx, key(to), l.ID); err != nil {
		return err
	}
	if key(l.Address) != key(to) {
		if err := s.checkClash(ctx, tx, to); err != nil {
			return err
		}
	}
	if _, err := tx.StmtContext(ctx, s.q.addDomain).ExecContext(ctx, to.Domain, s.now().UnixMicro()); err != nil {
		return err
	}
	l.Address = to
	return changedOne(tx.StmtContext(ctx, s.q.setAddress).ExecContext(ctx, l.ID, key(to), to.Domain, to.Local))
}

// addAlias gives a list an alias that nobody else has.
func (s *Store) addAlias(ctx context.Context, tx *sql.Tx, id int64, alias address.Address) error {
	var n int
	if err := tx.StmtContext(ctx, s.q.countAliases).QueryRowContext(ctx, id).Scan(&n); err != nil {
		return err
	}
	if n >= store.MaxAliases {
		return fmt.Errorf("it would have more than %d other addresses: take some away first", store.MaxAliases)
	}
	_, err := tx.StmtContext(ctx, s.q.addAlias).ExecContext(ctx, key(alias), alias.Local, id, s.now().UnixMicro())
	return err
}

// AddAlias implements store.Lives.
func (s *Store) AddAlias(ctx context.Context, addr, alias address.Address) error {
	err := list.CheckAddress(alias)
	if err == nil {
		err = s.update(ctx, func(tx *sql.Tx) error {
			l, err := s.scanList(tx.StmtContext(ctx, s.q.lockList).QueryRowContext(ctx, key(addr)))
			if err != nil {
				return notFound(err)
			}
			for other, err := range s.listsOf(ctx, tx, key(alias), key(alias)+" ") {
				if err != nil {
					return err
				}
				if other.ID == l.ID {
					return errUnchanged
				}
			}
			if err := s.checkClash(ctx, tx, alias); err != nil {
				return err
			}
			return s.addAlias(ctx, tx, l.ID, alias)
		})
	}
	if err != nil {
		return fmt.Errorf("make %s an alias of %s: %w", alias, addr, err)
	}
	return nil
}

// RemoveAlias implements store.Lives.
func (s *Store) RemoveAlias(ctx context.Context, alias address.Address) error {
	err := s.update(ctx, func(tx *sql.Tx) error {
		return changedOne(tx.StmtContext(ctx, s.q.dropAlias).ExecContext(ctx, key(alias)))
	})
	if err != nil {
		return fmt.Errorf("remove the alias %s: %w", alias, err)
	}
	return nil
}

// Aliases implements store.Lives.
func (s *Store) Aliases(ctx context.Context, listID int64) ([]address.Address, error) {
	rows, err := s.q.aliases.QueryContext(ctx, listID)
	if err != nil {
		return nil, fmt.Errorf("read the aliases: %w", err)
	}
	var out []address.Address
	err = eachRow(ctx, rows, func(rows *sql.Rows) error {
		var k, local string
		err := rows.Scan(&k, &local)
		out = append(out, unkey(k, local))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the aliases: %w", err)
	}
	return out, nil
}

// BuryList implements store.Lives.
func (s *Store) BuryList(ctx context.Context, addr address.Address, until time.Time) error {
	if _, err := s.bury(ctx, addr, until); err != nil {
		return fmt.Errorf("delete list %s: %w", addr, err)
	}
	return nil
}

// RestoreList implements store.Lives.
func (s *Store) RestoreList(ctx context.Context, addr address.Address) (*list.List, error) {
	var l *list.List
	err := s.update(ctx, func(tx *sql.Tx) error {
		id, a, err := s.buried(ctx, tx, addr)
		if err != nil {
			return err
		}
		if err := s.move(ctx, tx, &list.List{ID: id}, a); err != nil {
			return err
		}
		l, err = s.scanList(tx.StmtContext(ctx, s.q.lockList).QueryRowContext(ctx, key(a)))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("restore list %s: %w", addr, err)
	}
	return l, nil
}

// buried finds the last deleted list with this address.
func (s *Store) buried(ctx context.Context, tx *sql.Tx, addr address.Address) (id int64, as address.Address, err error) {
	rows, err := tx.StmtContext(ctx, s.q.deletedList).QueryContext(ctx, lastKey, s.now().UnixMicro(), addr.Domain)
	if err != nil {
		return 0, as, err
	}
	err = eachRow(ctx, rows, func(rows *sql.Rows) error {
		var found int64
		a := address.Address{Domain: addr.Domain}
		if err := rows.Scan(&found, &a.Local); err != nil {
			return err
		}
		if found > id && key(a) == key(addr) {
			id, as = found, a
		}
		return nil
	})
	if err == nil && id == 0 {
		err = store.ErrNotFound
	}
	return id, as, err
}

// DeletedLists implements store.Lives.
func (s *Store) DeletedLists(ctx context.Context) iter.Seq2[store.DeletedList, error] {
	return stream(ctx, s, "read the deleted lists", s.q.deletedLists, func(row scanner) (store.DeletedList, error) {
		var d store.DeletedList
		var until int64
		err := row.Scan(&d.Address.Domain, &d.Address.Local, &until)
		d.Until = time.UnixMicro(until).UTC()
		return d, err
	}, lastKey, s.now().UnixMicro())
}
