package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/mlist/mlist/internal/store"
)

// Recipients implements store.Members. One role of one list, what most posts are for, is
// one walk along the primary key. Of several, the database merges such walks: each is in
// order already, so nothing is sorted, and memory does not grow with the lists.
func (s *Store) Recipients(ctx context.Context, sources ...store.Source) iter.Seq2[store.Recipient, error] {
	return func(yield func(store.Recipient, error) bool) {
		walks, err := newWalks(sources)
		if err == nil && len(walks) > 0 {
			err = s.snapshot(ctx, func(tx *sql.Tx) error { return s.walk(ctx, tx, walks, yield) })
		}
		if err != nil {
			yield(store.Recipient{}, fmt.Errorf("read the recipients: %w", err))
		}
	}
}

// walk is one role of one source.
type walk struct {
	listID, role int64
	filter       filter
	except       bool
}

// newWalks puts the sources that take away before the others, so that they come first
// among the rows of one address.
func newWalks(sources []store.Source) ([]walk, error) {
	var except, have []walk
	for _, src := range sources {
		f, err := newFilter(src.Filter)
		if err != nil {
			return nil, err
		}
		for _, role := range f.roles {
			w := walk{src.ListID, role, f, src.Except}
			if src.Except {
				except = append(except, w)
			} else {
				have = append(have, w)
			}
		}
	}
	if n := len(except) + len(have); n > store.MaxSources {
		return nil, fmt.Errorf("%d roles of lists at once, at most %d are allowed", n, store.MaxSources)
	}
	if len(have) == 0 {
		return nil, nil
	}
	return append(except, have...), nil
}

func (w *walk) args(to []any) []any {
	return append(to, w.listID, w.role, w.filter.from, w.filter.to, w.filter.modes, w.filter.statuses, w.filter.topics)
}

// walkParams is how many parameters one walk has.
const walkParams = 7

func (s *Store) walk(ctx context.Context, tx *sql.Tx, walks []walk, yield func(store.Recipient, error) bool) error {
	if len(walks) == 1 {
		rows, err := tx.Stmt(s.q.recipients).Query(walks[0].args(nil)...)
		if err != nil {
			return err
		}
		return yieldRecipients(ctx, rows, yield)
	}
	var args []any
	excepts := int64(0) // the first so many
	for i := range walks {
		args = walks[i].args(args)
		if walks[i].except {
			excepts++
		}
	}
	rows, err := tx.Query(s.dialect.merge(len(walks)), args...)
	if err != nil {
		return err
	}
	return yieldMerged(ctx, rows, excepts, yield)
}

// merge is the statement for so many walks: a row also tells the place of its walk.
func (d *dialect) merge(walks int) string {
	var b strings.Builder
	for i := range walks {
		if i > 0 {
			b.WriteString("\nUNION ALL ")
		}
		text := "SELECT " + recipientColumns + ", " + strconv.Itoa(i) + " AS place " + d.chosen()
		b.WriteString(renumber(text, i*walkParams))
	}
	b.WriteString("\nORDER BY address_key, place")
	return b.String()
}

// renumber adds n to the number of each parameter.
func renumber(text string, n int) string {
	pieces := strings.Split(text, "$")
	for i, p := range pieces[1:] {
		end := len(p) - len(strings.TrimLeft(p, "0123456789"))
		number, _ := strconv.Atoi(p[:end])
		pieces[i+1] = strconv.Itoa(number+n) + p[end:]
	}
	return strings.Join(pieces, "$")
}

// recipient is what a row is scanned into: flags and place are what database/sql fills in
// without reflection.
type recipient struct {
	key, local   string
	flags, place any
}

func (r *recipient) yield(to func(store.Recipient, error) bool) error {
	n, _ := r.flags.(int64)
	if !to(store.Recipient{Address: mailbox(r.key, r.local), NoOwnPosts: n&1 != 0, NoDuplicates: n&2 != 0}, nil) {
		return errStopped
	}
	return nil
}

func yieldRecipients(ctx context.Context, rows *sql.Rows, yield func(store.Recipient, error) bool) error {
	var r recipient
	dest := []any{&r.key, &r.local, &r.flags}
	return eachRow(ctx, rows, func(rows *sql.Rows) error {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		return r.yield(yield)
	})
}

// yieldMerged yields the first row of each address, unless it is of one of the first
// walks, those that take away.
func yieldMerged(ctx context.Context, rows *sql.Rows, excepts int64, yield func(store.Recipient, error) bool) error {
	var r recipient
	dest := []any{&r.key, &r.local, &r.flags, &r.place}
	last := ""
	return eachRow(ctx, rows, func(rows *sql.Rows) error {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		if r.key == last {
			return nil
		}
		last = r.key
		if place, _ := r.place.(int64); place < excepts {
			return nil
		}
		return r.yield(yield)
	})
}
