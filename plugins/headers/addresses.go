package headers

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// maxRead is how many octets of fields named reads. That is room for thousands of
// addresses, more than any MTA takes in one message.
const maxRead = 256 << 10

// listID is the list's identifier for List-Id (RFC 2919): dev.lists.example.org.
func listID(l sdk.List) string {
	return strings.ToLower(escape(l.Local(), "") + "." + domain(l.Domain()))
}

// mark is the list's address in the one spelling that X-BeenThere gets. Two lists
// never have the same.
func mark(l sdk.List) string {
	return strings.ToLower(escape(l.Local(), "") + "@" + domain(l.Domain()))
}

// fieldAddress writes an address for an address field: in ASCII if it can be. One whose local
// part is UTF-8 stays as it is; mail for it travels by SMTPUTF8 anyway (RFC 6532).
func fieldAddress(addr string) string {
	at := strings.LastIndexByte(addr, '@')
	if at < 0 || !isASCII(addr[:at]) {
		return addr
	}
	return addr[:at+1] + domain(addr[at+1:])
}

// mailto is the URI of an address (RFC 6068), in angle brackets; query is already
// encoded, "" for none.
func mailto(addr, query string) string {
	at := strings.LastIndexByte(addr, '@')
	uri := "<mailto:" + escape(addr[:max(at, 0)], "?&/\"") + "@" + domain(addr[at+1:])
	if query != "" {
		uri += "?" + query
	}
	return uri + ">"
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

// domain writes a domain in A-labels; one that has none stays as it is, escaped.
func domain(s string) string {
	if isASCII(s) {
		return s
	}
	if a, err := idna.Lookup.ToASCII(s); err == nil {
		return a
	}
	return escape(s, "")
}

// escape percent-encodes what may not stand in an identifier or URI, and the
// characters of also.
func escape(s, also string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ', c >= 0x7f, strings.IndexByte(`<>()[]:;@\,%`, c) >= 0, strings.IndexByte(also, c) >= 0:
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
