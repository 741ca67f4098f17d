package bounce

import (
	"strings"

	"github.com/mlist/mlist/sdk/message"
)

// maxComplaints bounds the recipients that one complaint may name.
const maxComplaints = 100

// Complaint is one recipient's word that the mail was unwanted (RFC 5965). It says nothing
// about whether mail reaches them.
type Complaint struct {
	Address  string // Original-Rcpt-To, "" if the report does not name anybody
	Type     string // "abuse", "fraud", "not-spam", ...
	Agent    string // who passes it on
	MailFrom string // Original-Mail-From: the return path of the copy, which may tell more surely whose it was
}

// Unwanted tells whether it says that the mail was not wanted: other types say the
// opposite, or are about something else.
func (c Complaint) Unwanted() bool {
	switch c.Type {
	case "abuse", "fraud", "virus", "other", "opt-out", "opt-out-list", "miscategorized":
		return true
	}
	return false
}

// complaints reads the report parts of a complaint.
func (m *mail) complaints() []Complaint {
	var out []Complaint
	for _, p := range m.parts {
		if p.Type != "message/feedback-report" {
			continue
		}
		h := message.ParseHeader(m.content(p))
		c := Complaint{Type: strings.ToLower(firstWord(clean(h.Get("Feedback-Type")))), Agent: clean(h.Get("User-Agent")), MailFrom: mailbox(clean(h.Get("Original-Mail-From")))}
		if c.Type == "" {
			c.Type = "abuse"
		}
		named := h.Values("Original-Rcpt-To")
		if len(named) == 0 {
			named = h.Values("Removal-Recipient")
		}
		for _, v := range named[:min(len(named), maxComplaints)] {
			c.Address = mailbox(clean(v))
			out = append(out, c)
		}
		if len(named) == 0 {
			// Many providers take the address out; the address it came to may still tell.
			if a, ok := m.returnPath(); ok {
				c.Address = a.String()
			}
			out = append(out, c)
		}
	}
	return out
}
