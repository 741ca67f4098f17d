package docs

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var figure = regexp.MustCompile(`\d[\d,.]*\d|\d`)

// What bench.md measured, which says how it is made, other pages repeat.
func TestFiguresAreThoseOfTheBench(t *testing.T) {
	for _, tt := range []struct {
		page, begin string // of the table
		section     string // of bench.md
		column      int    // the first with figures
	}{
		{"../README.md", "| years in production |", "## Beside other list managers", 2},
		{"segments.md", "| daemons with an MTA each |", "## On PostgreSQL", 1},
	} {
		rows := strings.Split(cut(t, tt.page, tt.begin, "\n\n"), "\n")[1:]
		if len(rows) < 4 {
			t.Fatalf("%s: %d rows with figures", tt.page, len(rows))
		}
		measured := cut(t, "bench.md", tt.section, "\n## ")
		for _, row := range rows {
			cells := strings.Split(row, "|")
			if len(cells) < 3 {
				t.Fatalf("%s: no row: %s", tt.page, row)
			}
			for _, cell := range cells[tt.column:] {
				for _, n := range figure.FindAllString(cell, -1) {
					if !regexp.MustCompile(`(^|[^\d,.])` + regexp.QuoteMeta(n) + `($|[^\d])`).MatchString(measured) {
						t.Errorf("%s has %s in %q, and bench.md has not", tt.page, n, strings.TrimSpace(row))
					}
				}
			}
		}
	}
}

// cut is a page from a text in it to the next end.
func cut(t *testing.T, page, begin, end string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), begin)
	if !found {
		t.Fatalf("%s has no %q", page, begin)
	}
	rest, _, _ = strings.Cut(rest, end)
	return rest
}
