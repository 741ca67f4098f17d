package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// RolesOf implements store.Mover.
func (s *Store) RolesOf(ctx context.Context, addr address.Address) iter.Seq2[store.ListRole, error] {
	return stream(ctx, s, "find "+addr.String(), s.q.rolesOf, scanRole, key(addr), lastKey)
}

func scanRole(row scanner) (r store.ListRole, err error) {
	var k, local string
	var role int64
	if err := row.Scan(&r.ListID, &k, &local, &role); err != nil {
		return r, err
	}
	r.List = unkey(k, local)
	r.Role, err = roles.word(role)
	return r, err
}

// MoveAddress implements store.Mover.
func (s *Store) MoveAddress(ctx context.Context, from, to address.Address, except []int64, by, why string) ([]store.ListRole, error) {
	var moved []store.ListRole
	err := s.update(ctx, func(tx *sql.Tx) error {
		c := &scoring{Store: s, ctx: ctx, tx: tx}
		var err error
		moved, err = c.move(from, to, except, by, why)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("move %s to %s: %w", from, to, err)
	}
	return moved, nil
}

// move is MoveAddress within a transaction.
func (c *scoring) move(from, to address.Address, except []int64, by, why string) ([]store.ListRole, error) {
	if _, err := c.newMember(list.Membership{Address: to}); err != nil {
		return nil, err
	}
	rows, err := c.tx.StmtContext(c.ctx, c.q.rolesToMove).QueryContext(c.ctx, key(from), lastKey)
	if err != nil {
		return nil, err
	}
	var all []store.ListRole
	err = eachRow(c.ctx, rows, func(rows *sql.Rows) error {
		r, err := scanRole(rows)
		if !slices.Contains(except, r.ListID) {
			all = append(all, r)
		}
		return err
	})
	if err != nil || key(from) == key(to) && spelling(from) == spelling(to) {
		return nil, err
	}
	for i := range all {
		if err := c.moveRole(&all[i], from, to, by, why); err != nil {
			return nil, fmt.Errorf("list %s: %w", all[i].List, err)
		}
	}
	return all, c.moveLinks(from, to)
}

func (c *scoring) moveRole(r *store.ListRole, from, to address.Address, by, why string) error {
	role, err := roles.code(r.Role)
	if err != nil {
		return err
	}
	c.listID = r.ListID
	n, err := c.exec(c.q.moveMember, r.ListID, role, key(from), key(to), spelling(to))
	if err != nil {
		return err
	}
	if n == 0 {
		r.Merged = true
		if _, err := c.exec(c.q.removeMember, r.ListID, role, key(from)); err != nil {
			return err
		}
	}
	if r.Role != list.Member {
		return nil
	}
	if _, err := c.exec(c.q.moveOwed, r.ListID, key(from), key(to), spelling(to)); err != nil {
		return err
	}
	_, err = c.exec(c.q.dropScore, r.ListID, key(from))
	return errors.Join(err,
		c.history(key(from), c.now(), "moved", by, "to "+to.String()+"; "+why),
		c.history(key(to), c.now(), "moved", by, "from "+from.String()+"; "+why))
}
