package checks

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
	"github.com/mlist/mlist/sdk/message"
)

// usual are the settings of a list that sets nothing, as far as checks read them.
var usual = map[string]string{
	"default_member_action":        "defer",
	"default_nonmember_action":     "hold",
	"emergency":                    "false",
	"require_explicit_destination": "true",
	"max_message_size":             "40",
	"max_num_recipients":           "10",
	"administrivia":                "true",
	"sender_headers":               "from\nenvelope\nreply-to\nsender",
	"bounce_matching_headers":      "to: friend@public.com\nmessage-id: relay.comanche.denmark.eu",
}

// settings are the usual ones with some changed: name, text, name, text.
func settings(changes ...string) map[string]string {
	m := maps.Clone(usual)
	for i := 0; i < len(changes); i += 2 {
		m[changes[i]] = changes[i+1]
	}
	return m
}

func stage(t *testing.T, name string) sdk.Handler {
	t.Helper()
	for _, s := range Stages() {
		if s.Name == name {
			return s.Handler
		}
	}
	t.Fatalf("no stage %q", name)
	return nil
}

// limits puts a post through stage limits, sent by those whom its From names.
func limits(t *testing.T, c handlertest.Case) handlertest.Result {
	t.Helper()
	if c.Senders == nil {
		block, _, _ := strings.Cut(c.Message, "\r\n\r\n")
		for _, m := range message.ParseHeader([]byte(block + "\r\n")).Mailboxes("From") {
			c.Senders = append(c.Senders, from(m.Address))
		}
	}
	return handlertest.Run(t, stage(t, "limits"), c)
}

// verdict compares a verdict with "kind code" or "accept".
func verdict(t *testing.T, got sdk.Verdict, want string) {
	t.Helper()
	if s := strings.TrimSpace(string(got.Kind) + " " + got.Code); s != want {
		t.Errorf("verdict %q (%s), want %q", s, got.Reason, want)
	}
	if got.Kind != sdk.KindAccept && got.Reason == "" {
		t.Errorf("verdict %q has no reason", got.Kind)
	}
}

func TestLoop(t *testing.T) {
	received := func(n int) string {
		return strings.Repeat("Received: from a by b; Tue, 1 Jul 2025 10:00:00 +0000\r\n", n)
	}
	tests := []struct {
		name, header string
		config       map[string]any
		list, other  string
		approved     bool
		want         string
	}{
		{name: "a fresh post", header: "From: ann@example.org\r\n", want: "accept"},
		{name: "our List-Id, which another list may have too", header: "List-Id: <dev.lists.example.org>\r\nX-BeenThere: dev.lists@example.org\r\n", want: "accept"},
		{name: "our mark in other case, folded", header: "X-BEENTHERE:\r\n DEV@Lists.Example.Org\r\n", want: "discard loop"},
		{name: "an address that ends like ours", header: "X-BeenThere: my-dev@lists.example.org\r\n", want: "accept"},
		{name: "the mark of a list whose name is ours escaped", list: "a%20b@example.org", header: "X-BeenThere: a%20b@example.org\r\n", want: "accept"},
		{name: "our mark below that of another list", header: "X-BeenThere: all@lists.example.org\r\nX-BeenThere: Dev@lists.example.org\r\n", want: "discard loop"},
		{name: "another list's mark", header: "X-BeenThere: all@lists.example.org\r\n", want: "accept"},
		{name: "our address in List-Post", header: "List-Post: <mailto:Dev@lists.example.org>\r\n", want: "discard loop"},
		{name: "one of several ways to post", header: "List-Post: <https://x.example/>, <mailto:dev@lists.example.org?subject=x>\r\n", want: "discard loop"},
		{name: "our address in List-Post, escaped", list: "a%b@example.org", header: "List-Post: <mailto:a%25b@example.org>\r\n", want: "discard loop"},
		{name: "another list in List-Post", header: "List-Post: <mailto:all@lists.example.org>\r\n", want: "accept"},
		{name: "a list that takes no posts", header: "List-Post: NO\r\n", want: "accept"},
		{name: "the mark of a list with a name in UTF-8", list: "dév@bücher.example", header: "X-BeenThere: d%c3%a9v@xn--bcher-kva.example\r\n", want: "discard loop"},
		{name: "the mark of an older address", other: "devel@old.example\ndé@old.example", header: "X-BeenThere: Devel@old.example\r\n", want: "discard loop"},
		{name: "an older address in List-Post", other: "devel@old.example\ndé@old.example", header: "List-Post: <mailto:devel@old.example>\r\n", want: "discard loop"},
		{name: "what ends like an older address", other: "devel@old.example", header: "X-BeenThere: my-devel@old.example\r\n", want: "accept"},
		{name: "a moderator approved it", header: "X-BeenThere: dev@lists.example.org\r\n", approved: true, want: "accept"},
		{name: "thirty hops", header: received(30), want: "accept"},
		{name: "thirty-one hops", header: received(31), want: "reject too-many-hops"},
		{name: "a higher limit", header: received(31), config: map[string]any{"max_received": 40}, want: "accept"},
		{name: "ten thousand hops", header: received(10_000), want: "reject too-many-hops"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := handlertest.Run(t, stage(t, "loop"), handlertest.Case{
				Message: tt.header + "\r\nbody\r\n", List: tt.list, Config: tt.config, Approved: tt.approved, Settings: settings(sdk.OtherAddresses, tt.other)})
			verdict(t, got.Verdict, tt.want)
		})
	}
}

