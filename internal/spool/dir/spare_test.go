package dir

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mlist/mlist/internal/spool"
)

// recycler is a spool that counts the files it makes and those it writes anew.
func recycler(t *testing.T) (s *Spool, made, anew *atomic.Int64) {
	t.Helper()
	made, anew = new(atomic.Int64), new(atomic.Int64)
	fs := system
	fs.create = func(path string) (*os.File, error) { made.Add(1); return system.create(path) }
	fs.reuse = func(path string) (*os.File, int64, error) {
		f, size, err := system.reuse(path)
		if err == nil {
			anew.Add(1)
		}
		return f, size, err
	}
	s, err := open(t.TempDir(), Options{}, fs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, made, anew
}

// putText puts a message of its own.
func putText(t *testing.T, s *Spool, text string) {
	t.Helper()
	d, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err = io.WriteString(d, text); err == nil {
		_, err = d.Put(t.Context(), spool.Incoming, "", spool.Envelope{List: "dev@l.test"})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// textOf reads a message whole.
func textOf(t *testing.T, m spool.Message) string {
	t.Helper()
	b, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFilesAreWrittenAnew(t *testing.T) {
	s, made, anew := recycler(t)
	in, out := ownBoth(t, s)
	sizes := []int{4000, 10, 90000, 0, 500}
	for i := range 20 {
		if i == 2 {
			made.Store(0)
		}
		want := strings.Repeat(string(rune('a'+i)), sizes[i%len(sizes)])
		putText(t, s, want)
		e, err := in.Next(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		m, err := in.Open(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		if got := textOf(t, m); got != want {
			t.Fatalf("message %d has %d octets, want %d", i, len(got), len(want))
		}
		m.Close()
		p, err := in.Prepare(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		w, err := p.Content("plain")
		if err == nil {
			io.WriteString(w, want[:min(len(want), 1000)])
			w.Close()
			err = p.AddChunk(t.Context(), spool.Chunk{Variant: "plain", Recipients: []string{"r"}})
		}
		if err == nil {
			err = p.Commit(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		c, err := out.Next(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if m, err = out.Content(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if got := textOf(t, m); got != want[:min(len(want), 1000)] {
			t.Fatalf("content %d has %d octets", i, len(got))
		}
		m.Close()
		if err := out.Settle(t.Context(), c, spool.Settlement{}); err != nil {
			t.Fatal(err)
		}
	}
	if anew.Load() < 15 || made.Load() > 25 {
		t.Errorf("%d files were written anew, and %d made", anew.Load(), made.Load())
	}
}

func TestAFileThatSomebodyHasIsNotWrittenAnew(t *testing.T) {
	for _, how := range []string{"open", "link"} {
		t.Run(how, func(t *testing.T) {
			s, _, anew := recycler(t)
			in, _ := ownBoth(t, s)
			putText(t, s, "the first")
			e, err := in.Next(soon(t))
			if err != nil {
				t.Fatal(err)
			}
			path := s.path(spool.Incoming, entryName{e.ID, e.Key}.String())
			var read func() string
			if how == "open" {
				m, err := storage(s.root).Open(t).Read(t.Context(), e) // as another process would
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				read = func() string { return textOf(t, m) }
			} else {
				kept := filepath.Join(t.TempDir(), "kept")
				if err := os.Link(path, kept); err != nil {
					t.Fatal(err)
				}
				read = func() string {
					b, _ := os.ReadFile(kept)
					return string(b[len(b)-len("the first"):])
				}
			}
			p, err := in.Prepare(t.Context(), e)
			if err == nil {
				err = p.Commit(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				putText(t, s, "and another one")
			}
			if got := read(); got != "the first" {
				t.Errorf("what was read is %q now", got)
			}
			if anew.Load() > 0 {
				t.Error("it was written anew")
			}
		})
	}
}

// Without a sync of its queue a file is not safe from a power cut.
func TestAFileIsNotWrittenAnewBeforeItsNameIsGone(t *testing.T) {
	s, _, anew := recycler(t)
	putText(t, s, "x")
	names, err := os.ReadDir(s.path(spool.Incoming, ""))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	if err := s.discard(spool.Incoming, s.path(spool.Incoming, names[0].Name())); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if _, err := s.writeNew("entry", []byte("y")); err != nil {
			t.Fatal(err)
		}
		if anew.Load() != int64(i) {
			t.Fatalf("%d files written anew after %d syncs", anew.Load(), i)
		}
		if err := s.syncs[spool.Incoming].sync(); err != nil {
			t.Fatal(err)
		}
	}
}

// What waits to be written anew takes no more room than it may.
func TestFilesThatAreLeftOverAreFew(t *testing.T) {
	s, _, _ := recycler(t)
	d := syncer{}
	s.spares.free, s.spares.size = []spare{{dir: &d, size: maxSpareRoom - 1}}, maxSpareRoom-1
	for i, want := range []int{2, 2} {
		putText(t, s, "x")
		names, err := os.ReadDir(s.path(spool.Incoming, ""))
		if err != nil || len(names) != 1 {
			t.Fatal(names, err)
		}
		path := s.path(spool.Incoming, names[0].Name())
		if err := s.discard(spool.Incoming, path); err != nil {
			t.Fatal(err)
		}
		if there, err := exists(path); there || err != nil {
			t.Fatal(there, err)
		}
		if got := len(s.spares.free); got != want {
			t.Errorf("after %d messages %d files are kept, want %d", i+1, got, want)
		}
	}
}
