package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// errStopped ends a snapshot whose consumer wants no more.
var errStopped = errors.New("stopped")

// snapshot runs f in a transaction that sees the store as of one instant. Only the
// wait for a connection heeds ctx: watching it within the transaction would cost more
// than reading a row does, so f looks at it itself.
func (s *Store) snapshot(ctx context.Context, f func(tx *sql.Tx) error) error {
	conn, err := s.stream.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	tx, err := conn.BeginTx(context.WithoutCancel(ctx), &sql.TxOptions{ReadOnly: true, Isolation: s.dialect.snapshot})
	if err != nil {
		return err
	}
	defer tx.Rollback() // nothing was written
	if err := f(tx); !errors.Is(err, errStopped) {
		return err
	}
	return nil
}

// filter is a store.Filter in the form in which queries take it.
type filter struct {
	roles           []int64 // ascending
	from, to        string  // keys
	modes, statuses int64   // masks
	topics          string  // JSON, or ""
}

func newFilter(f store.Filter) (filter, error) {
	out := filter{to: lastKey}
	chosen, err := roles.mask(f.Roles)
	if err != nil {
		return out, err
	}
	for code := range roles[1:] {
		if chosen&(1<<(code+1)) != 0 {
			out.roles = append(out.roles, int64(code+1))
		}
	}
	if out.modes, err = modes.mask(f.Modes); err != nil {
		return out, err
	}
	if out.statuses, err = statuses.mask(f.Statuses); err != nil {
		return out, err
	}
	if len(f.Topics) > 0 {
		out.topics = topicsJSON(f.Topics)
	}
	if !f.Address.IsZero() {
		out.from, out.to = key(f.Address), key(f.Address)
	}
	return out, nil
}

// checkEvery is after how many rows a stream looks whether its context is done.
const checkEvery = 256

// choose runs query, one of those made of chosen, for each role in turn in one
// snapshot, and calls row for each row.
func (s *Store) choose(ctx context.Context, query *sql.Stmt, listID int64, f store.Filter, row func(*sql.Rows) error) error {
	chosen, err := newFilter(f)
	if err != nil {
		return err
	}
	return s.snapshot(ctx, func(tx *sql.Tx) error {
		stmt := tx.Stmt(query)
		for _, role := range chosen.roles {
			rows, err := stmt.Query(listID, role, chosen.from, chosen.to, chosen.modes, chosen.statuses, chosen.topics)
			if err != nil {
				return err
			}
			if err := eachRow(ctx, rows, row); err != nil {
				return err
			}
		}
		return nil
	})
}

func eachRow(ctx context.Context, rows *sql.Rows, row func(*sql.Rows) error) error {
	defer rows.Close()
	for n := 0; rows.Next(); n++ {
		if n%checkEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Members implements store.Members.
func (s *Store) Members(ctx context.Context, listID int64, f store.Filter) iter.Seq2[list.Membership, error] {
	return func(yield func(list.Membership, error) bool) {
		err := s.choose(ctx, s.q.members, listID, f, func(rows *sql.Rows) error {
			m, err := scanMember(rows)
			if err != nil {
				return err
			}
			if !yield(m, nil) {
				return errStopped
			}
			return nil
		})
		if err != nil {
			yield(list.Membership{}, fmt.Errorf("read the members: %w", err))
		}
	}
}

func scanMember(row scanner) (list.Membership, error) {
	var (
		m                                 list.Membership
		k, local, topics                  string
		role, mode, status, action, added int64
		until                             int64
	)
	if err := row.Scan(&role, &k, &local, &mode, &status, &action, &m.NoOwnPosts, &m.NoDuplicates, &m.DisplayName, &added, &m.AcknowledgePosts, &topics, &m.Language, &until); err != nil {
		return m, err
	}
	m.Address = unkey(k, local)
	m.Added = time.UnixMicro(added).UTC()
	if until > 0 {
		m.Until = time.UnixMicro(until).UTC()
	}
	m.Topics, m.Nonmatching = readTopics(topics)
	var errs [4]error
	m.Role, errs[0] = roles.word(role)
	m.Mode, errs[1] = modes.word(mode)
	m.Status, errs[2] = statuses.word(status)
	m.Action, errs[3] = actions.word(action)
	return m, errors.Join(errs[:]...)
}

// CountMembers implements store.Members.
func (s *Store) CountMembers(ctx context.Context, listID int64, f store.Filter) (int64, error) {
	chosen, err := newFilter(f)
	if err != nil {
		return 0, fmt.Errorf("count the members: %w", err)
	}
	var total int64
	for _, role := range chosen.roles {
		var n int64
		err := s.q.countMembers.QueryRowContext(ctx, listID, role, chosen.from, chosen.to, chosen.modes, chosen.statuses, chosen.topics).Scan(&n)
		if err != nil {
			return 0, fmt.Errorf("count the members: %w", err)
		}
		total += n
	}
	return total, nil
}

// lookups is how many addresses one query of Memberships takes.
const lookups = 5

// Memberships implements store.Members.
func (s *Store) Memberships(ctx context.Context, listID int64, addrs []address.Address) ([]list.Membership, error) {
	keys := make([]string, 0, len(addrs))
	for _, a := range addrs {
		keys = append(keys, key(a))
	}
	slices.Sort(keys)
	var out []list.Membership
	for batch := range slices.Chunk(slices.Compact(keys), lookups) {
		args := []any{listID}
		for i := range lookups { // a short batch names its last address again
			args = append(args, batch[min(i, len(batch)-1)])
		}
		rows, err := s.q.memberships.QueryContext(ctx, args...)
		if err != nil {
			return nil, fmt.Errorf("look up memberships: %w", err)
		}
		err = eachRow(ctx, rows, func(rows *sql.Rows) error {
			m, err := scanMember(rows)
			out = append(out, m)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("look up memberships: %w", err)
		}
	}
	return out, nil
}
