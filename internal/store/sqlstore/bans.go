package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// maxBanPatterns bounds the patterns of one scope, and so what one post costs.
const maxBanPatterns = 200

// scopeOf is a scope as the table has it.
func scopeOf(s list.Scope) string {
	switch {
	case s.ListID != 0:
		return "#" + strconv.FormatInt(s.ListID, 10)
	case s.Domain != "":
		return "@" + s.Domain
	}
	return ""
}

// scopesOfList are the scopes that a list is in, the closest first.
func scopesOfList(id int64, domain string) []string {
	return []string{scopeOf(list.Scope{ListID: id}), scopeOf(list.Scope{Domain: domain}), ""}
}

// AddBan implements store.Bans.
func (s *Store) AddBan(ctx context.Context, b list.Ban) error {
	what, err := list.ParseBan(b.What)
	if err != nil {
		return err
	}
	if b.Added.IsZero() {
		b.Added = s.now()
	}
	scope := scopeOf(b.Scope)
	err = s.update(ctx, func(tx *sql.Tx) error {
		_, err := tx.StmtContext(ctx, s.q.addBan).ExecContext(ctx, scope, what,
			sql.NullInt64{Int64: b.ListID, Valid: b.ListID != 0}, b.Reason, b.Added.UnixMicro())
		switch {
		case s.dialect.isDuplicate(err):
			return store.ErrExists
		case s.dialect.isOrphan(err):
			return fmt.Errorf("the list: %w", store.ErrNotFound)
		case err != nil || what[0] != '^':
			return err
		}
		var n int
		if err := tx.StmtContext(ctx, s.q.countBanPatterns).QueryRowContext(ctx, scope).Scan(&n); err != nil {
			return err
		}
		if n > maxBanPatterns {
			return fmt.Errorf("there are %d patterns already, and more would make every post slow: ban a domain, or join patterns with |", maxBanPatterns)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("ban %s from %s: %w", what, b.Scope, err)
	}
	return nil
}

// RemoveBan implements store.Bans.
func (s *Store) RemoveBan(ctx context.Context, scope list.Scope, what string) error {
	if parsed, err := list.ParseBan(what); err == nil {
		what = parsed
	}
	err := s.update(ctx, func(tx *sql.Tx) error {
		result, err := tx.StmtContext(ctx, s.q.removeBan).ExecContext(ctx, scopeOf(scope), what)
		return changedOne(result, err)
	})
	if err != nil {
		return fmt.Errorf("lift the ban of %s from %s: %w", what, scope, err)
	}
	return nil
}

// Bans implements store.Bans.
func (s *Store) Bans(ctx context.Context, scope *list.Scope) iter.Seq2[list.Ban, error] {
	return func(yield func(list.Ban, error) bool) {
		from, to := "", lastKey
		if scope != nil {
			from, to = scopeOf(*scope), scopeOf(*scope)
		}
		err := s.snapshot(ctx, func(tx *sql.Tx) error {
			rows, err := tx.Stmt(s.q.bans).Query(from, to)
			if err != nil {
				return err
			}
			return eachRow(ctx, rows, func(rows *sql.Rows) error {
				b, err := scanBan(rows)
				if err != nil {
					return err
				}
				if !yield(b, nil) {
					return errStopped
				}
				return nil
			})
		})
		if err != nil {
			yield(list.Ban{}, fmt.Errorf("read the bans: %w", err))
		}
	}
}

func scanBan(row scanner) (list.Ban, error) {
	var (
		b        list.Ban
		scope    string
		listID   sql.NullInt64
		added    int64
		k, local sql.NullString
	)
	if err := row.Scan(&scope, &b.What, &listID, &b.Reason, &added, &k, &local); err != nil {
		return b, err
	}
	b.Added = time.UnixMicro(added).UTC()
	b.Domain, _ = strings.CutPrefix(scope, "@")
	if listID.Valid {
		b.Scope = list.Scope{ListID: listID.Int64, List: unkey(k.String, local.String)}
	}
	return b, nil
}

// banLookups is how many things one query of MatchBans looks for.
const banLookups = 12

// MatchBans implements store.Bans.
func (s *Store) MatchBans(ctx context.Context, listID int64, domain string, addrs []address.Address) (map[string]list.Ban, error) {
	// What is found first holds: the list's own bans, its domain's, the site's.
	scopes := scopesOfList(listID, domain)
	var wanted []string
	seen := map[string]bool{}
	for _, a := range addrs {
		for _, what := range list.BansOf(a) {
			if !seen[what] {
				seen[what] = true
				wanted = append(wanted, what)
			}
		}
	}
	found := map[[2]string]list.Ban{}
	var patterns []list.Ban
	for start := 0; start < len(wanted); start += banLookups {
		args := []any{scopes[0], scopes[1]}
		for i := range banLookups { // a short batch names its last one again
			args = append(args, wanted[min(start+i, len(wanted)-1)])
		}
		query := s.q.matchBans
		if start > 0 {
			query = s.q.matchMoreBans // the patterns are there already
		}
		rows, err := query.QueryContext(ctx, args...)
		if err == nil {
			err = eachRow(ctx, rows, func(rows *sql.Rows) error {
				b, err := scanBan(rows)
				if err == nil && b.What[0] == '^' {
					patterns = append(patterns, b)
				}
				found[[2]string{scopeOf(b.Scope), b.What}] = b
				return err
			})
		}
		if err != nil {
			return nil, fmt.Errorf("look for bans: %w", err)
		}
	}
	out := map[string]list.Ban{}
	for _, a := range addrs {
		if b, ok := s.banOf(a, scopes, found, patterns); ok {
			out[a.Key()] = b
		}
	}
	return out, nil
}

// banOf chooses the ban of an address among those that were found, always the same.
func (s *Store) banOf(a address.Address, scopes []string, found map[[2]string]list.Ban, patterns []list.Ban) (list.Ban, bool) {
	slices.SortFunc(patterns, func(a, b list.Ban) int { return strings.Compare(a.What, b.What) })
	for _, scope := range scopes {
		for _, what := range list.BansOf(a) {
			if b, ok := found[[2]string{scope, what}]; ok {
				return b, true
			}
		}
		for _, b := range patterns {
			if scopeOf(b.Scope) == scope && s.patterns.match(b.What, a.Key()) {
				return b, true
			}
		}
	}
	return list.Ban{}, false
}

// maxCompiled bounds the patterns that are kept compiled.
const maxCompiled = 2000

// banPatterns keeps patterns compiled. RE2 takes time that is linear in an address's
// length, whatever an administrator writes.
type banPatterns struct {
	mu    sync.Mutex
	cache map[string]*regexp.Regexp
}

func (p *banPatterns) match(pattern, key string) bool {
	re := p.compiled(pattern)
	return re != nil && re.MatchString(key)
}

// compiled returns nil for a pattern that another version took and this one does not.
func (p *banPatterns) compiled(pattern string) *regexp.Regexp {
	p.mu.Lock()
	defer p.mu.Unlock()
	if re, ok := p.cache[pattern]; ok {
		return re
	}
	re, err := list.CompileBan(pattern)
	if err != nil {
		re = nil
	}
	if p.cache == nil || len(p.cache) >= maxCompiled {
		p.cache = map[string]*regexp.Regexp{}
	}
	p.cache[pattern] = re
	return re
}
