package pipeline

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/command"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// confirmLife is how long a request waits for its address, as in Mailman.
const confirmLife = 3 * 24 * time.Hour

// step names the next thing that the entry does.
func (c *commander) step() store.Step {
	c.steps++
	return store.Step{ListID: c.p.list.ID, Entry: string(c.p.entry.ID), Number: c.steps, At: c.p.entry.Received}
}

// ask files a request, and has the right people told.
func (c *commander) ask(ctx context.Context, r store.Request) error {
	policy, refusal := c.p.list.Settings.SubscriptionPolicy, "cannot_join"
	switch r.Want {
	case store.WantLeave:
		policy, refusal = c.p.list.Settings.UnsubscriptionPolicy, "cannot_leave"
	case store.WantMove, store.WantInvite, store.WantLink, store.WantUnlink: // addresses confirm, whatever the policy
		policy, refusal = "confirm", "cannot_join"
	case store.WantChange: // it takes what leaving takes, and no moderator
		if policy = c.p.list.Settings.UnsubscriptionPolicy; policy != "open" {
			policy = "confirm"
		}
	}
	approved := r.Want == store.WantJoin && c.p.list.Settings.AutoApproved(r.Address)
	if approved && policy == "closed" { // but for whom the list names
		policy = "confirm"
	}
	refused, err := c.refused(ctx, r, policy)
	if err != nil {
		return err
	}
	if refused {
		c.say(refusal, "user_address", r.Address.String())
		return nil
	}
	proven := r.Address.Key() == c.p.author.Key()
	rules := rulesOf(policy, proven, c.moderateLife())
	if approved {
		rules.Confirm, rules.Moderate = rules.Confirm || rules.Moderate, false
	}
	res, err := c.d.store.AskFor(ctx, c.step(), r, rules)
	if err != nil {
		return storeFailed("file a request", err)
	}
	c.p.log.Info("request", "want", r.Want, "address", r.Address, "outcome", res.Outcome)
	c.outcome(res, proven, false)
	return nil
}

// rulesOf is what it takes under a policy. "open" trusts the envelope sender, which the MTA
// can check, and so does "moderate"; nobody else is asked about what is not the address's
// own wish: all else has to be confirmed.
func rulesOf(policy string, proven bool, life time.Duration) store.RequestRules {
	return store.RequestRules{
		Confirm:     policy == "confirm" || policy == "confirm_then_moderate" || !proven,
		Moderate:    policy == "moderate" || policy == "confirm_then_moderate",
		ConfirmLife: confirmLife, ModerateLife: life,
	}
}

// moderateLife is for how long a request waits for a moderator.
func (c *commander) moderateLife() time.Duration { return days(c.p.list.Settings.MaxDaysForRequests) }

// refused tells whether the list does not even consider it.
func (c *commander) refused(ctx context.Context, r store.Request, policy string) (bool, error) {
	if policy == "closed" || (r.Want == store.WantJoin || r.Want == store.WantInvite) && c.p.list.State == list.Closed {
		return true, nil
	}
	if is, err := c.d.isList(ctx, r.Address); is || err != nil {
		return is, err // what would be asked of it all its members might read
	}
	switch r.Want {
	case store.WantJoin:
		return c.banned(ctx, r.Address)
	case store.WantMove, store.WantLink:
		return c.banned(ctx, *r.More.To)
	}
	return false, nil
}

func (c *commander) banned(ctx context.Context, a address.Address) (bool, error) {
	bans, err := c.d.store.MatchBans(ctx, c.p.list.ID, c.p.list.Address.Domain, []address.Address{a})
	if err != nil {
		return false, storeFailed("look for bans", err)
	}
	return len(bans) > 0, nil
}

// confirm takes the next step of the request that waits for this token to come back; known
// is false if none does.
func (c *commander) confirm(ctx context.Context, token string) (known bool, err error) {
	at := c.p.entry.Received
	late := c.p.entry.Role == roleDecision && c.p.entry.Peer == peerExpiry
	if late {
		at = time.Time{}
	}
	r, err := c.d.store.Request(ctx, c.p.list.ID, token, at)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, storeFailed("look a request up", err)
	}
	if err == nil && r.Want == store.WantJoin && r.Phase == store.PhaseConfirm && c.p.entry.Role != roleDecision {
		banned, err := c.banned(ctx, r.Address)
		if err != nil {
			return false, err
		}
		if banned || c.p.list.State == list.Closed {
			c.say("cannot_join", "user_address", r.Address.String())
			return true, nil
		}
	}
	phase := store.PhaseConfirm
	var except []int64
	if err == nil && r.Phase == store.PhaseMove {
		phase = store.PhaseMove
	}
	if err == nil && r.Phase == store.PhaseMove && r.Want == store.WantMove {
		if except, err = c.unwelcome(ctx, r.Address, *r.More.To); err != nil {
			return false, err
		}
	}
	a := store.Answer{Token: token, Phase: phase, Except: except, Life: c.moderateLife(), Late: late, By: "member", Why: "confirmed by mail from " + c.p.author.String()}
	operator := c.p.entry.Role == roleDecision
	if err == nil && (operator || r.Phase == store.PhaseModerate) {
		if c.decision.Verb != command.Accept && c.decision.Verb != command.Reject && c.decision.Verb != command.Discard {
			c.line(c.text("decide_help"))
			return true, nil
		}
		a.Phase, a.Final, a.Refuse = r.Phase, true, c.decision.Verb != command.Accept
		a.By, a.Why = c.p.author.String(), strings.TrimSpace(string(c.decision.Verb)+" "+c.decision.Reason)
		a.Verdict, a.Reason = verdicts[c.decision.Verb].Verdict, c.decision.Reason
		if operator {
			a.By = "operator"
		}
		if late {
			a.By, a.Reason = "mlist", undecided(c.p.list.Settings.MaxDaysForRequests)
		}
	}
	// What was answered by an earlier run of this entry has a result still.
	res, err := c.d.store.AnswerRequest(ctx, c.step(), a)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, storeFailed("confirm a request", err)
	}
	c.p.log.Info("request confirmed", "want", res.Request.Want, "address", res.Request.Address, "outcome", res.Outcome)
	if res.Request.Want == store.WantInvite && res.Outcome == store.OutcomeDone {
		return true, c.invited(ctx, res.Request)
	}
	c.outcome(res, true, true)
	if !operator && res.Request.Phase == store.PhaseModerate && res.Outcome == store.OutcomeDone {
		c.say("decided_done", "user_address", res.Request.Address.String(), "wish", c.wish(c.voice(), res.Request))
	}
	return true, nil
}
