package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWithoutARunDirectoryAKilledHostIsCleanedUpAfter(t *testing.T) {
	tmp := shortDir(t)
	t.Setenv("TMPDIR", tmp)
	dir := pluginDir(t, "good", "wild", "parent", "nonsense")
	cmd, _ := startHost(t, dir, "")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	ours := func() []string {
		paths, err := filepath.Glob(filepath.Join(tmp, "mlist-plugins-*"))
		if err != nil {
			t.Fatal(err)
		}
		return paths
	}
	if len(ours()) != 1 {
		t.Fatalf("the killed host left %v; the next check would prove nothing", ours())
	}
	d, err := makeRunDir("")
	if err != nil {
		t.Fatal(err)
	}
	if got := ours(); len(got) != 1 || got[0] != d.path {
		t.Errorf("directories %v, want only %s", got, d.path)
	}
	if err := d.remove(); err != nil {
		t.Fatal(err)
	}
	if len(ours()) != 0 {
		t.Errorf("left %v", ours())
	}
}

func TestCleaningUpTakesOnlyWhatIsOurs(t *testing.T) {
	parent := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	target := t.TempDir()
	must(os.WriteFile(filepath.Join(target, "mail"), nil, 0o600))
	must(os.Symlink(target, filepath.Join(parent, "h-link")))
	must(os.WriteFile(filepath.Join(parent, "h-file"), nil, 0o600))
	must(os.MkdirAll(filepath.Join(parent, "h-stranger", "letters"), 0o700))
	must(os.Mkdir(filepath.Join(parent, "h-open"), 0o755))
	must(os.MkdirAll(filepath.Join(parent, "h-stale", "plugin-dir1"), 0o700))
	used, err := newRunDir(parent, "h-")
	must(err)
	removeStale(parent, "h-")
	for _, name := range []string{"h-link", "h-file", "h-stranger", "h-open", filepath.Base(used.path)} {
		if _, err := os.Lstat(filepath.Join(parent, name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(parent, "h-stale")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("h-stale is still there: %v", err)
	}
	must(used.remove())
}

func TestARunDirectoryThatCannotBeMadeIsAnError(t *testing.T) {
	file := filepath.Join(shortDir(t), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]func(*testing.T, *Config){
		"the run directory is a file": func(_ *testing.T, c *Config) { c.RunDir = file },
		"it lies below a file":        func(_ *testing.T, c *Config) { c.RunDir = filepath.Join(file, "run") },
		"it cannot be written":        func(_ *testing.T, c *Config) { c.RunDir = "/proc/self" },
		"nor the temporary one": func(t *testing.T, c *Config) {
			c.RunDir = ""
			t.Setenv("TMPDIR", file)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := config(t, []string{"a"}, "good")
			cfg(t, &c)
			h, err := Start(t.Context(), c)
			if err == nil {
				_ = h.Close(t.Context())
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), "plugin sockets: ") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestALongTemporaryDirectoryIsNotUsedForSockets(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), strings.Repeat("long", 30)))
	cfg := config(t, []string{"a"}, "good")
	cfg.RunDir = ""
	h, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(h.dir.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory for sockets is still there: %v", err)
	}
}

func TestARunDirectoryThatGoesMissingIsMadeAgain(t *testing.T) {
	cfg := config(t, []string{"a"}, "good")
	cfg.RunDir = shortDir(t) // so that it is not too long to be used
	h := start(t, cfg)
	if err := os.RemoveAll(cfg.RunDir); err != nil {
		t.Fatal(err)
	}
	if err := h.Reload(t.Context(), cfg); err != nil {
		t.Fatalf("reload: %v", err)
	}
	if err := run(t, h, "hello"); err != nil {
		t.Error(err)
	}
}

func TestReloadsLeaveNothing(t *testing.T) {
	cfg := config(t, []string{"x"}, "second")
	h := start(t, cfg)
	count := func() (files, dirs int) {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		sub, err := os.ReadDir(h.dir.path)
		if err != nil {
			t.Fatal(err)
		}
		return len(fds), len(sub)
	}
	if err := h.Reload(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	files, dirs := count()
	for i := range 25 {
		if err := h.Reload(t.Context(), cfg); err != nil {
			t.Fatalf("reload %d: %v", i, err)
		}
	}
	// Only the last process may still be closing its pipes.
	eventually(t, "files and directories are as before", func() bool {
		f, d := count()
		return f <= files+1 && d == dirs
	})
}
