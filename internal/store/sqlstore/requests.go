package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// byMember is who did what the address itself asked for.
const byMember = "member"

// requesting is one transaction on the requests of one list.
type requesting struct {
	scoring
	step   store.Step
	except []int64 // lists that a move leaves alone
}

// takeStep runs f in a transaction, unless an earlier run of the step has its result.
func (s *Store) takeStep(ctx context.Context, step store.Step, f func(*requesting) (store.RequestResult, error)) (res store.RequestResult, err error) {
	err = s.update(ctx, func(tx *sql.Tx) error {
		c := &requesting{scoring{Store: s, ctx: ctx, tx: tx, listID: step.ListID}, step, nil}
		if known, err := c.earlier(); known != nil || err != nil {
			if err == nil {
				res, err = *known, errUnchanged
			}
			return err
		}
		var err error
		if res, err = f(c); err != nil || step.Entry == "" {
			return err
		}
		text, err := json.Marshal(res)
		if err != nil {
			return err
		}
		_, err = c.exec(s.q.addResult, step.ListID, step.Entry, step.Number, step.At.UnixMicro(), string(text))
		if s.dialect.isOrphan(err) {
			return store.ErrNotFound
		}
		return err
	})
	return res, err
}

// earlier is the result of an earlier run; nil if there was none.
func (c *requesting) earlier() (*store.RequestResult, error) {
	if c.step.Entry == "" {
		return nil, nil
	}
	var text string
	err := c.row(c.q.resultOf, c.listID, c.step.Entry, c.step.Number).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	res := new(store.RequestResult)
	return res, json.Unmarshal([]byte(text), res)
}

// AskFor implements store.Requests.
func (s *Store) AskFor(ctx context.Context, step store.Step, r store.Request, rules store.RequestRules) (store.RequestResult, error) {
	r.ListID, r.DisplayName = step.ListID, foreign(r.DisplayName)
	res, err := s.takeStep(ctx, step, func(c *requesting) (store.RequestResult, error) { return c.ask(r, rules) })
	if err != nil {
		return res, fmt.Errorf("%s of %s: %w", r.Want, r.Address, err)
	}
	return res, nil
}

func (c *requesting) ask(r store.Request, rules store.RequestRules) (store.RequestResult, error) {
	if _, err := c.newMember(list.Membership{Address: r.Address, DisplayName: r.DisplayName, Mode: r.Mode, Status: r.Status, Language: r.Language}); err != nil {
		return store.RequestResult{}, err
	}
	_, _, err := c.member(key(r.Address))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return store.RequestResult{}, err
	}
	if isMember := err == nil; !r.Want.Free() && isMember == (r.Want == store.WantJoin) {
		return store.RequestResult{Outcome: store.OutcomeUnchanged, Request: r}, nil
	}
	if !rules.Confirm && !rules.Moderate {
		if _, err := c.exec(c.q.dropRequestOf, c.listID, key(r.Address), string(r.Want)); err != nil {
			return store.RequestResult{}, err
		}
		return c.fulfil(r, byMember, "as the mail that asked for it came from there")
	}
	var old store.Request
	var told int
	switch old, told, err = scanRequest(c.row(c.q.requestOf, c.listID, key(r.Address), string(r.Want), c.step.At.UnixMicro())); {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return store.RequestResult{}, err
	case old.Phase == store.PhaseModerate:
		return store.RequestResult{Outcome: store.OutcomeModerate, Request: old}, nil
	case told >= store.MaxTold:
		return store.RequestResult{Outcome: store.OutcomeConfirm, Request: old}, nil
	case r.Want == store.WantJoin || r.Want == store.WantLeave || sameChange(old, r):
		_, err := c.exec(c.q.tellRequest, old.Token)
		return store.RequestResult{Outcome: store.OutcomeConfirm, Request: old, Tell: true}, err
	}
	// What has expired goes, and a change of another kind takes the place of the one before:
	// under a new token, or who has the old one would confirm what they have not read.
	if _, err := c.exec(c.q.dropRequestOf, c.listID, key(r.Address), string(r.Want)); err != nil {
		return store.RequestResult{}, err
	}
	var waiting int
	if err := c.row(c.q.countRequests, c.listID).Scan(&waiting); err != nil {
		return store.RequestResult{}, err
	}
	if waiting >= store.MaxRequests {
		return store.RequestResult{Outcome: store.OutcomeFull, Request: r}, nil
	}
	r.Created, r.Phase, r.Moderate = c.step.At, store.PhaseConfirm, rules.Moderate
	life := rules.ConfirmLife
	if !rules.Confirm {
		r.Phase, r.Moderate, life = store.PhaseModerate, false, rules.ModerateLife
	}
	return c.put(r, life, told+1)
}