func TestLoopRefusesALimitThatStopsOrdinaryMail(t *testing.T) {
	_, err := handlertest.Try(t, stage(t, "loop"), handlertest.Case{Message: "A: b\n\n", Config: map[string]any{"max_received": 2}})
	if err == nil || !strings.Contains(err.Error(), "max_received") {
		t.Errorf("error %v, want one about max_received", err)
	}
}

func from(addr string, roles ...sdk.Membership) sdk.Sender {
	return sdk.Sender{Address: addr, Source: "from", Memberships: roles}
}

func role(name, action string) sdk.Membership { return sdk.Membership{Role: name, Action: action} }

func TestPosting(t *testing.T) {
	ann := "ann@example.org"
	member := []sdk.Sender{from(ann, role("member", ""))}
	stranger := []sdk.Sender{from("Stranger@Example.net")}
	tests := []struct {
		name     string
		senders  []sdk.Sender
		settings []string
		header   string
		null     bool
		approved bool
		want     string
		reason   string
		note     string
	}{
		{name: "a member", senders: member, want: "accept"},
		{name: "a member of a list that holds", senders: member, settings: []string{"default_member_action", "hold"}, want: "hold member-moderated"},
		{name: "a member with an action of their own", senders: []sdk.Sender{from(ann, role("member", "accept"))},
			settings: []string{"default_member_action", "hold"}, want: "accept", note: "member"},
		{name: "a member who is rejected", senders: []sdk.Sender{from(ann, role("member", "reject"))}, want: "reject member-moderated"},
		{name: "a member who is discarded", senders: []sdk.Sender{from(ann, role("member", "discard"))}, want: "discard member-moderated"},
		{name: "a stranger", senders: stranger, want: "hold nonmember"},
		{name: "an owner who is no member", senders: []sdk.Sender{from(ann, role("owner", ""), role("moderator", ""))}, want: "hold nonmember"},
		{name: "a stranger in From, a member in the envelope",
			senders: []sdk.Sender{from("stranger@example.net"), {Address: ann, Source: "envelope", Memberships: []sdk.Membership{role("member", "")}}}, want: "accept"},
		{name: "of two members the first decides",
			senders: []sdk.Sender{from(ann, role("member", "")), {Address: "ben@example.org", Source: "sender", Memberships: []sdk.Membership{role("member", "discard")}}}, want: "accept"},
		{name: "a member role goes before a nonmember role", senders: []sdk.Sender{from(ann, role("nonmember", "discard"), role("member", ""))}, want: "accept"},
		{name: "a nonmember with an action of their own", senders: []sdk.Sender{from(ann, role("nonmember", "accept"))},
			settings: []string{"discard_these_nonmembers", ann}, want: "accept", note: "nonmember"},
		{name: "a sender", senders: []sdk.Sender{from(ann, role("sender", ""))}, settings: []string{"default_nonmember_action", "reject"}, want: "accept"},
		{name: "a sender who is held", senders: []sdk.Sender{from(ann, role("sender", "hold"))}, want: "hold nonmember"},
		{name: "a sender who is a member of a list that rejects", senders: []sdk.Sender{from(ann, role("member", ""), role("sender", ""))},
			settings: []string{"default_member_action", "reject"}, want: "accept"},
		{name: "a receiver", senders: []sdk.Sender{from(ann, role("member", "reject"), role("sender", ""))}, want: "reject member-moderated"},
		{name: "a nonmember without one", senders: []sdk.Sender{from(ann, role("nonmember", ""))}, want: "hold nonmember"},
		{name: "an open list", senders: stranger, settings: []string{"default_nonmember_action", "accept"}, want: "accept", note: "nonmember"},
		{name: "an open list whose limits hold", senders: stranger, settings: []string{"default_nonmember_action", "defer"}, want: "accept"},
		{name: "accepted by address, in other case", senders: stranger, settings: []string{"accept_these_nonmembers", "x@y.example\nSTRANGER@example.net"}, want: "accept"},
		{name: "accepted by pattern", senders: stranger, settings: []string{"accept_these_nonmembers", `^.*@example\.net$`}, want: "accept"},
		{name: "a pattern is anchored in every alternative", senders: stranger, settings: []string{"accept_these_nonmembers", `^boss|example\.net`}, want: "hold nonmember"},
		{name: "an address is no pattern", senders: stranger, settings: []string{"accept_these_nonmembers", ".*@example.net"}, want: "hold nonmember"},
		{name: "rejected by pattern", senders: stranger, settings: []string{"reject_these_nonmembers", "^strange"}, want: "reject nonmember"},
		{name: "rejected with the list's own words", senders: stranger,
			settings: []string{"reject_these_nonmembers", "^strange", "nonmember_rejection_notice", "Subscribe first: %(join_address)s.\n"}, want: "reject nonmember", reason: "Subscribe first: dev-join@lists.example.org."},
		{name: "discarded by address", senders: stranger, settings: []string{"discard_these_nonmembers", "stranger@example.net"}, want: "discard nonmember"},
		{name: "held by address on an open list", senders: stranger,
			settings: []string{"default_nonmember_action", "accept", "hold_these_nonmembers", "stranger@example.net"}, want: "hold nonmember"},
		{name: "accept goes before discard", senders: stranger,
			settings: []string{"accept_these_nonmembers", "^", "discard_these_nonmembers", "^"}, want: "accept"},
		{name: "a bad pattern is passed over, the others count", senders: stranger, settings: []string{"discard_these_nonmembers", "^(\n^strange"}, want: "discard nonmember"},
		{name: "the two spellings of a domain", senders: []sdk.Sender{from("ann@bücher.example")}, settings: []string{"accept_these_nonmembers", "ann@xn--bcher-kva.example"}, want: "accept"},
		{name: "an action that nobody knows", senders: stranger, settings: []string{"default_nonmember_action", "sing"}, want: "hold nonmember"},
		{name: "no setting at all", senders: stranger, settings: []string{"default_nonmember_action", ""}, want: "hold nonmember"},
		{name: "nobody sent it", want: "discard no-sender"},
		{name: "only the null envelope sender", senders: []sdk.Sender{{Source: "envelope"}}, null: true, want: "discard no-sender"},
		{name: "an emergency", senders: member, settings: []string{"emergency", "true"}, want: "hold emergency"},
		{name: "approved in an emergency", senders: stranger, settings: []string{"emergency", "true"}, approved: true, want: "accept"},
		{name: "approved without a sender", approved: true, want: "accept"},
		{name: "a member's name on a bounce", senders: member, null: true, want: "hold null-sender"},
		{name: "a bounce to an open list", senders: stranger, settings: []string{"default_nonmember_action", "accept"}, null: true, want: "hold null-sender"},
		{name: "a bounce to a list that discards", senders: stranger, settings: []string{"default_nonmember_action", "discard"}, null: true, want: "discard nonmember"},
		{name: "a member's holiday answer", senders: member, header: "Auto-Submitted: Auto-Replied (vacation)\r\n", want: "hold auto-reply"},
		{name: "the same with a parameter", senders: member, header: "Auto-Submitted: auto-replied; owner-email=\"ann@example.org\"\r\n", want: "hold auto-reply"},
		{name: "an old autoresponder", senders: member, header: "Precedence: auto_reply\r\n", want: "hold auto-reply"},
		{name: "a commit notice", senders: member, header: "Auto-Submitted: auto-generated\r\n", want: "accept"},
		{name: "a person who says so", senders: member, header: "Auto-Submitted: no\r\n", want: "accept"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := handlertest.Case{Message: tt.header + "Subject: x\r\n\r\nbody\r\n", Settings: settings(tt.settings...), Senders: tt.senders,
				Approved: tt.approved, Envelope: sdk.Envelope{Sender: "envelope@example.net"}}
			if tt.null {
				c.Envelope.Sender = ""
			}
			got := handlertest.Run(t, stage(t, "posting"), c)
			verdict(t, got.Verdict, tt.want)
			if tt.reason != "" && got.Verdict.Reason != tt.reason {
				t.Errorf("reason %q, want %q", got.Verdict.Reason, tt.reason)
			}
			if got.Notes[noteAccepted] != tt.note {
				t.Errorf("note %q, want %q", got.Notes[noteAccepted], tt.note)
			}
			if string(got.Message) != c.Message {
				t.Errorf("a check changed the post:\n%s", got.Message)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	const head = "Subject: x\r\nFrom: ann@example.org\r\nTo: dev@lists.example.org\r\n"
	sized := func(octets int) string { return head + "\r\n" + strings.Repeat("x", octets-len(head)) }
	people := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, ", p%d@example.net", i)
		}
		return b.String()
	}
	tests := []struct {
		name     string
		message  string
		list     string
		settings []string
		senders  []sdk.Sender
		approved bool
		notes    map[string]string
		want     string
	}{
		{name: "an ordinary post", message: head + "\r\nhello\r\n", want: "accept"},
		{name: "exactly the size", message: sized(40 * 1024), want: "accept"},
		{name: "one octet more, header included", message: sized(40*1024 + 1), want: "hold too-big"},
		{name: "no limit of size", message: sized(1 << 20), settings: []string{"max_message_size", "0"}, want: "accept"},
		{name: "big and approved", message: sized(1 << 20), approved: true, want: "accept"},
		{name: "big from somebody whose action is accept", message: sized(1 << 20), notes: map[string]string{noteAccepted: "member"}, want: "accept"},
		{name: "no From", message: "Subject: x\r\nTo: dev@lists.example.org\r\n\r\n", want: "hold bad-from"},
		{name: "an empty From", message: "Subject: x\r\nFrom: \r\nTo: dev@lists.example.org\r\n\r\n", want: "hold bad-from"},
		{name: "a From without an address", message: "Subject: x\r\nFrom: Ann\r\nTo: dev@lists.example.org\r\n\r\n", want: "hold bad-from"},
		{name: "a From whose address is none", message: head + "\r\n", senders: []sdk.Sender{{Address: "ann@example.org", Source: "envelope"}}, want: "hold bad-from"},
		{name: "two From fields", message: "From: eve@example.net\r\n" + head + "\r\n", want: "hold bad-from"},
		{name: "two From fields of somebody whose action is accept", message: "From: eve@example.net\r\n" + head + "\r\n", notes: map[string]string{noteAccepted: "member"}, want: "hold bad-from"},
		{name: "two From fields, with the password", message: "From: eve@example.net\r\n" + head + "\r\n", notes: map[string]string{noteAccepted: whoApproved}, want: "accept"},
		{name: "ten authors", message: "Subject: x\r\nFrom: ann@example.org" + people(9) + "\r\nTo: dev@lists.example.org\r\n\r\n", want: "accept"},
		{name: "eleven", message: "Subject: x\r\nFrom: ann@example.org" + people(10) + "\r\nTo: dev@lists.example.org\r\n\r\n", want: "hold bad-from"},
		{name: "eleven addresses for replies, in two fields", message: head + "Reply-To: ann@example.org" + people(4) + "\r\nReply-To: ann@example.org" + people(5) + "\r\n\r\n", want: "hold bad-from"},
		{name: "nine recipients", message: "Subject: x\r\nFrom: a@b.example\r\nTo: dev@lists.example.org" + people(8) + "\r\n\r\n", want: "accept"},
		{name: "ten recipients, as in Mailman", message: "Subject: x\r\nFrom: a@b.example\r\nTo: dev@lists.example.org\r\nCc: x@y.example" + people(8) + "\r\n\r\n", want: "hold too-many-recipients"},
		{name: "no limit of recipients", message: "Subject: x\r\nFrom: a@b.example\r\nTo: dev@lists.example.org" + people(500) + "\r\n\r\n", settings: []string{"max_num_recipients", "0"}, want: "accept"},
		{name: "the list in nobody's sight", message: "Subject: x\r\nFrom: a@b.example\r\nTo: friends:;\r\n\r\n", want: "hold implicit-dest"},
		{name: "the list only in its own name", message: "Subject: x\r\nFrom: a@b.example\r\nTo: \"dev@lists.example.org\" <x@y.example>\r\n\r\n", want: "hold implicit-dest"},
		{name: "the list in Cc, in other case", message: "Subject: x\r\nFrom: a@b.example\r\nTo: x@y.example\r\nCC: Dev <DEV@LISTS.example.org>\r\n\r\n", want: "accept"},
		{name: "the list in Resent-To", message: "Subject: x\r\nFrom: a@b.example\r\nTo: x@y.example\r\nResent-To: dev@lists.example.org\r\n\r\n", want: "accept"},
		{name: "a list that does not ask", message: "Subject: x\r\nFrom: a@b.example\r\n\r\n", settings: []string{"require_explicit_destination", "false"}, want: "accept"},
		{name: "an alias", message: "Subject: x\r\nFrom: a@b.example\r\nTo: devel@old.example.org\r\n\r\n", settings: []string{"acceptable_aliases", "devel@old.example.org"}, want: "accept"},
		{name: "an alias by pattern", message: "Subject: x\r\nFrom: a@b.example\r\nTo: devel@old.example.org\r\n\r\n", settings: []string{"acceptable_aliases", "x@y.example\n^DEV.*@old"}, want: "accept"},
		{name: "the list's domain in A-labels", list: "dev@bücher.example", message: "Subject: x\r\nFrom: a@b.example\r\nTo: dev@xn--bcher-kva.example\r\n\r\n", want: "accept"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := limits(t, handlertest.Case{Message: tt.message, List: tt.list, Senders: tt.senders,
				Settings: settings(tt.settings...), Approved: tt.approved, Notes: tt.notes})
			verdict(t, got.Verdict, tt.want)
			if string(got.Message) != tt.message {
				t.Error("a check changed the post")
			}
		})
	}
}
