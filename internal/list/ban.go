package list

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/mlist/mlist/internal/address"
)

// Ban keeps somebody off the lists of its scope.
type Ban struct {
	Scope
	What   string // an address, @ and a domain, or a pattern that starts with ^: as ParseBan returns it
	Reason string // for people; may be empty
	Added  time.Time
}

// Scope is one list, the lists of a domain, or if it is zero every list.
type Scope struct {
	ListID int64
	Domain string // not with ListID
	// List is the list's address: a store fills it in, and does not read it.
	List address.Address
}

// String says which lists it is about.
func (s Scope) String() string {
	switch {
	case s.ListID != 0:
		return s.List.String()
	case s.Domain != "":
		return "every list of " + s.Domain
	}
	return "every list"
}

// String is the ban in words.
func (b Ban) String() string {
	text := b.What + ", from " + b.Scope.String()
	if b.Reason != "" {
		text += " (" + b.Reason + ")"
	}
	return text
}

// maxBan bounds what is banned, in octets.
const maxBan = 500

// ParseBan reads what is to be banned: an address, which stands for those with a detail
// (eve+x@…), too; @ and a domain, which stands for those below it, too; or a pattern that
// starts with ^, searched from the start in an address, in RE2's syntax, where case does
// not matter.
func ParseBan(text string) (string, error) {
	text = strings.TrimSpace(text)
	switch {
	case len(text) > maxBan:
		return "", fmt.Errorf("ban %.40q…: longer than %d octets", text, maxBan)
	case strings.IndexFunc(text, unicode.IsControl) >= 0:
		return "", fmt.Errorf("ban %q: control character", text)
	case strings.HasPrefix(text, "^"):
		re, err := CompileBan(text)
		if err != nil {
			return "", err
		}
		if !slices.ContainsFunc(strangers, func(key string) bool { return !re.MatchString(key) }) {
			return "", fmt.Errorf("ban %s: that is everybody; the setting emergency holds every post, and default_member_action and default_nonmember_action say what becomes of all", text)
		}
		return text, nil
	case strings.HasPrefix(text, "@"):
		domain, err := address.ParseDomain(text[1:])
		if err != nil {
			return "", fmt.Errorf("ban %q: %w", text, err)
		}
		return "@" + domain, nil
	}
	a, err := address.Parse(text)
	if at := strings.LastIndexByte(text, '@'); err != nil && at > 0 { // a key, which has no quotes
		if unquoted, qerr := address.Parse(address.Address{Local: text[:at], Domain: text[at+1:]}.String()); qerr == nil && unquoted.Key() == strings.ToLower(text) {
			a, err = unquoted, nil
		}
	}
	if err == nil && strings.Contains(a.Local, "*") { // no mail comes from such an address
		err = fmt.Errorf("%q: * stands for nothing here: want an address", text)
	}
	if err != nil {
		return "", fmt.Errorf("ban %w, or @ and a domain, or a pattern that starts with ^", err)
	}
	return a.Key(), nil
}

// strangers have nothing in common but an @ between letters: a pattern that matches all of them
// matches everybody.
var strangers = []string{"q7@x.test", "maria.lopez@mail.example.org", "0_z+k@8.b-9.co.invalid", "用户@例え.jp"}

// CompileBan compiles a ban that is a pattern, to be matched with an address's Key. The
// group makes ^ count for every alternative.
func CompileBan(pattern string) (*regexp.Regexp, error) {
	re, err := regexp.Compile("(?i)^(?:" + pattern + ")")
	if err != nil {
		return nil, fmt.Errorf("ban %q: %w", pattern, err)
	}
	return re, nil
}

// maxLabels is how many labels a domain has, at most, that is looked for among bans because an
// address's domain is below it. Whoever has a domain has as many below it as they like: none is
// so deep that the ban is not found.
const maxLabels = 8

// MaxBansOf is how many BansOf returns, at most: the address with and without its detail, its
// domain, and those above.
const MaxBansOf = 2 + 1 + maxLabels

// Matcher returns what tells whether an address is meant by what ParseBan returned.
func Matcher(what string) (func(address.Address) bool, error) {
	if !strings.HasPrefix(what, "^") {
		return func(a address.Address) bool { return slices.Contains(BansOf(a), what) }, nil
	}
	re, err := CompileBan(what)
	if err != nil {
		return nil, err
	}
	return func(a address.Address) bool { return re.MatchString(a.Key()) }, nil
}

// BansOf returns what a ban of the address may be, other than a pattern.
func BansOf(a address.Address) []string {
	out := []string{a.Key()}
	if local, _, ok := strings.Cut(a.Local, "+"); ok && local != "" {
		out = append(out, address.Address{Local: local, Domain: a.Domain}.Key())
	}
	labels := strings.Split(a.Domain, ".")
	for i := range labels {
		if i == 0 || len(labels)-i <= maxLabels {
			out = append(out, "@"+strings.Join(labels[i:], "."))
		}
	}
	return out
}
