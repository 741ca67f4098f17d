package address

import (
	"fmt"
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

// Candidate is one thing that an address could mean.
type Candidate struct {
	List   Address // the list's own address
	Role   Role
	Detail string // what followed the '+': a token, or a VERP recipient
}

// Candidates returns what a could mean, the likeliest first: a list whose own
// address is a wins over a role address of a list with a shorter name. There are
// at most two.
func Candidates(a Address) []Candidate {
	out := []Candidate{{List: a, Role: RolePost}}
	local, detail, hasDetail := strings.Cut(a.Local, "+")
	lower := strings.ToLower(local)
	for _, s := range suffixes {
		if len(lower) > len(s.suffix) && strings.HasSuffix(lower, s.suffix) && (s.detail || !hasDetail) {
			list := Address{local[:len(local)-len(s.suffix)], a.Domain}
			return append(out, Candidate{list, s.role, detail})
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
