package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// errDry ends a transaction whose only use is to find out what it would do.
var errDry = errors.New("dry run")

// applying is one transaction that makes lists as they are to be.
type applying struct {
	*Store
	ctx context.Context
	tx  *sql.Tx
}

// ApplyLists implements store.Applier.
func (s *Store) ApplyLists(ctx context.Context, specs []store.ListSpec, dry bool) ([]store.ListDiff, error) {
	var diffs []store.ListDiff
	err := s.update(ctx, func(tx *sql.Tx) error {
		a := &applying{s, ctx, tx}
		var err error
		if diffs, err = a.all(specs); err != nil {
			return err
		}
		changed := func(d store.ListDiff) bool { return d.Created || len(d.Changes) > 0 }
		switch {
		case dry:
			return errDry
		case !slices.ContainsFunc(diffs, changed):
			return errUnchanged
		}
		return nil
	})
	if errors.Is(err, errDry) {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	return diffs, nil
}

// all goes over the lists twice, since settings of one may name another that comes to be
// with it.
func (a *applying) all(specs []store.ListSpec) ([]store.ListDiff, error) {
	diffs := make([]store.ListDiff, len(specs))
	lists := make([]*list.List, len(specs))
	for i, spec := range specs {
		if err := a.ctx.Err(); err != nil {
			return nil, err
		}
		var err error
		if lists[i], err = a.list(spec, &diffs[i]); err != nil {
			return nil, fmt.Errorf("list %s: %w", spec.Address, err)
		}
		for _, before := range lists[:i] {
			if before.ID == lists[i].ID {
				return nil, fmt.Errorf("list %s: it is there twice, and once as %s", spec.Address, before.Address)
			}
		}
	}
	for i, spec := range specs {
		for _, step := range []func(*list.List, store.ListSpec, *store.ListDiff) error{a.settings, a.state, a.aliases, a.roles} {
			if err := step(lists[i], spec, &diffs[i]); err != nil {
				return nil, fmt.Errorf("list %s: %w", spec.Address, err)
			}
		}
	}
	return diffs, nil
}

// list finds a list, or creates it.
func (a *applying) list(spec store.ListSpec, d *store.ListDiff) (*list.List, error) {
	l, err := a.scanList(a.tx.StmtContext(a.ctx, a.q.lockList).QueryRowContext(a.ctx, key(spec.Address)))
	if err == nil {
		d.Address = l.Address
		return l, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	l = &list.List{Address: spec.Address}
	if spec.Style != nil {
		l.Style = list.StyleName(*spec.Style)
	}
	if l.Settings, err = a.styles.Load().Base(l.Style); err != nil {
		return nil, err
	}
	d.Address, d.Created = l.Address, true
	return l, a.create(a.ctx, a.tx, l)
}

func (a *applying) settings(l *list.List, spec store.ListSpec, d *store.ListDiff) error {
	styles := a.styles.Load()
	before, own := l.Settings, spec.Settings
	if own == nil {
		var err error
		if own, err = styles.Own(l.Style, &l.Settings); err != nil {
			return err
		}
	}
	if spec.Style != nil && list.StyleName(*spec.Style) != l.Style {
		if !d.Created {
			d.Changes = append(d.Changes, store.Change{What: "style", Old: cmp.Or(l.Style, list.DefaultStyle), New: *spec.Style})
		}
		l.Style = list.StyleName(*spec.Style)
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Settings)) {
		if err := styles.CheckLocked(l.Style, name); err != nil {
			return err
		}
	}
	var err error
	if l.Settings, err = styles.Settings(l.Style, own); err != nil {
		return err
	}
	was, is := before.Map(), l.Settings.Map()
	for i := range list.All {
		if name := list.All[i].Name; was[name] != is[name] {
			d.Changes = append(d.Changes, store.Change{What: name, Old: was[name], New: is[name]})
		}
	}
	return a.saveSettings(a.ctx, a.tx, l, was["include_lists"] != is["include_lists"] || was["exclude_lists"] != is["exclude_lists"])
}

func (a *applying) state(l *list.List, spec store.ListSpec, d *store.ListDiff) error {
	state, why := l.State, l.StateWhy
	if spec.State != nil {
		state = *spec.State
	}
	if spec.Why != nil {
		why = *spec.Why
	}
	if state == l.State && why == l.StateWhy {
		return nil
	}
	code, err := states.code(state)
	if err == nil {
		err = list.CheckWhy(why)
	}
	if err != nil {
		return err
	}
	if state != l.State {
		d.Changes = append(d.Changes, store.Change{What: "state", Old: string(l.State), New: string(state)})
		l.StateSince = a.now()
	}
	if why != l.StateWhy {
		d.Changes = append(d.Changes, store.Change{What: "state_reason", Old: l.StateWhy, New: why})
	}
	_, err = a.tx.StmtContext(a.ctx, a.q.setListState).ExecContext(a.ctx, l.ID, code, why, l.StateSince.UnixMicro())
	return err
}

func (a *applying) aliases(l *list.List, spec store.ListSpec, d *store.ListDiff) error {
	if spec.Aliases == nil {
		return nil
	}
	rows, err := a.tx.StmtContext(a.ctx, a.q.aliasesOf).QueryContext(a.ctx, l.ID)
	if err != nil {
		return err
	}
	have := map[string]address.Address{}
	err = eachRow(a.ctx, rows, func(rows *sql.Rows) error {
		var k, local string
		err := rows.Scan(&k, &local)
		have[k] = unkey(k, local)
		return err
	})
	if err != nil {
		return err
	}
	want := map[string]address.Address{}
	for _, alias := range *spec.Aliases {
		want[key(alias)] = alias
	}
	for _, k := range slices.Sorted(maps.Keys(have)) {
		if _, stays := want[k]; stays {
			continue
		}
		d.Changes = append(d.Changes, store.Change{What: "alias", Old: have[k].String()})
		if _, err := a.tx.StmtContext(a.ctx, a.q.dropAlias).ExecContext(a.ctx, k); err != nil {
			return err
		}
	}
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if _, there := have[k]; there {
			continue
		}
		d.Changes = append(d.Changes, store.Change{What: "alias", New: want[k].String()})
		err := list.CheckAddress(want[k])
		if err == nil {
			err = a.checkClash(a.ctx, a.tx, want[k])
		}
		if err == nil {
			err = a.addAlias(a.ctx, a.tx, l.ID, want[k])
		}
		if err != nil {
			return fmt.Errorf("alias %s: %w", want[k], err)
		}
	}
	return nil
}

