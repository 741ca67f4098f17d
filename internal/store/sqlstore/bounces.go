package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/store"
)

// RecordBounces implements store.Journal, in one transaction. Events of lists that
// are gone are dropped.
func (s *Store) RecordBounces(ctx context.Context, events []store.BounceEvent) error {
	if len(events) == 0 {
		return nil
	}
	err := s.update(ctx, func(tx *sql.Tx) error {
		stmt := tx.StmtContext(ctx, s.q.addBounce)
		for i := range events {
			e := &events[i]
			if _, err := stmt.ExecContext(ctx, e.ListID, e.Entry, key(e.Recipient), spelling(e.Recipient),
				e.At.UnixMicro(), foreign(e.Status), btoi(e.Hard), foreign(e.Text)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("record %d bounces: %w", len(events), err)
	}
	return nil
}

// foreign makes text that a stranger wrote into text that every database takes.
func foreign(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// BounceEvents implements store.Journal.
func (s *Store) BounceEvents(ctx context.Context, listID int64) iter.Seq2[store.BounceEvent, error] {
	return func(yield func(store.BounceEvent, error) bool) {
		err := s.snapshot(ctx, func(tx *sql.Tx) error {
			rows, err := tx.Stmt(s.q.bounceEvents).Query(listID)
			if err != nil {
				return err
			}
			return eachRow(ctx, rows, func(rows *sql.Rows) error {
				e := store.BounceEvent{ListID: listID}
				var k, local string
				var at int64
				if err := rows.Scan(&k, &local, &e.Entry, &at, &e.Status, &e.Hard, &e.Text); err != nil {
					return err
				}
				e.Recipient, e.At = unkey(k, local), time.UnixMicro(at).UTC()
				if !yield(e, nil) {
					return errStopped
				}
				return nil
			})
		})
		if err != nil {
			yield(store.BounceEvent{}, fmt.Errorf("read the bounces: %w", err))
		}
	}
}

// AllowNotice implements store.Journal. A refusal is recorded, too: the entry is to
// get the same answer when the window has moved on.
func (s *Store) AllowNotice(ctx context.Context, addr address.Address, entry string, at time.Time, limit int, window time.Duration) (bool, error) {
	var allowed bool
	err := s.update(ctx, func(tx *sql.Tx) error {
		err := tx.StmtContext(ctx, s.q.noticeOf).QueryRowContext(ctx, key(addr), entry).Scan(&allowed)
		if err == nil {
			return errUnchanged
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		var n int
		if err := tx.StmtContext(ctx, s.q.countNotices).QueryRowContext(ctx, key(addr), at.Add(-window).UnixMicro()).Scan(&n); err != nil {
			return err
		}
		allowed = n < limit
		_, err = tx.StmtContext(ctx, s.q.addNotice).ExecContext(ctx, key(addr), entry, at.UnixMicro(), btoi(allowed))
		return err
	})
	if err != nil {
		return false, fmt.Errorf("ask for a notice to %s: %w", addr, err)
	}
	return allowed, nil
}
