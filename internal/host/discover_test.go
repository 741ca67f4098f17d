package host

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestDiscoverTakesProgramsAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"one": 0o755, "two": 0o700, "README.md": 0o755, ".three": 0o755, "four.conf": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "dangling")); err != nil {
		t.Fatal(err)
	}
	programs, refused, err := discover(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{filepath.Join(dir, "one"), filepath.Join(dir, "two")}; !slices.Equal(programs, want) {
		t.Errorf("programs %v, want %v", programs, want)
	}
	if len(refused) != 1 || !strings.Contains(refused[0].Error(), "dangling") {
		t.Errorf("refused %v", refused)
	}
	if _, _, err := discover(filepath.Join(dir, "missing"), false); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func TestProgramsThatOthersCanChangeAreRefused(t *testing.T) {
	cases := []struct {
		name  string
		spoil func(t *testing.T, outer, dir, program string)
		want  string
	}{
		{"a program that the group can write", func(t *testing.T, _, _, p string) { chmod(t, p, 0o775) }, "has mode 0775"},
		{"a program that all can write", func(t *testing.T, _, _, p string) { chmod(t, p, 0o757) }, "has mode 0757"},
		{"a program of someone else", func(t *testing.T, _, _, p string) { chown(t, p) }, "belongs to user 12345"},
		{"a directory that the group can write", func(t *testing.T, _, d, _ string) { chmod(t, d, 0o775) }, "has mode 0775"},
		{"a sticky directory that all can write", func(t *testing.T, _, d, _ string) { chmod(t, d, 0o777|os.ModeSticky) }, "has mode 0777"},
		{"a directory of someone else", func(t *testing.T, _, d, _ string) { chown(t, d) }, "belongs to user 12345"},
		{"a directory above that all can write", func(t *testing.T, o, _, _ string) { chmod(t, o, 0o777) }, "has mode 0777"},
		{"a link to a program in a directory that all can write", func(t *testing.T, _, _, p string) {
			loose := filepath.Join(t.TempDir(), "loose")
			if err := os.Mkdir(loose, 0o755); err != nil {
				t.Fatal(err)
			}
			chmod(t, loose, 0o777)
			target := filepath.Join(loose, "target")
			if err := os.Rename(p, target); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, p); err != nil {
				t.Fatal(err)
			}
		}, "loose has mode 0777"},
		{"nothing wrong", func(*testing.T, string, string, string) {}, ""},
		{"a sticky directory above", func(t *testing.T, o, _, _ string) { chmod(t, o, 0o777|os.ModeSticky) }, ""},
	}
	for _, c := range cases {
		if os.Geteuid() != 0 && strings.Contains(c.name, "someone else") {
			continue // only root can give files away
		}
		t.Run(c.name, func(t *testing.T) {
			outer := t.TempDir()
			dir := filepath.Join(outer, "plugins")
			program := filepath.Join(dir, "one")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(program, nil, 0o755); err != nil {
				t.Fatal(err)
			}
			chmod(t, outer, 0o755)
			c.spoil(t, outer, dir, program)
			programs, refused, err := discover(dir, true)
			if err == nil && len(refused) > 0 {
				err = refused[0]
			}
			switch {
			case c.want == "" && (err != nil || len(programs) != 1):
				t.Errorf("it was refused: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("the error is %v, want %q", err, c.want)
			case c.want != "" && len(programs) != 0:
				t.Errorf("it would be started: %v", programs)
			}
			if programs, _, err = discover(dir, false); err != nil || len(programs) != 1 {
				t.Errorf("without the check: %v %v", programs, err)
			}
		})
	}
}

// chmod sets a mode whatever the umask is.
func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// chown gives a file away.
func chown(t *testing.T, path string) {
	t.Helper()
	if err := os.Chown(path, 12345, -1); err != nil {
		t.Fatal(err)
	}
}
