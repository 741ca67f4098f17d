package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/listfile"
	"github.com/mlist/mlist/test/tools/pages"
)

// languages are those of fences. What is done with each:
//
//	sh       runs, in cmd/mlist/docsrun_test.go, which tells what it finds there
//	console  needs Postfix, packages or PostgreSQL: cmd/mlist/docs_test.go says which test runs it, and looks whether there are
//	         such commands, with such flags
//	toml     is a configuration that mlist takes, or, if it begins with [[list]], lists that it takes
//	others   are shown only
var languages = []string{"sh", "console", "toml", "text", "ini", "json", "yaml", "go", "python"}

// eachPage reads every page.
func eachPage(t *testing.T, do func(page string, fences []pages.Fence, rest string)) {
	t.Helper()
	all, err := pages.All("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range all {
		fences, rest, err := pages.Read(page)
		if err != nil {
			t.Error(err)
		}
		do(page, fences, strings.Join(rest, "\n"))
	}
}

func TestEveryFenceHasALanguage(t *testing.T) {
	eachPage(t, func(_ string, fences []pages.Fence, _ string) {
		for _, f := range fences {
			if !slices.Contains(languages, f.Lang) {
				t.Errorf("%s: language %q: docs/pages_test.go tells which there are, and what is done with them", f, f.Lang)
			}
		}
	})
}

func TestConfigurationsInThePagesAreTaken(t *testing.T) {
	eachPage(t, func(_ string, fences []pages.Fence, _ string) {
		for _, f := range fences {
			if f.Lang != "toml" {
				continue
			}
			var err error
			if strings.HasPrefix(f.Text, "[[list]]") {
				_, err = listfile.Read(strings.NewReader(f.Text))
			} else {
				_, err = config.Parse(f.String(), []byte(f.Text))
			}
			if err != nil {
				t.Errorf("%s: %v", f, err)
			}
		}
	})
}

// What a page shows of Postfix's files is what etc/postfix has, which a story tries.
func TestPostfixLinesInThePagesAreThoseThatAreTried(t *testing.T) {
	words := func(line string) string { return strings.Join(strings.Fields(line), " ") }
	tried := map[string]bool{}
	for _, name := range []string{"main.cf", "master.cf", "shared-domain.cf"} {
		text, err := os.ReadFile(filepath.Join("..", "etc", "postfix", name))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			tried[words(line)] = true
		}
	}
	eachPage(t, func(page string, fences []pages.Fence, _ string) {
		for _, f := range fences {
			if f.Lang != "ini" || !strings.HasSuffix(page, "postfix.md") {
				continue
			}
			for line := range strings.Lines(f.Text) {
				if !tried[words(line)] {
					t.Errorf("%s: %q is in no file of etc/postfix", f, line)
				}
			}
		}
	})
}

var (
	link = regexp.MustCompile(`\]\(([^)]+)\)`)
	// path is one of this repository, within a sentence.
	path = regexp.MustCompile("`((?:cmd|lmtpd|milter|socketmap|pipeline|outbound|bounce|mailauth|plugins|sdk|internal|etc|test|docs|packaging)(?:/[A-Za-z0-9_.-]+)*)`")
)

// Links lead to files that are there and to their headings, and so do paths that are only named.
func TestLinksLeadSomewhere(t *testing.T) {
	index, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	links := 0
	eachPage(t, func(page string, _ []pages.Fence, rest string) {
		for _, m := range link.FindAllStringSubmatch(rest, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			name, anchor, _ := strings.Cut(m[1], "#")
			to := page
			if name != "" {
				to = filepath.Join(filepath.Dir(page), name)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: %v", filepath.Base(page), err)
			} else if anchor != "" && !slices.Contains(anchors(t, to), anchor) {
				t.Errorf("%s: %s has no heading #%s", filepath.Base(page), to, anchor)
			}
		}
		for _, m := range path.FindAllStringSubmatch(rest, -1) {
			if _, err := os.Stat(filepath.Join("..", m[1])); err != nil && !isShort(m[1]) {
				t.Errorf("%s names %s: %v", filepath.Base(page), m[1], err)
			}
		}
		name := filepath.Base(page)
		if filepath.Dir(page) == filepath.Join("..", "docs") && name != "README.md" && !strings.Contains(string(index), "]("+name+")") {
			t.Errorf("docs/README.md does not name %s", name)
		}
	})
	if links < 50 {
		t.Errorf("found %d links", links)
	}
}

// anchors are those that GitHub gives the headings of a page: lower case, without punctuation, with - for each space.
func anchors(t *testing.T, page string) (out []string) {
	t.Helper()
	_, rest, err := pages.Read(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range rest {
		if heading := strings.TrimLeft(line, "#"); heading != line {
			heading = strings.ToLower(strings.TrimSpace(heading))
			heading = regexp.MustCompile(`[^\pL\pN _-]`).ReplaceAllString(heading, "")
			out = append(out, strings.ReplaceAll(heading, " ", "-"))
		}
	}
	return out
}

// isShort tells whether a name is of something below internal, as pages may call it.
func isShort(name string) bool {
	_, err := os.Stat(filepath.Join("../internal", name))
	return err == nil
}
