package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// CreateList implements store.Lists.
func (s *Store) CreateList(ctx context.Context, l *list.List) error {
	made := *l
	err := s.update(ctx, func(tx *sql.Tx) error { return s.create(ctx, tx, &made) })
	if err != nil {
		return fmt.Errorf("create list %s: %w", l.Address, err)
	}
	*l = made
	return nil
}

// CopyList implements store.Lists.
func (s *Store) CopyList(ctx context.Context, from address.Address, l *list.List, who []list.Role) (int64, error) {
	made, copied := *l, int64(0)
	err := s.update(ctx, func(tx *sql.Tx) error {
		copied = 0
		source, err := s.scanList(tx.StmtContext(ctx, s.q.lockList).QueryRowContext(ctx, key(from)))
		if err != nil {
			return fmt.Errorf("list %s: %w", from, notFound(err))
		}
		if err := s.create(ctx, tx, &made); err != nil {
			return err
		}
		for _, role := range who {
			code, err := roles.code(role)
			if err != nil {
				return err
			}
			result, err := tx.StmtContext(ctx, s.q.copyMembers).ExecContext(ctx, made.ID, source.ID, code, s.now().UnixMicro())
			if err != nil {
				return err
			}
			n, err := result.RowsAffected()
			if err != nil {
				return err
			}
			copied += n
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("create list %s: %w", l.Address, err)
	}
	*l = made
	return copied, nil
}

// create is CreateList within a transaction.
func (s *Store) create(ctx context.Context, tx *sql.Tx, l *list.List) error {
	if err := list.CheckAddress(l.Address); err != nil {
		return err
	}
	l.Style = list.StyleName(l.Style)
	own, err := s.styles.Load().Own(l.Style, &l.Settings)
	if err != nil {
		return err
	}
	settings, err := json.Marshal(own)
	if err != nil {
		return err
	}
	created := s.now().UTC().Truncate(time.Microsecond)
	if _, err := tx.StmtContext(ctx, s.q.addDomain).ExecContext(ctx, l.Address.Domain, created.UnixMicro()); err != nil {
		return err
	}
	if err := s.checkClash(ctx, tx, l.Address); err != nil {
		return err
	}
	if err := s.checkNamed(ctx, tx, l); err != nil {
		return err
	}
	l.Created, l.State = created, list.Open
	err = tx.StmtContext(ctx, s.q.addList).QueryRowContext(ctx,
		key(l.Address), l.Address.Domain, l.Address.Local, string(settings), created.UnixMicro(), l.Style).Scan(&l.ID)
	if s.dialect.isDuplicate(err) {
		return store.ErrExists
	}
	return err
}

// checkClash refuses an address that another list has, one that is a role address of
// another list, and one of which a role address is another list's own: one of the two would
// get no mail. Aliases count like the addresses of lists. So does the site's own address.
func (s *Store) checkClash(ctx context.Context, tx *sql.Tx, addr address.Address) error {
	if site := s.Site(); site != "" && strings.EqualFold(addr.Local, site) {
		return fmt.Errorf("it is the site's own address in %s (site_name): %w", addr.Domain, store.ErrExists)
	}
	// No octet of an address comes before the space: the range holds one key.
	for _, err := range s.listsOf(ctx, tx, key(addr), key(addr)+" ") {
		if err != nil {
			return err
		}
		return store.ErrExists
	}
	for _, c := range address.Candidates(addr)[1:] {
		for l, err := range s.listsOf(ctx, tx, key(c.List), key(c.List)+" ") {
			if err != nil {
				return err
			}
			return fmt.Errorf("it is the %s address of %s: %w", c.Role, l.Address, store.ErrExists)
		}
	}
	// Every role address of dev begins with "dev-", and '.' follows '-'.
	for l, err := range s.listsOf(ctx, tx, key(addr)+"-", key(addr)+".") {
		if err != nil {
			return err
		}
		for _, c := range address.Candidates(l.Address)[1:] {
			if key(c.List) == key(addr) {
				return fmt.Errorf("its %s address is the list %s: %w", c.Role, l.Address, store.ErrExists)
			}
		}
	}
	// An alias of a deleted list is free, as the list's own address is.
	_, err := tx.StmtContext(ctx, s.q.dropDeadAlias).ExecContext(ctx, key(addr), lastKey)
	return err
}

func (s *Store) listsOf(ctx context.Context, tx *sql.Tx, from, to string) iter.Seq2[*list.List, error] {
	return func(yield func(*list.List, error) bool) {
		rows, err := tx.StmtContext(ctx, s.q.listsOf).QueryContext(ctx, from, to)
		if err != nil {
			yield(nil, err)
			return
		}
		s.yieldLists(rows, yield)
	}
}

func (s *Store) yieldLists(rows *sql.Rows, yield func(*list.List, error) bool) {
	defer rows.Close()
	for rows.Next() {
		l, err := s.scanList(rows)
		if !yield(l, err) || err != nil {
			return
		}
	}
	if err := rows.Err(); err != nil {
		yield(nil, err)
	}
}

type scanner interface{ Scan(...any) error }

// scanList reads a list that may be changed.
func (s *Store) scanList(row scanner) (*list.List, error) {
	l, err := s.readList(row)
	if l != nil {
		l.Revision = ""
	}
	return l, err
}

func (s *Store) readList(row scanner) (*list.List, error) {
	var (
		l                  list.List
		k, local, settings string
		created, since     int64
		state              int64
	)
	if err := row.Scan(&l.ID, &k, &local, &settings, &created, &state, &l.StateWhy, &since, &l.Style); err != nil {
		return nil, err
	}
	l.Address = unkey(k, local)
	l.Created = time.UnixMicro(created).UTC()
	if since > 0 {
		l.StateSince = time.UnixMicro(since).UTC()
	}
	var err error
	if l.State, err = states.word(state); err != nil {
		return nil, fmt.Errorf("state of %s: %w", l.Address, err)
	}
	if l.Settings, l.Revision, err = s.parsed.settings(s.styles.Load(), l.Style, settings); err != nil {
		return nil, fmt.Errorf("settings of %s: %w", l.Address, err)
	}
	return &l, nil
}

// List implements store.Lists.
func (s *Store) List(ctx context.Context, addr address.Address) (*list.List, error) {
	l, err := s.readList(s.q.list.QueryRowContext(ctx, key(addr)))
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", addr, notFound(err))
	}
	return l, nil
}

func notFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return store.ErrNotFound
	}
	return err
}

