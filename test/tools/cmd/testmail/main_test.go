package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mlist/mlist/test/tools/pages"
)

var typed = regexp.MustCompile(`(?m)^testmail (\w+)(.*)$`)

// What docs/bench.md has people type to measure other list managers are commands and flags that there are.
func TestTheCommandsOfThePageOnBenchmarks(t *testing.T) {
	fences, _, err := pages.Read("../../../../docs/bench.md")
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "testmail")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	seen := 0
	for _, f := range fences {
		for _, m := range typed.FindAllStringSubmatch(f.Text, -1) {
			seen++
			help, err := exec.Command(bin, m[1], "-h").CombinedOutput()
			if err != nil {
				t.Errorf("%s: testmail %s: %v\n%s", f, m[1], err, help)
			}
			for _, flag := range regexp.MustCompile(` (-[a-z]+)`).FindAllStringSubmatch(m[2], -1) {
				if !strings.Contains(string(help), "  "+flag[1]+" ") {
					t.Errorf("%s: testmail %s has no flag %s", f, m[1], flag[1])
				}
			}
		}
	}
	if seen < 3 {
		t.Errorf("the page has %d commands", seen)
	}
}
