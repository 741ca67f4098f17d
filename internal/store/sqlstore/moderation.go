package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// micros is a time as a column has it; 0 for none.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// keyOr is the key and spelling of an address; "" for none.
func keyOr(a address.Address) (k, local string) {
	if a.IsZero() {
		return "", ""
	}
	return key(a), spelling(a)
}

func unkeyOr(k, local string) address.Address {
	if k == "" {
		return address.Address{}
	}
	return unkey(k, local)
}

// moderate runs f in a transaction on what waits on one list.
func (s *Store) moderate(ctx context.Context, listID int64, f func(c *scoring) error) error {
	return s.score(ctx, listID, store.BounceRules{}, f)
}

// FileHeld implements store.Moderation.
func (s *Store) FileHeld(ctx context.Context, p store.HeldPost) (filed store.HeldPost, err error) {
	// A handle has 30 random bits: another post of the list hardly ever has them, but then
	// others are tried.
	for range 10 {
		err = s.moderate(ctx, p.ListID, func(c *scoring) (err error) {
			filed, err = c.fileHeld(p, token()[:store.HandleLen])
			return err
		})
		if !s.dialect.isDuplicate(err) {
			break
		}
	}
	if s.dialect.isOrphan(err) {
		err = fmt.Errorf("the list: %w", store.ErrNotFound)
	}
	if err != nil {
		return p, fmt.Errorf("file held post %s: %w", p.Entry, err)
	}
	return filed, nil
}

func (c *scoring) fileHeld(p store.HeldPost, handle string) (store.HeldPost, error) {
	k, local := keyOr(p.Sender)
	_, err := c.exec(c.q.fileHeld, p.ListID, p.Entry, handle, k, local, foreign(p.Author), foreign(p.Subject), foreign(p.Reason),
		foreign(p.Code), p.Size, p.Held.UnixMicro(), micros(p.Told), btoi(p.Reminded))
	if err != nil {
		return p, err
	}
	return scanHeld(c.row(c.q.heldByEntry, p.ListID, p.Entry))
}

func scanHeld(row scanner) (p store.HeldPost, err error) {
	var k, local, verdict string
	var held, told int64
	err = row.Scan(&p.ListID, &p.Entry, &p.Handle, &k, &local, &p.Author, &p.Subject, &p.Reason, &p.Code, &p.Size, &held, &told, &p.Reminded, &verdict, &p.Why)
	p.Sender, p.Held, p.Told, p.Verdict = unkeyOr(k, local), fromMicros(held), fromMicros(told), store.Verdict(verdict)
	return p, err
}

// heldArgs are the arguments of a query that chooses held posts.
func heldArgs(listID int64, f store.HeldFilter) []any {
	k, _ := keyOr(f.Sender)
	until := int64(1<<63 - 1)
	if !f.Until.IsZero() {
		until = f.Until.UnixMicro()
	}
	after := int64(-1 << 63)
	if !f.After.IsZero() {
		after = f.After.UnixMicro()
	}
	return []any{listID, k, after, until, btoi(f.Untold), btoi(f.Unreminded)}
}

// Held implements store.Moderation.
func (s *Store) Held(ctx context.Context, listID int64, f store.HeldFilter) iter.Seq2[store.HeldPost, error] {
	limit := int64(math.MaxInt64)
	if f.Limit > 0 {
		limit = int64(f.Limit)
	}
	return stream(ctx, s, "read the held posts", s.q.held, scanHeld, append(heldArgs(listID, f), limit)...)
}

// CountHeld implements store.Moderation.
func (s *Store) CountHeld(ctx context.Context, listID int64, f store.HeldFilter) (n int64, err error) {
	if err := s.q.countHeld.QueryRowContext(ctx, heldArgs(listID, f)...).Scan(&n); err != nil {
		return 0, fmt.Errorf("count the held posts: %w", err)
	}
	return n, nil
}

// HeldPost implements store.Moderation.
func (s *Store) HeldPost(ctx context.Context, listID int64, entry, handle string) (p store.HeldPost, err error) {
	if entry != "" {
		p, err = scanHeld(s.q.peekHeld.QueryRowContext(ctx, listID, entry))
	} else {
		p, err = scanHeld(s.q.heldByHandle.QueryRowContext(ctx, listID, handle))
	}
	if err != nil {
		return p, fmt.Errorf("look a held post up: %w", notFound(err))
	}
	return p, nil
}

