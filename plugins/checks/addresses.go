package checks

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// maxRead is how many octets of fields named reads. That is room for thousands of
// addresses, more than any MTA takes in one message.
const maxRead = 256 << 10

// A list's names must read as package headers writes them. Handlers share nothing but
// the SDK, so that each can be replaced; a test of the standard plugin compares the two.

// listID is the list's identifier for List-Id (RFC 2919): dev.lists.example.org.
func listID(l sdk.List) string {
	return strings.ToLower(escape(l.Local()) + "." + domain(l.Domain()))
}

// mark is the list's address in the one spelling that X-BeenThere gets. Two lists
// never have the same.
func mark(l sdk.List) string {
	return strings.ToLower(escape(l.Local()) + "@" + domain(l.Domain()))
}

// key is the form in which two spellings of one address are the same: lower case,
// the domain as U-labels.
func key(addr string) string {
	addr = strings.ToLower(addr)
	if !strings.Contains(addr, "xn--") {
		return addr
	}
	at := strings.LastIndexByte(addr, '@')
	if u, err := idna.Lookup.ToUnicode(addr[at+1:]); err == nil && !strings.Contains("."+u+".", "..") {
		return addr[:at+1] + u
	}
	return addr
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

// domain writes a domain in A-labels; one that has none stays as it is, escaped.
func domain(s string) string {
	if isASCII(s) {
		return s
	}
	if a, err := idna.Lookup.ToASCII(s); err == nil {
		return a
	}
	return escape(s)
}

// escape percent-encodes what may not stand in an identifier.
func escape(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ', c >= 0x7f, strings.IndexByte(`<>()[]:;@\,%`, c) >= 0:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
