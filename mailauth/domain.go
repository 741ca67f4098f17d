package mailauth

import (
	"strings"

	"golang.org/x/net/idna"
)

// toASCII writes a domain in A-labels; what has none stays as it is, and is found nowhere.
func toASCII(domain string) string {
	for i := range len(domain) {
		if domain[i] >= 0x80 {
			if a, err := idna.Lookup.ToASCII(domain); err == nil {
				return a
			}
			return domain
		}
	}
	return domain
}

// isDomain tells whether s can be asked for in DNS: labels of letters, digits, hyphens and
// underscores, at least least of them.
func isDomain(s string, least int) bool {
	if len(s) > 253 || strings.Count(s, ".")+1 < least {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
				continue
			}
			return false
		}
	}
	return true
}

// within tells whether a domain is another or lies below it.
func within(domain, above string) bool {
	return domain == above || strings.HasSuffix(domain, "."+above)
}

// SameDomain tells whether two spellings name one domain.
func SameDomain(a, b string) bool { return lower(a) == lower(b) }

// Within tells whether a domain is another or lies below it, however they are spelled.
func Within(domain, above string) bool { return within(lower(domain), lower(above)) }