// DecideHeld implements store.Moderation.
func (s *Store) DecideHeld(ctx context.Context, step store.Step, entry string, h store.HeldDecision) (d store.Decision, first bool, err error) {
	err = s.moderate(ctx, step.ListID, func(c *scoring) (err error) {
		if step.Entry != "" {
			if d, err = scanDecision(c.row(s.q.decisionOfStep, step.ListID, entry, step.Entry)); !errors.Is(err, sql.ErrNoRows) {
				first = err == nil
				return unchangedOr(err)
			}
		}
		p, err := scanHeld(c.row(s.q.heldByEntry, step.ListID, entry))
		if errors.Is(err, sql.ErrNoRows) || err == nil && p.Verdict != "" {
			d, err = scanDecision(c.row(s.q.lastDecision, step.ListID, entry))
			return unchangedOr(notFound(err))
		}
		if err != nil {
			return err
		}
		also, err := c.also(p, h, step.At)
		if err != nil {
			return err
		}
		if _, err := c.exec(s.q.decideHeld, step.ListID, entry, string(h.Verdict), foreign(h.Why), step.At.UnixMicro()); err != nil {
			return err
		}
		d = store.Decision{ListID: step.ListID, At: step.At.UTC().Truncate(time.Microsecond), Kind: store.AboutPost, Ref: p.Handle, Entry: entry, Step: step.Entry, Address: p.Sender, Subject: p.Subject,
			Verdict: h.Verdict, Also: strings.Join(also, ","), By: foreign(h.By), Why: foreign(h.Why)}
		first = true
		return c.logDecision(&d)
	})
	if err != nil {
		return d, false, fmt.Errorf("decide about post %s: %w", entry, err)
	}
	return d, first, nil
}

// unchangedOr ends a transaction that only had to look.
func unchangedOr(err error) error {
	if err == nil {
		return errUnchanged
	}
	return err
}

// also does what is done about a post's sender beside the verdict.
func (c *scoring) also(p store.HeldPost, h store.HeldDecision, at time.Time) (done []string, err error) {
	if !h.AcceptSender && !h.ClearFirst && !h.Ban {
		return nil, nil
	}
	if p.Sender.IsZero() {
		return nil, store.ErrNoSender
	}
	k := key(p.Sender)
	if h.AcceptSender || h.ClearFirst {
		var n int64
		if h.AcceptSender {
			n, err = c.exec(c.q.setMember, c.listID, memberRole, k, nil, nil, nil, deferAction, nil, nil, nil, nil, nil, nil)
		} else {
			n, err = c.exec(c.q.clearFirst, c.listID, memberRole, k, deferAction)
		}
		switch {
		case err != nil:
			return nil, err
		case n > 0 && h.AcceptSender:
			done = append(done, store.AlsoAcceptSender)
		case n > 0:
			done = append(done, store.AlsoClearFirst)
		case h.AcceptSender:
			m, err := c.newMember(list.Membership{Address: p.Sender, Role: list.Nonmember, Action: list.Defer, Added: at})
			if err != nil {
				return nil, err
			}
			if n, err = c.exec(c.q.addMember, m.args(c.listID, nil)...); err == nil && n == 0 {
				_, err = c.exec(c.q.setMember, c.listID, nonmemberRole, k, nil, nil, nil, deferAction, nil, nil, nil, nil, nil, nil)
			}
			if err != nil {
				return nil, err
			}
			done = append(done, store.AlsoAcceptSender)
		}
	}
	if h.Ban {
		what, err := list.ParseBan(p.Sender.String())
		if err != nil {
			return nil, err
		}
		_, err = c.exec(c.q.addBanUnlessThere, "#"+strconv.FormatInt(c.listID, 10), what, c.listID, foreign(h.Why), at.UnixMicro())
		if err != nil {
			return nil, err
		}
		done = append(done, store.AlsoBan)
	}
	return done, nil
}

// logDecision writes a decision down.
func (c *scoring) logDecision(d *store.Decision) error {
	k, local := keyOr(d.Address)
	return c.row(c.q.addDecision, d.ListID, d.At.UnixMicro(), string(d.Kind), d.Ref, d.Entry, d.Step, k, local, foreign(d.Subject),
		string(d.Verdict), d.Also, foreign(d.By), foreign(d.Why)).Scan(&d.ID)
}

func scanDecision(row scanner) (d store.Decision, err error) {
	var k, local, kind, verdict string
	var at int64
	err = row.Scan(&d.ID, &d.ListID, &at, &kind, &d.Ref, &d.Entry, &d.Step, &k, &local, &d.Subject, &verdict, &d.Also, &d.By, &d.Why)
	d.At, d.Kind, d.Address, d.Verdict = fromMicros(at), store.DecisionKind(kind), unkeyOr(k, local), store.Verdict(verdict)
	return d, err
}

