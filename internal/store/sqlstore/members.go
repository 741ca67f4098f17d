package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// RemoveMembers implements store.Members.
func (s *Store) RemoveMembers(ctx context.Context, listID int64, role list.Role, addrs iter.Seq2[address.Address, error]) (int64, error) {
	code, err := roles.code(role)
	if err != nil {
		return 0, fmt.Errorf("remove members: %w", err)
	}
	var total int64
	batch := make([]string, 0, 1000)
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		if total > 0 {
			if err := giveWay(ctx); err != nil {
				return err
			}
		}
		removed, err := s.removeBatch(ctx, listID, code, batch)
		if err != nil {
			return err
		}
		total += removed
		batch = batch[:0]
		return nil
	}
	var bad error
	for a, err := range addrs {
		if err != nil {
			bad = err
			break
		}
		if batch = append(batch, key(a)); len(batch) == batchRows {
			if err := flush(); err != nil {
				return total, fmt.Errorf("remove members: %w", err)
			}
		}
	}
	if err := cmp.Or(flush(), bad); err != nil {
		return total, fmt.Errorf("remove members: %w", err)
	}
	return total, nil
}

func (s *Store) removeBatch(ctx context.Context, listID, role int64, batch []string) (removed int64, err error) {
	slices.Sort(batch)
	err = s.update(ctx, func(tx *sql.Tx) error {
		stmt := tx.StmtContext(ctx, s.q.removeMember)
		for _, k := range batch {
			result, err := stmt.ExecContext(ctx, listID, role, k)
			if err != nil {
				return err
			}
			rows, err := result.RowsAffected()
			if err != nil {
				return err
			}
			removed += rows
		}
		if removed == 0 {
			return errUnchanged
		}
		return nil
	})
	return removed, err
}

// SetMember implements store.Members.
func (s *Store) SetMember(ctx context.Context, listID int64, role list.Role, addr address.Address, c store.MemberChange) error {
	err := s.setMember(ctx, listID, role, addr, c)
	if err != nil {
		return fmt.Errorf("change %s %s: %w", role, addr, err)
	}
	return nil
}

func (s *Store) setMember(ctx context.Context, listID int64, role list.Role, addr address.Address, c store.MemberChange) error {
	// What is to be is checked as if it were a new membership of its own.
	m := list.Membership{Address: addr, Role: role}
	args := []any{listID, nil, key(addr), nil, nil, nil, nil, nil, nil, nil, nil, nil, nil}
	if c.DisplayName != nil {
		m.DisplayName, args[3] = *c.DisplayName, *c.DisplayName
	}
	if c.Mode != nil {
		m.Mode = *c.Mode
	}
	if c.Status != nil {
		m.Status = *c.Status
		args[12] = int64(0)
	}
	if c.Until != nil {
		m.Until, args[12] = *c.Until, micros(*c.Until)
	}
	if c.Action != nil {
		m.Action = *c.Action
	}
	if c.Topics != nil {
		m.Topics = *c.Topics
	}
	if c.Language != nil {
		m.Language, args[11] = *c.Language, *c.Language
	}
	n, err := s.newMember(m)
	if err != nil {
		return err
	}
	args[1] = n.role
	if c.Mode != nil {
		args[4] = n.mode
	}
	if c.Status != nil {
		args[5] = n.status
	}
	if c.Action != nil {
		args[6] = n.action
	}
	if c.NoOwnPosts != nil {
		args[7] = btoi(*c.NoOwnPosts)
	}
	if c.NoDuplicates != nil {
		args[8] = btoi(*c.NoDuplicates)
	}
	if c.AcknowledgePosts != nil {
		args[9] = btoi(*c.AcknowledgePosts)
	}
	return s.update(ctx, func(tx *sql.Tx) error {
		if c.Mode != nil && role == list.Member {
			if err := s.leaveDigests(ctx, tx, listID, addr, *c.Mode); err != nil {
				return err
			}
		}
		if c.Topics != nil || c.Nonmatching != nil {
			text, err := s.changeTopics(ctx, tx, listID, int64(n.role), args[2].(string), c)
			if err != nil {
				return err
			}
			args[10] = text
		}
		result, err := tx.StmtContext(ctx, s.q.setMember).ExecContext(ctx, args...)
		if err := changedOne(result, err); err != nil || c.Status == nil || role != list.Member {
			return err
		}
		return s.statusChanged(ctx, tx, listID, key(addr), c)
	})
}

// ResumeMembers implements store.Members.
func (s *Store) ResumeMembers(ctx context.Context, now time.Time) (n int64, err error) {
	err = s.update(ctx, func(tx *sql.Tx) error {
		for _, stmt := range []*sql.Stmt{s.q.resumeHistory, s.q.resumeScores, s.q.resumeMembers} {
			result, err := tx.StmtContext(ctx, stmt).ExecContext(ctx, now.UnixMicro())
			if err != nil {
				return err
			}
			if n, err = result.RowsAffected(); err != nil {
				return err
			}
		}
		if n == 0 {
			return errUnchanged
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("resume delivery: %w", err)
	}
	return n, nil
}

// statusChanged writes a change of status into the member's history. Delivery that somebody
// enables begins without the bounces of before.
func (s *Store) statusChanged(ctx context.Context, tx *sql.Tx, listID int64, k string, c store.MemberChange) error {
	score := &scoring{Store: s, ctx: ctx, tx: tx, listID: listID}
	if *c.Status == list.Enabled {
		if _, err := score.exec(s.q.dropScore, listID, k); err != nil {
			return err
		}
	}
	what := "disabled"
	if *c.Status == list.Enabled {
		what = "enabled"
	}
	return score.history(k, s.now(), what, c.By, strings.TrimSpace(string(*c.Status)+" "+c.Why))
}
