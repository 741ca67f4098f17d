package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// standings are the roles of up to so many addresses as lookups says, $2 and on, on list $1:
// their own; those of the list's domain; and both of the other addresses of their persons. CROSS
// JOIN is what SQLite does not turn around: it would read all members to find those of one person.
const standings = `SELECT m.address_key, 0, ` + standingColumns + ` FROM members m
		WHERE m.list_id = $1 AND m.role IN (1, 2, 3, 4, 5) AND m.address_key IN ($2, $3, $4, $5, $6)
	UNION ALL SELECT d.address_key, 1, ` + domainColumns + ` FROM lists l JOIN domain_roles d ON d.domain = l.domain AND d.address_key IN ($2, $3, $4, $5, $6) WHERE l.id = $1
	UNION ALL SELECT a.address_key, 0, ` + standingColumns + ` FROM addresses a CROSS JOIN addresses b CROSS JOIN members m
		WHERE a.address_key IN ($2, $3, $4, $5, $6) AND b.person = a.person AND b.address_key <> a.address_key
			AND m.list_id = $1 AND m.role IN (1, 2, 3, 4, 5) AND m.address_key = b.address_key
	UNION ALL SELECT a.address_key, 1, ` + domainColumns + ` FROM addresses a CROSS JOIN addresses b CROSS JOIN domain_roles d CROSS JOIN lists l
		WHERE a.address_key IN ($2, $3, $4, $5, $6) AND b.person = a.person AND b.address_key <> a.address_key
			AND d.address_key = b.address_key AND l.domain = d.domain AND l.id = $1`

const (
	standingColumns = `m.role, m.address_key, m.local, m.mode, m.status, m.action, m.no_own_posts, m.no_duplicates, m.display_name, m.added, m.acknowledge_posts, m.topics, m.language, m.until`
	domainColumns   = `d.role, d.address_key, d.local, 1, 1, 0, 0, 0, d.display_name, d.added, 0, '', '', 0`
)

// Standings implements store.People.
func (s *Store) Standings(ctx context.Context, listID int64, addrs []address.Address) ([]list.Standing, error) {
	names := map[string]address.Address{}
	keys := make([]string, 0, len(addrs))
	for _, a := range addrs {
		keys = append(keys, key(a))
		names[key(a)] = a
	}
	slices.Sort(keys)
	var out []list.Standing
	for batch := range slices.Chunk(slices.Compact(keys), lookups) {
		args := []any{listID}
		for i := range lookups { // a short batch names its last address again
			args = append(args, batch[min(i, len(batch)-1)])
		}
		rows, err := s.q.standings.QueryContext(ctx, args...)
		if err == nil {
			err = eachRow(ctx, rows, func(rows *sql.Rows) error {
				st, asked, err := scanStanding(rows)
				st.Of = names[asked]
				out = append(out, st)
				return err
			})
		}
		if err != nil {
			return nil, fmt.Errorf("look up what addresses are: %w", err)
		}
	}
	return out, nil
}

// withAsked is a row that scanMember reads, behind two columns.
type withAsked struct {
	row    scanner
	asked  string
	domain int64
}

func (w *withAsked) Scan(dest ...any) error {
	return w.row.Scan(append([]any{&w.asked, &w.domain}, dest...)...)
}

func scanStanding(row scanner) (list.Standing, string, error) {
	w := &withAsked{row: row}
	m, err := scanMember(w)
	return list.Standing{Membership: m, Domain: w.domain == 1}, w.asked, err
}

// linking is one transaction on the addresses of people.
func (s *Store) linking(ctx context.Context, f func(c *scoring) error) error {
	return s.update(ctx, func(tx *sql.Tx) error { return f(&scoring{Store: s, ctx: ctx, tx: tx}) })
}

// LinkAddress implements store.People.
func (s *Store) LinkAddress(ctx context.Context, one, other address.Address, at time.Time) error {
	err := s.linking(ctx, func(c *scoring) error { return c.link(one, other, at) })
	if err != nil {
		return fmt.Errorf("link %s and %s: %w", one, other, err)
	}
	return nil
}

