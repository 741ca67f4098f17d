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
