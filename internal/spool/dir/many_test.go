package dir

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// Many lists, many posts, much mail.

// As many lists with mail as there are keys, which is more than a table has room for.
func TestATableOfManyListsIsQuick(t *testing.T) {
	start := time.Now()
	s := &Spool{}
	tb := newTable(64)
	for i := range 20000 {
		tb.add(entryName{s.newID(), segment.Key(i)}, state{}, start)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Fatalf("20000 lists took %v", took)
	}
	for n := range 20000 {
		it := tb.take()
		if it == nil {
			t.Fatalf("only %d lists were served", n)
		}
		tb.drop(it, start)
	}
}

// Posts that wait for long make room for new ones.
func TestANewPostDoesNotWaitForThoseThatAreDeferred(t *testing.T) {
	const most = 8
	s, err := Open(t.TempDir(), Options{MaxReady: most, Rescan: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	in, out := ownBoth(t, s)
	for i := range 3 * most {
		list := fmt.Sprintf("l%d@l.test", i)
		putFor(t, s, spool.Incoming, "", list)
		commitOne(t, in, "r")
		c, err := out.Next(soon(t))
		if err != nil {
			t.Fatalf("post %d: %v", i, err)
		}
		if c.List != list {
			t.Fatalf("post %d: got a chunk of %s", i, c.List)
		}
		r := spool.Settlement{Deferred: c.Recipients, Due: time.Now().Add(24 * time.Hour)}
		if err := out.Settle(t.Context(), c, r); err != nil {
			t.Fatal(err)
		}
	}
}

// However many posts wait for a time, those that do not are found without waiting for
// the slow look.
func TestDeferredPostsDoNotHideOthers(t *testing.T) {
	s, err := Open(t.TempDir(), Options{MaxReady: 16, Rescan: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const posts = 200
	later := time.Now().Add(24 * time.Hour)
	for i := range posts {
		n := entryName{s.newID(), segment.Key(i)}
		file := chunkFile{name: "000001"}
		if i%10 != 9 {
			file.state = stateAt(1, later)
		}
		data := chunkBytes(&spool.Chunk{Variant: "plain", Recipients: []string{fmt.Sprint(i)}})
		err := os.MkdirAll(s.chunksPath(n), 0o700)
		if err == nil {
			err = os.WriteFile(s.chunkPath(n, file.String()), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	out, err := s.OwnOutgoing(t.Context(), segment.All, "test")
	if err != nil {
		t.Fatal(err)
	}
	for i := range posts / 10 {
		c, err := out.Next(soon(t))
		if err == nil {
			err = out.Settle(t.Context(), c, spool.Settlement{})
		}
		if err != nil {
			t.Fatalf("chunk %d of %d: %v", i, posts/10, err)
		}
	}
}

// A large message is never in memory as a whole.
func TestALargeDraftKeepsTheHeapBounded(t *testing.T) {
	s := storage(t.TempDir()).Open(t).(*Spool)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	d, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	const size = 40 << 20
	if _, err := io.CopyN(d, zeros{}, size); err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{"a@l.test", "b@l.test"} {
		if _, err := d.Put(t.Context(), spool.Incoming, "", spool.Envelope{List: list}); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	// All that was ever allocated, so that it does not matter when garbage is collected.
	if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
		t.Errorf("a message of %d bytes took %d bytes of heap", size, used)
	}
	for e, err := range s.Entries(t.Context(), spool.Incoming) {
		if err != nil || e.Size != size {
			t.Errorf("entry %+v, %v", e, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