// sameChange tells whether two requests of a kind want the same.
func sameChange(a, b store.Request) bool {
	one, err1 := json.Marshal(a.More)
	other, err2 := json.Marshal(b.More)
	return a.Mode == b.Mode && a.Status == b.Status && a.Language == b.Language && errors.Join(err1, err2) == nil && string(one) == string(other)
}

// put lets a request wait under a new token.
func (c *requesting) put(r store.Request, life time.Duration, told int) (store.RequestResult, error) {
	mode, err1 := modes.code(r.Mode)
	status, err2 := statuses.code(r.Status)
	more := ""
	if !r.More.IsZero() {
		text, err := json.Marshal(r.More)
		more, err1 = string(text), errors.Join(err1, err)
	}
	if err := errors.Join(err1, err2); err != nil {
		return store.RequestResult{}, err
	}
	r.Token, r.Expires = token(), c.step.At.Add(life)
	_, err := c.exec(c.q.addRequest, r.Token, c.listID, string(r.Want), key(r.Address), spelling(r.Address), r.DisplayName, mode, status,
		int(r.Phase), btoi(r.Moderate), told, r.Created.UnixMicro(), r.Expires.UnixMicro(), r.Language, more)
	if c.dialect.isOrphan(err) {
		err = store.ErrNotFound
	}
	res := store.RequestResult{Outcome: store.OutcomeConfirm, Request: r, Tell: true}
	if r.Phase == store.PhaseModerate {
		res.Outcome = store.OutcomeModerate
	}
	return res, err
}

// AnswerRequest implements store.Requests.
func (s *Store) AnswerRequest(ctx context.Context, step store.Step, a store.Answer) (store.RequestResult, error) {
	res, err := s.takeStep(ctx, step, func(c *requesting) (store.RequestResult, error) { return c.answer(a) })
	if err != nil {
		return res, fmt.Errorf("answer a request: %w", err)
	}
	return res, nil
}

func (c *requesting) answer(a store.Answer) (store.RequestResult, error) {
	after := c.step.At.UnixMicro()
	if a.Late {
		after = 0
	}
	r, told, err := scanRequest(c.row(c.q.requestByToken, c.listID, a.Token, after))
	if err == nil && r.Phase != a.Phase {
		err = sql.ErrNoRows
	}
	if err != nil {
		return store.RequestResult{}, notFound(err)
	}
	if _, err := c.exec(c.q.dropRequest, a.Token); err != nil {
		return store.RequestResult{}, err
	}
	if a.Verdict != "" {
		ref := a.Token
		if r.Phase != store.PhaseModerate {
			ref = "" // the address has the token, and is not told who decided
		}
		err := c.logDecision(&store.Decision{ListID: c.listID, At: c.step.At, Kind: store.AboutRequest, Ref: ref, Step: c.step.Entry, Address: r.Address,
			Subject: string(r.Want), Verdict: a.Verdict, By: a.By, Why: a.Reason})
		if err != nil {
			return store.RequestResult{}, err
		}
	}
	switch {
	case a.Refuse:
		return store.RequestResult{Outcome: store.OutcomeRefused, Request: r}, c.history(key(r.Address), c.step.At, string(r.Want)+" refused", a.By, a.Why)
	case (r.Want == store.WantMove || r.Want == store.WantLink) && r.Phase == store.PhaseConfirm:
		r.Phase = store.PhaseMove
		return c.put(r, r.Expires.Sub(r.Created), told)
	case r.Moderate && r.Phase == store.PhaseConfirm && !a.Final:
		r.Phase, r.Moderate = store.PhaseModerate, false
		return c.put(r, a.Life, told)
	}
	c.except = a.Except
	return c.fulfil(r, a.By, a.Why)
}

