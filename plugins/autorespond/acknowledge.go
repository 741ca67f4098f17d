// Package autorespond answers authors. Whom an automatic reply may go to at all, and how
// often, is for mlist to say: a reply that calls itself auto-replied is dropped where its
// sender is a machine, or has had enough of them for a day.
package autorespond

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// Stages returns acknowledge.
func Stages() []sdk.Stage {
	return []sdk.Stage{{
		Name:    "acknowledge",
		Help:    "tells members who asked for it that their post was received",
		Submit:  true,
		Handler: acknowledge{},
	}}
}

// acknowledge is stage "acknowledge": the reply goes out when the post does.
type acknowledge struct{}

// Handle implements sdk.Handler.
func (acknowledge) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	to := author(p)
	if to == "" || p.Envelope.Sender == "" || len(p.SubmittedBy) > 0 || !isASCII(from(p)) {
		return sdk.Accept, nil
	}
	return sdk.Accept, p.Submit(sdk.Submission{To: to, Message: reply(p, to)})
}

// from is the address that the reply comes from: the owners'. One that needs SMTPUTF8
// writes to nobody.
func from(p *sdk.Post) string { return message.ASCIIAddress(p.List.Sub("owner")) }

// author is the first of the senders that is a member, if they want to be told. An
// address that mlist cannot write to is none.
func author(p *sdk.Post) string {
	count := p.List.Lines("sender_headers")
	for _, s := range p.Senders {
		if len(count) > 0 && !slices.Contains(count, s.Source) {
			continue
		}
		for _, m := range s.Memberships {
			if m.Role != "member" {
				continue
			}
			if m.AcknowledgePosts && isASCII(s.Address) {
				return s.Address
			}
			return ""
		}
	}
	return ""
}

// reply is the message, as RFC 3834 section 3 has it.
func reply(p *sdk.Post, to string) []byte {
	subject := p.Header.Text("Subject")
	if strings.TrimSpace(subject) == "" {
		subject = "(no subject)"
	}
	h := message.ParseHeader(nil)
	h.Append("From", message.Mailbox{Name: p.List.Name(), Address: from(p)}.String())
	h.Append("To", to)
	h.Append("Subject", message.EncodeText(p.List.Name()+" has your post"))
	if id := p.Header.ID(); usable(id) {
		h.Append("In-Reply-To", "<"+id+">")
		h.Append("References", references(p.Header, id))
	}
	h.Append("Auto-Submitted", "auto-replied")
	h.Append("Precedence", "bulk")
	h.Append("MIME-Version", "1.0")
	h.Append("Content-Type", "text/plain; charset=utf-8")
	h.Append("Content-Transfer-Encoding", "8bit")
	text := fmt.Sprintf("Your message\r\n\r\n    %s\r\n\r\nto %s was received, and goes out to the list.\r\n", oneLine(subject), p.List.Address)
	return append(append(h.Bytes(), "\r\n"...), text...)
}

// Bounds of what a reply takes over from a post.
const (
	maxSubject    = 500
	maxID         = 250
	maxReferences = 20
)

// references are the Message-IDs of the thread, the post's own last.
func references(h *message.Header, id string) string {
	var out []string
	for _, earlier := range append(h.IDs("References"), id) {
		if usable(earlier) && !slices.Contains(out, "<"+earlier+">") {
			out = append(out, "<"+earlier+">")
		}
	}
	return strings.Join(out[max(0, len(out)-maxReferences):], " ")
}

func usable(id string) bool { return id != "" && len(id) <= maxID && isASCII(id) }

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 || r < ' ' })
}

// oneLine keeps what strangers wrote from shaping a reply.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > maxSubject {
		s = strings.ToValidUTF8(s[:maxSubject], "") + "…"
	}
	return s
}
