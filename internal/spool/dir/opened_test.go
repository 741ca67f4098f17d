package dir

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/spool"
)

// openUnder tells which files below a directory this process has open, by the names that they
// were opened with, also if those are gone.
func openUnder(t *testing.T, dir string) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(links) == 0 {
		t.Fatalf("no open files: %v", err)
	}
	var open []string
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && strings.HasPrefix(to, dir+"/") {
			open = append(open, strings.TrimSuffix(to, " (deleted)"))
		}
	}
	return open
}

// The files of a post stay open for its next chunks, and no longer than there are any.
func TestFilesStayOpenForTheNextChunk(t *testing.T) {
	dir := t.TempDir()
	s := storage(dir).Open(t).(*Spool)
	in, out := ownBoth(t, s)
	putFor(t, s, spool.Incoming, "", "dev@l.test")
	commitOne(t, in, "ann", "bob", "cy", "dot")
	outgoing := s.path(spool.Outgoing, "")
	var kept []string
	for n := range 4 {
		c, err := out.Next(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		m, err := out.Content(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size())); err != nil {
			t.Error(err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if err := m.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("closed twice: %v", err)
		}
		now := openUnder(t, outgoing)
		for _, f := range kept {
			if !slices.Contains(now, f) {
				t.Errorf("chunk %d: open are %q, and no longer %s", n, now, f)
			}
		}
		kept = now
		if err := out.Settle(t.Context(), c, spool.Settlement{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(kept) != 2 { // the first chunk of a post has a file of its own
		t.Errorf("before the end open were %q; want a pack and the content", kept)
	}
	if open := openUnder(t, outgoing); len(open) > 0 {
		t.Errorf("after the last chunk open are still %q", open)
	}
}

// A file that has taken the place of the one that is open is read, not that.
func TestAnotherFileUnderTheSameName(t *testing.T) {
	s := storage(t.TempDir()).Open(t).(*Spool)
	in, out := ownBoth(t, s)
	putFor(t, s, spool.Incoming, "", "dev@l.test")
	commitOne(t, in, "ann", "bob")
	text := func() string {
		t.Helper()
		c, err := out.Next(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		m, err := out.Content(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		data, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size()))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	first := text()
	paths, err := filepath.Glob(s.path(spool.Outgoing, "*/"+contentPrefix+"*"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("contents: %q, %v", paths, err)
	}
	mended := filepath.Join(filepath.Dir(paths[0]), "mended")
	if err := os.WriteFile(mended, []byte(first+"Mended."), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(mended, paths[0]); err != nil {
		t.Fatal(err)
	}
	if got := text(); got != first+"Mended." {
		t.Errorf("read %q", got)
	}
}

// What an owner keeps open it closes with the rest, also while somebody reads on.
func TestAnOwnerClosesWhatItKeeps(t *testing.T) {
	s := storage(t.TempDir()).Open(t).(*Spool)
	in, out := ownBoth(t, s)
	putFor(t, s, spool.Incoming, "", "dev@l.test")
	commitOne(t, in, "ann", "bob")
	c, err := out.Next(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	m, err := out.Content(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size())); err != nil {
		t.Errorf("after the owner's end: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if open := openUnder(t, s.path(spool.Outgoing, "")); len(open) > 0 {
		t.Errorf("open are still %q", open)
	}
}