// link is LinkAddress within a transaction. It is ErrTooMany before anything is changed.
func (c *scoring) link(one, other address.Address, at time.Time) error {
	if key(one) == key(other) {
		return errors.New("they are the same")
	}
	addrs := [2]address.Address{one, other}
	var persons [2]string
	all := 0
	for i, a := range addrs {
		if _, err := c.newMember(list.Membership{Address: a}); err != nil {
			return err
		}
		n := 1
		err := c.row(c.q.personOf, key(a)).Scan(&persons[i])
		if err == nil {
			err = c.row(c.q.countAddresses, persons[i]).Scan(&n)
		}
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		all += n
	}
	person := cmp.Or(persons[0], persons[1], token())
	if persons[0] == persons[1] && persons[0] != "" {
		return nil
	}
	if all > store.MaxAddresses {
		return store.ErrTooMany
	}
	for i, a := range addrs {
		var err error
		switch persons[i] {
		case person:
		case "":
			_, err = c.exec(c.q.addAddress, key(a), spelling(a), person, at.UnixMicro()+int64(i)) // the one is first
		default:
			_, err = c.exec(c.q.joinPersons, persons[i], person)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// UnlinkAddress implements store.People.
func (s *Store) UnlinkAddress(ctx context.Context, addr address.Address) error {
	err := s.linking(ctx, func(c *scoring) error { return c.unlink(addr) })
	if err != nil {
		return fmt.Errorf("unlink %s: %w", addr, err)
	}
	return nil
}

// unlink is UnlinkAddress within a transaction. One address alone is nobody's other one.
func (c *scoring) unlink(addr address.Address) error {
	var person string
	if err := c.row(c.q.personOf, key(addr)).Scan(&person); err != nil {
		return notFound(err)
	}
	if _, err := c.exec(c.q.dropAddress, key(addr)); err != nil {
		return err
	}
	_, err := c.exec(c.q.dropLonely, person)
	return err
}

// moveLinks gives what an address is to people and domains to another one.
func (c *scoring) moveLinks(from, to address.Address) error {
	for _, stmt := range []*sql.Stmt{c.q.moveDomainRoles, c.q.moveAddress} {
		if _, err := c.exec(stmt, key(from), key(to), spelling(to)); err != nil {
			return err
		}
	}
	if _, err := c.exec(c.q.dropDomainRoles, key(from)); err != nil {
		return err
	}
	if err := c.unlink(from); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return nil
}

// LinkedAddresses implements store.People.
func (s *Store) LinkedAddresses(ctx context.Context, addr address.Address) ([]address.Address, error) {
	rows, err := s.q.linkedAddresses.QueryContext(ctx, key(addr))
	var out []address.Address
	if err == nil {
		err = eachRow(ctx, rows, func(rows *sql.Rows) error {
			var k, local string
			err := rows.Scan(&k, &local)
			out = append(out, unkey(k, local))
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("look up the addresses of a person: %w", err)
	}
	return out, nil
}

// Persons implements store.People.
func (s *Store) Persons(ctx context.Context, listIDs []int64) (store.Persons, error) {
	var out store.Persons
	for _, id := range listIDs {
		last, place := "", 0
		rows, err := s.q.persons.QueryContext(ctx, id)
		if err == nil {
			err = eachRow(ctx, rows, func(rows *sql.Rows) error {
				var k, local, person string
				var linked int64
				if err := rows.Scan(&k, &local, &person, &linked); err != nil {
					return err
				}
				if out == nil {
					out = store.Persons{}
				}
				if place++; person != last { // they come by person, and in their order
					last, place = person, 0
				}
				out[unkey(k, local).Key()] = store.Person{ID: person, Place: place}
				return nil
			})
		}
		if err != nil {
			return nil, fmt.Errorf("look up people with several addresses: %w", err)
		}
	}
	return out, nil
}

// domainRoles are the roles that an address can have in a domain.
var domainRoles = []list.Role{list.Owner, list.Moderator, list.Sender}

// AddDomainRole implements store.People.
func (s *Store) AddDomainRole(ctx context.Context, r store.DomainRole) error {
	err := s.linking(ctx, func(c *scoring) error {
		m := list.Membership{Address: r.Address, Role: r.Role, DisplayName: r.DisplayName, Added: r.Added}
		if !slices.Contains(domainRoles, r.Role) {
			return fmt.Errorf("role %q: want owner, moderator or sender", r.Role)
		}
		n, err := c.newMember(m)
		if err != nil {
			return err
		}
		_, err = c.exec(c.q.addDomainRole, strings.ToLower(r.Domain), n.role, key(r.Address), spelling(r.Address), r.DisplayName, r.Added.UnixMicro())
		switch {
		case c.dialect.isOrphan(err):
			return fmt.Errorf("domain %s: %w", r.Domain, store.ErrNotFound)
		case c.dialect.isDuplicate(err):
			return store.ErrExists
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s of %s: %w", r.Role, r.Domain, err)
	}
	return nil
}

// RemoveDomainRole implements store.People.
func (s *Store) RemoveDomainRole(ctx context.Context, domain string, role list.Role, addr address.Address) error {
	err := s.linking(ctx, func(c *scoring) error {
		code, err := roles.code(role)
		if err != nil {
			return err
		}
		n, err := c.exec(c.q.removeDomainRole, strings.ToLower(domain), code, key(addr))
		if err == nil && n == 0 {
			err = store.ErrNotFound
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s of %s: %w", role, domain, err)
	}
	return nil
}

// DomainRoles implements store.People.
func (s *Store) DomainRoles(ctx context.Context, domain string) iter.Seq2[store.DomainRole, error] {
	from, to := strings.ToLower(domain), strings.ToLower(domain)
	if domain == "" {
		to = lastKey
	}
	return stream(ctx, s, "read the roles of domains", s.q.domainRoles, func(row scanner) (r store.DomainRole, err error) {
		var k, local string
		var role, added int64
		if err := row.Scan(&r.Domain, &role, &k, &local, &r.DisplayName, &added); err != nil {
			return r, err
		}
		r.Address, r.Added = unkey(k, local), time.UnixMicro(added).UTC()
		r.Role, err = roles.word(role)
		return r, err
	}, from, to)
}