// AllLists implements store.Lists.
func (s *Store) AllLists(ctx context.Context, domain string) iter.Seq2[*list.List, error] {
	return func(yield func(*list.List, error) bool) {
		from, to := "", lastKey
		if domain != "" {
			canonical, err := address.ParseDomain(domain)
			if err != nil {
				yield(nil, fmt.Errorf("read the lists: %w", err))
				return
			}
			from, to = canonical+" ", canonical+"!" // '!' follows ' '
		}
		err := s.snapshot(ctx, func(tx *sql.Tx) error {
			rows, err := tx.Stmt(s.q.lists).Query(from, to)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				l, err := s.scanList(rows)
				if err = cmp.Or(ctx.Err(), err); err != nil {
					return err
				}
				if !yield(l, nil) {
					return errStopped
				}
			}
			return rows.Err()
		})
		if err != nil {
			yield(nil, fmt.Errorf("read the lists: %w", err))
		}
	}
}

// ChangeList implements store.Lists.
func (s *Store) ChangeList(ctx context.Context, addr address.Address, changes map[string]*string) (*list.List, error) {
	var l *list.List
	err := s.update(ctx, func(tx *sql.Tx) error {
		var err error
		if l, err = s.scanList(tx.StmtContext(ctx, s.q.lockList).QueryRowContext(ctx, key(addr))); err != nil {
			return notFound(err)
		}
		before := l.Settings.Overrides()
		if err := s.apply(l, changes); err != nil {
			return err
		}
		after := l.Settings.Overrides()
		resets := slices.Contains(slices.Collect(maps.Values(changes)), nil)
		if maps.Equal(before, after) && !resets { // a reset may end what only a lock keeps from showing
			return errUnchanged
		}
		return s.saveSettings(ctx, tx, l, before["include_lists"] != after["include_lists"] || before["exclude_lists"] != after["exclude_lists"])
	})
	if err != nil {
		return nil, fmt.Errorf("change list %s: %w", addr, err)
	}
	return l, nil
}

// apply makes changes in the order of their names, so that the same one is always the
// first bad one.
func (s *Store) apply(l *list.List, changes map[string]*string) error {
	styles := s.styles.Load()
	base, err := styles.Base(l.Style)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		text := changes[name]
		if text == nil {
			inherited, err := base.Get(name)
			if err != nil {
				return err
			}
			text = &inherited
		} else if err := styles.CheckLocked(l.Style, name); err != nil {
			return err
		}
		if err := l.Settings.Set(name, *text); err != nil {
			return err
		}
	}
	return nil
}

// changedOne turns a change of no row into ErrNotFound.
func changedOne(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		err = store.ErrNotFound
	}
	return err
}
