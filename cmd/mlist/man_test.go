package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/list"
)

func TestTheManualHasEveryCommandAndEveryKey(t *testing.T) {
	root := (&app{}).command()
	pages := manual(root)
	for _, c := range visible(root) {
		page := string(pages[pageName(c)+".1"])
		for _, sub := range visible(c) {
			if !strings.Contains(page, escape(usage(sub))) {
				t.Errorf("%s does not tell of %s", pageName(c), sub.CommandPath())
			}
		}
	}
	for _, setting := range list.All {
		if !strings.Contains(string(pages["mlist-settings.5"]), "\n\\fB"+escape(setting.Name)+"\\fR\n") {
			t.Errorf("mlist-settings(5) does not tell of %s", setting.Name)
		}
	}
	page := string(pages["mlist.toml.5"])
	for _, s := range config.Reference() {
		for _, k := range s.Keys {
			if !strings.Contains(page, "\n\\fB"+escape(k.Name)+"\\fR\n") {
				t.Errorf("mlist.toml(5) does not tell of %s.%s", s.Name, k.Name)
			}
		}
	}
}

func TestManReadsTheManualWithoutAWarning(t *testing.T) {
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("no groff here to read the pages with")
	}
	dir := t.TempDir()
	if err := (&app{}).manTo(dir); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	out, err := exec.Command(groff, append([]string{"-Kutf8", "-man", "-Tutf8", "-ww", "-z"}, files...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("groff: %v\n%.2000s", err, out)
	}
}
