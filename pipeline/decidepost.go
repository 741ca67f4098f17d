package pipeline

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/command"
	"github.com/mlist/mlist/internal/moderate"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
)

const (
	// ticketLife is for how long a moderator may decide with a token; what waits longer is
	// decided about on the list's host.
	ticketLife = 180 * 24 * time.Hour
	// maxBatch is how many posts one answer decides about.
	maxBatch = 1000
)

// verdicts are what the words of moderators mean for a post.
var verdicts = map[command.Verb]store.HeldDecision{
	command.Accept:       {Verdict: store.VerdictAccept},
	command.AcceptSender: {Verdict: store.VerdictAccept, AcceptSender: true},
	command.Reject:       {Verdict: store.VerdictReject},
	command.Discard:      {Verdict: store.VerdictDiscard},
	command.Ban:          {Verdict: store.VerdictDiscard, Ban: true},
}

// decidePosts does what a moderator says about held posts; known is false if the token is
// no moderator's.
func (c *commander) decidePosts(ctx context.Context, token, text string) (known bool, err error) {
	ticket, err := c.d.desk().Read(ctx, c.p.list, token)
	if errors.Is(err, moderate.ErrNoTicket) {
		return false, nil
	}
	if err != nil {
		return false, storeFailed("read a moderator's token", err)
	}
	c.certain = true // it answers who has a token
	if ticket.Handle == "" {
		return true, c.decideBatch(ctx, ticket, text)
	}
	decision := c.decision
	if decision.Verb == command.Unknown { // what a link of the notice makes
		decision = command.ParseDecision(c.p.header.Text("Subject"))
	}
	if decision.Verb == command.Unknown {
		c.line(c.text("decide_post_help"))
		return true, nil
	}
	dec, first, err := c.decidePost(ctx, ticket, ticket.Handle, decision)
	switch {
	case errors.Is(err, errExpired):
		c.say("post_gone")
	case errors.Is(err, store.ErrNoSender):
		c.say("post_no_sender")
	case err != nil:
		return true, err
	case first:
		c.say("post_decided", "outcome", c.outcomeOf(dec))
	default:
		c.decidedBy(dec)
	}
	return true, nil
}

var errExpired = errors.New("the post waits no longer")

// decidePost decides about the post with a handle.
func (c *commander) decidePost(ctx context.Context, ticket moderate.Ticket, handle string, decision command.Decision) (store.Decision, bool, error) {
	l, step := c.p.list, store.Step{ListID: c.p.list.ID, Entry: string(c.p.entry.ID), At: c.p.entry.Received}
	held, err := c.d.store.HeldPost(ctx, l.ID, "", handle)
	if errors.Is(err, store.ErrNotFound) {
		dec, err := c.d.store.DecisionOf(ctx, l.ID, store.AboutPost, handle)
		if errors.Is(err, store.ErrNotFound) {
			return dec, false, errExpired
		}
		if err != nil {
			return dec, false, storeFailed("look a decision up", err)
		}
		return dec, dec.Step == step.Entry, nil
	}
	if err != nil {
		return store.Decision{}, false, storeFailed("look a held post up", err)
	}
	if held.Verdict == "" && (step.At.Sub(held.Held) > ticketLife || !ticket.Until.IsZero() && held.Held.After(ticket.Until)) {
		return store.Decision{}, false, errExpired
	}
	h := verdicts[decision.Verb]
	h.By, h.Why = ticket.Moderator.String(), decision.Reason
	dec, first, err := c.d.desk().Decide(ctx, step, l, spool.ID(held.Entry), h)
	switch {
	case errors.Is(err, moderate.ErrGone):
		return dec, false, errExpired
	case errors.Is(err, store.ErrNoSender):
		return dec, false, err
	case err != nil:
		return dec, false, storeFailed("decide about a held post", err)
	}
	if first {
		c.p.log.Info("a moderator has decided", "post", held.Entry, "verdict", dec.Verdict, "also", dec.Also, "by", dec.By)
		c.d.noteDecision(l, dec)
	}
	return dec, first, nil
}

// outcomeOf is a decision in words.
func (c *commander) outcomeOf(d store.Decision) string {
	text := c.phrase("outcome_" + string(d.Verdict))
	if d.Why != "" {
		text = c.phrase("outcome_why", "outcome", text, "reason", d.Why)
	}
	for _, also := range strings.Split(d.Also, ",") {
		switch also {
		case store.AlsoAcceptSender, store.AlsoClearFirst:
			text = c.phrase("outcome_accept_sender", "outcome", text, "user_address", d.Address.String())
		case store.AlsoBan:
			text = c.phrase("outcome_ban", "outcome", text, "user_address", d.Address.String())
		}
	}
	return text
}

// decidedBy tells the second of two moderators.
func (c *commander) decidedBy(d store.Decision) {
	c.say("post_decided_by", "moderator", d.By, "date", moment(d.At), "outcome", c.outcomeOf(d))
}

// decideBatch does what a moderator answers to a summary.
func (c *commander) decideBatch(ctx context.Context, ticket moderate.Ticket, text string) error {
	if c.p.entry.Received.Sub(ticket.Until) > ticketLife {
		c.say("post_gone")
		return nil
	}
	lines := command.ParseBatch(text)
	if len(lines) == 0 {
		lines = command.ParseBatch(c.p.header.Text("Subject"))
	}
	done, left := 0, false
	for _, b := range lines {
		switch {
		case b.Verb == command.Unknown:
			c.line("> " + b.Line)
			c.line(c.text("decide_posts_help"))
			continue
		case b.All && b.Verb != command.Reject && b.Verb != command.Discard:
			c.line("> " + b.Line)
			c.say("posts_not_all")
			continue
		case b.All:
			waiting, err := c.d.waiting(ctx, c.p.list, store.HeldFilter{Until: ticket.Until, Limit: maxBatch - done + 1})
			if err != nil {
				return storeFailed("read what waits", err)
			}
			for _, h := range waiting {
				b.Refs = append(b.Refs, h.Handle)
			}
		}
		for _, ref := range b.Refs {
			if done == maxBatch {
				left = true
				break
			}
			done++
			dec, first, err := c.decidePost(ctx, ticket, ref, b.Decision)
			switch {
			case errors.Is(err, errExpired):
				c.line(ref + ": " + c.phrase("posts_unknown"))
			case errors.Is(err, store.ErrNoSender):
				c.line(ref + ": " + c.phrase("post_no_sender"))
			case err != nil:
				return err
			case !first:
				c.line(ref + ": " + c.phrase("post_decided_by", "moderator", dec.By, "date", moment(dec.At), "outcome", c.outcomeOf(dec)))
			}
		}
	}
	counts, err := c.d.store.DecisionsOfStep(ctx, c.p.list.ID, string(c.p.entry.ID))
	if err != nil {
		return storeFailed("count decisions", err)
	}
	if len(counts) > 0 {
		n := func(v store.Verdict) string { return strconv.Itoa(counts[v]) }
		c.say("posts_decided", "accepted", n(store.VerdictAccept), "rejected", n(store.VerdictReject), "discarded", n(store.VerdictDiscard))
	}
	if left {
		c.say("posts_more", "number", strconv.Itoa(maxBatch))
	}
	return nil
}

// decidedBefore tells who has decided about the request of a token that is used up.
func (c *commander) decidedBefore(ctx context.Context, token string) (bool, error) {
	dec, err := c.d.store.DecisionOf(ctx, c.p.list.ID, store.AboutRequest, token)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, storeFailed("look a decision up", err)
	}
	c.certain = true
	c.decidedBy(dec)
	return true, nil
}
