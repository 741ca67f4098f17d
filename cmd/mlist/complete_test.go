package main

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Tab offers what an argument can be, and files only where one is wanted.
func TestTabOffersWhatAnArgumentCanBe(t *testing.T) {
	dir := installed(t, "")
	command(t, dir, "list", "create", "dev@lists.test")
	command(t, dir, "list", "create", "news@lists.test")
	const files, none = ":0", ":4" // cobra's ShellCompDirectiveDefault and ShellCompDirectiveNoFileComp
	for _, tt := range []struct {
		typed string
		want  []string
	}{
		{"list show ", []string{"dev@lists.test", "news@lists.test", none}},
		{"list create ", []string{none}},
		{"member add dev@lists.test ", []string{none}},
		{"member sync dev@lists.test ", []string{files}},
		{"list export dev@lists.test ne", []string{"news@lists.test", none}},
		{"held accept de", []string{"dev@lists.test", none}},
		{"why ann@net.test --list d", []string{"dev@lists.test", none}},
		{"queue ls ", []string{"incoming", "outgoing", "bounces", "held", "failed", none}},
		{"backup mlist.", []string{files}},
		{"trace ", []string{none}},
	} {
		out, err := exec.Command("mlist", append([]string{"__complete", "--config", filepath.Join(dir, "mlist.toml")}, strings.Split(tt.typed, " ")...)...).Output()
		if got := strings.Fields(string(out)); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("mlist %s: %q, want %q, %v", tt.typed, got, tt.want, err)
		}
	}
}
