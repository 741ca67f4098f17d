package dir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// chunkNames are the names of the chunks of all posts, or of those of a number.
func chunkNames(t *testing.T, s *Spool, number string) []string {
	t.Helper()
	paths, err := filepath.Glob(s.path(spool.Outgoing, "*/chunks/*"+number+"*"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range paths {
		names = append(names, filepath.Base(p))
	}
	return names
}

// inodes counts the files behind names.
func inodes(t *testing.T, s *Spool) int {
	t.Helper()
	seen := map[uint64]bool{}
	paths, _ := filepath.Glob(s.path(spool.Outgoing, "*/chunks/*"))
	for _, p := range paths {
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			t.Fatal(err)
		}
		seen[st.Ino] = true
	}
	return len(seen)
}

func TestChunksShareFiles(t *testing.T) {
	s := storage(t.TempDir()).Open(t).(*Spool)
	in, out := ownBoth(t, s)
	putFor(t, s, spool.Incoming, "", "dev@l.test")
	var want []string
	for i := range 2500 {
		want = append(want, fmt.Sprintf("r%04d", i))
	}
	commitOne(t, in, want...)
	if files := inodes(t, s); files > 1+(2500+fullPackChunks-1)/fullPackChunks {
		t.Errorf("2500 chunks are in %d files", files)
	}
	var got []string
	for range want {
		c, err := out.Next(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.TrimSuffix(c.Recipients[0], ".dev@l.test"))
		if err := out.Settle(t.Context(), c, spool.Settlement{}); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%d chunks came, of %d, from %s to %s", len(got), len(want), got[0], got[len(got)-1])
	}
}

// A large post fills its files by their size.
func TestAFileOfChunksIsFull(t *testing.T) {
	s := storage(t.TempDir()).Open(t).(*Spool)
	in, _ := ownBoth(t, s)
	putFor(t, s, spool.Incoming, "", "dev@l.test")
	long := strings.Repeat("x", fullPack/2)
	commitOne(t, in, long, long, long, long, long, "short")
	if files := inodes(t, s); files != 4 { // one, two, two and the last
		t.Errorf("%d files", files)
	}
	if names := chunkNames(t, s, ""); len(names) != 6 {
		t.Errorf("names %v", names)
	}
}

// Where files cannot have more than one name, each chunk has a file.
func TestChunksWithoutLinks(t *testing.T) {
	fs := system
	fs.link = func(string, string) error { return unix.EPERM }
	s, err := open(t.TempDir(), Options{}, fs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	in, out := ownBoth(t, s)
	putFor(t, s, spool.Incoming, "", "dev@l.test")
	commitOne(t, in, "a", "b", "c", "d")
	if names := chunkNames(t, s, ""); len(names) != 4 || inodes(t, s) != 4 {
		t.Errorf("names %v of %d files", names, inodes(t, s))
	}
	var got []string
	for range 4 {
		c, err := out.Next(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, c.Recipients...)
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"a.dev@l.test", "b.dev@l.test", "c.dev@l.test", "d.dev@l.test"}) {
		t.Errorf("got %v", got)
	}
}

// shared hands out a chunk that shares its file.
func shared(t *testing.T, out spool.OutgoingOwner) *spool.Chunk {
	t.Helper()
	for {
		c, err := out.Next(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if c.Recipients[0] == "c.dev@l.test" {
			return c
		}
		if err := out.Settle(t.Context(), c, spool.Settlement{}); err != nil {
			t.Fatal(err)
		}
	}
}

// Progress gives a chunk a file of its own, and a crash between the two steps leaves both.
func TestProgressInAPartOfAFile(t *testing.T) {
	path := t.TempDir()
	s := storage(path).Open(t).(*Spool)
	in, out := ownBoth(t, s)
	putFor(t, s, spool.Incoming, "", "dev@l.test")
	e := commitOne(t, in, "a", "b", "c")
	c := shared(t, out)
	names := chunkNames(t, s, "-000003")
	if len(names) != 1 || !strings.Contains(names[0], partInfix) {
		t.Fatalf("names %v", names)
	}
	part := s.chunkPath(entryName{e.ID, e.Key}, names[0])
	text, err := os.ReadFile(part)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Progress(c, 0); err != nil {
		t.Fatal(err)
	}
	own, _, _ := strings.Cut(names[0], partInfix)
	if names := chunkNames(t, s, "-000003"); !slices.Equal(names, []string{own}) {
		t.Fatalf("names %v, want %s", names, own)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(part, text, 0o600); err != nil { // as if the process had been killed before
		t.Fatal(err)
	}
	if out, err = s.OwnOutgoing(t.Context(), segment.All, "test"); err != nil {
		t.Fatal(err)
	}
	for len(chunkNames(t, s, "")) > 0 {
		if c, err = out.Next(soon(t)); err != nil {
			t.Fatal(err)
		}
		if c.Name == "000003" && len(c.Recipients) > 0 {
			t.Errorf("%s was served", c.Recipients)
		}
		if err := out.Settle(t.Context(), c, spool.Settlement{}); err != nil {
			t.Fatal(err)
		}
	}
}

// A chunk that is deferred leaves its neighbours where they are.
func TestDeferAPartOfAFile(t *testing.T) {
	s := storage(t.TempDir()).Open(t).(*Spool)
	in, out := ownBoth(t, s)
	putFor(t, s, spool.Incoming, "", "dev@l.test")
	commitOne(t, in, "a", "b", "c")
	c := shared(t, out)
	if err := out.Settle(t.Context(), c, spool.Settlement{Deferred: c.Recipients, Due: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if err := s.RetryChunks(t.Context(), c.Post); err != nil {
		t.Fatal(err)
	}
	again := shared(t, out)
	if again.Name != c.Name || again.Tries != 1 {
		t.Errorf("got %+v", again)
	}
}

// A part that is not in its file is damage, and stops nobody else.
func TestAPartBeyondItsFile(t *testing.T) {
	s := storage(t.TempDir()).Open(t).(*Spool)
	in, _ := ownBoth(t, s)
	putFor(t, s, spool.Incoming, "", "dev@l.test")
	e := commitOne(t, in, "a", "b", "c")
	n := entryName{e.ID, e.Key}
	for _, name := range chunkNames(t, s, "") {
		c, ok := parseChunkFile(name)
		if !ok {
			t.Fatal(name)
		}
		if c.from > 0 {
			c.to++
			_, _, err := s.loadChunk(n, chunkFile{key: c.key, name: c.name, from: c.from, to: c.to})
			if !errors.Is(err, os.ErrNotExist) {
				t.Errorf("another name: %v", err)
			}
			if err := os.Rename(s.chunkPath(n, name), s.chunkPath(n, c.String())); err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.loadChunk(n, c); !isDamaged(err) {
				t.Errorf("%s: %v", c, err)
			}
		}
	}
}
