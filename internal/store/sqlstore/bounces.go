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
	"github.com/mlist/mlist/internal/store"
)

// BounceEvents implements store.Bounces.
func (s *Store) BounceEvents(ctx context.Context, listID int64) iter.Seq2[store.BounceEvent, error] {
	return stream(ctx, s, "read the bounces", s.q.bounceEvents, func(row scanner) (store.BounceEvent, error) {
		e, err := scanEvent(row)
		e.ListID = listID
		return e, err
	}, listID)
}

// MemberBounces implements store.Bounces.
func (s *Store) MemberBounces(ctx context.Context, listID int64, addr address.Address, limit int) ([]store.BounceEvent, error) {
	var out []store.BounceEvent
	rows, err := s.q.memberBounces.QueryContext(ctx, listID, key(addr), limit)
	if err == nil {
		err = eachRow(ctx, rows, func(rows *sql.Rows) error {
			e, err := scanEvent(rows)
			e.ListID = listID
			out = append(out, e)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read the bounces of %s: %w", addr, err)
	}
	return out, nil
}

func scanEvent(row scanner) (store.BounceEvent, error) {
	var e store.BounceEvent
	var k, local string
	var at int64
	err := row.Scan(&k, &local, &e.Entry, &at, &e.Status, &e.Hard, &e.Text, &e.Class, &e.Post, &e.Blameless, &e.Proven, &e.Points)
	e.Recipient, e.At = unkey(k, local), time.UnixMicro(at).UTC()
	return e, err
}

// BounceStates implements store.Bounces.
func (s *Store) BounceStates(ctx context.Context, listID int64) iter.Seq2[store.BounceState, error] {
	return stream(ctx, s, "read the scores", s.q.bounceStates, scanScore, listID)
}

// BounceState implements store.Bounces.
func (s *Store) BounceState(ctx context.Context, listID int64, addr address.Address) (store.BounceState, error) {
	st, err := scanScore(s.q.bounceState.QueryRowContext(ctx, listID, key(addr)))
	if errors.Is(err, sql.ErrNoRows) {
		return store.BounceState{Address: addr}, nil
	}
	if err != nil {
		return st, fmt.Errorf("read the score of %s: %w", addr, err)
	}
	return st, nil
}

func scanScore(row scanner) (store.BounceState, error) {
	var (
		st   store.BounceState
		k    string
		last int64
		due  sql.NullInt64
	)
	err := row.Scan(&k, &st.Score, &last, &st.Unproven, &st.Phase, &st.Warnings, &st.Token, &due)
	st.Address = unkey(k, "")
	if last > 0 {
		st.Last = time.UnixMicro(last).UTC()
	}
	if due.Valid {
		st.Due = time.UnixMicro(due.Int64).UTC()
	}
	return st, err
}

// DueBounces implements store.Bounces.
func (s *Store) DueBounces(ctx context.Context, now time.Time) iter.Seq2[store.DueBounce, error] {
	return stream(ctx, s, "read who is due", s.q.dueBounces, func(row scanner) (store.DueBounce, error) {
		var d store.DueBounce
		var listKey, local, k string
		err := row.Scan(&d.ListID, &listKey, &local, &k)
		d.List, d.Address = unkey(listKey, local), unkey(k, "")
		return d, err
	}, now.UnixMicro(), lastKey)
}

// BounceTasks implements store.Bounces.
func (s *Store) BounceTasks(ctx context.Context) iter.Seq2[store.BounceTask, error] {
	return stream(ctx, s, "read the tasks", s.q.bounceTasks, func(row scanner) (store.BounceTask, error) {
		var t store.BounceTask
		var listKey, listLocal, k, local string
		var at int64
		err := row.Scan(&t.ID, &t.ListID, &listKey, &listLocal, &t.Kind, &k, &local, &at, &t.Token, &t.Reason, &t.Score, &t.Number)
		t.List, t.At = unkey(listKey, listLocal), time.UnixMicro(at).UTC()
		if k != "" {
			t.Address = unkey(k, local)
		}
		return t, err
	}, lastKey)
}

// DoneBounceTask implements store.Bounces.
func (s *Store) DoneBounceTask(ctx context.Context, id int64) error {
	err := s.update(ctx, func(tx *sql.Tx) error {
		_, err := tx.StmtContext(ctx, s.q.doneTask).ExecContext(ctx, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("forget task %d: %w", id, err)
	}
	return nil
}

// MemberHistory implements store.Bounces.
func (s *Store) MemberHistory(ctx context.Context, listID int64, addr address.Address, limit int) ([]store.HistoryEvent, error) {
	var out []store.HistoryEvent
	rows, err := s.q.memberHistory.QueryContext(ctx, listID, key(addr), limit)
	if err == nil {
		err = eachRow(ctx, rows, func(rows *sql.Rows) error {
			var e store.HistoryEvent
			var at int64
			err := rows.Scan(&at, &e.What, &e.By, &e.Why)
			e.At = time.UnixMicro(at).UTC()
			out = append(out, e)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read the history of %s: %w", addr, err)
	}
	slices.Reverse(out)
	return out, nil
}

// PruneBounces implements store.Bounces.
func (s *Store) PruneBounces(ctx context.Context, t time.Time) error {
	for _, stmt := range []*sql.Stmt{s.q.pruneEvents, s.q.pruneHistory, s.q.pruneBlamed} {
		if err := s.repeat(ctx, stmt, t.UnixMicro()); err != nil {
			return fmt.Errorf("prune bounces from before %s: %w", t.Format(time.RFC3339), err)
		}
	}
	return nil
}

// stream yields the rows of a query as of one instant.
func stream[T any](ctx context.Context, s *Store, what string, query *sql.Stmt, scan func(scanner) (T, error), args ...any) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		err := s.snapshot(ctx, func(tx *sql.Tx) error {
			rows, err := tx.Stmt(query).Query(args...)
			if err != nil {
				return err
			}
			return eachRow(ctx, rows, func(rows *sql.Rows) error {
				v, err := scan(rows)
				if err != nil {
					return err
				}
				if !yield(v, nil) {
					return errStopped
				}
				return nil
			})
		})
		if err != nil {
			var none T
			yield(none, fmt.Errorf("%s: %w", what, err))
		}
	}
}
