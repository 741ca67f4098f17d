package sqlstore

import (
	"context"
	"fmt"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/store"
)

// Resolve implements store.Resolver.
func (s *Store) Resolve(ctx context.Context, addr address.Address) (store.Target, error) {
	candidates := address.Candidates(addr)
	if t, ok, err := s.resolveNumber(ctx, candidates); ok {
		if err != nil {
			return store.Target{}, fmt.Errorf("resolve %s: %w", addr, notFound(err))
		}
		return t, nil
	}
	first := key(candidates[0].List)
	second := first
	if len(candidates) > 1 {
		second = key(candidates[1].List)
	}
	rows, err := s.q.resolve.QueryContext(ctx, first, second)
	if err != nil {
		return store.Target{}, fmt.Errorf("resolve %s: %w", addr, err)
	}
	defer rows.Close()
	found := map[string]address.Address{}
	for rows.Next() {
		var k, local string
		if err := rows.Scan(&k, &local); err != nil {
			return store.Target{}, fmt.Errorf("resolve %s: %w", addr, err)
		}
		found[k] = unkey(k, local)
	}
	if err := rows.Err(); err != nil {
		return store.Target{}, fmt.Errorf("resolve %s: %w", addr, err)
	}
	for _, c := range candidates {
		if l, ok := found[key(c.List)]; ok {
			return store.Target{List: l, Role: c.Role, Detail: c.Detail}, nil
		}
	}
	return store.Target{}, fmt.Errorf("resolve %s: %w", addr, store.ErrNotFound)
}

// resolveNumber finds the list that is named by its number; ok is false if none is.
func (s *Store) resolveNumber(ctx context.Context, candidates []address.Candidate) (t store.Target, ok bool, err error) {
	c := candidates[len(candidates)-1]
	number, ok := c.List.Number()
	if !ok || c.Detail == "" {
		return t, false, nil // without a token there is no reason to
	}
	var k, local string
	err = s.q.listByNumber.QueryRowContext(ctx, number, c.List.Domain, lastKey).Scan(&k, &local)
	return store.Target{List: unkey(k, local), Role: c.Role, Detail: c.Detail}, true, err
}
