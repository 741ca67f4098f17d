package list

import (
	"math"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/address"
)

func TestName(t *testing.T) {
	l := List{Address: address.Address{Local: "dev", Domain: "l.test"}, Settings: Defaults()}
	if l.Name() != "dev" {
		t.Errorf("without a display name it is %q", l.Name())
	}
	l.Settings.DisplayName = "Developers"
	if l.Name() != "Developers" {
		t.Errorf("with one it is %q", l.Name())
	}
}

func TestMembershipValidate(t *testing.T) {
	ann := address.Address{Local: "ann", Domain: "net.test"}
	tests := []struct {
		name string
		m    Membership
		want string // part of the error; "" for none
	}{
		{"an address is enough", Membership{Address: ann}, ""},
		{"every word it knows", Membership{Address: ann, DisplayName: "Ann Ö", Role: Nonmember, Mode: SummaryDigest, Status: ByBounces, Action: Discard}, ""},
		{"no address", Membership{}, "local@domain"},
		{"no domain", Membership{Address: address.Address{Local: "ann"}}, "local@domain"},
		{"an unknown role", Membership{Address: ann, Role: "king"}, `role "king": want one of member, owner, moderator, nonmember`},
		{"an unknown mode", Membership{Address: ann, Mode: "fast"}, `delivery mode "fast"`},
		{"an unknown status", Membership{Address: ann, Status: "off"}, `delivery status "off"`},
		{"an unknown action", Membership{Address: ann, Action: "eat"}, `action "eat"`},
		{"a line break in the name", Membership{Address: ann, DisplayName: "Ann\nBcc: eve@x.test"}, "control character"},
		{"a name that is not UTF-8", Membership{Address: ann, DisplayName: "Ann \xff"}, "UTF-8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.m.Validate()
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if tt.m.Role == "" || tt.m.Mode == "" || tt.m.Status == "" {
					t.Errorf("defaults are not filled in: %+v", tt.m)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want one with %q", err, tt.want)
			}
		})
	}
}

// A token's address has room in 64 octets, whatever the list is called.
func TestTokenAddress(t *testing.T) {
	const token = "abcdefgh23456789"
	for _, tt := range []struct {
		local string
		id    int64
		want  string
	}{
		{"dev", 7, "dev-confirm+" + token},
		{strings.Repeat("x", 39), 7, strings.Repeat("x", 39) + "-confirm+" + token},
		{strings.Repeat("x", 40), 7, "~7-confirm+" + token},
		{strings.Repeat("x", maxLocal), math.MaxInt64, "~9223372036854775807-confirm+" + token},
	} {
		l := List{ID: tt.id, Address: address.Address{Local: tt.local, Domain: "l.test"}}
		a := l.TokenAddress(address.RoleConfirm, token)
		if a.Local != tt.want || len(a.Local) > address.MaxLocal || a.Domain != "l.test" {
			t.Errorf("%d octets: %s, want %s", len(tt.local), a, tt.want)
		}
		if c := address.Candidates(a); len(c) != 2 || c[1].Role != address.RoleConfirm || c[1].Detail != token {
			t.Errorf("%s stands for %+v", a, c)
		} else if id, ok := c[1].List.Number(); ok && id != tt.id {
			t.Errorf("%s is list %d, want %d", a, id, tt.id)
		}
	}
}

func TestCheckAddress(t *testing.T) {
	tests := []struct {
		name string
		addr address.Address
		ok   bool
	}{
		{"plain", address.Address{Local: "dev", Domain: "l.test"}, true},
		{"dots and dashes", address.Address{Local: "my-dev.x", Domain: "l.test"}, true},
		{"letters of any script", address.Address{Local: "разработка", Domain: "l.test"}, true},
		{"a + would hide its role addresses", address.Address{Local: "x+y", Domain: "l.test"}, false},
		{"a blank needs quotes", address.Address{Local: "x y", Domain: "l.test"}, false},
		{"as long as it may be", address.Address{Local: strings.Repeat("x", 52), Domain: strings.Repeat("d", 60) + "." + strings.Repeat("d", 60) + "." + strings.Repeat("d", 62) + ".test"}, true},
		{"a domain that leaves no room for return paths", address.Address{Local: "x", Domain: strings.Repeat("d", 60) + "." + strings.Repeat("d", 60) + "." + strings.Repeat("d", 63) + ".test"}, false},
		{"too long for -unsubscribe", address.Address{Local: strings.Repeat("x", 53), Domain: "l.test"}, false},
		{"a ~ stands before a number", address.Address{Local: "~1", Domain: "l.test"}, false},
		{"a way out of a directory", address.Address{Local: "../../etc/passwd", Domain: "l.test"}, false},
		{"a slash", address.Address{Local: "a/b", Domain: "l.test"}, false},
		{"what Postfix takes for a host", address.Address{Local: "a%b", Domain: "l.test"}, false},
		{"and another of them", address.Address{Local: "a!b", Domain: "l.test"}, false},
		{"a comment in its tables", address.Address{Local: "#dev", Domain: "l.test"}, false},
		{"what a shell takes for all", address.Address{Local: "*", Domain: "l.test"}, false},
		{"an equals sign, an apostrophe", address.Address{Local: "a=b'c", Domain: "l.test"}, true},
		{"a backslash", address.Address{Local: `a\b`, Domain: "l.test"}, false},
		{"the directory above", address.Address{Local: "..", Domain: "l.test"}, false},
		{"a hidden file", address.Address{Local: ".dev", Domain: "l.test"}, false},
		{"an option of a command", address.Address{Local: "-rf", Domain: "l.test"}, false},
		{"a path in the domain", address.Address{Local: "dev", Domain: "[/../x]"}, false},
		{"no domain", address.Address{Local: "x"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := CheckAddress(tt.addr); (err == nil) != tt.ok {
				t.Errorf("CheckAddress(%v) = %v", tt.addr, err)
			}
		})
	}
}
