package docs

import (
	"os"
	"strings"
	"testing"
)

// Each row of the page names tests, and all of them are there.
func TestEveryRowOfSecurityNamesATestThatIsThere(t *testing.T) {
	page, err := os.ReadFile("security.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| somebody tries |") {
			continue
		}
		n++
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 3 {
			t.Errorf("%d cells, want 3: %s", len(cells), line)
			continue
		}
		for _, test := range strings.Split(cells[2], ";") {
			pkg, name, ok := strings.Cut(strings.TrimSpace(test), " ")
			if !ok || !exists(t, pkg, name) {
				t.Errorf("%s: no test %q in %q", strings.TrimSpace(cells[0]), name, pkg)
			}
		}
	}
	if n < 20 {
		t.Errorf("the page has %d rows", n)
	}
	for _, about := range []string{"to approve a post in a moderator's name", "to use a token twice", "to guess a token", "to get a line into a header", "to reach a file by a list's name", "to make two machines answer"} {
		if !strings.Contains(string(page), "**"+about) {
			t.Errorf("nothing stands against who tries %s", about)
		}
	}
}
