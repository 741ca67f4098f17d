package sqlstore

import (
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/address"
)

func FuzzKey(f *testing.F) {
	for _, s := range []string{"ann@example.org", "Ann.B@example.org", `"a b@c"@example.org`, `"a\"b"@n.test`, "用户@例え.jp", "İ@n.test", "x@[a@b]", "x@[IPv6:::1]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := address.Parse(s)
		if err != nil {
			return
		}
		k, sp := key(a), spelling(a)
		if got := unkey(k, sp); got != a {
			t.Fatalf("%q has key %q and spelling %q, which is %q", s, k, sp, got)
		}
		if got := mailbox(k, sp); got != a.String() {
			t.Fatalf("%q has mailbox %q, want %q", s, got, a.String())
		}
		lower := address.Address{Local: strings.ToLower(a.Local), Domain: a.Domain}
		if (key(lower) == k) != (lower.Key() == a.Key()) {
			t.Fatalf("%q and %q: keys disagree", a, lower)
		}
	})
}
