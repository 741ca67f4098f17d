package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/mlist/mlist/internal/store"
)

// Recipients implements store.Members. One role of one list, what most posts are for, is
// one walk along the primary key, or of a large list two, from both ends. Of several, the
// database merges such walks: each is in order already, so nothing is sorted, and memory
// does not grow with the lists.
func (s *Store) Recipients(ctx context.Context, sources ...store.Source) iter.Seq2[[]store.Recipient, error] {
	return func(yield func([]store.Recipient, error) bool) {
		walks, err := newWalks(sources)
		some := func(r []store.Recipient) error {
			if !yield(r, nil) {
				return errStopped
			}
			return nil
		}
		switch {
		case err != nil || len(walks) == 0:
		case len(walks) == 1:
			err = s.walk(ctx, &walks[0], some)
		default:
			err = s.snapshot(ctx, func(tx *sql.Tx) error { return s.merge(ctx, tx, walks, some) })
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(nil, fmt.Errorf("read the recipients: %w", err))
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

// merge makes one of several walks.
func (s *Store) merge(ctx context.Context, tx *sql.Tx, walks []walk, yield func([]store.Recipient) error) error {
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

// batchSize is how many recipients come at once.
const batchSize = 1000

// batch gathers recipients, whose addresses share one text.
type batch struct {
	text []byte
	ends []int // in text, of each address
	all  []store.Recipient
}

func (b *batch) full() bool { return len(b.all) == batchSize }

func (b *batch) add(r *recipient) {
	n, _ := r.flags.(int64)
	b.text = appendMailbox(b.text, r.key, r.local)
	b.ends = append(b.ends, len(b.text))
	if b.all == nil {
		b.all = make([]store.Recipient, 0, batchSize)
	}
	b.all = append(b.all, store.Recipient{NoOwnPosts: n&1 != 0, NoDuplicates: n&2 != 0})
}

// take returns what was gathered, and starts anew.
func (b *batch) take() []store.Recipient {
	text, from, all := string(b.text), 0, b.all
	for i, end := range b.ends {
		all[i].Address, from = text[from:end], end
	}
	b.text, b.ends, b.all = b.text[:0], b.ends[:0], nil
	return all
}

// yieldMerged yields the first row of each address, unless it is of one of the first
// walks, those that take away.
func yieldMerged(ctx context.Context, rows *sql.Rows, excepts int64, yield func([]store.Recipient) error) error {
	var r recipient
	var b batch
	dest := []any{&r.key, &r.local, &r.flags, &r.place}
	last := ""
	err := eachRow(ctx, rows, func(rows *sql.Rows) error {
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
		if b.add(&r); b.full() {
			return yield(b.take())
		}
		return nil
	})
	if err == nil && len(b.all) > 0 {
		err = yield(b.take())
	}
	return err
}
