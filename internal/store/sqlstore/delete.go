package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/mlist/mlist/internal/address"
)

// DeleteList implements store.Lists. One transaction takes the list's address away,
// and with it all ways to the list; then its rows go in small ones. If that is cut
// short, Prune does the rest.
func (s *Store) DeleteList(ctx context.Context, addr address.Address) error {
	id, err := s.bury(ctx, addr, time.UnixMicro(0))
	if err != nil {
		return fmt.Errorf("delete list %s: %w", addr, err)
	}
	if err := s.clearList(ctx, id); err != nil {
		return fmt.Errorf("delete list %s: it is gone, but rows of it are left until the next prune: %w", addr, err)
	}
	return nil
}

// bury takes a list's address away.
func (s *Store) bury(ctx context.Context, addr address.Address, until time.Time) (id int64, err error) {
	err = s.update(ctx, func(tx *sql.Tx) error {
		return notFound(tx.StmtContext(ctx, s.q.buryList).QueryRowContext(ctx, key(addr), lastKey, until.UnixMicro()).Scan(&id))
	})
	return id, err
}

// clearList removes the rows of a list, and the list.
func (s *Store) clearList(ctx context.Context, id int64) error {
	for _, stmt := range []*sql.Stmt{s.q.clearMembers, s.q.clearPosts, s.q.clearBounces, s.q.clearState, s.q.clearBans, s.q.clearApprovals, s.q.clearResponses, s.q.clearArchive, s.q.clearOwed,
		s.q.clearScores, s.q.clearTasks, s.q.clearHistory, s.q.clearBlamed, s.q.clearRequests, s.q.clearInvitations, s.q.clearResults, s.q.clearHeld, s.q.clearDecisions, s.q.deleteList} {
		if err := s.repeat(ctx, stmt, id); err != nil {
			return err
		}
	}
	return nil
}

// repeat runs a statement that deletes a part of something, each time in a transaction
// of its own, until nothing is left to delete.
func (s *Store) repeat(ctx context.Context, stmt *sql.Stmt, arg any) error {
	for more := true; more; {
		err := s.update(ctx, func(tx *sql.Tx) error {
			result, err := tx.StmtContext(ctx, stmt).ExecContext(ctx, arg)
			if err != nil {
				return err
			}
			n, err := result.RowsAffected()
			if more = n > 0; err == nil && !more {
				return errUnchanged
			}
			return err
		})
		if err == nil && more {
			err = giveWay(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
