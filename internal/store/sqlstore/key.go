package sqlstore

import (
	"strings"

	"github.com/mlist/mlist/internal/address"
)

// key is what two spellings of an address have in common, with the domain first:
// "example.org ann". No domain has a space, and nothing in a domain sorts before it, so
// that keys sort by domain and then by local part.
func key(a address.Address) string {
	return a.Domain + " " + strings.ToLower(a.Local)
}

// spelling is the local part as it is stored beside a key: "" where the key tells.
func spelling(a address.Address) string {
	if a.Local == strings.ToLower(a.Local) {
		return ""
	}
	return a.Local
}

// unkey is the reverse of key and spelling.
func unkey(key, spelling string) address.Address {
	domain, local, _ := strings.Cut(key, " ")
	if spelling != "" {
		local = spelling
	}
	return address.Address{Local: local, Domain: domain}
}

// plain are the octets that need no quotes in a local part, whichever others there are.
var plain = func() (t [256]bool) {
	for c := range t {
		t[c] = c > ' ' && !strings.ContainsRune(`()<>[]:;@\,"`, rune(c)) || c >= 0x80
	}
	return t
}()

// mailbox is unkey(key, spelling).String().
func mailbox(key, spelling string) string { return string(appendMailbox(nil, key, spelling)) }

// appendMailbox appends the mailbox, for the path where each recipient counts.
func appendMailbox(to []byte, key, spelling string) []byte {
	domain, local, _ := strings.Cut(key, " ")
	if spelling != "" {
		local = spelling
	}
	for i := range len(local) {
		if !plain[local[i]] {
			return append(to, address.Address{Local: local, Domain: domain}.String()...)
		}
	}
	return append(append(append(to, local...), '@'), domain...)
}
