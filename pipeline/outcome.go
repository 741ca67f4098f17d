package pipeline

import (
	"strconv"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/command"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/templates"
)

// outcome has people told what became of a request. proven: the author is the one whom it
// is about; others are not told whether somebody is a member. confirmed: by its token.
func (c *commander) outcome(res store.RequestResult, proven, confirmed bool) {
	r, who := res.Request, res.Request.Address.String()
	switch res.Outcome {
	case store.OutcomeDone:
		c.done(r, confirmed)
	case store.OutcomeConfirm:
		if res.Tell {
			c.askToConfirm(r)
		}
		if r.Phase == store.PhaseMove {
			r.Address = *r.More.To
		}
		c.asked(r)
	case store.OutcomeModerate:
		if res.Tell {
			c.askModerators(r)
		}
		if proven {
			c.say("waits_for_moderator", "user_address", who, "wish", c.wish(c.voice(), r))
		} else {
			c.asked(r)
		}
	case store.OutcomeRefused:
		c.refuse(r)
	case store.OutcomeUnchanged:
		switch {
		case !proven:
			c.asked(r)
		case r.Want == store.WantJoin:
			c.say("member_already", "user_address", who)
		case r.Want == store.WantUnlink:
			c.say("not_linked", "user_address", who, "new_address", r.More.To.String())
		case r.Want == store.WantChange:
			c.say("nothing_changed", "user_address", who)
		default:
			c.say("no_member", "user_address", who)
		}
	case store.OutcomeFull:
		c.say("too_many_requests")
	}
}

// asked says that a request waits, in words that are the same if it does not.
func (c *commander) asked(r store.Request) {
	if !c.quiet {
		c.say("asked", "user_address", r.Address.String())
	}
}

// askToConfirm writes to the address that a request is about.
func (c *commander) askToConfirm(r store.Request) {
	confirm := c.p.list.TokenAddress(address.RoleConfirm, r.Token)
	to := r.Address
	if r.Phase == store.PhaseMove {
		to = *r.More.To
	}
	values := templates.Values{"confirm_address": confirm.String(), "token": r.Token, "days": inDays(confirmLife)}
	switch r.Want {
	case store.WantMove, store.WantLink, store.WantUnlink:
		values["new_address"] = r.More.To.String()
	case store.WantInvite:
		var lines []string
		for _, a := range r.More.Invite {
			lines = append(lines, "  "+a.String())
		}
		values["addresses"] = strings.Join(lines, "\n")
	}
	c.write(letter{to: to, about: r, replyTo: confirm.String(), text: "confirm_" + string(r.Want), values: values})
}

// askModerators tells the moderators that they are to decide.
func (c *commander) askModerators(r store.Request) {
	if !c.p.list.Settings.AdminImmedNotify {
		return
	}
	confirm := c.p.list.TokenAddress(address.RoleConfirm, r.Token)
	c.write(letter{owners: true, decide: true, about: r, replyTo: confirm.String(), text: "request_moderators",
		values: templates.Values{"user_name": r.DisplayName, "confirm_address": confirm.String(), "days": inDays(c.moderateLife())}})
}

// refuse tells what a moderator has decided: whoever asked, unless it was discarded.
func (c *commander) refuse(r store.Request) {
	if c.decision.Verb == command.Reject {
		c.write(letter{to: r.Address, about: r, text: "request_refused", certain: true, values: templates.Values{"reason": c.decision.Reason}})
	}
	c.say("decided_refused", "user_address", r.Address.String(), "wish", c.wish(c.voice(), r))
}

// inDays is a time in whole days.
func inDays(d time.Duration) string { return strconv.Itoa(int(d.Hours() / 24)) }

// done tells that a request is done.
func (c *commander) done(r store.Request, confirmed bool) {
	s, who := &c.p.list.Settings, r.Address.String()
	if r.Want == store.WantChange {
		c.say("changed", "user_address", who, "wish", c.wish(c.voice(), r))
		return
	}
	switch r.Want {
	case store.WantLink, store.WantUnlink:
		for _, to := range []address.Address{r.Address, *r.More.To} {
			c.write(letter{to: to, about: r, text: string(r.Want) + "ed", certain: true, values: templates.Values{"new_address": r.More.To.String()}})
		}
		return
	case store.WantMove:
		for _, to := range []address.Address{r.Address, *r.More.To} {
			c.write(letter{to: to, about: r, text: "moved", certain: true, values: templates.Values{"new_address": r.More.To.String(), "number": strconv.Itoa(r.More.Lists)}})
		}
		return
	}
	told, text, done := s.SendWelcomeMessage, "welcome", "joined"
	if r.Want == store.WantLeave {
		told, text, done = s.SendGoodbyeMessage, "goodbye", "left"
	}
	if told {
		c.write(letter{to: r.Address, about: r, text: text, certain: confirmed})
	}
	if s.AdminNotifyMchanges {
		c.write(letter{owners: true, about: r, text: done + "_owners"})
	}
	if !told || !c.quiet {
		c.say(done, "user_address", who)
	}
}