func (a *applying) roles(l *list.List, spec store.ListSpec, d *store.ListDiff) error {
	for _, role := range append(slices.Clone(list.Roles), list.Receiver) {
		if people, managed := spec.Roles[role]; managed {
			if err := a.role(l, role, people, d); err != nil {
				return fmt.Errorf("%ss: %w", role, err)
			}
		}
	}
	return nil
}

// role makes exactly these people have a role.
func (a *applying) role(l *list.List, role list.Role, people []list.Membership, d *store.ListDiff) error {
	stored, read := role, a.q.inRole
	if role == list.Receiver { // a member whose posts are not taken
		stored, read = list.Member, a.q.receivers
	}
	code, err := roles.code(stored)
	if err != nil {
		return err
	}
	have := map[string]address.Address{}
	rows, err := a.tx.StmtContext(a.ctx, read).QueryContext(a.ctx, l.ID, code)
	if err != nil {
		return err
	}
	err = eachRow(a.ctx, rows, func(rows *sql.Rows) error {
		var k, local string
		err := rows.Scan(&k, &local)
		have[k] = unkey(k, local)
		return err
	})
	if err != nil {
		return err
	}
	want := map[string]newMember{}
	for _, m := range people {
		m.Role, m.Added = role, a.now().Truncate(time.Microsecond)
		n, err := a.newMember(m)
		if err != nil {
			return err
		}
		want[n.key] = n
	}
	member := scoring{Store: a.Store, ctx: a.ctx, tx: a.tx, listID: l.ID}
	tell := func(k, what string) error { // a receiver is a member, and has a history
		if role != list.Receiver {
			return nil
		}
		return member.history(k, a.now(), what, "operator", "by mlist list apply")
	}
	for _, k := range slices.Sorted(maps.Keys(have)) {
		if _, stays := want[k]; stays {
			continue
		}
		d.Changes = append(d.Changes, store.Change{What: string(role), Old: have[k].String()})
		if _, err := a.tx.StmtContext(a.ctx, a.q.removeMember).ExecContext(a.ctx, l.ID, code, k); err != nil {
			return err
		}
		if err := tell(k, "left"); err != nil {
			return err
		}
	}
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if _, there := have[k]; there {
			continue
		}
		n := want[k]
		d.Changes = append(d.Changes, store.Change{What: string(role), New: mailbox(n.key, n.local)})
		result, err := a.tx.StmtContext(a.ctx, a.q.addMember).ExecContext(a.ctx, n.args(l.ID, nil)...)
		if err != nil {
			return err
		}
		if rows, err := result.RowsAffected(); err != nil {
			return err
		} else if rows == 0 { // a member becomes one who may not post
			if _, err := a.tx.StmtContext(a.ctx, a.q.setMember).ExecContext(a.ctx, l.ID, code, n.key, nil, nil, nil, n.action, nil, nil, nil, nil, nil, nil); err != nil {
				return err
			}
		} else if err := tell(n.key, "joined"); err != nil {
			return err
		}
	}
	return nil
}

// saveSettings writes how a list is set; named tells that other lists may be named anew.
func (s *Store) saveSettings(ctx context.Context, tx *sql.Tx, l *list.List, named bool) error {
	if named {
		if err := s.checkNamed(ctx, tx, l); err != nil {
			return err
		}
	}
	own, err := s.styles.Load().Own(l.Style, &l.Settings)
	if err != nil {
		return err
	}
	text, err := json.Marshal(own)
	if err != nil {
		return err
	}
	_, err = tx.StmtContext(ctx, s.q.setSettings).ExecContext(ctx, l.ID, string(text), l.Style)
	return err
}
