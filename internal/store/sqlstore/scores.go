package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// byBounces is who did what bounces did.
const byBounces = "bounces"

// scoring is one transaction on the scores of one list.
type scoring struct {
	*Store
	ctx    context.Context
	tx     *sql.Tx
	listID int64
	rules  store.BounceRules
}

// score runs f in a transaction.
func (s *Store) score(ctx context.Context, listID int64, rules store.BounceRules, f func(*scoring) error) error {
	return s.update(ctx, func(tx *sql.Tx) error { return f(&scoring{s, ctx, tx, listID, rules}) })
}

func (c *scoring) exec(stmt *sql.Stmt, args ...any) (int64, error) {
	r, err := c.tx.StmtContext(c.ctx, stmt).ExecContext(c.ctx, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (c *scoring) row(stmt *sql.Stmt, args ...any) *sql.Row {
	return c.tx.StmtContext(c.ctx, stmt).QueryRowContext(c.ctx, args...)
}

// RecordBounces implements store.Bounces.
func (s *Store) RecordBounces(ctx context.Context, rules store.BounceRules, events []store.BounceEvent) error {
	if len(events) == 0 {
		return nil
	}
	err := s.score(ctx, events[0].ListID, rules, func(c *scoring) error {
		var fresh []store.BounceEvent
		posts := map[string]bool{}
		for _, e := range events {
			if e.ListID != c.listID {
				return errors.New("they are of several lists")
			}
			e.Text = foreign(e.Text)
			n, err := c.exec(s.q.addBounce, e.ListID, e.Entry, key(e.Recipient), spelling(e.Recipient), e.At.UnixMicro(),
				foreign(e.Status), btoi(e.Hard), e.Text, e.Class, foreign(e.Post), btoi(e.Blameless), btoi(e.Proven))
			if err != nil {
				return err
			}
			if n > 0 {
				fresh = append(fresh, e)
				posts[foreign(e.Post)] = true
			}
		}
		if len(fresh) == 0 {
			return errUnchanged
		}
		if !rules.Process {
			return nil
		}
		blamed := map[string]bool{}
		for post := range posts {
			is, err := c.blame(post, fresh[0].At)
			if err != nil {
				return err
			}
			blamed[post] = is
		}
		for _, e := range fresh {
			if e.Points <= 0 || e.Blameless || blamed[foreign(e.Post)] {
				continue
			}
			if err := c.count(e); err != nil {
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

// blame tells whether so many refused the post that it counts against nobody. When that
// comes to be, what it has counted is taken back.
func (c *scoring) blame(post string, at time.Time) (bool, error) {
	if post == "" || c.rules.BlameAbove <= 0 {
		return false, nil
	}
	var one int
	if err := c.row(c.q.isBlamed, c.listID, post).Scan(&one); err == nil {
		return true, nil
	} else if !errors.Is(err, sql.ErrNoRows) {
		return false, err
	}
	var refused, members int64
	if err := c.row(c.q.refusals, c.listID, post).Scan(&refused); err != nil {
		return false, err
	}
	if refused < store.BlameLeast {
		return false, nil
	}
	if err := c.row(c.q.activeMembers, c.listID, memberRole, enabledStatus).Scan(&members); err != nil {
		return false, err
	}
	if refused*100 <= members*int64(c.rules.BlameAbove) {
		return false, nil
	}
	if _, err := c.exec(c.q.blame, c.listID, post, at.UnixMicro()); err != nil {
		return false, err
	}
	if err := c.takeBack(post); err != nil {
		return false, err
	}
	return true, c.task(store.BounceTask{Kind: store.TaskBlamed, At: at, Reason: post, Number: int(refused)})
}

// takeBack undoes what a post has counted.
func (c *scoring) takeBack(post string) error {
	rows, err := c.tx.StmtContext(c.ctx, c.q.counted).QueryContext(c.ctx, c.listID, post)
	if err != nil {
		return err
	}
	points := map[string]float64{}
	err = eachRow(c.ctx, rows, func(rows *sql.Rows) error {
		var k string
		var sum float64
		err := rows.Scan(&k, &sum)
		points[k] = sum
		return err
	})
	if err != nil {
		return err
	}
	for k, sum := range points {
		st, err := c.state(k)
		if err != nil {
			return err
		}
		if st.Score = st.Score - sum; st.Score < 0 {
			st.Score = 0
		}
		if err := c.save(k, st); err != nil {
			return err
		}
	}
	_, err = c.exec(c.q.uncount, c.listID, post)
	return err
}

// count moves a member's score by one event.
func (c *scoring) count(e store.BounceEvent) error {
	k := key(e.Recipient)
	local, status, err := c.member(k)
	if errors.Is(err, sql.ErrNoRows) || err == nil && status != list.Enabled {
		return nil
	}
	if err != nil {
		return err
	}
	st, err := c.state(k)
	if err != nil {
		return err
	}
	if st.Phase == store.BounceDisabled { // somebody enabled delivery again
		st = store.BounceState{}
	}
	if st.Phase == store.BounceProbed || sameDay(st.Last, e.At) {
		return nil
	}
	if e.At.Sub(st.Last) > c.rules.StaleAfter {
		st.Score, st.Unproven = 0, false
	}
	st.Score += e.Points
	st.Last = e.At
	st.Unproven = st.Unproven || !e.Proven
	if _, err := c.exec(c.q.countEvent, c.listID, e.Entry, k, e.Points); err != nil {
		return err
	}
	member := unkey(k, local)
	if err := c.history(k, e.At, "score", byBounces, fmt.Sprintf("%g: %s", st.Score, reason(e))); err != nil {
		return err
	}
	if c.rules.TellIncrement {
		if err := c.task(store.BounceTask{Kind: store.TaskIncrement, Address: member, At: e.At, Reason: reason(e), Score: st.Score}); err != nil {
			return err
		}
	}
	switch {
	case st.Score < c.rules.Threshold:
		return c.save(k, st)
	case c.rules.Probe || st.Unproven:
		return c.probe(k, member, st, e)
	}
	return c.disable(k, member, st, e.At, reason(e))
}

// reason is an event in a line.
func reason(e store.BounceEvent) string {
	text := strings.TrimSpace(e.Status + " " + e.Text)
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + "…"
	}
	return text
}

// probe puts a probe on its way.
func (c *scoring) probe(k string, member address.Address, st store.BounceState, e store.BounceEvent) error {
	st.Phase, st.Token, st.Due = store.BounceProbed, token(), e.At.Add(c.rules.ProbeWait)
	if err := c.save(k, st); err != nil {
		return err
	}
	if err := c.history(k, e.At, "probe", byBounces, fmt.Sprintf("the score is %g of %g", st.Score, c.rules.Threshold)); err != nil {
		return err
	}
	return c.task(store.BounceTask{Kind: store.TaskProbe, Address: member, At: e.At, Token: st.Token, Reason: reason(e), Score: st.Score})
}

// disable ends a member's delivery. The first warning is due at once.
func (c *scoring) disable(k string, member address.Address, st store.BounceState, at time.Time, why string) error {
	n, err := c.exec(c.q.disableMember, c.listID, memberRole, k, bouncesStatus, enabledStatus)
	if err != nil {
		return err
	}
	if n == 0 { // gone, or disabled by somebody meanwhile
		_, err := c.exec(c.q.dropScore, c.listID, k)
		return err
	}
	st.Phase, st.Token, st.Due, st.Warnings = store.BounceDisabled, token(), at, 0
	if err := c.save(k, st); err != nil {
		return err
	}
	if err := c.history(k, at, "disabled", byBounces, why); err != nil {
		return err
	}
	return c.task(store.BounceTask{Kind: store.TaskDisabled, Address: member, At: at, Reason: why, Score: st.Score})
}

// ProbeBounced implements store.Bounces.
func (s *Store) ProbeBounced(ctx context.Context, rules store.BounceRules, listID int64, token string, at time.Time, why string) (found bool, err error) {
	err = s.score(ctx, listID, rules, func(c *scoring) error {
		st, err := scanScore(c.row(s.q.byToken, listID, token, store.BounceProbed))
		if errors.Is(err, sql.ErrNoRows) {
			return errUnchanged
		}
		if err != nil {
			return err
		}
		found = true
		k := key(st.Address)
		local, _, err := c.member(k)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		return c.disable(k, unkey(k, local), st, at, "the probe came back: "+reason(store.BounceEvent{Text: foreign(why)}))
	})
	if err != nil {
		return false, fmt.Errorf("a probe that bounced: %w", err)
	}
	return found, nil
}

// EnableByToken implements store.Bounces.
func (s *Store) EnableByToken(ctx context.Context, step store.Step, token string) (address.Address, error) {
	res, err := s.takeStep(ctx, step, func(c *requesting) (store.RequestResult, error) {
		var res store.RequestResult
		st, err := scanScore(c.row(s.q.byToken, step.ListID, token, store.BounceDisabled))
		if err != nil {
			return res, notFound(err)
		}
		k := key(st.Address)
		local, _, err := c.member(k)
		if err != nil {
			return res, notFound(err)
		}
		res.Outcome, res.Request.Address = store.OutcomeDone, unkey(k, local)
		err = c.enable(k, step.At, byMember, "by a token that was sent to the address")
		if errors.Is(err, errUnchanged) {
			err = nil // and still the step is taken
		}
		return res, err
	})
	if err != nil {
		return address.Address{}, fmt.Errorf("enable delivery: %w", err)
	}
	return res.Request.Address, nil
}

// byComplaints is who did what followed from a complaint.
const byComplaints = "complaints"

// RecordComplaint implements store.Bounces.
func (s *Store) RecordComplaint(ctx context.Context, step store.Step, about store.Complaint) (store.Outcome, error) {
	res, err := s.takeStep(ctx, step, func(c *requesting) (store.RequestResult, error) {
		res := store.RequestResult{Outcome: store.OutcomeUnchanged, Request: store.Request{Address: about.Address}}
		k := key(about.Address)
		if _, _, err := c.member(k); errors.Is(err, sql.ErrNoRows) {
			return res, nil
		} else if err != nil {
			return res, err
		}
		why := reason(store.BounceEvent{Text: foreign(about.Why)})
		if err := c.history(k, step.At, "complained", byMember, why); err != nil {
			return res, err
		}
		res.Outcome = store.OutcomeDone
		switch about.Then {
		case store.ComplaintDisable:
			n, err := c.exec(c.q.disableMember, step.ListID, memberRole, k, userStatus, enabledStatus)
			if err == nil && n > 0 {
				err = c.history(k, step.At, "disabled", byComplaints, why)
			}
			return res, err
		case store.ComplaintUnsubscribe:
			_, err := c.fulfil(store.Request{Want: store.WantLeave, Address: about.Address}, byComplaints, why)
			return res, err
		}
		return res, nil
	})
	if err != nil {
		return "", fmt.Errorf("record a complaint of %s: %w", about.Address, err)
	}
	return res.Outcome, nil
}

// ResetBounces implements store.Bounces.
func (s *Store) ResetBounces(ctx context.Context, listID int64, addr address.Address, at time.Time, by, why string) error {
	err := s.score(ctx, listID, store.BounceRules{}, func(c *scoring) error {
		if _, _, err := c.member(key(addr)); err != nil {
			return notFound(err)
		}
		return c.enable(key(addr), at, by, why)
	})
	if err != nil {
		return fmt.Errorf("reset the bounces of %s: %w", addr, err)
	}
	return nil
}

// enable forgets the score, and enables delivery if it was bounces that disabled it.
func (c *scoring) enable(k string, at time.Time, by, why string) error {
	scores, err := c.exec(c.q.dropScore, c.listID, k)
	if err != nil {
		return err
	}
	enabled, err := c.exec(c.q.enableMember, c.listID, memberRole, k, enabledStatus, bouncesStatus)
	switch {
	case err != nil:
		return err
	case enabled > 0:
		return c.history(k, at, "enabled", by, why)
	case scores > 0:
		return c.history(k, at, "reset", by, why)
	}
	return errUnchanged
}

// AdvanceBounce implements store.Bounces.
func (s *Store) AdvanceBounce(ctx context.Context, rules store.BounceRules, listID int64, addr address.Address, now time.Time) error {
	k := key(addr)
	err := s.score(ctx, listID, rules, func(c *scoring) error {
		st, err := scanScore(c.row(s.q.scoreOf, listID, k))
		if errors.Is(err, sql.ErrNoRows) || err == nil && (st.Due.IsZero() || st.Due.After(now)) {
			return errUnchanged
		}
		if err != nil {
			return err
		}
		local, status, err := c.member(k)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		switch {
		case err != nil || st.Phase == store.BounceDisabled && status != list.ByBounces:
			// The member has gone, or somebody has decided otherwise.
			_, err := c.exec(s.q.dropScore, listID, k)
			return err
		case st.Phase == store.BounceProbed:
			if _, err := c.exec(s.q.dropScore, listID, k); err != nil {
				return err
			}
			return c.history(k, now, "reset", byBounces, "the probe did not come back")
		case st.Phase != store.BounceDisabled:
			st.Due = time.Time{}
			return c.save(k, st)
		case st.Warnings < rules.Warnings:
			st.Warnings++
			st.Due = now.Add(rules.WarnEvery)
			if err := c.save(k, st); err != nil {
				return err
			}
			if err := c.history(k, now, "warning", byBounces, fmt.Sprintf("%d of %d", st.Warnings, rules.Warnings)); err != nil {
				return err
			}
			return c.task(store.BounceTask{Kind: store.TaskWarning, Address: unkey(k, local), At: now, Token: st.Token, Score: st.Score, Number: st.Warnings})
		}
		return c.remove(k, unkey(k, local), st, now)
	})
	if err != nil {
		return fmt.Errorf("the next step for %s: %w", addr, err)
	}
	return nil
}

// remove ends a membership that no warning could save.
func (c *scoring) remove(k string, member address.Address, st store.BounceState, now time.Time) error {
	if _, err := c.exec(c.q.dropMember, c.listID, memberRole, k, bouncesStatus); err != nil {
		return err
	}
	if _, err := c.exec(c.q.dropScore, c.listID, k); err != nil {
		return err
	}
	why := fmt.Sprintf("no answer to %d warnings", st.Warnings)
	if err := c.history(k, now, "removed", byBounces, why); err != nil {
		return err
	}
	return c.task(store.BounceTask{Kind: store.TaskRemoved, Address: member, At: now, Reason: why, Score: st.Score, Number: st.Warnings})
}

// member returns how a member is spelled, and the status; sql.ErrNoRows if there is none.
func (c *scoring) member(k string) (local string, status list.Status, err error) {
	var code int64
	if err := c.row(c.q.memberOf, c.listID, memberRole, k).Scan(&local, &code); err != nil {
		return "", "", err
	}
	status, err = statuses.word(code)
	return local, status, err
}

// state returns a member's score; nothing if there is none yet.
func (c *scoring) state(k string) (store.BounceState, error) {
	st, err := scanScore(c.row(c.q.scoreOf, c.listID, k))
	if errors.Is(err, sql.ErrNoRows) {
		return store.BounceState{}, nil
	}
	return st, err
}

func (c *scoring) save(k string, st store.BounceState) error {
	var last int64
	if !st.Last.IsZero() {
		last = st.Last.UnixMicro()
	}
	_, err := c.exec(c.q.setScore, c.listID, k, st.Score, last, btoi(st.Unproven), int(st.Phase), st.Warnings, st.Token,
		sql.NullInt64{Int64: st.Due.UnixMicro(), Valid: !st.Due.IsZero()})
	return err
}

func (c *scoring) task(t store.BounceTask) error {
	k, local := "", ""
	if !t.Address.IsZero() {
		k, local = key(t.Address), spelling(t.Address)
	}
	_, err := c.exec(c.q.addTask, c.listID, t.Kind, k, local, t.At.UnixMicro(), t.Token, t.Reason, t.Score, t.Number)
	return err
}

func (c *scoring) history(k string, at time.Time, what, who, why string) error {
	_, err := c.exec(c.q.addHistory, c.listID, k, at.UnixMicro(), what, foreign(who), foreign(why))
	return err
}

// sameDay tells whether both are on one day of UTC.
func sameDay(a, b time.Time) bool {
	return !a.IsZero() && a.UTC().Truncate(24*time.Hour).Equal(b.UTC().Truncate(24*time.Hour))
}

// token is 80 random bits, which nobody guesses: 16 characters that survive in the local
// part of an address.
func token() string {
	b := make([]byte, 10)
	rand.Read(b) // never fails
	return strings.ToLower(base32.StdEncoding.EncodeToString(b))
}

// Codes of the words that scoring is about.
var (
	memberRole    = must(roles.code(list.Member))
	nonmemberRole = must(roles.code(list.Nonmember))
	deferAction   = must(actions.code(list.Defer))
	enabledStatus = must(statuses.code(list.Enabled))
	bouncesStatus = must(statuses.code(list.ByBounces))
	userStatus    = must(statuses.code(list.ByUser))
)

func must(code int64, err error) int64 {
	if err != nil {
		panic("sqlstore: " + err.Error()) // any test finds this
	}
	return code
}
