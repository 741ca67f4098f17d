package dir

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/archive"
	"github.com/mlist/mlist/internal/archive/archivetest"
)

func TestArchive(t *testing.T) {
	archivetest.Run(t, "dir", func(t *testing.T) func() archive.Archive {
		root := filepath.Join(t.TempDir(), "archive")
		return func() archive.Archive { return New(root) }
	})
}

func put(t *testing.T, a *Archive, s string) archive.Message {
	t.Helper()
	m, err := a.Put(t.Context(), archive.Key{List: "dev@lists.test", At: time.Unix(0, 0), Name: "m"}, func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func read(t *testing.T, a *Archive, place string) (string, error) {
	r, err := a.Open(t.Context(), place)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}

func TestDamageIsNoticedAndMendedByTheNextPut(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(b []byte) []byte
	}{
		{"a file cut short", func(b []byte) []byte { return b[:len(b)-5] }},
		{"an empty file", func([]byte) []byte { return nil }},
		{"a flipped bit", func(b []byte) []byte { b[len(b)-6] ^= 4; return b }},
		{"something else", func([]byte) []byte { return []byte("Subject: not compressed\n") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := New(t.TempDir())
			m := put(t, a, "hello, hello, hello")
			path := a.path(m.Place)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, c.damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := read(t, a, m.Place); !errors.Is(err, archive.ErrDamaged) {
				t.Errorf("error %v", err)
			}
			if again := put(t, a, "new"); again.Size != 3 {
				t.Errorf("%+v", again)
			}
			if got, err := read(t, a, m.Place); got != "new" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestWhatACrashLeftGoesWhenItIsOld(t *testing.T) {
	a := New(t.TempDir())
	m := put(t, a, "x")
	left := filepath.Join(filepath.Dir(a.path(m.Place)), ".new-4711")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, there := range []bool{true, false} {
		a.now = func() time.Time { return time.Now().Add(time.Duration(i) * 25 * time.Hour) }
		n := 0
		for p, err := range a.Places(t.Context()) {
			if err != nil || p.Name != m.Place {
				t.Errorf("%+v, %v", p, err)
			}
			n++
		}
		if _, err := os.Stat(left); n != 1 || (err == nil) != there {
			t.Errorf("%d messages; what is left: %v", n, err)
		}
	}
}

func TestADirectoryThatSomebodyRemovedIsMadeAgain(t *testing.T) {
	a := New(filepath.Join(t.TempDir(), "archive"))
	m := put(t, a, "x")
	if err := os.RemoveAll(a.root); err != nil {
		t.Fatal(err)
	}
	_, err := a.Put(t.Context(), archive.Key{List: "dev@lists.test", At: time.Unix(0, 0), Name: "m"}, func(io.Writer) error { return nil })
	if !errors.Is(err, os.ErrNotExist) { // this try finds out
		t.Errorf("error %v", err)
	}
	put(t, a, "y")
	if got, err := read(t, a, m.Place); got != "y" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestWhatRootPutsIsItsOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	a := New(filepath.Join(t.TempDir(), "archive"))
	if err := os.Mkdir(a.root, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(a.root, 4711, 4712); err != nil {
		t.Fatal(err)
	}
	m := put(t, a, "x")
	for path := a.path(m.Place); path != filepath.Dir(a.root); path = filepath.Dir(path) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if s := info.Sys().(*syscall.Stat_t); s.Uid != 4711 || s.Gid != 4712 {
			t.Errorf("%s is of %d:%d", path, s.Uid, s.Gid)
		}
	}
}

func TestADirectoryThatCannotBeUsedIsToldOf(t *testing.T) {
	root := filepath.Join(t.TempDir(), "archive")
	for range 2 {
		if err := New(root).Make(); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{filepath.Join(file, "archive"), filepath.Join(root, "no", "such")} {
		if err := New(bad).Make(); err == nil {
			t.Errorf("%s is an archive", bad)
		}
	}
}

// BenchmarkPut is what keeping a post of 10 KB takes, syncs included.
func BenchmarkPut(b *testing.B) {
	a := New(b.TempDir())
	text := []byte(strings.Repeat("A line of a post, number 4711, as people write them.\r\n", 190))
	for i := 0; b.Loop(); i++ {
		key := archive.Key{List: "dev@lists.test", At: time.Unix(0, 0), Name: strconv.Itoa(i)}
		if _, err := a.Put(b.Context(), key, func(w io.Writer) error {
			_, err := w.Write(text)
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
}
