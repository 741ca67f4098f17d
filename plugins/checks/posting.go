package checks

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// The rules on who may post. The first of the senders that is a member decides; if none
// is, the first of them decides as a nonmember. Owners and moderators who are no members
// are nonmembers here.

func noSender(_ context.Context, v *view) (finding, error) {
	if len(v.senders) > 0 {
		return finding{}, nil
	}
	return decided(sdk.Discard("no-sender", "The post does not say who sent it.")), nil
}

func emergency(_ context.Context, v *view) (finding, error) {
	if !v.List.Bool("emergency") {
		return finding{}, nil
	}
	return decided(sdk.Hold("emergency", "Every post to this list is held at present.")), nil
}

// banned asks of every address that the post names as its sender's, also of those that
// do not count for membership.
func banned(_ context.Context, v *view) (finding, error) {
	for _, s := range v.Senders {
		if s.Ban != "" {
			f := decided(sdk.Discard("banned", s.Address+" is banned: "+s.Ban+"."))
			f.told = s.Address + " may not post to this list."
			return f, nil
		}
	}
	return finding{}, nil
}

// forgedList refuses a post in the list's own name, or that of one of its roles: nobody writes
// there, and whoever reads it would take it for the list's word. It passes where the list says who
// may write in its name (a member or nonmember with that address and an action, or
// accept_these_nonmembers), and where a signature of that domain vouches for it.
func (p *patterns) forgedList(_ context.Context, v *view) (finding, error) {
	if len(v.SubmittedBy) > 0 { // a handler writes for the list
		return finding{}, nil
	}
	for _, s := range v.Senders {
		if s.Source == "reply-to" || !ofList(v.List, s.Address) {
			continue
		}
		switch {
		case slices.ContainsFunc(s.Memberships, func(m sdk.Membership) bool { return m.Action != "" }), p.match(v.List, "accept_these_nonmembers", s.Address):
		case s.Source == "from" && vouched(v, s.Address):
		default:
			return decided(sdk.Reject("forged-list", "The post is written in the name of the list itself.")), nil
		}
	}
	return finding{}, nil
}

// ofList tells whether an address is one of the list's, or of its roles.
func ofList(l sdk.List, addr string) bool {
	local, domain, _ := cutLast(message.AddressKey(addr), "@")
	local, _, _ = strings.Cut(local, "+")
	for _, own := range l.Addresses() {
		name, at, _ := cutLast(message.AddressKey(own), "@")
		role, ours := strings.CutPrefix(local, name)
		if ours && domain == at && (role == "" || slices.Contains(roles, role)) {
			return true
		}
	}
	return false
}

// roles are what stands behind a list's name in the addresses of its roles.
var roles = []string{"-owner", "-bounces", "-request", "-confirm", "-join", "-leave", "-subscribe", "-unsubscribe"}

// cutLast is strings.Cut around the last separator.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// vouched tells whether what speaks for the author by DMARC's rules is of the address's own domain.
func vouched(v *view, addr string) bool {
	_, domain, _ := cutLast(message.AddressKey(addr), "@")
	return domain != "" && strings.EqualFold(v.Notes["auth.aligned"], domain)
}

// dmarcFail goes by what stage authenticate has found out.
func dmarcFail(_ context.Context, v *view) (finding, error) {
	action := v.List.String("dmarc_fail_action")
	if v.Notes["auth.dmarc"] != "fail" || action == "" {
		return finding{}, nil
	}
	return acts(action, "dmarc-fail", "Nothing vouches for the author: the post fails the DMARC check of the domain in From.", ""), nil
}

func memberModerated(_ context.Context, v *view) (finding, error) {
	_, m, ok := v.member()
	if !ok {
		return finding{}, nil
	}
	if s, may := v.sender(); may && m.Action == "" {
		m.Action = cmp.Or(s.Action, "defer")
	}
	action := cmp.Or(m.Action, v.List.String("default_member_action"), "defer")
	if action == "defer" {
		return finding{}, nil
	}
	return acts(action, "member-moderated", "Posts by this member "+fate(action), "member"), nil
}

func (p *patterns) nonmember(_ context.Context, v *view) (finding, error) {
	if _, _, ok := v.member(); ok || len(v.senders) == 0 {
		return finding{}, nil
	}
	action := p.nonmemberAction(v.List, v.senders[0])
	if s, may := v.sender(); may {
		action = cmp.Or(s.Action, "defer")
	}
	if action == "defer" {
		return finding{}, nil
	}
	reason := "Posts by people who are not members of this list " + fate(action)
	if notice := v.List.String("nonmember_rejection_notice"); notice != "" && action == "reject" {
		reason = strings.TrimSpace(v.List.Fill(notice, nil))
	}
	return acts(action, "nonmember", reason, "nonmember"), nil
}

// these are the nonmembers whom a setting names, and what becomes of their posts.
type these struct{ setting, action string }

var theseNonmembers = []these{
	{"accept_these_nonmembers", "defer"}, // the limits still hold, as in Mailman
	{"hold_these_nonmembers", "hold"},
	{"reject_these_nonmembers", "reject"},
	{"discard_these_nonmembers", "discard"},
}

// nonmemberAction finds the action for a sender: the nonmember's own, then that of the
// list's four lists, then its default.
func (p *patterns) nonmemberAction(l sdk.List, s sdk.Sender) string {
	if m, ok := membership(s, "nonmember"); ok && m.Action != "" {
		return m.Action
	}
	for _, t := range theseNonmembers {
		if p.match(l, t.setting, s.Address) {
			return t.action
		}
	}
	return cmp.Or(l.String("default_nonmember_action"), "hold")
}

func membership(s sdk.Sender, role string) (sdk.Membership, bool) {
	for _, m := range s.Memberships {
		if m.Role == role {
			return m, true
		}
	}
	return sdk.Membership{}, false
}

// fate puts an action into words.
func fate(action string) string {
	switch action {
	case "reject":
		return "are not accepted."
	case "discard":
		return "are discarded."
	}
	return "are held for a moderator."
}

// nullSender and autoReply hold bounces, and answers of autoresponders (RFC 3834), that
// were sent to the list by mistake. Machines that answer must never be answered by a
// thousand members, so not even a member's "accept" lets them through. What a machine
// sends on its own account, such as a commit notice (Auto-Submitted: auto-generated),
// is a post like any other.
func nullSender(_ context.Context, v *view) (finding, error) {
	if v.Envelope.Sender != "" || len(v.SubmittedBy) > 0 { // posts of handlers have none
		return finding{}, nil
	}
	return decided(sdk.Hold("null-sender", "The post has the null envelope sender, as bounces have.")), nil
}

func autoReply(_ context.Context, v *view) (finding, error) {
	if !isAutoReply(v.Header) {
		return finding{}, nil
	}
	return decided(sdk.Hold("auto-reply", "The post is the answer of an autoresponder.")), nil
}

func isAutoReply(h *message.Header) bool {
	for _, v := range h.Values("Auto-Submitted") {
		word, _, _ := strings.Cut(v, ";")
		word, _, _ = strings.Cut(word, "(")
		if strings.EqualFold(strings.TrimSpace(word), "auto-replied") {
			return true
		}
	}
	return h.Has("X-Autoreply") || h.Has("X-Autorespond") || strings.EqualFold(h.Get("Precedence"), "auto_reply")
}
