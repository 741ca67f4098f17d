package docs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ARCHITECTURE.md names every package at the top and in internal; TestLinksLeadSomewhere looks whether what it names is there.
func TestTheArchitectureNamesEveryPackage(t *testing.T) {
	text, err := os.ReadFile("../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, pattern := range []string{"../*", "../internal/*"} {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range dirs {
			if files, _ := filepath.Glob(filepath.Join(dir, "*.go")); len(files) == 0 || dir == "../docs" || dir == "../packaging" {
				continue
			}
			name := strings.TrimPrefix(dir, "../")
			if info, err := os.Stat(dir); err == nil && info.IsDir() && !strings.Contains(page, "`"+name+"`") {
				t.Errorf("it does not name %s", name)
			}
		}
	}
}
