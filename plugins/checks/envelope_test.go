package checks

import (
	"cmp"
	"fmt"
	"testing"
	"time"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
	"github.com/mlist/mlist/sdk/password"
)

func TestWhatIsRefusedByTheEnvelopeAlone(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	secret, err := password.Hash("sesame")
	if err != nil {
		t.Fatal(err)
	}
	ann := sdk.Sender{Address: "ann@example.org", Source: "envelope", Memberships: []sdk.Membership{role("member", "")}}
	bad := sdk.Sender{Address: "ann@example.org", Source: "envelope", Memberships: []sdk.Membership{role("member", "reject")}}
	good := sdk.Sender{Address: "ann@example.org", Source: "envelope", Memberships: []sdk.Membership{role("member", "accept")}}
	stranger := sdk.Sender{Address: "eve@example.net", Source: "envelope"}
	banned := sdk.Sender{Address: "eve@example.net", Source: "envelope", Ban: "eve@example.net, of the list"}
	announce := []string{"sender_headers", "envelope", "default_member_action", "reject", "default_nonmember_action", "reject"}
	with := func(more ...string) []string { return append(append([]string{}, announce...), more...) }
	for _, tt := range []struct {
		name   string
		sender sdk.Sender
		list   []string
		config map[string]any
		want   string // "" is that it cannot tell
		own    bool   // somebody else of the same standing might be told something else
	}{
		{name: "a member", sender: ann},
		{name: "a stranger, who may be a member in From", sender: stranger, list: []string{"default_nonmember_action", "reject"}},
		{name: "a banned sender", sender: banned, want: "reject banned", own: true},
		{name: "a banned sender, where all is held", sender: banned, list: []string{"emergency", "true"}},
		{name: "a banned sender, where there is a password", sender: banned, list: []string{"moderator_password", secret}},
		{name: "a banned sender, where there is a password for once", sender: banned, list: []string{sdk.OneTimePasswords, "x"}},
		{name: "a banned sender, at a site that does not ask", sender: banned, config: map[string]any{"rules": []string{"no-sender"}}},
		{name: "an announcement list that goes by the envelope", sender: ann, list: announce, want: "reject member-moderated"},
		{name: "and one who may post there", sender: good, list: announce},
		{name: "and a stranger", sender: stranger, list: announce, want: "reject nonmember"},
		{name: "and one who is trusted", sender: stranger, list: with("accept_these_nonmembers", "eve@example.net"), own: true},
		{name: "and one whom the site looks for in headers", sender: stranger, list: announce, config: map[string]any{"header_matches": []string{"accept x-ok: yes"}}},
		{name: "and a password", sender: stranger, list: with("moderator_password", secret)},
		{name: "and a one-time password", sender: stranger, list: with(sdk.OneTimePasswords, password.HashOnce(password.NewOnce()))},
		{name: "and one who is discarded", sender: stranger, list: with("default_nonmember_action", "discard"), want: "reject nonmember"},
		{name: "and one who is held", sender: stranger, list: with("default_nonmember_action", "hold")},
		{name: "a member who may not post, by the envelope", sender: bad, list: []string{"sender_headers", "envelope"}, want: "reject member-moderated"},
		{name: "a member who may not post, but who else is named?", sender: bad},
		{name: "one who may not post, where what fails DMARC is refused", sender: bad, list: []string{"sender_headers", "envelope", "dmarc_fail_action", "reject"}, want: "reject member-moderated"},
		{name: "one who may not post, where what fails DMARC is held", sender: bad, list: []string{"sender_headers", "envelope", "dmarc_fail_action", "hold"}},
		{name: "the null sender", sender: sdk.Sender{}, list: announce},
		{name: "one who posts too much", sender: ann, list: []string{"sender_headers", "envelope", "max_posts_per_hour", "1"}, config: map[string]any{"reject": []string{"rate"}}, want: "reject rate", own: true},
		{name: "one who posts too much, and is held", sender: ann, list: []string{"sender_headers", "envelope", "max_posts_per_hour", "1"}, own: true},
		{name: "one who posts too much, but who else is named?", sender: ann, list: []string{"max_posts_per_hour", "1"}, config: map[string]any{"reject": []string{"rate"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := handlertest.Case{Config: tt.config, Settings: settings(tt.list...), Envelope: sdk.Envelope{Sender: tt.sender.Address, Received: now}, AtRCPT: true,
				State: map[string]string{"rate ann@example.org": fmt.Sprint(now.Unix() - 60)}}
			if tt.sender.Address != "" {
				c.Senders = []sdk.Sender{tt.sender}
			}
			first := handlertest.Run(t, stage(t, "posting"), c)
			got := first.Verdict
			verdict(t, got, cmp.Or(tt.want, "accept"))
			if first.ByStanding == tt.own {
				t.Errorf("it is everybody's answer: %t", first.ByStanding)
			}
			if first.ByStanding && tt.sender.Address != "" {
				other := c
				other.Senders = []sdk.Sender{tt.sender}
				other.Senders[0].Address, other.Envelope = "zoe@example.com", sdk.Envelope{Sender: "zoe@example.com", Received: now.Add(time.Hour)}
				if got := handlertest.Run(t, stage(t, "posting"), other).Verdict; got != first.Verdict {
					t.Errorf("somebody else is told %+v, and not %+v", got, first.Verdict)
				}
			}
			// Whatever the message is, it fares no better.
			if got.Kind != sdk.KindReject {
				return
			}
			c.AtRCPT = false
			for _, from := range []sdk.Sender{
				{Address: "boss@example.org", Source: "from", Memberships: []sdk.Membership{role("member", "accept"), role("owner", "")}},
				{Address: "cy@example.com", Source: "from"},
				{},
			} {
				for _, head := range []string{"", "Approved: sesame\r\n", "X-Ok: yes\r\n", "Auto-Submitted: auto-replied\r\n"} {
					c.Message = head + "Subject: x\r\n\r\nApproved: sesame\r\n"
					c.Senders = []sdk.Sender{tt.sender}
					if from.Address != "" {
						c.Message = fmt.Sprintf("From: %s\r\n%s", from.Address, c.Message)
						c.Senders = []sdk.Sender{from, tt.sender}
					}
					if later := handlertest.Run(t, stage(t, "posting"), c).Verdict; later.Kind != sdk.KindReject && later.Kind != sdk.KindDiscard {
						t.Errorf("refused at RCPT, but %s for\n%s", later.Kind, c.Message)
					}
				}
			}
		})
	}
}
