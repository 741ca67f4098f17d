package pg

import (
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// What is counted is what is there for who reads it all.
func TestCount(t *testing.T) {
	s := open(t, freshSchema(t, startServer(t)), Options{})
	in, err := s.Own(t.Context(), spool.Incoming, segment.All, "one")
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.OwnOutgoing(t.Context(), segment.All, "one")
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		for _, q := range spool.Queues {
			var want spool.Count
			seen := func(due, at time.Time) {
				if !due.IsZero() {
					want.Deferred++
				}
				if want.Oldest.IsZero() || at.Before(want.Oldest) {
					want.Oldest = at.Truncate(time.Microsecond)
				}
			}
			if q != spool.Outgoing {
				for e, err := range s.Entries(t.Context(), q) {
					if err != nil {
						t.Fatal(err)
					}
					want.Entries++
					seen(e.Due, e.Received)
				}
			} else {
				posts := map[spool.ID]bool{}
				for c, err := range s.Chunks(t.Context(), true) {
					if err != nil {
						t.Fatal(err)
					}
					posts[c.Post] = c.Paused
					want.Chunks, want.Recipients = want.Chunks+1, want.Recipients+int64(len(c.Recipients))
					seen(c.Due, c.Created)
				}
				for _, paused := range posts {
					if want.Entries++; paused {
						want.Paused++
					}
				}
			}
			got, err := s.Count(t.Context(), q)
			if got.Oldest = got.Oldest.Truncate(time.Microsecond); err != nil || got != want {
				t.Errorf("%s, %s: %+v, %v, want %+v", when, q, got, err, want)
			}
		}
	}
	check("nothing")
	write(t, s, "dev@l.test", "hello")
	first := commit(t, in, "a@x.test", "b@x.test", "c@x.test")
	write(t, s, "dev@l.test", "hello")
	_, p := prepare(t, in, "")
	err = p.AddChunk(t.Context(), spool.Chunk{Variant: "plain", Created: time.Unix(1e9, 0).UTC(), Recipients: []string{"d@x.test", "e@x.test", "f@x.test"}})
	if err == nil {
		err = p.Commit(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	check("two posts")
	for {
		c, err := out.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if c.Post == first {
			continue
		}
		if err := out.Progress(c, 1); err != nil {
			t.Fatal(err)
		}
		check("one recipient has it")
		if err := out.Settle(t.Context(), c, spool.Settlement{Deferred: c.Recipients[2:], Due: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		break
	}
	if err := s.PausePost(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	write(t, s, "dev@l.test", "hello")
	e, err := in.Next(t.Context())
	if err == nil {
		err = in.Defer(t.Context(), e, time.Now().Add(time.Hour), "later")
	}
	if err != nil {
		t.Fatal(err)
	}
	check("something is deferred, and paused")
}
