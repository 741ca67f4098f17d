package address

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	tests := []struct{ name, in, want, key string }{
		{"plain", "Ann@Example.ORG", "Ann@example.org", "ann@example.org"},
		{"a dot at the end of the domain", "ann@example.org.", "ann@example.org", "ann@example.org"},
		{"a quoted local part that needs no quotes", `"ann"@example.org`, "ann@example.org", "ann@example.org"},
		{"a quoted local part that needs them", `"a b"@example.org`, `"a b"@example.org`, "a b@example.org"},
		{"an escaped quote", `"a\"b"@example.org`, `"a\"b"@example.org`, `a"b@example.org`},
		{"dots that RFC 5321 forbids", "ann..b.@docomo.example", "ann..b.@docomo.example", "ann..b.@docomo.example"},
		{"UTF-8", "用户@例え.jp", "用户@例え.jp", "用户@例え.jp"},
		{"A-labels and U-labels are the same", "ann@xn--bcher-kva.example", "ann@bücher.example", "ann@bücher.example"},
		{"an address literal", "ann@[192.0.2.1]", "ann@[192.0.2.1]", "ann@[192.0.2.1]"},
		{"no domain", "ann", "", ""},
		{"no local part", "@example.org", "", ""},
		{"a line break", "ann\r\nRCPT@example.org", "", ""},
		{"a NUL in quotes", "\"a\x00\"@example.org", "", ""},
		{"invalid UTF-8", "a\xff@example.org", "", ""},
		{"brackets", "<ann@example.org>", "", ""},
		{"an empty label", "ann@example..org", "", ""},
		{"too long", strings.Repeat("a", 250) + "@example.org", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := Parse(tt.in)
			if tt.want == "" {
				if err == nil {
					t.Fatalf("Parse(%q) = %v, want an error", tt.in, a)
				}
				return
			}
			if err != nil || a.String() != tt.want || a.Key() != tt.key {
				t.Fatalf("Parse(%q) = %q, key %q, %v; want %q, key %q", tt.in, a, a.Key(), err, tt.want, tt.key)
			}
		})
	}
}

func TestCandidates(t *testing.T) {
	tests := []struct {
		in, list string
		role     Role
		detail   string
	}{
		{"dev-owner@l.test", "dev@l.test", RoleOwner, ""},
		{"Dev-Owner@l.test", "Dev@l.test", RoleOwner, ""},
		{"dev-subscribe@l.test", "dev@l.test", RoleJoin, ""},
		{"dev-unsubscribe@l.test", "dev@l.test", RoleLeave, ""},
		{"dev-confirm+0123abc@l.test", "dev@l.test", RoleConfirm, "0123abc"},
		{"dev-bounces@l.test", "dev@l.test", RoleBounces, ""},
		{"dev-bounces+ann=net.test@l.test", "dev@l.test", RoleBounces, "ann=net.test"},
		{"dev-bounces+a+b=net.test@l.test", "dev@l.test", RoleBounces, "a+b=net.test"},
		{"my-dev-owner@l.test", "my-dev@l.test", RoleOwner, ""},
		{"dev@l.test", "", "", ""},
		{"dev+x@l.test", "", "", ""},
		{"dev-owner+x@l.test", "", "", ""},
		{"-owner@l.test", "", "", ""},
		{"dev+subscribe@l.test", "dev@l.test", RoleJoin, ""},
		{"Dev+Unsubscribe@l.test", "Dev@l.test", RoleLeave, ""},
		{"dev+subscribe-digest@l.test", "dev@l.test", RoleJoin, "digest"},
		{"dev+nomail@l.test", "dev@l.test", RoleJoin, "nomail"},
		{"dev+confirm-0123Abc@l.test", "dev@l.test", RoleConfirm, "0123Abc"},
		{"dev+help@l.test", "dev@l.test", RoleRequest, "help"},
		{"dev+owner@l.test", "dev@l.test", RoleOwner, ""},
		{"my-bounces+join@l.test", "my-bounces@l.test", RoleJoin, ""}, // but first a bounce of my@l.test
		{"dev+confirm@l.test", "", "", ""},
		{"dev+confirm-@l.test", "", "", ""},
		{"+join@l.test", "", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			a, err := Parse(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			c := Candidates(a)
			if c[0] != (Candidate{List: a, Role: RolePost}) {
				t.Errorf("first candidate %v is not the address itself", c[0])
			}
			if tt.list == "" {
				if len(c) != 1 {
					t.Errorf("candidates %v, want none but the address itself", c)
				}
				return
			}
			if last := c[len(c)-1]; len(c) == 3 && last.List.String() == tt.list {
				c = []Candidate{c[0], last}
			}
			if len(c) < 2 || c[1].List.String() != tt.list || c[1].Role != tt.role || c[1].Detail != tt.detail {
				t.Errorf("candidates %v, want %s %s %q", c, tt.list, tt.role, tt.detail)
			}
		})
	}
}

func TestNumbered(t *testing.T) {
	for local, want := range map[string]int64{"~1": 1, "~9223372036854775807": 1<<63 - 1, "~9223372036854775808": 0, "~0": 0, "~": 0, "~-1": 0, "~+1": 0, "~1x": 0, "1": 0, "~01": 0} {
		number, ok := Address{local, "l.test"}.Number()
		if ok != (want > 0) || ok && number != want {
			t.Errorf("%q is %d, %t", local, number, ok)
		}
	}
	if a := Numbered(1<<63-1, "l.test"); len(a.Local) > MaxNumbered {
		t.Errorf("%s has %d octets", a, len(a.Local))
	}
}

func TestVERPRoundTrip(t *testing.T) {
	list := Address{"dev", "l.test"}
	for _, s := range []string{"ann@net.test", "a+b@net.test", "a=b@net.test", `"a b"@net.test`, "用户@例え.jp"} {
		rcpt, err := Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		v := VERP(list, rcpt)
		c := Candidates(v)
		got, err := ParseVERP(c[1].Detail)
		if err != nil || got != rcpt || c[1].List != list {
			t.Errorf("VERP of %s is %s, which reads back as %v, %v", s, v, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"ann@example.org", `"a\"b"@example.org`, "用户@例え.jp", "a@[::1]", "a@xn--bcher-kva.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err != nil {
			return
		}
		text := a.String()
		if strings.ContainsAny(text, "\r\n\x00") {
			t.Fatalf("%q prints as %q", s, text)
		}
		if len(text) > MaxAddress {
			return
		}
		b, err := Parse(text)
		if err != nil || b.Key() != a.Key() {
			t.Fatalf("%q prints as %q, which reads as %v, %v", s, text, b, err)
		}
	})
}
