// Package autorespond answers authors. Whom an automatic reply may go to at all, and how
// often, is for mlist to say: a reply that calls itself auto-replied is dropped where its
// sender is a machine, or has had enough of them for a day.
package autorespond

import (
	"context"
	"slices"
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/text"
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
	if to == "" || p.List.Text("acknowledge") == "" || p.Envelope.Sender == "" || len(p.SubmittedBy) > 0 || !isASCII(from(p)) {
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

// reply is the message, as RFC 3834 section 3 has it. Its words are mlist's text of that name,
// in the author's language.
func reply(p *sdk.Post, to string) []byte {
	subject, body := text.Letter(p.List.Fill(p.List.Text("acknowledge"), func(name string) (string, bool) {
		about := text.Line(p.Header.Text("Subject"), maxSubject)
		if about == "" {
			about = p.List.Text("no_subject")
		}
		return about, name == "subject"
	}))
	h := message.ParseHeader(nil)
	h.Append("From", message.Mailbox{Name: p.List.Name(), Address: from(p)}.String())
	h.Append("To", to)
	h.Append("Subject", message.EncodeText(subject))
	if id := p.Header.ID(); usable(id) {
		h.Append("In-Reply-To", "<"+id+">")
		h.Append("References", references(p.Header, id))
	}
	h.Append("Auto-Submitted", "auto-replied")
	h.Append("Precedence", "bulk")
	h.Append("MIME-Version", "1.0")
	h.Append("Content-Type", "text/plain; charset=utf-8")
	h.Append("Content-Transfer-Encoding", "8bit")
	return append(append(h.Bytes(), "\r\n"...), strings.ReplaceAll(body, "\n", "\r\n")...)
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
