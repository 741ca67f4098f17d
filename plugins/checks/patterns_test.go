package checks

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/mlist/mlist/sdk"
)

func listWith(setting, text string) sdk.List {
	return sdk.List{Address: "dev@lists.example.org", Settings: map[string]string{setting: text}}
}

func TestPatternsAreCompiledOnce(t *testing.T) {
	p := newPatterns()
	l := listWith("hold_these_nonmembers", "^ann@")
	p.match(l, "hold_these_nonmembers", "ann@example.org")
	first := p.cache["^ann@"]
	p.match(l, "hold_these_nonmembers", "ben@example.org")
	if first == nil || p.cache["^ann@"] != first {
		t.Errorf("compiled %p, then %p", first, p.cache["^ann@"])
	}
}

func TestPatternsKeepABoundedNumberOfSettings(t *testing.T) {
	p := newPatterns()
	for i := range 3 * maxCached {
		text := fmt.Sprintf("^user%d@", i)
		if !p.match(listWith("s", text), "s", fmt.Sprintf("USER%d@example.org", i)) {
			t.Fatalf("%s does not match", text)
		}
	}
	if len(p.cache) > maxCached {
		t.Errorf("%d settings kept, want at most %d", len(p.cache), maxCached)
	}
	for i := range 4 {
		p.match(listWith("s", strings.Repeat("a@example.org\n", maxCachedOctets/28)+fmt.Sprint(i)), "s", "x@example.org")
	}
	if p.octets > maxCachedOctets {
		t.Errorf("%d octets of settings kept, want at most %d", p.octets, maxCachedOctets)
	}
}

func TestPatternsFromManyGoroutines(t *testing.T) {
	p := newPatterns()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				text := fmt.Sprintf("^user%d@", i)
				if !p.match(listWith("s", text), "s", fmt.Sprintf("user%d@%d.example", i, g)) {
					t.Errorf("%s does not match", text)
				}
			}
		})
	}
	wg.Wait()
}