// fulfil does what a request wants, and writes it into the member's history.
func (c *requesting) fulfil(r store.Request, by, why string) (store.RequestResult, error) {
	k := key(r.Address)
	var n int64
	what := ""
	switch r.Want {
	case store.WantJoin:
		what = "joined"
		m, err := c.newMember(list.Membership{Address: r.Address, DisplayName: r.DisplayName, Mode: r.Mode, Status: r.Status, Language: r.Language, Added: c.step.At})
		if err == nil {
			n, err = c.exec(c.q.addMember, m.args(c.listID, nil)...)
		}
		if c.dialect.isOrphan(err) {
			err = store.ErrNotFound
		}
		if err != nil {
			return store.RequestResult{}, err
		}
	case store.WantLeave:
		what = "left"
		if err := c.leaveDigests(c.ctx, c.tx, c.listID, r.Address, list.Regular); err != nil {
			return store.RequestResult{}, err
		}
		var err error
		if n, err = c.exec(c.q.removeMember, c.listID, memberRole, k); err != nil {
			return store.RequestResult{}, err
		}
		if _, err = c.exec(c.q.dropScore, c.listID, k); err != nil {
			return store.RequestResult{}, err
		}
	case store.WantChange:
		return c.change(r, by, why)
	case store.WantLink, store.WantUnlink:
		return c.relink(r)
	case store.WantInvite: // whoever has it confirmed does it now
		return store.RequestResult{Outcome: store.OutcomeDone, Request: r}, nil
	case store.WantMove:
		moved, err := c.move(r.Address, *r.More.To, c.except, by, why)
		res := store.RequestResult{Outcome: store.OutcomeDone, Request: r}
		if res.Request.More.Lists = len(moved); len(moved) == 0 {
			res.Outcome = store.OutcomeUnchanged
		}
		return res, err
	default:
		return store.RequestResult{}, fmt.Errorf("no request is for %q", string(r.Want))
	}
	if n == 0 {
		return store.RequestResult{Outcome: store.OutcomeUnchanged, Request: r}, nil
	}
	return store.RequestResult{Outcome: store.OutcomeDone, Request: r}, c.history(k, c.step.At, what, by, why)
}

// relink makes two addresses one person's, or not any more.
func (c *requesting) relink(r store.Request) (store.RequestResult, error) {
	res := store.RequestResult{Outcome: store.OutcomeDone, Request: r}
	if r.Want == store.WantLink {
		err := c.link(r.Address, *r.More.To, c.step.At)
		if errors.Is(err, store.ErrTooMany) {
			res.Outcome, err = store.OutcomeFull, nil
		}
		return res, err
	}
	var one, other string
	err := errors.Join(c.row(c.q.personOf, key(r.Address)).Scan(&one), c.row(c.q.personOf, key(*r.More.To)).Scan(&other))
	if errors.Is(err, sql.ErrNoRows) || err == nil && one != other {
		res.Outcome, err = store.OutcomeUnchanged, nil
		return res, err
	}
	if err == nil {
		err = c.unlink(*r.More.To)
	}
	return res, err
}

