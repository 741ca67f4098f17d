package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"slices"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// What members are to be is read into a table of this connection alone, for which nobody else
// waits; the transaction that compares and changes is short, and memory holds a window of
// rows however many there are.
const (
	makeWanted  = `CREATE TEMP TABLE sync_wanted AS SELECT list_id, ` + memberColumns + ` FROM members WHERE 1 = 0`
	indexWanted = `CREATE UNIQUE INDEX sync_wanted_key ON sync_wanted (address_key, role)`
	makeChanges = `CREATE TEMP TABLE sync_changes AS SELECT role AS added, role, address_key, local FROM members WHERE 1 = 0`

	// added is 0 of who goes, 1 of who comes, 2 of who is named and needs neither.
	findRemoved = `INSERT INTO sync_changes (added, role, address_key, local) SELECT 0, m.role, m.address_key, m.local FROM members m
		WHERE m.list_id = $1 AND m.role = $2 AND NOT EXISTS (SELECT 1 FROM sync_wanted w WHERE w.address_key = m.address_key)`
	findNamed = `INSERT INTO sync_changes (added, role, address_key, local) SELECT 0, m.role, m.address_key, m.local FROM sync_wanted w
		JOIN members m ON m.list_id = $1 AND m.role = w.role AND m.address_key = w.address_key`
	findAdded = `INSERT INTO sync_changes (added, role, address_key, local) SELECT 1, w.role, w.address_key, w.local FROM sync_wanted w
		WHERE NOT EXISTS (SELECT 1 FROM members m WHERE m.list_id = $1 AND m.role = w.role AND m.address_key = w.address_key)`
	findOthers = `INSERT INTO sync_changes (added, role, address_key, local) SELECT 2, w.role, w.address_key, w.local FROM sync_wanted w
		WHERE NOT EXISTS (SELECT 1 FROM sync_changes c WHERE c.address_key = w.address_key AND c.role = w.role)`
	indexChanges = `CREATE UNIQUE INDEX sync_changes_key ON sync_changes (address_key, role)`

	removeChanged = `DELETE FROM members WHERE list_id = $1 AND role = $2 AND address_key IN (SELECT address_key FROM sync_changes WHERE added = 0)`
	addChanged    = `INSERT INTO members (list_id, ` + memberColumns + `) SELECT w.list_id, w.role, w.address_key, w.local, w.mode, w.status, w.action, w.no_own_posts,
		w.no_duplicates, w.display_name, w.added, w.acknowledge_posts, w.topics, w.language, w.until FROM sync_wanted w JOIN sync_changes c ON c.added = 1 AND c.address_key = w.address_key AND c.role = w.role`
	dropScores  = `DELETE FROM bounce_scores WHERE list_id = $1 AND address_key IN (SELECT address_key FROM sync_changes WHERE role = 1 AND added < 2)`
	tellHistory = `INSERT INTO member_history (list_id, address_key, at, what, who, why) SELECT CAST($1 AS BIGINT), address_key, CAST($2 AS BIGINT), CASE added WHEN 1 THEN 'joined' ELSE 'left' END,
		CAST($3 AS TEXT), CAST($4 AS TEXT) FROM sync_changes WHERE role = 1 AND added < 2`
	readChanges  = `SELECT added, address_key, local FROM sync_changes ORDER BY added, address_key`
	countWanted  = `SELECT count(*) FROM sync_wanted`
	countChanges = `SELECT count(*) FROM sync_changes WHERE added = $1`
	countRole    = `SELECT count(*) FROM members WHERE list_id = $1 AND role = $2`
	listThere    = `SELECT id FROM lists WHERE id = $1`
)

// SyncMembers implements store.Syncer.
func (s *Store) SyncMembers(ctx context.Context, listID int64, how store.Sync, members iter.Seq2[list.Membership, error], progress func(int64), row func(address.Address, store.SyncChange) error) (store.SyncResult, error) {
	c := &syncing{Store: s, ctx: ctx, listID: listID, how: how}
	if err := c.run(members, progress, row); err != nil {
		return store.SyncResult{}, fmt.Errorf("synchronise the members: %w", err)
	}
	return c.res, nil
}

// syncing is one run of SyncMembers.
type syncing struct {
	*Store
	ctx    context.Context
	conn   *sql.Conn
	listID int64
	role   int64
	how    store.Sync
	res    store.SyncResult
}

func (c *syncing) run(members iter.Seq2[list.Membership, error], progress func(int64), row func(address.Address, store.SyncChange) error) (err error) {
	if c.role, err = roles.code(c.how.Role); err != nil {
		return err
	}
	if c.conn, err = c.writer.Conn(c.ctx); err != nil {
		return err
	}
	defer c.conn.Close()
	defer func() {
		for _, table := range []string{"sync_wanted", "sync_changes"} {
			// The connection goes on without them, whatever has ended the work.
			if _, derr := c.conn.ExecContext(context.WithoutCancel(c.ctx), `DROP TABLE IF EXISTS `+table); err == nil {
				err = derr
			}
		}
	}()
	for _, text := range []string{makeWanted, indexWanted, makeChanges, indexChanges} {
		if _, err := c.conn.ExecContext(c.ctx, text); err != nil {
			return err
		}
	}
	if err := c.read(members, progress); err != nil {
		return err
	}
	if err := c.change(); err != nil {
		return err
	}
	if row == nil || c.res.Refused && !c.how.Dry {
		return nil
	}
	return c.tell(row)
}

