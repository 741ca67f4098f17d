// Package pages reads the documentation for the tests that hold it to what is.
package pages

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Fence is a block between two lines of ```.
type Fence struct {
	Page string // the file's name
	Line int
	Lang string // what follows the first ```
	Text string
}

func (f Fence) String() string { return fmt.Sprintf("%s:%d", f.Page, f.Line) }

// All are the pages that people read, by their paths; root is the path of the module.
func All(root string) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(found) < 15 {
		return nil, fmt.Errorf("%d pages in docs: %v", len(found), err)
	}
	for _, name := range []string{"README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md", "plugins/README.md"} {
		found = append(found, filepath.Join(root, name))
	}
	return found, nil
}

// Read returns the fences of a page, and the lines that are in none.
func Read(page string) (fences []Fence, rest []string, err error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return nil, nil, err
	}
	var open *Fence
	for i, line := range strings.Split(string(text), "\n") {
		lang, edge := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case edge && open == nil:
			open = &Fence{Page: filepath.Base(page), Line: i + 1, Lang: lang}
		case edge:
			fences = append(fences, *open)
			open = nil
		case open != nil:
			open.Text += line + "\n"
		default:
			rest = append(rest, line)
		}
	}
	if open != nil {
		return nil, nil, fmt.Errorf("%s: a fence that does not end", open)
	}
	return fences, rest, nil
}