// change changes how a member receives posts. What a moderator disabled stays so.
func (c *requesting) change(r store.Request, by, why string) (store.RequestResult, error) {
	k := key(r.Address)
	unchanged := store.RequestResult{Outcome: store.OutcomeUnchanged, Request: r}
	_, status, err := c.member(k)
	// Nor may a member make it their own doing, and end that.
	if errors.Is(err, sql.ErrNoRows) || err == nil && r.Status != "" && status == list.ByModerator {
		return unchanged, nil
	}
	if err != nil {
		return unchanged, err
	}
	args := []any{c.listID, memberRole, k, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil}
	if r.Mode != "" {
		if err := c.leaveDigests(c.ctx, c.tx, c.listID, r.Address, r.Mode); err != nil {
			return unchanged, err
		}
		if args[4], err = modes.code(r.Mode); err != nil {
			return unchanged, err
		}
	}
	if r.Status != "" {
		if args[5], err = statuses.code(r.Status); err != nil {
			return unchanged, err
		}
	}
	if r.Status != "" {
		args[12] = int64(0)
		if r.More.Until != nil && r.Status == list.ByUser {
			args[12] = micros(*r.More.Until)
		}
	}
	for i, choice := range map[int]*bool{7: r.More.NoOwnPosts, 8: r.More.NoDuplicates, 9: r.More.Acknowledge} {
		if choice != nil {
			args[i] = btoi(*choice)
		}
	}
	if r.More.Topics != nil {
		if args[10], err = c.changeTopics(c.ctx, c.tx, c.listID, memberRole, k, store.MemberChange{Topics: r.More.Topics}); err != nil {
			return unchanged, err
		}
	}
	if r.Language != "" {
		args[11] = r.Language
	}
	if _, err := c.exec(c.q.setMember, args...); err != nil {
		return unchanged, err
	}
	if r.Status != "" {
		err = c.statusChanged(c.ctx, c.tx, c.listID, k, store.MemberChange{Status: &r.Status, By: by, Why: why})
	}
	return store.RequestResult{Outcome: store.OutcomeDone, Request: r}, err
}

// Request implements store.Requests.
func (s *Store) Request(ctx context.Context, listID int64, token string, at time.Time) (store.Request, error) {
	r, _, err := scanRequest(s.q.peekRequest.QueryRowContext(ctx, listID, token, at.UnixMicro()))
	if err != nil {
		return r, fmt.Errorf("look a request up: %w", notFound(err))
	}
	return r, nil
}

// Requests implements store.Requests.
func (s *Store) Requests(ctx context.Context, listID int64, at time.Time) iter.Seq2[store.Request, error] {
	return stream(ctx, s, "read the requests", s.q.requests, func(row scanner) (store.Request, error) {
		r, _, err := scanRequest(row)
		return r, err
	}, listID, at.UnixMicro())
}

func scanRequest(row scanner) (r store.Request, told int, err error) {
	var want, k, local, more string
	var mode, status, created, expires int64
	if err := row.Scan(&r.Token, &r.ListID, &want, &k, &local, &r.DisplayName, &mode, &status, &r.Phase, &r.Moderate, &told, &created, &expires, &r.Language, &more, &r.Reminded); err != nil {
		return store.Request{}, 0, err
	}
	r.Want, r.Address = store.Want(want), unkey(k, local)
	r.Created, r.Expires = time.UnixMicro(created).UTC(), time.UnixMicro(expires).UTC()
	if more != "" {
		if err := json.Unmarshal([]byte(more), &r.More); err != nil {
			return store.Request{}, 0, err
		}
	}
	var err1, err2 error
	r.Mode, err1 = modes.word(mode)
	r.Status, err2 = statuses.word(status)
	return r, told, errors.Join(err1, err2)
}

// pruneRequests forgets what expired, and results, from before t.
func (s *Store) pruneRequests(ctx context.Context, t time.Time) error {
	for _, stmt := range []*sql.Stmt{s.q.pruneRequests, s.q.pruneResults} {
		if err := s.repeat(ctx, stmt, t.UnixMicro()); err != nil {
			return fmt.Errorf("prune requests: %w", err)
		}
	}
	if err := s.repeat(ctx, s.q.pruneInvitations, t.Add(-inviteMemory).UnixMicro()); err != nil {
		return fmt.Errorf("prune invitations: %w", err)
	}
	return nil
}
