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
//	sh       runs, in cmd/mlist/docs_test.go, which tells what it finds there
//	console  needs what a test has not: packages, systemd, another machine. Each mlist command in it must be one that there
//	         is, with flags that it has (cmd/mlist/docs_test.go)
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

var link = regexp.MustCompile(`\]\(([^)#:]+)\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	index, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	eachPage(t, func(page string, _ []pages.Fence, rest string) {
		for _, m := range link.FindAllStringSubmatch(rest, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: %v", filepath.Base(page), err)
			}
		}
		name := filepath.Base(page)
		if filepath.Dir(page) == filepath.Join("..", "docs") && name != "README.md" && !strings.Contains(string(index), "]("+name+")") {
			t.Errorf("docs/README.md does not name %s", name)
		}
	})
}
