// Package address reads mail addresses and tells which list, and which role of
// that list, an address stands for.
//
// It knows nothing of which lists exist: [Candidates] names what an address could
// mean, in the order in which the meanings are to be tried, and the store says
// which of them is real.
package address

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Limits of RFC 5321 4.5.3.1, in octets.
const (
	MaxLocal   = 64
	MaxDomain  = 255
	MaxAddress = 254
)

// Address is local-part and domain. The local part has its quotes taken off and
// keeps its case; the domain is in lower case, as U-labels where it is
// internationalised (RFC 5890). The zero Address is the null reverse-path.
type Address struct{ Local, Domain string }

var errSyntax = errors.New("want local@domain")

// Parse reads an address as it stands in an SMTP command or a member file,
// without angle brackets or a display name. Local parts may be longer than
// MaxLocal (VERP addresses are), as long as the whole keeps MaxAddress.
func Parse(s string) (Address, error) {
	if len(s) > MaxAddress {
		return Address{}, fmt.Errorf("address %.40q…: longer than %d octets", s, MaxAddress)
	}
	if !utf8.ValidString(s) {
		return Address{}, fmt.Errorf("address %q: not UTF-8", s)
	}
	at := strings.LastIndexByte(s, '@')
	if at <= 0 || at == len(s)-1 {
		return Address{}, fmt.Errorf("address %q: %w", s, errSyntax)
	}
	local, err := parseLocal(s[:at])
	if err != nil {
		return Address{}, fmt.Errorf("address %q: %w", s, err)
	}
	domain, err := ParseDomain(s[at+1:])
	if err != nil {
		return Address{}, fmt.Errorf("address %q: %w", s, err)
	}
	return Address{local, domain}, nil
}

func parseLocal(s string) (string, error) {
	if s[0] != '"' {
		for i, r := range s {
			switch {
			case r == '.' && (i == 0 || i == len(s)-1 || s[i-1] == '.'):
				// Not in RFC 5321's grammar, but in daily use: accept it.
			case r <= ' ' || r == 0x7f || strings.ContainsRune(`()<>[]:;@\,"`, r):
				return "", fmt.Errorf("character %q in the local part", r)
			}
		}
		return s, nil
	}
	if len(s) < 3 || s[len(s)-1] != '"' {
		return "", errors.New("unfinished quoted local part")
	}
	var b strings.Builder
	for inner := s[1 : len(s)-1]; inner != ""; inner = inner[1:] {
		if inner[0] == '\\' && len(inner) > 1 {
			inner = inner[1:]
		} else if inner[0] == '\\' || inner[0] == '"' {
			return "", errors.New("stray quote in the local part")
		}
		if inner[0] < ' ' || inner[0] == 0x7f {
			return "", fmt.Errorf("character %q in the local part", inner[0])
		}
		b.WriteByte(inner[0])
	}
	return b.String(), nil
}

// ParseDomain reads a domain name and returns its canonical form. Address
// literals such as [192.0.2.1] are kept as they are.
func ParseDomain(s string) (string, error) {
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		for _, r := range s[1 : len(s)-1] {
			if r <= ' ' || r >= 0x7f || r == '[' || r == ']' {
				return "", fmt.Errorf("character %q in the domain", r)
			}
		}
		return strings.ToLower(s), nil
	}
	s = strings.TrimSuffix(s, ".")
	if len(s) == 0 || len(s) > MaxDomain {
		return "", fmt.Errorf("domain %.40q: want 1 to %d octets", s, MaxDomain)
	}
	ascii := true
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63*4 {
			return "", fmt.Errorf("domain %q: empty or overlong label", s)
		}
		for _, r := range label {
			switch {
			case r >= utf8.RuneSelf:
				ascii = false
			case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			default:
				return "", fmt.Errorf("domain %q: character %q", s, r)
			}
		}
	}
	lower := strings.ToLower(s)
	if ascii && !strings.Contains(lower, "xn--") {
		return lower, nil
	}
	u, err := idna.Lookup.ToUnicode(lower)
	if err != nil {
		return "", fmt.Errorf("domain %q: %w", s, err)
	}
	if slices.Contains(strings.Split(u, "."), "") {
		return "", fmt.Errorf("domain %q: empty label", s)
	}
	return u, nil
}

// IsZero tells whether a is the null reverse-path.
func (a Address) IsZero() bool { return a == Address{} }

// String returns the address as it stands in an SMTP command, quoted if need be.
func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	if strings.ContainsFunc(a.Local, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`()<>[]:;@\,"`, r) }) {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(a.Local) + `"@` + a.Domain
	}
	return a.Local + "@" + a.Domain
}

// Key returns the form under which two spellings of one address are the same:
// everything in lower case. (RFC 5321 lets local parts differ by case; no list
// member expects that.)
func (a Address) Key() string {
	return strings.ToLower(a.Local) + "@" + a.Domain
}

// IsASCII tells whether the address can be used without SMTPUTF8 (RFC 6531).
func (a Address) IsASCII() bool {
	for _, s := range []string{a.Local, a.Domain} {
		for i := range len(s) {
			if s[i] >= utf8.RuneSelf {
				return false
			}
		}
	}
	return true
}
