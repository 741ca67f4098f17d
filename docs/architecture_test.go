package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var path = regexp.MustCompile("`((?:cmd|lmtpd|milter|socketmap|pipeline|outbound|bounce|mailauth|plugins|sdk|internal|etc|test|docs|packaging)(?:/[A-Za-z0-9_.-]+)*)`")

// ARCHITECTURE.md names every package at the top and in internal, and nothing that is not there.
func TestTheArchitectureNamesWhatIsThere(t *testing.T) {
	text, err := os.ReadFile("../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, m := range path.FindAllStringSubmatch(page, -1) {
		if _, err := os.Stat(filepath.Join("..", m[1])); err != nil && !isShort(m[1]) {
			t.Errorf("it names %s: %v", m[1], err)
		}
	}
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

// isShort tells whether a name is of something below internal, as the page may call it.
func isShort(name string) bool {
	_, err := os.Stat(filepath.Join("../internal", name))
	return err == nil
}
