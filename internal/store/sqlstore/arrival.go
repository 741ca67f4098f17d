package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// arrival is list, standings, matchBans and openApprovals in one statement: for the list with
// address or alias $1, and sender $2, at $3; $4 and on are what a ban of the sender may be. Each
// row has what it is, and then the columns of a member, whatever stands in them. For CROSS JOIN
// see standings.
const arrival = `WITH l AS MATERIALIZED (SELECT id, address_key, domain, local, settings, created, state, state_why, state_since, style FROM lists WHERE id = ` + listOf + `)
	SELECT 0, l.id, l.address_key, l.local, l.created, l.state, l.state_since, 0, 0, l.settings, 0, 0, l.state_why, l.style, 0 FROM l
	UNION ALL SELECT 1, ` + standingColumns + ` FROM l CROSS JOIN members m WHERE m.list_id = l.id AND m.role IN (1, 2, 3, 4, 5) AND m.address_key = $2
	UNION ALL SELECT 2, ` + domainColumns + ` FROM l CROSS JOIN domain_roles d WHERE d.domain = l.domain AND d.address_key = $2
	UNION ALL SELECT 1, ` + standingColumns + ` FROM addresses a CROSS JOIN addresses b CROSS JOIN l CROSS JOIN members m
		WHERE a.address_key = $2 AND b.person = a.person AND b.address_key <> a.address_key
			AND m.list_id = l.id AND m.role IN (1, 2, 3, 4, 5) AND m.address_key = b.address_key
	UNION ALL SELECT 2, ` + domainColumns + ` FROM addresses a CROSS JOIN addresses b CROSS JOIN l CROSS JOIN domain_roles d
		WHERE a.address_key = $2 AND b.person = a.person AND b.address_key <> a.address_key AND d.domain = l.domain AND d.address_key = b.address_key
	UNION ALL SELECT 3, ` + arrivalBan + ` FROM l CROSS JOIN bans b WHERE ` + scopesOf + ` AND b.what IN ($4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
	UNION ALL SELECT 3, ` + arrivalBan + ` FROM l CROSS JOIN bans b WHERE ` + scopesOf + ` AND b.what >= '^' AND b.what < '_'
	UNION ALL SELECT 4, 0, '', '', 0, 0, 0, 0, 0, o.hash, 0, 0, '', '', 0 FROM l CROSS JOIN approvals o WHERE o.list_id = l.id AND o.used IS NULL AND o.expires > $3`

const (
	arrivalBan = `coalesce(b.list_id, 0), b.scope, b.what, 0, 0, 0, 0, 0, b.reason, b.added, 0, '', '', 0`
	scopesOf   = `b.scope IN ('', '@' || l.domain, '#' || l.id)`
)

// arrivalBans is how many bans of one address there may be, other than patterns.
const arrivalBans = list.MaxBansOf

// What the rows of arrival are.
const (
	arrivalList = iota
	arrivalMember
	arrivalDomain
	arrivalBanned
	arrivalOnce
)

// row is one that was read already, for what reads rows.
type row []any

// Scan implements scanner.
func (r row) Scan(dest ...any) error {
	for i, d := range dest {
		switch d := d.(type) {
		case *int64:
			*d = r[i].(int64)
		case *string:
			*d = r[i].(string)
		case *bool:
			*d = r[i].(int64) != 0
		default:
			return fmt.Errorf("column %d: cannot be read into a %T", i, d)
		}
	}
	return nil
}

// columns are those of a row of arrival, behind what it is.
type columns struct {
	role, mode, status, action         int64
	noOwn, noDuplicates, added, ack    int64
	key, local, name, topics, language string
	until                              int64
}

func (c *columns) dest() []any {
	return []any{&c.role, &c.key, &c.local, &c.mode, &c.status, &c.action, &c.noOwn, &c.noDuplicates, &c.name, &c.added, &c.ack, &c.topics, &c.language, &c.until}
}

// Arrival implements store.Arrivals.
func (s *Store) Arrival(ctx context.Context, addr, sender address.Address, at time.Time) (list.Arrival, error) {
	a, err := s.arrival(ctx, addr, sender, at)
	if err != nil {
		return list.Arrival{}, fmt.Errorf("look up %s, and who writes to it: %w", addr, err)
	}
	return a, nil
}

func (s *Store) arrival(ctx context.Context, addr, sender address.Address, at time.Time) (list.Arrival, error) {
	var a list.Arrival
	var bans []string
	args := []any{key(addr), "", at.UnixMicro()}
	if sender != (address.Address{}) {
		args[1], bans = key(sender), list.BansOf(sender)
	}
	for i := range arrivalBans { // of fewer the last is named again
		what := ""
		if len(bans) > 0 {
			what = bans[min(i, len(bans)-1)]
		}
		args = append(args, what)
	}
	rows, err := s.q.arrival.QueryContext(ctx, args...)
	if err != nil {
		return a, err
	}
	var found []list.Ban
	err = eachRow(ctx, rows, func(rows *sql.Rows) error {
		var what int
		var c columns
		if err := rows.Scan(append([]any{&what}, c.dest()...)...); err != nil {
			return err
		}
		var err error
		switch what {
		case arrivalList:
			a.List, err = s.readList(row{c.role, c.key, c.local, c.name, c.mode, c.status, c.topics, c.action, c.language})
		case arrivalMember, arrivalDomain:
			st := list.Standing{Of: sender, Domain: what == arrivalDomain}
			st.Membership, err = scanMember(row{c.role, c.key, c.local, c.mode, c.status, c.action, c.noOwn, c.noDuplicates, c.name, c.added, c.ack, c.topics, c.language, c.until})
			a.Standings = append(a.Standings, st)
		case arrivalBanned:
			b := list.Ban{What: c.local, Reason: c.name, Added: time.UnixMicro(c.added).UTC(), Scope: list.Scope{ListID: c.role}}
			if domain, ok := strings.CutPrefix(c.key, "@"); ok {
				b.Domain = domain
			}
			found = append(found, b)
		case arrivalOnce:
			a.OneTime = append(a.OneTime, c.name)
		}
		return err
	})
	if err != nil {
		return a, err
	}
	if a.List == nil {
		return a, store.ErrNotFound
	}
	if len(bans) > 0 && len(found) > 0 {
		a.Ban = s.chooseBan(a.List, sender, found)
	}
	return a, nil
}

// chooseBan is the ban that holds among those that were found; nil if none does.
func (s *Store) chooseBan(l *list.List, sender address.Address, found []list.Ban) *list.Ban {
	exact := map[[2]string]list.Ban{}
	var patterns []list.Ban
	for _, b := range found {
		if b.ListID != 0 {
			b.List = l.Address
		}
		if b.What[0] == '^' {
			patterns = append(patterns, b)
		} else {
			exact[[2]string{scopeOf(b.Scope), b.What}] = b
		}
	}
	if b, ok := s.banOf(sender, scopesOfList(l.ID, l.Address.Domain), exact, patterns); ok {
		return &b
	}
	return nil
}
