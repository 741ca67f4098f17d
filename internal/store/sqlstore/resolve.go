package sqlstore

import (
	"context"
	"fmt"
	"strings"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
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
	var keys [address.MaxCandidates]any
	for i := range keys { // of few candidates the last is named again
		keys[i] = key(candidates[min(i, len(candidates)-1)].List)
	}
	rows, err := s.q.resolve.QueryContext(ctx, keys[:]...)
	if err != nil {
		return store.Target{}, fmt.Errorf("resolve %s: %w", addr, err)
	}
	defer rows.Close()
	found := map[string]store.Target{}
	for rows.Next() {
		var asked, k, local string
		var state int64
		var t store.Target
		err := rows.Scan(&asked, &k, &local, &state, &t.Why)
		if err == nil {
			t.State, err = states.word(state)
		}
		if err != nil {
			return store.Target{}, fmt.Errorf("resolve %s: %w", addr, err)
		}
		t.List = unkey(k, local)
		found[asked] = t
	}
	if err := rows.Err(); err != nil {
		return store.Target{}, fmt.Errorf("resolve %s: %w", addr, err)
	}
	for _, c := range candidates {
		if t, ok := found[key(c.List)]; ok {
			t.Role, t.Detail = c.Role, c.Detail
			return t, nil
		}
	}
	if site := s.Site(); site != "" && strings.EqualFold(addr.Local, site) {
		var is bool
		if err := s.q.hasLists.QueryRowContext(ctx, addr.Domain).Scan(&is); err != nil {
			return store.Target{}, fmt.Errorf("resolve %s: %w", addr, err)
		}
		if is {
			return store.Target{List: address.Address{Local: site, Domain: addr.Domain}, Role: address.RoleSite, State: list.Open}, nil
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
	var state int64
	err = s.q.listByNumber.QueryRowContext(ctx, number, c.List.Domain, lastKey).Scan(&k, &local, &state, &t.Why)
	if err == nil {
		t.State, err = states.word(state)
	}
	t.List, t.Role, t.Detail = unkey(k, local), c.Role, c.Detail
	return t, true, err
}