// UnsettledHeld implements store.Moderation.
func (s *Store) UnsettledHeld(ctx context.Context, t time.Time) iter.Seq2[store.HeldPost, error] {
	return stream(ctx, s, "read the decided posts", s.q.unsettledHeld, scanHeld, t.UnixMicro())
}

// SettleHeld implements store.Moderation.
func (s *Store) SettleHeld(ctx context.Context, listID int64, entry string) error {
	return s.dropHeld(ctx, s.q.settleHeld, listID, entry)
}

// ForgetHeld implements store.Moderation.
func (s *Store) ForgetHeld(ctx context.Context, listID int64, entry string) error {
	return s.dropHeld(ctx, s.q.forgetHeld, listID, entry)
}

func (s *Store) dropHeld(ctx context.Context, stmt *sql.Stmt, listID int64, entry string) error {
	err := s.moderate(ctx, listID, func(c *scoring) error {
		n, err := c.exec(stmt, listID, entry)
		if err == nil && n == 0 {
			return errUnchanged
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("forget held post %s: %w", entry, err)
	}
	return nil
}

// Moderated implements store.Moderation.
func (s *Store) Moderated(ctx context.Context) iter.Seq2[store.Moderated, error] {
	return stream(ctx, s, "read which lists are moderated", s.q.moderated, func(row scanner) (m store.Moderated, err error) {
		var k, local string
		err = row.Scan(&m.ListID, &k, &local)
		m.List = unkey(k, local)
		return m, err
	}, lastKey)
}

// Telling implements store.Moderation.
func (s *Store) Telling(ctx context.Context, listID int64) (t store.Telling, err error) {
	var summary, hour int64
	err = s.q.telling.QueryRowContext(ctx, listID).Scan(&summary, &hour, &t.Notices)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return t, fmt.Errorf("read what moderators were told: %w", err)
	}
	t.Summary, t.Hour = fromMicros(summary), fromMicros(hour)
	return t, nil
}

// TellHeld implements store.Moderation.
func (s *Store) TellHeld(ctx context.Context, listID int64, at time.Time, t store.Told) error {
	err := s.moderate(ctx, listID, func(c *scoring) error {
		if _, err := c.exec(s.q.setTelling, listID, micros(t.Summary), micros(t.Hour), t.Notices); err != nil {
			return err
		}
		for _, entry := range t.Entries {
			if _, err := c.exec(s.q.toldHeld, listID, entry, at.UnixMicro()); err != nil {
				return err
			}
		}
		if !t.Until.IsZero() {
			if _, err := c.exec(s.q.toldHeldUntil, listID, t.Until.UnixMicro(), at.UnixMicro()); err != nil {
				return err
			}
		}
		if !t.Remind.IsZero() {
			if _, err := c.exec(s.q.remindedHeld, listID, t.Remind.UnixMicro()); err != nil {
				return err
			}
		}
		if !t.RemindRequests.IsZero() {
			_, err := c.exec(s.q.remindedRequests, listID, t.RemindRequests.UnixMicro())
			return err
		}
		return nil
	})
	if s.dialect.isOrphan(err) {
		err = store.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("record what moderators were told: %w", err)
	}
	return nil
}

// Decisions implements store.Moderation.
func (s *Store) Decisions(ctx context.Context, listID int64, kind store.DecisionKind) iter.Seq2[store.Decision, error] {
	return stream(ctx, s, "read the decisions", s.q.decisions, scanDecision, listID, string(kind))
}

// DecisionOf implements store.Moderation.
func (s *Store) DecisionOf(ctx context.Context, listID int64, kind store.DecisionKind, ref string) (store.Decision, error) {
	d, err := scanDecision(s.q.decisionOfRef.QueryRowContext(ctx, listID, ref, string(kind)))
	if err != nil {
		return d, fmt.Errorf("look a decision up: %w", notFound(err))
	}
	return d, nil
}

// DecisionsOfStep implements store.Moderation.
func (s *Store) DecisionsOfStep(ctx context.Context, listID int64, entry string) (map[store.Verdict]int, error) {
	rows, err := s.q.decisionsOfStep.QueryContext(ctx, listID, entry)
	counts := map[store.Verdict]int{}
	if err == nil {
		err = eachRow(ctx, rows, func(rows *sql.Rows) error {
			var verdict string
			var n int
			err := rows.Scan(&verdict, &n)
			counts[store.Verdict(verdict)] = n
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("count decisions: %w", err)
	}
	return counts, nil
}

// PruneDecisions implements store.Moderation.
func (s *Store) PruneDecisions(ctx context.Context, t time.Time) error {
	if err := s.repeat(ctx, s.q.pruneDecisions, t.UnixMicro()); err != nil {
		return fmt.Errorf("prune decisions: %w", err)
	}
	return nil
}
