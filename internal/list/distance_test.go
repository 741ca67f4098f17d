package list

import (
	"strings"
	"testing"
)

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"footer", "footer", 0},
		{"", "footer", 6},
		{"foter", "footer", 1},
		{"fooder", "footer", 1},
		{"footers", "footer", 1},
		{"ofoter", "footer", 2},
		{"header", "footer", 4},
		{strings.Repeat("x", 1<<20), "footer", 1 << 20},
	} {
		if got := Distance(tt.a, tt.b); got != tt.want {
			t.Errorf("from %.20q to %q it is %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
