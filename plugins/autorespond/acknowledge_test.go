package autorespond

import (
	"maps"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
	"github.com/mlist/mlist/sdk/message"
)

func member(addr, source string, wants bool) sdk.Sender {
	return sdk.Sender{Address: addr, Source: source, Memberships: []sdk.Membership{{Role: "member", AcknowledgePosts: wants}}}
}

func run(t *testing.T, c handlertest.Case) []sdk.Submission {
	t.Helper()
	c.Settings = withTexts(c.Settings)
	got, err := handlertest.TryStages(t, c, Stages()...)
	if err != nil || got.Verdict != sdk.Accept {
		t.Fatalf("%+v, %v\n%s", got.Verdict, err, c.Message)
	}
	if string(got.Message) != c.Message {
		t.Errorf("the post has become\n%s", got.Message)
	}
	return got.Submissions
}

// withTexts adds what mlist hands to handlers.
func withTexts(settings map[string]string) map[string]string {
	all := templates.ForHandlers("en")
	maps.Copy(all, settings)
	return all
}

func TestTheReplyIsInTheAuthorsLanguage(t *testing.T) {
	got := run(t, handlertest.Case{Message: "From: ann@example.org\r\n\r\n", Senders: []sdk.Sender{member("ann@example.org", "from", true)},
		Envelope: sdk.Envelope{Sender: "ann@example.org"}, Settings: templates.ForHandlers("de")})
	block, body, _ := strings.Cut(string(got[0].Message), "\r\n\r\n")
	if got := message.ParseHeader([]byte(block + "\r\n")).Text("Subject"); got != "dev hat Ihren Beitrag erhalten" || !strings.Contains(body, "    (kein Betreff)\r\n") {
		t.Errorf("%s\n%s", got, body)
	}
}

func TestAcknowledge(t *testing.T) {
	stranger := sdk.Sender{Address: "x@y.example", Source: "from"}
	for _, tt := range []struct {
		name     string
		senders  []sdk.Sender
		settings map[string]string
		envelope string
		by       []string
		want     string // to whom
	}{
		{name: "a member who wants it", senders: []sdk.Sender{member("ann@example.org", "from", true)}, envelope: "ann@example.org", want: "ann@example.org"},
		{name: "a member who does not", senders: []sdk.Sender{member("ann@example.org", "from", false)}, envelope: "ann@example.org"},
		{name: "a stranger", senders: []sdk.Sender{stranger}, envelope: "x@y.example"},
		{name: "a member in the envelope", senders: []sdk.Sender{stranger, member("ann@example.org", "envelope", true)}, envelope: "ann@example.org", want: "ann@example.org"},
		{name: "where the envelope does not count", senders: []sdk.Sender{stranger, member("ann@example.org", "envelope", true)}, envelope: "ann@example.org",
			settings: map[string]string{"sender_headers": "from\nreply-to"}},
		{name: "the first member decides", senders: []sdk.Sender{member("ann@example.org", "from", false), member("ben@example.org", "sender", true)}, envelope: "ann@example.org"},
		{name: "an owner", senders: []sdk.Sender{{Address: "o@example.org", Source: "from", Memberships: []sdk.Membership{{Role: "owner", AcknowledgePosts: true}}}}, envelope: "o@example.org"},
		{name: "the null sender", senders: []sdk.Sender{member("ann@example.org", "from", true)}},
		{name: "a post that a handler made", senders: []sdk.Sender{member("ann@example.org", "from", true)}, envelope: "ann@example.org", by: []string{"weekly"}},
		{name: "an address that needs SMTPUTF8", senders: []sdk.Sender{member("änn@example.org", "from", true)}, envelope: "a@example.org"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := run(t, handlertest.Case{Message: "From: ann@example.org\r\nSubject: x\r\n\r\n", Senders: tt.senders, Settings: tt.settings,
				Envelope: sdk.Envelope{Sender: tt.envelope}, SubmittedBy: tt.by})
			to := ""
			for _, s := range got {
				to += s.To
			}
			if to != tt.want {
				t.Errorf("told %q, want %q", to, tt.want)
			}
		})
	}
}

func TestListsInOtherScripts(t *testing.T) {
	for list, want := range map[string]string{"dev@bücher.example": "dev-owner@xn--bcher-kva.example", "dév@bücher.example": ""} {
		from := ""
		for _, s := range run(t, handlertest.Case{Message: "Subject: x\r\n\r\n", List: list, Senders: []sdk.Sender{member("ann@example.org", "from", true)},
			Envelope: sdk.Envelope{Sender: "ann@example.org"}}) {
			from = message.ParseHeader(s.Message).Mailboxes("From")[0].Address
		}
		if from != want {
			t.Errorf("%s writes as %q, want %q", list, from, want)
		}
	}
}

func TestTheReplySaysWhatItIs(t *testing.T) {
	got := run(t, handlertest.Case{
		Message: "From: ann@example.org\r\nSubject: =?utf-8?q?Caf=C3=A9=0D=0ABcc:_x?=\r\nMessage-ID: <3@example.org>\r\nReferences: <1@example.org> <2@example.org>\r\n\r\n",
		Senders: []sdk.Sender{member("ann@example.org", "from", true)}, Envelope: sdk.Envelope{Sender: "ann@example.org"}, Settings: map[string]string{"display_name": "Dév"}})
	if len(got) != 1 {
		t.Fatalf("%d submissions", len(got))
	}
	block, body, _ := strings.Cut(string(got[0].Message), "\r\n\r\n")
	h := message.ParseHeader([]byte(block + "\r\n"))
	for name, want := range map[string]string{
		"To": "ann@example.org", "Auto-Submitted": "auto-replied", "In-Reply-To": "<3@example.org>", "References": "<1@example.org> <2@example.org> <3@example.org>", "Bcc": "",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if h.Text("Subject") != "Dév has your post" || h.Mailboxes("From")[0].Address != "dev-owner@lists.example.org" {
		t.Errorf("header\n%s", block)
	}
	if !strings.Contains(body, "    Café  Bcc: x\r\n") || !strings.Contains(body, "dev@lists.example.org") {
		t.Errorf("body\n%s", body)
	}
}

// FuzzReply: whatever a post says, its reply is one that mlist takes.
func FuzzReply(f *testing.F) {
	f.Add("Subject: x\r\nMessage-ID: <1@x>\r\nReferences: <2@x>\r\n")
	f.Add("Subject: =?utf-8?b?DQo=?=\r\nMessage-ID: \xff@\r\nReferences: <é@x> <a b@x>\r\n")
	f.Add("Subject: " + strings.Repeat("=?utf-8?q?=F0=9F=98=80?= ", 200))
	f.Fuzz(func(t *testing.T, header string) {
		c := handlertest.Case{Message: header + "\r\n\r\n", Senders: []sdk.Sender{member("ann@example.org", "from", true)}, Envelope: sdk.Envelope{Sender: "ann@example.org"}}
		c.Settings = withTexts(nil)
		got, err := handlertest.TryStages(t, c, Stages()...)
		if err != nil || len(got.Submissions) != 1 {
			t.Fatalf("%v, %d submissions\n%s", err, len(got.Submissions), c.Message)
		}
		block, _, _ := strings.Cut(string(got.Submissions[0].Message), "\r\n\r\n")
		if h := message.ParseHeader([]byte(block + "\r\n")); h.Get("Auto-Submitted") != "auto-replied" || h.Get("To") != "ann@example.org" || len(h.Values("To")) != 1 {
			t.Fatalf("%s", block)
		}
	})
}
