package checks

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// posting is stage "posting". The first of the senders (those in From, then the
// envelope, Reply-To and Sender) that is a member decides; if none is, the first of
// them decides as a nonmember. Owners and moderators who are no members are
// nonmembers here.
type posting struct{ patterns *patterns }

// Handle implements sdk.Handler.
func (h *posting) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	senders := known(p.Senders)
	switch {
	case p.Approved:
		return sdk.Accept, nil
	case len(senders) == 0:
		return sdk.Discard("no-sender", "The post does not say who sent it."), nil
	case p.List.Bool("emergency"):
		return sdk.Hold("emergency", "Every post to this list is held at present."), nil
	}
	action, role := h.action(p.List, senders)
	switch action {
	case "accept", "defer":
	default:
		return ruling(p, action, role), nil
	}
	// Machines that answer must never be answered by a thousand members, so not even
	// a member's "accept" lets them through.
	if v, ok := machine(p); ok {
		return v, nil
	}
	if action == "accept" {
		if p.Notes == nil {
			p.Notes = map[string]string{}
		}
		p.Notes[noteAccepted] = role
	}
	return sdk.Accept, nil
}

// action finds what is to be done with the post, and because of which role.
func (h *posting) action(l sdk.List, senders []sdk.Sender) (action, role string) {
	for _, s := range senders {
		if m, ok := membership(s, "member"); ok {
			return cmp.Or(m.Action, l.String("default_member_action"), "defer"), "member"
		}
	}
	return h.nonmember(l, senders[0]), "nonmember"
}

// nonmember finds the action for a sender: the nonmember's own, then that of the
// list's four lists, then its default.
func (h *posting) nonmember(l sdk.List, s sdk.Sender) string {
	if m, ok := membership(s, "nonmember"); ok && m.Action != "" {
		return m.Action
	}
	for _, these := range []struct{ setting, action string }{
		{"accept_these_nonmembers", "defer"}, // the limits still hold, as in Mailman
		{"hold_these_nonmembers", "hold"},
		{"reject_these_nonmembers", "reject"},
		{"discard_these_nonmembers", "discard"},
	} {
		if h.patterns.match(l, these.setting, s.Address) {
			return these.action
		}
	}
	return cmp.Or(l.String("default_nonmember_action"), "hold")
}

// known leaves out senders without an address, as the null envelope sender is.
func known(senders []sdk.Sender) []sdk.Sender {
	return slices.DeleteFunc(slices.Clone(senders), func(s sdk.Sender) bool { return s.Address == "" })
}

func membership(s sdk.Sender, role string) (sdk.Membership, bool) {
	for _, m := range s.Memberships {
		if m.Role == role {
			return m, true
		}
	}
	return sdk.Membership{}, false
}

// ruling puts an action into words. One that this version does not know holds the
// post: a moderator can still let it through.
func ruling(p *sdk.Post, action, role string) sdk.Verdict {
	code, who := "member-moderated", "Posts by this member"
	if role == "nonmember" {
		code, who = "nonmember", "Posts by people who are not members of this list"
	}
	switch action {
	case "reject":
		if notice := p.List.String("nonmember_rejection_notice"); notice != "" && role == "nonmember" {
			return sdk.Reject(code, notice)
		}
		return sdk.Reject(code, who+" are not accepted.")
	case "discard":
		return sdk.Discard(code, who+" are discarded.")
	default:
		return sdk.Hold(code, who+" are held for a moderator.")
	}
}

// machine holds bounces, and answers of autoresponders (RFC 3834), that were sent to
// the list by mistake. What a machine sends on its own account, such as a commit
// notice (Auto-Submitted: auto-generated), is a post like any other.
func machine(p *sdk.Post) (sdk.Verdict, bool) {
	if p.Envelope.Sender == "" {
		return sdk.Hold("null-sender", "The post has the null envelope sender, as bounces have."), true
	}
	if autoReply(p.Header) {
		return sdk.Hold("auto-reply", "The post is the answer of an autoresponder."), true
	}
	return sdk.Verdict{}, false
}

func autoReply(h *message.Header) bool {
	for _, v := range h.Values("Auto-Submitted") {
		word, _, _ := strings.Cut(v, ";")
		word, _, _ = strings.Cut(word, "(")
		if strings.EqualFold(strings.TrimSpace(word), "auto-replied") {
			return true
		}
	}
	return h.Has("X-Autoreply") || h.Has("X-Autorespond") || strings.EqualFold(h.Get("Precedence"), "auto_reply")
}

// isList tells whether addr is the list's own address.
func isList(l sdk.List, addr string) bool {
	return message.AddressKey(addr) == message.AddressKey(l.Address)
}
