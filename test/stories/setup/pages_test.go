package setup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mlist/mlist/test/harness"
	"github.com/mlist/mlist/test/tools/pages"
)

// What the pages have people type to wire mlist and Postfix, line by line. Making and installing packages is
// packaging/test's.
func TestTheCommandsOfThePagesWirePostfix(t *testing.T) {
	top, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	w := build(t, differs{})
	// mlist, of this installation and this Postfix; what is of packages and the machine is no command here.
	dir := filepath.Join(w.mlist.Dir, "programs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	etc, smtp := "--postfix="+w.postfix.Etc(), "--smtp="+w.postfix.SMTP
	script := fmt.Sprintf(`#!/bin/sh
case "$1 ${2:-}" in
"postfix check" | "doctor "*) set -- "$@" %[3]s %[4]s ;;
"postfix setup") set -- "$@" %[3]s ;;
esac
exec %[1]s --config %[2]s "$@"
`, w.mlist.Bin, w.mlist.Config, etc, smtp)
	if err := os.WriteFile(filepath.Join(dir, "mlist"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	other, lookOnly := regexp.MustCompile(`^(make|apt|dnf) `), regexp.MustCompile(`^mlist (doctor|status) `)
	for _, p := range []struct {
		page, begin string
		says        map[string]string // a command, and what it prints
	}{
		{"docs/postfix.md", "mlist postfix setup", map[string]string{"check": "fit together", "setup --domain lists.example.org  ": "Nothing was changed"}},
		{"docs/install.md", "mlist postfix setup --domain", nil},
		{"docs/install.md", "mlist postfix check", map[string]string{"postfix check": "fit together", "status": "QUEUE"}},
		{"README.md", "make packages", map[string]string{"list create": "Created dev@lists.example.org", "member add": "Added 2 members"}},
		{"docs/migrate.md", "mlist postfix setup", map[string]string{"postfix check": "fit together"}},
	} {
		fences, _, err := pages.Read(filepath.Join(top, p.page))
		if err != nil {
			t.Fatal(err)
		}
		ran := 0
		for _, f := range fences {
			if !strings.HasPrefix(f.Text, p.begin) {
				continue
			}
			for line := range strings.Lines(f.Text) {
				if other.MatchString(line) {
					continue
				}
				ran++
				cmd := exec.Command("sh", "-euc", line)
				cmd.Dir = w.mlist.Dir
				cmd.Env = append(os.Environ(), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
				out, err := cmd.CombinedOutput()
				// Of a machine in a test something may be wrong: it has no DNS, and little room.
				if err != nil && !(lookOnly.MatchString(line) && strings.Contains(string(out), "PROBLEM")) {
					t.Errorf("%s: %s: %v\n%s", f, line, err, out)
				}
				for command, want := range p.says {
					if strings.Contains(line, command) && !strings.Contains(string(out), want) {
						t.Errorf("%s: %s does not say %q:\n%s", f, line, want, out)
					}
				}
			}
		}
		if ran == 0 {
			t.Errorf("%s has no fence that begins with %q", p.page, p.begin)
		}
	}
	if err := w.post("ann@example.net", "dev@lists.example.org", "by-the-page"); err != nil {
		t.Fatal(err)
	}
	w.arrives("bob@example.com", "by-the-page")
}
