package address

import (
	"fmt"
	"strconv"
	"strings"
)

// Role says for what part of a list an address stands.
type Role string

// The roles of list addresses. RolePost is the list's own address.
const (
	RolePost    Role = "post"
	RoleRequest Role = "request"
	RoleJoin    Role = "join"
	RoleLeave   Role = "leave"
	RoleConfirm Role = "confirm"
	RoleOwner   Role = "owner"
	RoleBounces Role = "bounces"
	// RoleSite is that of the site's own address in a domain, which is no list's.
	RoleSite Role = "site"
)

// suffixes of a list's local part, and whether a +detail may follow.
var suffixes = []struct {
	suffix string
	role   Role
	detail bool
}{
	{"-request", RoleRequest, false},
	{"-join", RoleJoin, false},
	{"-subscribe", RoleJoin, false},
	{"-leave", RoleLeave, false},
	{"-unsubscribe", RoleLeave, false},
	{"-confirm", RoleConfirm, true},
	{"-owner", RoleOwner, false},
	{"-bounces", RoleBounces, true},
}

// commands are what may stand behind a list's name and a '+', in the forms of mlmmj, ezmlm
// and groups.io; how names the way of doing it.
var commands = []struct {
	word   string
	role   Role
	how    string
	detail bool // -TOKEN may follow
}{
	{"join", RoleJoin, "", false},
	{"subscribe", RoleJoin, "", false},
	{"subscribe-digest", RoleJoin, "digest", false},
	{"digest", RoleJoin, "digest", false},
	{"subscribe-nomail", RoleJoin, "nomail", false},
	{"nomail", RoleJoin, "nomail", false},
	{"leave", RoleLeave, "", false},
	{"unsubscribe", RoleLeave, "", false},
	{"confirm", RoleConfirm, "", true},
	{"help", RoleRequest, "help", false},
	{"faq", RoleRequest, "help", false},
	{"request", RoleRequest, "", false},
	{"owner", RoleOwner, "", false},
}

// Candidate is one thing that an address could mean.
type Candidate struct {
	List Address // the list's own address
	Role Role
	// Detail is what followed the '+': a token, or a VERP recipient; of +COMMAND how to do
	// it, which is "", "digest", "nomail" or "help".
	Detail string
}

// MaxCandidates is how many there can be.
const MaxCandidates = 3

// Candidates returns what a could mean, the likeliest first: a list whose own
// address is a wins over a role address of a list with a shorter name, and that over
// a command behind a '+'.
func Candidates(a Address) []Candidate {
	out := []Candidate{{List: a, Role: RolePost}}
	local, detail, hasDetail := strings.Cut(a.Local, "+")
	lower := strings.ToLower(local)
	for _, s := range suffixes {
		if len(lower) > len(s.suffix) && strings.HasSuffix(lower, s.suffix) && (s.detail || !hasDetail) {
			list := Address{local[:len(local)-len(s.suffix)], a.Domain}
			out = append(out, Candidate{list, s.role, detail})
			break
		}
	}
	if !hasDetail || local == "" {
		return out
	}
	word := strings.ToLower(detail)
	for _, c := range commands {
		switch rest, behind := strings.CutPrefix(word, c.word+"-"); {
		case word == c.word && !c.detail:
			return append(out, Candidate{Address{local, a.Domain}, c.role, c.how})
		case behind && c.detail && rest != "":
			return append(out, Candidate{Address{local, a.Domain}, c.role, detail[len(detail)-len(rest):]})
		}
	}
	return out
}

// Sub returns a role address of the list: Sub(dev@…, RoleOwner) is dev-owner@….
func Sub(list Address, role Role) Address {
	if role == RolePost {
		return list
	}
	return Address{list.Local + "-" + string(role), list.Domain}
}

// MaxNumbered is how long the local part of a numbered address can be, at most.
const MaxNumbered = 20

// Numbered returns another name of a list: by its number in the store, and so short that a
// token fits behind it whatever the list is called (64 octets are all that a local part
// may have). No list has such an address of its own.
func Numbered(number int64, domain string) Address {
	return Address{"~" + strconv.FormatInt(number, 10), domain}
}

// Number reads what Numbered wrote.
func (a Address) Number() (number int64, ok bool) {
	digits, ok := strings.CutPrefix(a.Local, "~")
	if !ok || digits == "" || digits[0] < '1' || digits[0] > '9' {
		return 0, false
	}
	number, err := strconv.ParseInt(digits, 10, 64)
	return number, err == nil
}

// VERP returns the variable envelope return path that names recipient:
// dev-bounces+user=example.com@lists.example.org.
func VERP(list, recipient Address) Address {
	b := Sub(list, RoleBounces)
	b.Local += "+" + recipient.Local + "=" + recipient.Domain
	return b
}

// ParseVERP reads the recipient out of a bounce address's detail.
func ParseVERP(detail string) (Address, error) {
	eq := strings.LastIndexByte(detail, '=')
	if eq <= 0 {
		return Address{}, fmt.Errorf("VERP detail %q: want user=domain", detail)
	}
	return Parse(Address{detail[:eq], detail[eq+1:]}.String())
}

// Names are the addresses that belong to a list: its own, and one for each of its roles.
// What follows a '+' is not in them.
func Names(list Address) []Address {
	out := []Address{list}
	for _, s := range suffixes {
		out = append(out, Address{list.Local + s.suffix, list.Domain})
	}
	return out
}
