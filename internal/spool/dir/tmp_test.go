package dir

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mlist/mlist/internal/spool"
)

// Other programs that tidy up in tmp.

func TestTmpEmptiedUnderARunningProcess(t *testing.T) {
	for _, what := range []string{"", "*", "*/*"} {
		t.Run("tmp/"+what, func(t *testing.T) {
			path := t.TempDir()
			s := storage(path).Open(t).(*Spool)
			in, _ := ownBoth(t, s)
			putFor(t, s, spool.Incoming, "", "a@l.test")
			gone, _ := filepath.Glob(filepath.Join(path, tempDir, what))
			if len(gone) == 0 {
				t.Fatal("nothing to remove")
			}
			for _, p := range gone {
				if err := os.RemoveAll(p); err != nil {
					t.Fatal(err)
				}
			}
			putFor(t, s, spool.Incoming, "", "b@l.test")
			commitOne(t, in, "r")
			// What this process writes is again safe from the sweeping of others.
			temp, err := s.temp("kept")
			if err == nil {
				err = os.WriteFile(temp, nil, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			other := storage(path).Open(t).(*Spool)
			putFor(t, other, spool.Incoming, "", "c@l.test")
			if _, err := os.Stat(temp); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAPostThatLostItsFilesInTmpIsNotCommitted(t *testing.T) {
	for _, what := range []string{"chunks/*", "content.plain"} {
		t.Run(what, func(t *testing.T) {
			s := storage(t.TempDir()).Open(t).(*Spool)
			in, _ := ownBoth(t, s)
			putFor(t, s, spool.Incoming, "", "a@l.test")
			e, err := in.Next(soon(t))
			if err != nil {
				t.Fatal(err)
			}
			p, err := in.Prepare(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			w, err := p.Content("plain")
			if err == nil {
				err = w.Close()
			}
			for range 2 {
				if err == nil {
					err = p.AddChunk(t.Context(), spool.Chunk{Variant: "plain", Recipients: []string{"r"}})
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			files, _ := filepath.Glob(filepath.Join(p.(*prepared).dir, what))
			if len(files) == 0 || os.Remove(files[0]) != nil {
				t.Fatalf("nothing to remove: %v", files)
			}
			if err := p.Commit(t.Context()); err == nil {
				t.Fatal("a post with less than was written has been committed")
			}
			if done, err := in.Finished(t.Context(), e); done || err != nil {
				t.Fatalf("finished: %v, %v", done, err)
			}
		})
	}
}
