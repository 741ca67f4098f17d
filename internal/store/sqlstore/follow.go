package sqlstore

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// errAnew: it is quicker, or the only way, to copy everything anew.
var errAnew = errors.New("copy everything anew")

// maxChanges is how many rows that differ are held in memory; of more, everything is copied.
const maxChanges = 50_000

// changes are what a table lacks to be like another one.
type changes struct {
	remove         [][]any // keys
	update, insert [][]any // rows
}

func (c *changes) count() int { return len(c.remove) + len(c.update) + len(c.insert) }

// follow makes a copy that was made before what the other store is now, and tells which tables
// were different.
func follow(ctx context.Context, from, to *side, shapes []tableShape) (changed []tableShape, err error) {
	all, total := make([]changes, len(shapes)), 0
	for i, s := range shapes {
		if all[i], err = difference(ctx, from, to, s, maxChanges-total); err != nil {
			return nil, fmt.Errorf("table %s: %w", s.name, err)
		}
		if n := all[i].count(); n > 0 {
			changed = append(changed, s)
			total += n
		}
	}
	removed := false
	for i, s := range slices.Backward(shapes) {
		for _, key := range all[i].remove {
			removed = true
			if _, err := to.tx.ExecContext(ctx, `DELETE FROM `+s.name+` WHERE `+s.where(1), key...); err != nil {
				return nil, cannotFollow(ctx, s, err)
			}
		}
	}
	for i, s := range shapes {
		if err := apply(ctx, to, s, all[i]); err != nil {
			return nil, cannotFollow(ctx, s, err)
		}
	}
	if removed { // and with a row maybe others that refer to it
		return shapes, nil
	}
	return changed, nil
}

// cannotFollow: two rows may have to change at once what only one of them can have. Nothing can
// be done in this transaction any more.
func cannotFollow(ctx context.Context, t tableShape, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("table %s: %w: %w", t.name, errAnew, err)
}

// where is a condition on the key, whose parameters begin with this one.
func (t tableShape) where(first int) string {
	parts := make([]string, len(t.key))
	for i, k := range t.key {
		parts[i] = fmt.Sprintf("%s = $%d", k, first+i)
	}
	return strings.Join(parts, " AND ")
}

// keyOf is the key of a row.
func (t tableShape) keyOf(row []any) []any {
	key := make([]any, len(t.key))
	for i, k := range t.key {
		key[i] = row[slices.Index(t.columns, k)]
	}
	return key
}

// difference compares a table, up to so many rows that differ.
func difference(ctx context.Context, from, to *side, t tableShape, most int) (c changes, err error) {
	ours, err := from.all(ctx, t)
	if err != nil {
		return c, err
	}
	defer ours.Close()
	theirs, err := to.all(ctx, t)
	if err != nil {
		return c, err
	}
	defer theirs.Close()
	next := func(s *side, rows *sql.Rows) ([]any, error) {
		if !rows.Next() {
			return nil, rows.Err()
		}
		return s.scanRow(rows, t)
	}
	x, err := next(from, ours)
	y, err2 := next(to, theirs)
	for n := 0; (x != nil || y != nil) && err == nil && err2 == nil; n++ {
		if n%checkEvery == 0 && ctx.Err() != nil {
			return c, ctx.Err()
		}
		order := 0
		switch {
		case y == nil:
			order = -1
		case x == nil:
			order = 1
		default:
			order = compareKeys(t.keyOf(x), t.keyOf(y))
		}
		switch {
		case order < 0:
			c.insert = append(c.insert, x)
		case order > 0:
			c.remove = append(c.remove, t.keyOf(y))
		case !slices.EqualFunc(x, y, sameValue):
			c.update = append(c.update, x)
		}
		if c.count() > most {
			return c, errAnew
		}
		if order <= 0 {
			x, err = next(from, ours)
		}
		if order >= 0 {
			y, err2 = next(to, theirs)
		}
	}
	return c, errors.Join(err, err2)
}

// compareKeys orders keys as both databases do. Values that it does not know are equal, so that
// the comparison at the end finds them out.
func compareKeys(a, b []any) int {
	for i := range a {
		var order int
		switch x := a[i].(type) {
		case int64:
			y, _ := b[i].(int64)
			order = cmp.Compare(x, y)
		case string:
			y, _ := b[i].(string)
			order = cmp.Compare(x, y)
		case []byte:
			y, _ := b[i].([]byte)
			order = bytes.Compare(x, y)
		}
		if order != 0 {
			return order
		}
	}
	return 0
}

// apply writes the rows of a table that were changed, or are new.
func apply(ctx context.Context, to *side, t tableShape, c changes) error {
	var set []string // what is no key
	for _, column := range t.columns {
		if !slices.Contains(t.key, column) {
			set = append(set, fmt.Sprintf("%s = $%d", column, len(set)+1))
		}
	}
	for _, row := range c.update {
		var args []any
		for i, column := range t.columns {
			if !slices.Contains(t.key, column) {
				args = append(args, row[i])
			}
		}
		if _, err := to.tx.ExecContext(ctx, `UPDATE `+t.name+` SET `+strings.Join(set, ", ")+` WHERE `+t.where(len(args)+1), append(args, t.keyOf(row)...)...); err != nil {
			return err
		}
	}
	for rows := range slices.Chunk(c.insert, transferParams/len(t.columns)) {
		if _, err := to.tx.ExecContext(ctx, to.insertRows(t, len(rows)), slices.Concat(rows...)...); err != nil {
			return err
		}
	}
	return nil
}
