package spooltest

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// following takes what follows e.
func following(t *testing.T, o spool.Owner, e spool.Entry) (spool.Entry, bool) {
	t.Helper()
	next, ok, err := o.Following(ctxOf(t), e)
	must(t, err)
	return next, ok
}

// takeAll takes an entry and all that follow it, which must be these.
func takeAll(t *testing.T, o spool.Owner, want ...spool.ID) []spool.Entry {
	t.Helper()
	all := []spool.Entry{next(t, o)}
	for len(all) < len(want) {
		e, ok := following(t, o, all[len(all)-1])
		if !ok {
			t.Fatalf("only %d entries of %d are handed out", len(all), len(want))
		}
		all = append(all, e)
	}
	for i, e := range all {
		if e.ID != want[i] {
			t.Fatalf("entry %d is %s, want %s", i, e.ID, want[i])
		}
	}
	return all
}

// waiting puts entries for a list, and has an owner see the last of them.
func waiting(t *testing.T, s spool.Spool, n int) (spool.Owner, []spool.ID) {
	t.Helper()
	var ids []spool.ID
	for range n {
		ids = append(ids, put(t, s, spool.Incoming, "", envelope("dev@l.test"), body))
	}
	return own(t, s, spool.Incoming, segment.All), ids
}

func testFollowing(t *testing.T, st Storage) {
	s := st.Open(t)
	o, ids := waiting(t, s, 4)
	other := put(t, s, spool.Incoming, "", envelope("other@l.test"), body)
	all := takeAll(t, o, ids[:3]...)
	if e := next(t, o); e.ID != other {
		t.Fatalf("got %s, want that of the other list", e.ID)
	}
	if _, ok := following(t, o, spool.Entry{ID: ids[3], Envelope: all[0].Envelope}); ok {
		t.Fatal("an entry follows one that is not handed out")
	}
	must(t, o.Done(t.Context(), all[0]))
	o.Release(all[2])
	noEntry(t, o) // the second is still handed out
	if e, ok := following(t, o, all[1]); !ok || e.ID != ids[2] {
		t.Fatalf("got %s, %v, want the one that was given back", e.ID, ok)
	} else {
		must(t, o.Done(t.Context(), e))
	}
	must(t, o.Done(t.Context(), all[1]))
	e := next(t, o)
	if e.ID != ids[3] {
		t.Fatalf("got %s, want the last", e.ID)
	}
	if _, ok := following(t, o, e); ok {
		t.Fatal("nothing follows")
	}
}

// prepare makes a post of an entry for these recipients.
func prepare(t *testing.T, o spool.Owner, e spool.Entry, chunks ...string) spool.Prepared {
	t.Helper()
	p, err := o.Prepare(t.Context(), e)
	must(t, err)
	w, err := p.Content("plain")
	must(t, err)
	_, err = io.WriteString(w, body)
	must(t, err)
	must(t, w.Close())
	for _, c := range chunks {
		must(t, p.AddChunk(t.Context(), chunkOf(e, strings.Fields(c)...)))
	}
	return p
}

func testCommitSeveral(t *testing.T, st Storage) {
	s := st.Open(t)
	o, ids := waiting(t, s, 4)
	all := takeAll(t, o, ids...)
	posts := []spool.Prepared{prepare(t, o, all[0], "a@n.test"), prepare(t, o, all[1]), prepare(t, o, all[2], "b@n.test", "c@n.test d@n.test")}
	// A new entry comes after all that were there, and after them is handed out alone.
	last := prepare(t, o, all[3], "e@n.test")
	made, err := last.AddEntry(t.Context(), envelope("dev@l.test"), []byte(body))
	must(t, err)
	if n, err := o.Commit(t.Context(), append(posts, last)...); n != 4 || err != nil {
		t.Fatalf("%d were committed, %v", n, err)
	}
	if got := strings.Fields(recipients(t, s)); len(got) != 5 {
		t.Fatalf("outgoing has recipients %v", got)
	}
	e := next(t, o)
	if e.ID != made {
		t.Fatalf("got %s, want the new entry", e.ID)
	}
	must(t, o.Done(t.Context(), e))
	if got := list(t, s, spool.Incoming); len(got) > 0 {
		t.Fatalf("incoming has %v", got)
	}
	out := ownOutgoing(t, s, segment.All)
	for range 4 {
		c := nextChunk(t, out)
		m, err := out.Content(t.Context(), c)
		if got := text(t, m, err); got != body {
			t.Fatalf("content %q", got)
		}
		must(t, out.Settle(t.Context(), c, spool.Settlement{}))
	}
	noChunk(t, out)
}

func testCommitSome(t *testing.T, st Storage) {
	s := st.Open(t)
	o, ids := waiting(t, s, 3)
	all := takeAll(t, o, ids...)
	bad := prepare(t, o, all[1], "b@n.test")
	c := chunkOf(all[1], "x@n.test")
	c.Variant = "missing"
	must(t, bad.AddChunk(t.Context(), c))
	n, err := o.Commit(t.Context(), prepare(t, o, all[0], "a@n.test"), bad, prepare(t, o, all[2], "c@n.test"))
	if n != 1 || err == nil {
		t.Fatalf("%d were committed, %v; want one and an error", n, err)
	}
	if got := recipients(t, s); got != "a@n.test" {
		t.Fatalf("outgoing has recipients %s", got)
	}
	if got := list(t, s, spool.Incoming); !slices.Equal(got, ids[1:]) {
		t.Fatalf("incoming has %v, want %v", got, ids[1:])
	}
	for _, e := range all[1:] { // are handed out still, and can be tried again
		done, err := o.Finished(t.Context(), e)
		must(t, err)
		if done {
			t.Fatalf("%s is finished", e.ID)
		}
		post(t, o, e, "again@n.test")
	}
	if got := recipients(t, s); got != "a@n.test again@n.test again@n.test" {
		t.Fatalf("outgoing has recipients %s", got)
	}
}
