package recipients

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mlist/mlist/sdk/message"
)

// maxRead is how many octets of fields named reads. That is room for thousands of
// addresses, more than any MTA takes in one message.
const maxRead = 256 << 10

// plausible tells whether anybody's address could read so: of a length that SMTP
// allows (RFC 5321 4.5.3.1.3), UTF-8, with both its parts and no control characters.
// What a header field names need not be.
func plausible(addr string) bool {
	at := strings.LastIndexByte(addr, '@')
	return at > 0 && at < len(addr)-1 && len(addr) <= 254 && utf8.ValidString(addr) &&
		!strings.ContainsFunc(addr, unicode.IsControl)
}

// named returns the mailboxes that the fields of these names name, reading no more
// than maxRead octets of them.
func named(h *message.Header, fields ...string) []message.Mailbox {
	var out []message.Mailbox
	room := maxRead
	for _, name := range fields {
		for _, value := range h.Values(name) {
			if len(value) > room {
				// Half an address could be another one: cut between two.
				value = value[:max(strings.LastIndexByte(value[:room], ','), 0)]
			}
			room -= len(value)
			out = append(out, message.ParseMailboxes(value)...)
		}
	}
	return out
}
