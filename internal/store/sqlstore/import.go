package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

const (
	// windowRows is how many rows are sorted at once, some 10 MB of them. Of a large list
	// each transaction then writes a part of the pages, not a row in every page.
	windowRows = 60_000
	// batchRows is how many rows one transaction adds or removes: enough for its sync
	// to weigh little, few enough that other writers wait only for some 50 ms.
	batchRows = 5_000
	// statementRows is how many rows one statement adds.
	statementRows = 200
	memberParams  = 15
)

// insertMembers is a statement that adds so many members.
func (d *dialect) insertMembers(rows int) string { return d.insertInto("members", rows) }

// insertInto is insertMembers, into a table with the same columns.
func (d *dialect) insertInto(table string, rows int) string {
	var b strings.Builder
	b.WriteString(`INSERT INTO ` + table + ` (list_id, ` + memberColumns + `) VALUES `)
	for param := range rows * memberParams {
		switch {
		case param%memberParams != 0:
			b.WriteString(", ")
		case param == 0:
			b.WriteByte('(')
		default:
			b.WriteString("), (")
		}
		b.WriteString(d.bulkParam(param + 1))
	}
	b.WriteByte(')')
	b.WriteString(` ON CONFLICT DO NOTHING`)
	return b.String()
}

// newMember is a membership on its way into the store: its row, in little space.
type newMember struct {
	key, local, displayName    string
	topics, language           string
	added, until               int64
	role, mode, status, action int8
	noOwnPosts, noDuplicates   bool
	acknowledge                bool
}

func (s *Store) newMember(m list.Membership) (newMember, error) {
	if err := m.Validate(); err != nil {
		return newMember{}, err
	}
	if m.Added.IsZero() {
		m.Added = s.now()
	}
	role, err1 := roles.code(m.Role)
	mode, err2 := modes.code(m.Mode)
	status, err3 := statuses.code(m.Status)
	action, err4 := actions.code(m.Action)
	return newMember{
		key: key(m.Address), local: spelling(m.Address), displayName: m.DisplayName, topics: topicsText(m.Topics, m.Nonmatching), language: m.Language, added: m.Added.UnixMicro(),
		role: int8(role), mode: int8(mode), status: int8(status), action: int8(action),
		noOwnPosts: m.NoOwnPosts, noDuplicates: m.NoDuplicates, acknowledge: m.AcknowledgePosts, until: micros(m.Until),
	}, cmp.Or(err1, err2, err3, err4)
}

// args are the parameters of insertMembers, in order.
func (n *newMember) args(listID int64, to []any) []any {
	return append(to, listID, int64(n.role), n.key, n.local, int64(n.mode), int64(n.status), int64(n.action),
		btoi(n.noOwnPosts), btoi(n.noDuplicates), n.displayName, n.added, btoi(n.acknowledge), n.topics, n.language, n.until)
}

func btoi(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// AddMembers implements store.Members. It waits for members between transactions only,
// and writes what came before an error of theirs.
func (s *Store) AddMembers(ctx context.Context, listID int64, members iter.Seq2[list.Membership, error], progress func(store.AddResult)) (store.AddResult, error) {
	var total store.AddResult
	var window []newMember
	flush := func() error {
		sortMembers(window)
		for batch := range slices.Chunk(window, batchRows) {
			if total != (store.AddResult{}) {
				if err := giveWay(ctx); err != nil {
					return err
				}
			}
			added, err := s.addBatch(ctx, listID, batch)
			if err != nil {
				return err
			}
			total.Added += added
			total.Existing += int64(len(batch)) - added
			if progress != nil {
				progress(total)
			}
		}
		window = window[:0]
		return nil
	}
	var bad error
	for m, err := range members {
		var n newMember
		if err == nil {
			n, err = s.newMember(m)
		}
		if err != nil {
			bad = err
			break
		}
		if window = append(window, n); len(window) == windowRows {
			if err := flush(); err != nil {
				return total, fmt.Errorf("add members: %w", err)
			}
		}
	}
	if err := cmp.Or(flush(), bad); err != nil {
		return total, fmt.Errorf("add members: %w", err)
	}
	return total, nil
}

// sortMembers puts rows in the order of the primary key. It is stable: of two rows for
// one address, the first is the one that is kept.
func sortMembers(rows []newMember) {
	slices.SortStableFunc(rows, func(a, b newMember) int {
		return cmp.Or(cmp.Compare(a.role, b.role), strings.Compare(a.key, b.key))
	})
}

// addBatch adds one transaction of members and returns how many of them are new.
func (s *Store) addBatch(ctx context.Context, listID int64, batch []newMember) (added int64, err error) {
	err = s.update(ctx, func(tx *sql.Tx) error {
		one := tx.StmtContext(ctx, s.q.addMember)
		var many *sql.Stmt
		if len(batch) >= statementRows {
			var err error
			if many, err = tx.PrepareContext(ctx, s.dialect.insertMembers(statementRows)); err != nil {
				return err
			}
			defer many.Close()
		}
		args := make([]any, 0, memberParams*min(len(batch), statementRows))
		for len(batch) > 0 {
			stmt, n := one, 1
			if len(batch) >= statementRows {
				stmt, n = many, statementRows
			}
			args = args[:0]
			for i := range batch[:n] {
				args = batch[i].args(listID, args)
			}
			batch = batch[n:]
			result, err := stmt.ExecContext(ctx, args...)
			if s.dialect.isOrphan(err) {
				return fmt.Errorf("the list: %w", store.ErrNotFound)
			}
			if err != nil {
				return err
			}
			rows, err := result.RowsAffected()
			if err != nil {
				return err
			}
			added += rows
		}
		return nil
	})
	return added, err
}
