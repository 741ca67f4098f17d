package message

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// maxRead is how many octets of address fields Mailboxes reads. That is room for
// thousands of addresses, more than any MTA takes in one message.
const maxRead = 256 << 10

// Mailboxes returns the mailboxes that the fields of these names hold, in this order.
// It reads no more than 256 KiB of them: what lies beyond does not count.
func (h *Header) Mailboxes(names ...string) []Mailbox {
	var out []Mailbox
	room := maxRead
	for _, name := range names {
		for _, value := range h.Values(name) {
			if len(value) > room {
				// Half an address could be another one: cut between two.
				value = value[:max(strings.LastIndexByte(value[:room], ','), 0)]
			}
			room -= len(value)
			out = append(out, ParseMailboxes(value)...)
		}
	}
	return out
}

// IsAddress tells whether anybody's address could read so: of a length that SMTP allows
// (RFC 5321 4.5.3.1.3), UTF-8, with both its parts and no control characters. What a
// header field names need not be, and a recipient rule with one that is no address makes
// mlist refuse the whole reply.
func IsAddress(addr string) bool {
	at := strings.LastIndexByte(addr, '@')
	return at > 0 && at < len(addr)-1 && len(addr) <= 254 && utf8.ValidString(addr) &&
		!strings.ContainsFunc(addr, unicode.IsControl)
}

// AddressKey is the form in which two spellings of one address are the same: lower
// case, the domain as U-labels. It is for comparing, never for sending.
func AddressKey(addr string) string {
	addr = strings.ToLower(addr)
	if !strings.Contains(addr, "xn--") {
		return addr
	}
	at := strings.LastIndexByte(addr, '@')
	if u, err := idna.Lookup.ToUnicode(addr[at+1:]); err == nil && !strings.Contains("."+u+".", "..") {
		return addr[:at+1] + strings.ToLower(u) // some letters have got their lower case late
	}
	return addr
}

// ASCIIAddress writes an address for an address field: in ASCII if it can be. One whose
// local part is UTF-8 stays as it is; mail for it travels by SMTPUTF8 anyway (RFC 6532).
func ASCIIAddress(addr string) string {
	at := strings.LastIndexByte(addr, '@')
	if at < 0 || !isASCII(addr[:at]) {
		return addr
	}
	return addr[:at+1] + asciiDomain(addr[at+1:])
}

// Mailto is the URI of an address (RFC 6068), in angle brackets as the List-* fields
// have it; query is already encoded, "" for none.
func Mailto(addr, query string) string {
	local, domain := halves(addr)
	uri := "<mailto:" + escape(local, "?&/\"") + "@" + safeDomain(domain)
	if query != "" {
		uri += "?" + query
	}
	return uri + ">"
}

// ListID is the identifier of a list for List-Id (RFC 2919): dev.lists.example.org for
// dev@lists.example.org. Two lists can have the same: dev.eu@lists.example.org has that
// of dev@eu.lists.example.org. ListMark tells them apart.
func ListID(addr string) string {
	local, domain := halves(addr)
	return strings.ToLower(escape(local, "") + "." + safeDomain(domain))
}

// ListMark is a list's address in the one spelling that X-BeenThere gets, in ASCII. Two
// lists never have the same.
func ListMark(addr string) string {
	local, domain := halves(addr)
	return strings.ToLower(escape(local, "") + "@" + safeDomain(domain))
}

func halves(addr string) (local, domain string) {
	at := strings.LastIndexByte(addr, '@')
	return addr[:max(at, 0)], addr[at+1:]
}

// asciiDomain writes a domain in A-labels; one that has none is escaped.
func asciiDomain(s string) string {
	if isASCII(s) {
		return s
	}
	if a, err := idna.Lookup.ToASCII(s); err == nil {
		return a
	}
	return escape(s, "")
}

// safeDomain is asciiDomain for an identifier or URI: a domain literal, or what is no
// domain at all, is escaped.
func safeDomain(s string) string {
	if isASCII(s) {
		return escape(s, "")
	}
	return asciiDomain(s)
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
