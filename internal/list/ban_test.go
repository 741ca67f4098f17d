package list

import (
	"slices"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/address"
)

func TestParseBan(t *testing.T) {
	for text, want := range map[string]string{
		"Eve@Example.NET ":    "eve@example.net",
		"@Example.NET":        "@example.net",
		`"a B"@Example.NET`:   "a b@example.net",
		"a b@example.net":     "a b@example.net", // what it returns reads back
		`"a@b"@example.net`:   "a@b@example.net",
		"a@b@example.net":     "a@b@example.net",
		"@xn--bcher-kva.test": "@bücher.test",
		`^.*@example\.net$`:   `^.*@example\.net$`,
		`^.*[0-9]`:            `^.*[0-9]`,
	} {
		if got, err := ParseBan(text); err != nil || got != want {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"*@example.net": "* stands for nothing", "a b": "local@domain", "": "local@domain", "eve": "a pattern that starts with ^", "@": "domain", "@a b": "domain", "^": "everybody", "^.*": "everybody", "^|eve": "everybody", "^()": "everybody", `^[^@]+@.+\.`: "everybody", "^(": "missing closing )",
		"^a\nb": "control character", "^" + strings.Repeat("x", 600): "longer than",
	} {
		if got, err := ParseBan(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %q, %v; want an error with %q", text, got, err, want)
		}
	}
}

func TestBansOf(t *testing.T) {
	got := BansOf(address.Address{Local: "Eve", Domain: "a.b.test"})
	if want := []string{"eve@a.b.test", "@a.b.test", "@b.test", "@test"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	got = BansOf(address.Address{Local: "Eve+x+y", Domain: "b.test"})
	if want := []string{"eve+x+y@b.test", "eve@b.test", "@b.test", "@test"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := BansOf(address.Address{Local: "+x", Domain: "test"}); !slices.Equal(got, []string{"+x@test", "@test"}) {
		t.Errorf("%q of what is all detail", got)
	}
	long := strings.Repeat("a.", 100) + "spam.test"
	got = BansOf(address.Address{Local: "x+y", Domain: long})
	if len(got) != MaxBansOf || !slices.Contains(got, "@"+long) || !slices.Contains(got, "@spam.test") || !slices.Contains(got, "@test") {
		t.Errorf("of a long domain %q", got)
	}
}

func TestAPatternIsAnchoredInEveryAlternative(t *testing.T) {
	re, err := CompileBan(`^spam|eve@`)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{"spam@x.test": true, "eve@x.test": true, "steve@x.test": false} {
		if re.MatchString(key) != want {
			t.Errorf("%s: %v", key, !want)
		}
	}
}
