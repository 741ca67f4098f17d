package sdk

import "testing"

func TestTheNamesOfAList(t *testing.T) {
	for _, c := range []struct{ address, local, domain, owner, name, id, mark string }{
		{"Dev@Lists.example.org", "Dev", "Lists.example.org", "Dev-owner@Lists.example.org", "Dev", "dev.lists.example.org", "dev@lists.example.org"},
		{`"a@b"@example.org`, `"a@b"`, "example.org", `"a@b"-owner@example.org`, `"a@b"`, `"a%40b".example.org`, `"a%40b"@example.org`},
		{"dev", "dev", "", "dev-owner", "dev", ".dev", "@dev"},
		{"dev@", "dev", "", "dev-owner@", "dev", "dev.", "dev@"},
		{"@example.org", "", "example.org", "-owner@example.org", "", ".example.org", "@example.org"},
		{"", "", "", "-owner", "", ".", "@"},
	} {
		l := List{Address: c.address}
		got := [...]string{l.Local(), l.Domain(), l.Sub("owner"), l.Name(), l.ID(), l.Mark()}
		if want := [...]string{c.local, c.domain, c.owner, c.name, c.id, c.mark}; got != want {
			t.Errorf("%q: %q, want %q", c.address, got, want)
		}
	}
}
