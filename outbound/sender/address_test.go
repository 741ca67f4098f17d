package sender

import (
	"strings"
	"testing"
)

// Looking at eight octets at once finds what looking at each does, wherever it stands.
func TestPlainWordsMeanPlainOctets(t *testing.T) {
	for length := 8; length <= 25; length++ {
		for at := range length {
			for c := range 256 {
				s := strings.Repeat("m", at) + string([]byte{byte(c)}) + strings.Repeat("m", length-at-1)
				if got := plainWords(s); got != plain[c] {
					t.Fatalf("plainWords(%q) = %v", s, got)
				}
			}
		}
	}
	for _, s := range []string{"", "a", "a@b.tst", "\x1f\x20aaaaaa", "<>aaaaaa", "\x80\x1faaaaaa", "\x7f\x80aaaaaa", "aaaaaaaa\n"} {
		if plainWords(s) {
			t.Errorf("plainWords(%q)", s)
		}
	}
}
