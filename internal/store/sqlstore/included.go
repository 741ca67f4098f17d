package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
)

// checkNamed refuses settings that name lists which are not there, or that make a circle
// of lists that include each other. Other lists may change later, so that whoever follows
// include_lists must bear circles all the same.
func (s *Store) checkNamed(ctx context.Context, tx *sql.Tx, l *list.List) error {
	for _, name := range l.Settings.ExcludeLists {
		if other, err := s.named(ctx, tx, name); err != nil {
			return err
		} else if other == nil {
			return fmt.Errorf("exclude_lists: there is no list %s", name)
		}
	}
	w := includeWalk{s: s, tx: tx, root: l, seen: map[int64]bool{}}
	if err := w.follow(ctx, l.Settings.IncludeLists, []string{l.Address.String()}); err != nil {
		return fmt.Errorf("include_lists: %w", err)
	}
	return nil
}

// includeWalk follows include_lists from list to list, each once.
type includeWalk struct {
	s    *Store
	tx   *sql.Tx
	root *list.List // that all starts from
	seen map[int64]bool
}

func (w *includeWalk) follow(ctx context.Context, names, path []string) error {
	for _, name := range names {
		a, err := address.Parse(name)
		if err != nil {
			return err
		}
		path := append(slices.Clone(path), a.String())
		l, err := w.s.named(ctx, w.tx, name)
		if err != nil {
			return err
		}
		switch {
		case a.Key() == w.root.Address.Key(), l != nil && l.ID == w.root.ID:
			return fmt.Errorf("that makes a circle: %s", strings.Join(path, " includes "))
		case l == nil && len(path) > 2:
			continue // another list's setting names it
		case l == nil:
			return fmt.Errorf("there is no list %s", a)
		case w.seen[l.ID]:
			continue
		case len(path) > list.MaxIncludeDepth:
			return fmt.Errorf("more than %d lists within each other: %s", list.MaxIncludeDepth, strings.Join(path, " includes "))
		case len(w.seen) == list.MaxIncluded:
			return fmt.Errorf("more than %d lists, those within lists counted", list.MaxIncluded)
		}
		w.seen[l.ID] = true
		if err := w.follow(ctx, l.Settings.IncludeLists, path); err != nil {
			return err
		}
	}
	return nil
}

// named reads a list that a setting names; nil if it is not there.
func (s *Store) named(ctx context.Context, tx *sql.Tx, name string) (*list.List, error) {
	a, err := address.Parse(name)
	if err != nil {
		return nil, err
	}
	for l, err := range s.listsOf(ctx, tx, key(a), key(a)+" ") {
		return l, err
	}
	return nil, nil
}
