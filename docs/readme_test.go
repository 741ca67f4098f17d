package docs

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var figure = regexp.MustCompile(`\d[\d,.]*\d|\d`)

// The figures beside others on the first page are those of bench.md, which says how they are made.
func TestTheFirstPageHasTheFiguresOfTheBench(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	bench, err := os.ReadFile("bench.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(readme), "| years in production |")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")[1:]
	if len(rows) < 4 {
		t.Fatalf("%d rows with figures", len(rows))
	}
	_, beside, _ := strings.Cut(string(bench), "## Beside other list managers")
	for _, row := range rows {
		cells := strings.Split(row, "|")
		if len(cells) < 3 {
			t.Fatalf("no row: %s", row)
		}
		for _, cell := range cells[2:] {
			for _, n := range figure.FindAllString(cell, -1) {
				if !regexp.MustCompile(`(^|[^\d,.])` + regexp.QuoteMeta(n) + `($|[^\d])`).MatchString(beside) {
					t.Errorf("README.md has %s in %q, and bench.md has not", n, strings.TrimSpace(row))
				}
			}
		}
	}
}
