package dir

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// restored writes a snapshot to a new spool, as a restore does.
func restored(t *testing.T, sn *Snapshot) *Spool {
	t.Helper()
	root := t.TempDir()
	for f, err := range sn.Files() {
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckFile(f.Name); err != nil {
			t.Fatal(err)
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if r.Close(); err != nil || int64(len(data)) != f.Size {
			t.Fatalf("%s: %d octets, want %d, %v", f.Name, len(data), f.Size, err)
		}
		path := filepath.Join(root, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func entryIDs(t *testing.T, s *Spool, q spool.Queue) []spool.ID {
	t.Helper()
	var out []spool.ID
	for e, err := range s.Entries(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e.ID)
	}
	return out
}

// outgoingRecipients takes all chunks of a spool: recipients by post.
func outgoingRecipients(t *testing.T, s *Spool, want int) map[spool.ID][]string {
	t.Helper()
	out, err := s.OwnOutgoing(t.Context(), segment.All, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	have := map[spool.ID][]string{}
	for range want {
		c, err := out.Next(soon(t))
		if err != nil {
			t.Fatalf("%v; have %v", err, have)
		}
		have[c.Post] = append(have[c.Post], c.Recipients...)
	}
	for _, r := range have {
		slices.Sort(r)
	}
	return have
}

func TestASnapshotIsTheSpoolAsItWas(t *testing.T) {
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 3 { // to be posts
		putFor(t, s, spool.Incoming, "", fmt.Sprintf("post%d@x.test", i))
	}
	in, out := ownBoth(t, s)
	small, large, part := commitOne(t, in, "a"), commitOne(t, in, "a", "b", "c"), commitOne(t, in, "a", "b")
	var deferred spool.ID
	for range 6 {
		c, err := out.Next(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case c.Post == part.ID && strings.HasPrefix(c.Recipients[0], "a."):
			err = out.Settle(t.Context(), c, spool.Settlement{})
		case c.Post == part.ID:
			deferred = c.Post
			err = out.Settle(t.Context(), c, spool.Settlement{Deferred: c.Recipients, Due: time.Now(), Reason: "451 later"})
		default:
			defer out.Release(c, time.Time{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	waiting := putFor(t, s, spool.Incoming, "", "new@x.test")
	putFor(t, s, spool.Bounces, "", "bounce@x.test")
	held := putFor(t, s, spool.Incoming, "", "held@x.test")
	for {
		e, err := in.Next(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if e.ID != held {
			if err := in.Defer(t.Context(), e, time.Now().Add(time.Hour), "not now"); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := in.Park(t.Context(), e, spool.Held, "a moderator looks", nil); err != nil {
			t.Fatal(err)
		}
		break
	}
	sn, err := s.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// What happens now is not in it, and takes nothing away from it.
	out.Close()
	for _, q := range []spool.Queue{spool.Incoming, spool.Held} {
		for e := range s.Entries(t.Context(), q) {
			if err := s.Remove(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
	}
	again := restored(t, sn)
	if err := sn.Close(); err != nil {
		t.Fatal(err)
	}
	for q, want := range map[spool.Queue][]spool.ID{spool.Incoming: {waiting}, spool.Held: {held}} {
		if have := entryIDs(t, again, q); !slices.Equal(have, want) {
			t.Errorf("%s has %v, want %v", q, have, want)
		}
	}
	if n := len(entryIDs(t, again, spool.Bounces)); n != 1 {
		t.Errorf("%d bounces", n)
	}
	if e, err := again.Find(t.Context(), waiting); err != nil || e.Reason != "not now" || e.Tries != 1 {
		t.Errorf("the entry that was deferred: %+v, %v", e, err)
	}
	have := outgoingRecipients(t, again, 5)
	for id, want := range map[spool.ID]int{small.ID: 1, large.ID: 3, deferred: 1} {
		if len(have[id]) != want {
			t.Errorf("post %s goes to %v, want %d", id, have[id], want)
		}
	}
}

// An entry that was there when a snapshot began, and is not done when it ends, is in it,
// however quickly it moves meanwhile.
func TestNothingSlipsThroughASnapshot(t *testing.T) {
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	in, out := ownBoth(t, s)
	var mu sync.Mutex
	put, done := map[spool.ID]bool{}, map[spool.ID]bool{}
	const total = 120
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range total {
			id := putFor(t, s, spool.Incoming, "", fmt.Sprintf("l%d@x.test", i%20))
			mu.Lock()
			put[id] = true
			mu.Unlock()
		}
	})
	wg.Go(func() {
		for i := range total {
			if i%5 != 0 {
				commitOne(t, in, "a", "b")
				continue
			}
			e, err := in.Next(soon(t))
			if err == nil {
				err = in.Park(t.Context(), e, spool.Held, "looked at", nil)
			}
			if err == nil { // it comes to the queue again
				e.Queue = spool.Held
				err = s.Retry(t.Context(), e)
			}
			if err != nil {
				t.Error(err)
				return
			}
			commitOne(t, in, "a")
		}
	})
	wg.Go(func() {
		for len(done) < total {
			c, err := out.Next(soon(t))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			if err := out.Settle(t.Context(), c, spool.Settlement{}); err != nil {
				t.Error(err)
			}
			done[c.Post] = true // of two chunks one may be left: then nothing is asked of the post
			mu.Unlock()
		}
	})
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	for n := 0; ; n++ {
		mu.Lock()
		before := maps.Clone(put)
		mu.Unlock()
		sn, err := s.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		after := maps.Clone(done)
		mu.Unlock()
		in := map[spool.ID]bool{}
		for f, err := range sn.Files() {
			if err != nil {
				t.Fatal(err)
			}
			_, name, _ := strings.Cut(f.Name, "/")
			in[spool.ID(name[:16])] = true
		}
		for id := range before {
			if !after[id] && !in[id] {
				t.Errorf("snapshot %d lacks %s", n, id)
			}
		}
		if err := sn.Close(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-finished:
			return
		default:
		}
	}
}

func TestCheckFileTakesWhatASpoolHasAndNothingElse(t *testing.T) {
	const n = "3n33mmjpq54snqoo-e73f"
	for name, want := range map[string]bool{
		"incoming/" + n: true, "held/" + n + ".why": true, "incoming/" + n + ".try2.due17639": true,
		"outgoing/" + n: true, "outgoing/" + n + ".done": true, "outgoing/" + n + "/content.plain": true,
		"outgoing/" + n + "/chunks/91c4-000001": true,
		"incoming":                              false, "incoming/x": false, "incoming/" + n + "/x": false, "owners/" + n: false, "tmp/x": false, "incoming/../held/" + n: false,
		"outgoing/" + n + "/chunks/../../x": false, "outgoing/" + n + "/chunks/x": false, "outgoing/" + n + "/x": false, "../" + n: false, "/incoming/" + n: false, "": false,
	} {
		if err := CheckFile(name); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
