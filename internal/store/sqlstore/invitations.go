package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// inviteMemory is for how long it is remembered who was invited, after the invitation ended.
const inviteMemory = 366 * 24 * time.Hour

// Invite implements store.Invitations.
func (s *Store) Invite(ctx context.Context, listID int64, at time.Time, rules store.InviteRules, in []store.Invitation) (out []store.InviteResult, err error) {
	err = s.update(ctx, func(tx *sql.Tx) error {
		c := &requesting{scoring{Store: s, ctx: ctx, tx: tx, listID: listID}, store.Step{ListID: listID, At: at}, nil}
		out = out[:0]
		var waiting int
		if err := c.row(s.q.countInvitations, listID, at.UnixMicro()).Scan(&waiting); err != nil {
			return err
		}
		for _, i := range in {
			r, err := c.invite(i, rules, &waiting)
			if err != nil {
				return fmt.Errorf("%s: %w", i.Address, err)
			}
			out = append(out, r)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("invite: %w", err)
	}
	return out, nil
}

func (c *requesting) invite(i store.Invitation, rules store.InviteRules, waiting *int) (store.InviteResult, error) {
	k, at := key(i.Address), c.step.At
	i.DisplayName, i.By, i.Text = foreign(i.DisplayName), foreign(i.By), foreign(i.Text)
	m := list.Membership{Address: i.Address, DisplayName: i.DisplayName, Mode: i.Mode, Language: i.Language}
	if _, err := c.newMember(m); err != nil {
		return store.InviteResult{}, err
	}
	_, _, err := c.member(k)
	if err == nil {
		return store.InviteResult{Outcome: store.InviteMember, Invitation: i}, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return store.InviteResult{}, err
	}
	old, err := scanInvitation(c.row(c.q.invitationOf, c.listID, k))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return store.InviteResult{}, err
	}
	switch {
	case err != nil: // there was none
	case old.Waits(at) && old.Times > 0 && (old.Times >= store.MaxTold || at.Sub(old.Sent) < rules.Every):
		return store.InviteResult{Outcome: store.InviteWaits, Invitation: old}, nil
	case old.Waits(at):
		outcome := store.InviteAgain
		if old.Times == 0 {
			outcome = store.InviteNew
		}
		return store.InviteResult{Outcome: outcome, Invitation: old}, nil
	case old.Answer == store.InviteDeclined && !rules.Declined:
		return store.InviteResult{Outcome: store.InviteUnwanted, Invitation: old}, nil
	case at.Sub(old.Sent) < rules.Every: // one that was withdrawn, or answered, by who has left since
		return store.InviteResult{Outcome: store.InviteWaits, Invitation: old}, nil
	}
	if *waiting >= store.MaxInvitations {
		return store.InviteResult{Outcome: store.InviteFull, Invitation: i}, nil
	}
	*waiting++
	if _, err := c.exec(c.q.dropInvitation, c.listID, k); err != nil {
		return store.InviteResult{}, err
	}
	i.ListID, i.Token, i.Invited, i.Expires = c.listID, token(), at, at.Add(rules.Life)
	i.Sent, i.Times, i.Answer, i.Answered = time.Time{}, 0, "", time.Time{}
	if i.Mode == "" {
		i.Mode = list.Regular
	}
	mode, err := modes.code(i.Mode)
	if err != nil {
		return store.InviteResult{}, err
	}
	_, err = c.exec(c.q.addInvitation, i.Token, c.listID, k, spelling(i.Address), i.DisplayName, mode, i.Language, i.By, i.Text,
		i.Invited.UnixMicro(), int64(0), 0, i.Expires.UnixMicro(), "", int64(0))
	if c.dialect.isOrphan(err) {
		err = store.ErrNotFound
	}
	return store.InviteResult{Outcome: store.InviteNew, Invitation: i}, err
}

// SendInvitation implements store.Invitations.
func (s *Store) SendInvitation(ctx context.Context, step store.Step, token string, number int) (i store.Invitation, err error) {
	_, err = s.takeStep(ctx, step, func(c *requesting) (store.RequestResult, error) {
		i, err := scanInvitation(c.row(c.q.invitation, c.listID, token))
		if err == nil && (!i.Waits(c.step.At) || i.Times >= number) {
			err = sql.ErrNoRows
		}
		if err != nil {
			return store.RequestResult{}, notFound(err)
		}
		_, err = c.exec(c.q.sendInvitation, token, c.listID, number, c.step.At.UnixMicro())
		return store.RequestResult{Outcome: store.OutcomeDone}, err
	})
	if err == nil {
		i, err = s.Invitation(ctx, step.ListID, token)
	}
	if err != nil {
		return i, fmt.Errorf("send an invitation: %w", err)
	}
	return i, nil
}

// AnswerInvitation implements store.Invitations.
func (s *Store) AnswerInvitation(ctx context.Context, step store.Step, token string, accept bool) (store.RequestResult, error) {
	res, err := s.takeStep(ctx, step, func(c *requesting) (store.RequestResult, error) { return c.answerInvitation(token, accept) })
	if err != nil {
		return res, fmt.Errorf("answer an invitation: %w", err)
	}
	return res, nil
}

func (c *requesting) answerInvitation(token string, accept bool) (store.RequestResult, error) {
	i, err := scanInvitation(c.row(c.q.invitation, c.listID, token))
	if err == nil && !i.Waits(c.step.At) {
		err = sql.ErrNoRows
	}
	if err != nil {
		return store.RequestResult{}, notFound(err)
	}
	r := store.Request{ListID: c.listID, Want: store.WantJoin, Address: i.Address, DisplayName: i.DisplayName, Mode: i.Mode, Language: i.Language, Created: i.Invited, Expires: i.Expires}
	answer := store.InviteDeclined
	if accept {
		answer = store.InviteAccepted
	}
	if err := c.endInvitation(key(i.Address), answer); err != nil {
		return store.RequestResult{}, err
	}
	if !accept {
		return store.RequestResult{Outcome: store.OutcomeDeclined, Request: r}, c.history(key(i.Address), c.step.At, "declined", byMember, "an invitation by "+i.By)
	}
	// What the address has asked for itself meanwhile is answered by this.
	if _, err := c.exec(c.q.dropRequestOf, c.listID, key(i.Address), string(store.WantJoin)); err != nil {
		return store.RequestResult{}, err
	}
	return c.fulfil(r, byMember, "accepted an invitation by "+i.By)
}

// endInvitation writes down how the invitation of an address ended; ErrNotFound if none waits.
func (c *requesting) endInvitation(k string, answer store.InviteAnswer) error {
	n, err := c.exec(c.q.endInvitation, c.listID, k, string(answer), c.step.At.UnixMicro())
	if err == nil && n == 0 {
		err = store.ErrNotFound
	}
	return err
}

// WithdrawInvitation implements store.Invitations.
func (s *Store) WithdrawInvitation(ctx context.Context, listID int64, addr address.Address, at time.Time) error {
	err := s.update(ctx, func(tx *sql.Tx) error {
		c := &requesting{scoring{Store: s, ctx: ctx, tx: tx, listID: listID}, store.Step{ListID: listID, At: at}, nil}
		return c.endInvitation(key(addr), store.InviteWithdrawn)
	})
	if err != nil {
		return fmt.Errorf("withdraw the invitation of %s: %w", addr, err)
	}
	return nil
}

// Invitation implements store.Invitations.
func (s *Store) Invitation(ctx context.Context, listID int64, token string) (store.Invitation, error) {
	i, err := scanInvitation(s.q.peekInvitation.QueryRowContext(ctx, listID, token))
	if err != nil {
		return i, fmt.Errorf("look an invitation up: %w", notFound(err))
	}
	return i, nil
}

// Invitations implements store.Invitations.
func (s *Store) Invitations(ctx context.Context, listID int64) iter.Seq2[store.Invitation, error] {
	return stream(ctx, s, "read the invitations", s.q.invitations, scanInvitation, listID)
}

func scanInvitation(row scanner) (i store.Invitation, err error) {
	var k, local, answer string
	var mode, invited, sent, expires, answered int64
	if err := row.Scan(&i.Token, &i.ListID, &k, &local, &i.DisplayName, &mode, &i.Language, &i.By, &i.Text, &invited, &sent, &i.Times, &expires, &answer, &answered); err != nil {
		return store.Invitation{}, err
	}
	i.Address, i.Answer = unkey(k, local), store.InviteAnswer(answer)
	i.Invited, i.Expires = time.UnixMicro(invited).UTC(), time.UnixMicro(expires).UTC()
	if sent > 0 {
		i.Sent = time.UnixMicro(sent).UTC()
	}
	if answered > 0 {
		i.Answered = time.UnixMicro(answered).UTC()
	}
	i.Mode, err = modes.word(mode)
	return i, err
}