// read fills sync_wanted.
func (c *syncing) read(members iter.Seq2[list.Membership, error], progress func(int64)) error {
	var window []newMember
	var read int64
	flush := func() error {
		sortMembers(window)
		for batch := range slices.Chunk(window, statementRows) {
			args := make([]any, 0, memberParams*len(batch))
			for i := range batch {
				args = batch[i].args(c.listID, args)
			}
			if _, err := c.conn.ExecContext(c.ctx, c.dialect.insertInto("sync_wanted", len(batch)), args...); err != nil {
				return err
			}
		}
		window = window[:0]
		if progress != nil {
			progress(read)
		}
		return nil
	}
	for m, err := range members {
		if err != nil {
			return err
		}
		if c.how.Kind != store.SyncAdd || m.Role == "" {
			m.Role = c.how.Role
		}
		n, err := c.newMember(m)
		if err != nil {
			return err
		}
		read++
		if window = append(window, n); len(window) == windowRows {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	var wanted int64
	err := c.conn.QueryRowContext(c.ctx, countWanted).Scan(&wanted)
	c.res.Twice = read - wanted
	return err
}

// change compares and changes, in one transaction.
func (c *syncing) change() error {
	var tx *sql.Tx
	err := c.patiently(c.ctx, func() (err error) {
		tx, err = c.conn.BeginTx(c.ctx, nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() // after Commit it does nothing
	var id int64
	if err := tx.QueryRowContext(c.ctx, listThere, c.listID).Scan(&id); err != nil {
		return fmt.Errorf("the list: %w", notFound(err))
	}
	type step struct {
		text string
		args []any
		to   *int64
	}
	var others int64
	steps := []step{{countRole, []any{c.listID, c.role}, &c.res.Before}}
	switch c.how.Kind {
	case store.SyncAdd:
		steps = append(steps, step{findAdded, []any{c.listID}, nil}, step{findOthers, nil, nil})
	case store.SyncRemove:
		steps = append(steps, step{findNamed, []any{c.listID}, nil}, step{findOthers, nil, nil})
	default:
		steps = append(steps, step{findRemoved, []any{c.listID, c.role}, nil}, step{findAdded, []any{c.listID}, nil})
	}
	steps = append(steps, step{countChanges, []any{0}, &c.res.Removed}, step{countChanges, []any{1}, &c.res.Added}, step{countChanges, []any{2}, &others})
	for _, step := range steps {
		if step.to != nil {
			err = tx.QueryRowContext(c.ctx, step.text, step.args...).Scan(step.to)
		} else {
			_, err = tx.ExecContext(c.ctx, step.text, step.args...)
		}
		if err != nil {
			return err
		}
	}
	c.res.Unchanged = c.res.Before - c.res.Removed
	switch c.how.Kind {
	case store.SyncAdd:
		c.res.Unchanged = others
	case store.SyncRemove:
		c.res.Missing = others
	}
	c.res.Refused = c.res.Removed > c.how.AlwaysRemoved && float64(c.res.Removed) > c.how.MaxRemoved*float64(c.res.Before)
	if !c.how.Dry && !c.res.Refused && c.res.Added+c.res.Removed > 0 {
		if err := c.write(tx); err != nil {
			return err
		}
	}
	return tx.Commit() // with a dry run what goes is rows of this connection's own
}

func (c *syncing) write(tx *sql.Tx) error {
	if _, err := tx.ExecContext(c.ctx, removeChanged, c.listID, c.role); err != nil {
		return err
	}
	if _, err := tx.ExecContext(c.ctx, addChanged); err != nil {
		return err
	}
	if _, err := tx.ExecContext(c.ctx, dropScores, c.listID); err != nil {
		return err
	}
	_, err := tx.ExecContext(c.ctx, tellHistory, c.listID, c.now().UnixMicro(), c.how.By, c.how.Why)
	return err
}

func (c *syncing) tell(row func(address.Address, store.SyncChange) error) error {
	changes := [3]store.SyncChange{store.SyncRemoved, store.SyncAdded, store.SyncExisting}
	if c.how.Kind == store.SyncRemove {
		changes[2] = store.SyncMissing
	}

	rows, err := c.conn.QueryContext(c.ctx, readChanges)
	if err != nil {
		return err
	}
	return eachRow(c.ctx, rows, func(rows *sql.Rows) error {
		var added int
		var k, local string
		if err := rows.Scan(&added, &k, &local); err != nil {
			return err
		}
		return row(unkey(k, local), changes[added])
	})
}
