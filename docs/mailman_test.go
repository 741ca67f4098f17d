package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/list"
)

// row is one of a table.
type row struct{ mailman, here, settings, differs, tests string }

func rows(t *testing.T) []row {
	t.Helper()
	page, err := os.ReadFile("mailman.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []row
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| Mailman |") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 5 {
			t.Fatalf("%d cells, want 5: %s", len(cells), line)
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		out = append(out, row{cells[0], cells[1], cells[2], cells[3], cells[4]})
	}
	if len(out) < 60 {
		t.Fatalf("the page has %d rows", len(out))
	}
	return out
}

// missing tells that a row says of itself that there is nothing to show.
func (r row) missing() bool {
	return strings.HasPrefix(r.here, "no: ")
}

func TestEveryRowOfMailmanNamesATestThatIsThere(t *testing.T) {
	for _, r := range rows(t) {
		if r.missing() {
			if r.tests != "" {
				t.Errorf("%s: %s, and yet the test %s", r.mailman, r.here, r.tests)
			}
			continue
		}
		if r.tests == "" {
			t.Errorf("%s: no test", r.mailman)
		}
		for _, test := range strings.Split(r.tests, ";") {
			pkg, name, ok := strings.Cut(strings.TrimSpace(test), " ")
			if !ok || !exists(t, pkg, name) {
				t.Errorf("%s: no test %q in %q", r.mailman, name, pkg)
			}
		}
	}
}

// exists looks for a test, or its case, in the source of a package. A suite's cases, which
// are not in test files, go by their names alone.
func exists(t *testing.T, pkg, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", pkg, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	function, example, _ := strings.Cut(name, "/")
	isFunction := strings.HasPrefix(function, "Test")
	if !isFunction {
		function, example = "", name
	}
	var hasFunction, hasCase bool
	for _, file := range files {
		if isFunction && !strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		hasFunction = hasFunction || strings.Contains(string(text), "func "+function+"(")
		hasCase = hasCase || strings.Contains(string(text), `"`+example+`"`)
	}
	return (hasFunction || !isFunction) && (hasCase || example == "")
}

var quoted = regexp.MustCompile("`([^`]*)`")

func TestEverySettingOfThePageIsThere(t *testing.T) {
	for _, r := range rows(t) {
		for _, m := range quoted.FindAllStringSubmatch(r.settings, -1) {
			if _, err := list.Describe(m[1]); err != nil {
				t.Errorf("%s: %v", r.mailman, err)
			}
		}
		if !r.missing() {
			continue
		}
		for _, name := range strings.Split(r.mailman, ",") {
			if _, err := list.Describe(strings.TrimSpace(name)); err == nil {
				t.Errorf("%s: %s, and yet it is a setting", r.mailman, r.here)
			}
		}
	}
}

// What Mailman 3.3 has in its built-in chains and pipelines.
func TestEveryRuleAndHandlerOfMailmanHasARow(t *testing.T) {
	var have []string
	for _, r := range rows(t) {
		for _, name := range strings.Split(r.mailman, ",") {
			have = append(have, strings.TrimSpace(name))
		}
	}
	for _, name := range []string{
		"dmarc-mitigation", "no-senders", "approved", "emergency", "loop", "banned-address", "member-moderation", "header-match", "nonmember-moderation",
		"administrivia", "implicit-dest", "max-recipients", "max-size", "news-moderation", "no-subject", "digests", "suspicious-header", "any", "truth",
		"validate-authenticity", "mime-delete", "tagger", "member-recipients", "avoid-duplicates", "cleanse", "cleanse-dkim", "cook-headers", "subject-prefix",
		"rfc-2369", "to-archive", "to-digest", "to-usenet", "after-delivery", "acknowledge", "dmarc", "to-outgoing", "decorate", "arc-sign", "replybot",
	} {
		if !slices.Contains(have, name) {
			t.Errorf("no row for %s", name)
		}
	}
}
