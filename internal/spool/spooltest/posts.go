package spooltest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// prepared puts and takes an entry, ready to be committed.
func prepared(t *testing.T, s spool.Spool) (spool.Owner, spool.Entry) {
	t.Helper()
	put(t, s, spool.Incoming, "", envelope("dev@l.test"), body)
	o := own(t, s, spool.Incoming, segment.All)
	return o, next(t, o)
}

// publish makes a post with chunks.
func publish(t *testing.T, s spool.Spool, chunks ...string) spool.ID {
	t.Helper()
	o, e := prepared(t, s)
	post(t, o, e, chunks...)
	must(t, o.Close())
	return e.ID
}

func testCommit(t *testing.T, st Storage) {
	s := st.Open(t)
	out := ownOutgoing(t, s, segment.All)
	o, e := prepared(t, s)
	p, err := o.Prepare(t.Context(), e)
	must(t, err)
	for _, v := range []string{"plain", "munged"} {
		w, err := p.Content(v)
		must(t, err)
		_, err = w.Write([]byte(v + body))
		must(t, err)
		must(t, w.Close())
	}
	a, b := chunkOf(e, "a@x.test", "b@x.test"), chunkOf(e, "c@x.test")
	b.Variant = "munged"
	must(t, p.AddChunk(t.Context(), a))
	must(t, p.AddChunk(t.Context(), b))
	noChunk(t, out)
	if r := recipients(t, s); r != "" {
		t.Fatalf("visible before the commit: %s", r)
	}
	must(t, p.Commit(t.Context()))
	if ids := list(t, s, spool.Incoming); len(ids) != 0 {
		t.Fatalf("incoming still has %v", ids)
	}
	var got []string
	for range 2 {
		c := nextChunk(t, out)
		if c.Post != e.ID || c.List != "dev@l.test" || c.Sender != "dev-bounces@l.test" || !c.Created.Equal(e.Received) ||
			c.Key != segment.KeyOf(string(c.Post), c.Name) || !slices.Equal(c.Flags, a.Flags) || c.Tries != 0 {
			t.Fatalf("got chunk %+v", c)
		}
		m, err := out.Content(t.Context(), c)
		if txt := text(t, m, err); txt != c.Variant+body {
			t.Fatalf("content of %s is %q", c.Variant, txt)
		}
		got = append(got, c.Recipients...)
		must(t, out.Settle(t.Context(), c, spool.Settlement{}))
	}
	slices.Sort(got)
	if strings.Join(got, " ") != "a@x.test b@x.test c@x.test" {
		t.Fatalf("recipients %v", got)
	}
	noChunk(t, out)
	wantEmpty(t, s)
}

func testAbort(t *testing.T, st Storage) {
	s := st.Open(t)
	o, e := prepared(t, s)
	p, err := o.Prepare(t.Context(), e)
	must(t, err)
	must(t, p.AddChunk(t.Context(), chunkOf(e, "a@x.test")))
	must(t, p.Abort())
	done, err := o.Finished(t.Context(), e)
	must(t, err)
	if done || recipients(t, s) != "" {
		t.Fatal("an aborted post was made")
	}
	p, err = o.Prepare(t.Context(), e)
	must(t, err)
	must(t, p.AddChunk(t.Context(), chunkOf(e, "a@x.test")))
	if err := p.Commit(t.Context()); err == nil {
		t.Fatal("a post was committed whose content is missing")
	}
	if r := recipients(t, s); r != "" {
		t.Fatalf("outgoing has %s", r)
	}
	post(t, o, e, "b@x.test")
	if r := recipients(t, s); r != "b@x.test" {
		t.Fatalf("outgoing has %s", r)
	}
}

func testFinished(t *testing.T, st Storage) {
	s := st.Open(t)
	o, e := prepared(t, s)
	done, err := o.Finished(t.Context(), e)
	must(t, err)
	if done {
		t.Fatal("finished before it began")
	}
	post(t, o, e, "a@x.test")
	// The same id comes again, as after a power cut that lost its removal.
	put(t, s, spool.Incoming, e.ID, envelope("dev@l.test"), body)
	e = next(t, o)
	out := ownOutgoing(t, s, segment.All)
	must(t, out.Settle(t.Context(), nextChunk(t, out), spool.Settlement{}))
	done, err = o.Finished(t.Context(), e)
	must(t, err)
	if !done {
		t.Fatal("the post was forgotten while its entry was there")
	}
	must(t, o.Done(t.Context(), e))
	noChunk(t, out)
	wantEmpty(t, s)
}

func testNoRecipients(t *testing.T, st Storage) {
	s := st.Open(t)
	o, e := prepared(t, s)
	post(t, o, e)
	noEntry(t, o)
	wantEmpty(t, s)
}

func testNewEntries(t *testing.T, st Storage) {
	for _, chunks := range [][]string{{"a@x.test"}, nil} {
		s := st.Open(t)
		o, e := prepared(t, s)
		p, err := o.Prepare(t.Context(), e)
		must(t, err)
		if chunks != nil {
			w, err := p.Content("plain")
			must(t, err)
			must(t, w.Close())
			must(t, p.AddChunk(t.Context(), chunkOf(e, chunks...)))
		}
		env := envelope("dev@l.test")
		env.Sender, env.Flags = "", []string{"approved", "by=x"}
		var made []spool.ID
		for _, txt := range []string{"first", "second"} {
			id, err := p.AddEntry(t.Context(), env, []byte("Subject: "+txt+"\r\n"), []byte("\r\n"+txt))
			must(t, err)
			made = append(made, id)
		}
		if ids := list(t, s, spool.Incoming); len(ids) != 1 {
			t.Fatalf("visible before the commit: %v", ids)
		}
		must(t, p.Commit(t.Context()))
		// The same id comes again, as after a power cut that lost its removal.
		put(t, s, spool.Incoming, e.ID, envelope("dev@l.test"), body)
		must(t, o.Close())
		o = own(t, s, spool.Incoming, segment.All)
		if again := next(t, o); again.ID != e.ID {
			t.Fatalf("entry %s comes before the one that it was made of", again.ID)
		}
		done, err := o.Finished(t.Context(), e)
		must(t, err)
		if !done {
			t.Fatal("the commit was forgotten")
		}
		must(t, o.Done(t.Context(), e))
		for i, id := range made {
			n := next(t, o)
			if n.ID != id || n.List != env.List || n.Role != env.Role || n.Sender != "" || !slices.Equal(n.Flags, env.Flags) || !n.Received.Equal(env.Received) {
				t.Fatalf("got entry %+v", n)
			}
			m, err := o.Open(t.Context(), n)
			if txt, want := text(t, m, err), "Subject: first\r\n\r\nfirst"; i == 0 && txt != want {
				t.Fatalf("its message is %q, want %q", txt, want)
			}
			must(t, o.Done(t.Context(), n))
		}
		noEntry(t, o)
		out := ownOutgoing(t, s, segment.All)
		if chunks != nil {
			must(t, out.Settle(t.Context(), nextChunk(t, out), spool.Settlement{}))
		}
		noChunk(t, out)
		must(t, out.Close())
		must(t, o.Close())
		wantEmpty(t, s)
	}
}

func testNoNewEntries(t *testing.T, st Storage) {
	s := st.Open(t)
	o, e := prepared(t, s)
	p, err := o.Prepare(t.Context(), e)
	must(t, err)
	if _, err := p.AddEntry(t.Context(), envelope("ops@l.test"), []byte(body)); err == nil {
		t.Fatal("an entry for another list was added")
	}
	_, err = p.AddEntry(t.Context(), envelope("dev@l.test"), []byte(body))
	must(t, err)
	must(t, p.Abort())
	if ids := list(t, s, spool.Incoming); len(ids) != 1 {
		t.Fatalf("after the abortion: %v", ids)
	}
	post(t, o, e)
	wantEmpty(t, s)
}

func testSettle(t *testing.T, st Storage) {
	s := st.Open(t)
	publish(t, s, "a@x.test b@x.test c@x.test", "d@x.test")
	out := ownOutgoing(t, s, segment.All)
	for range 2 {
		c := nextChunk(t, out)
		r := spool.Settlement{}
		if len(c.Recipients) == 3 {
			r = spool.Settlement{Deferred: []string{"b@x.test"}, Due: time.Now().Add(200 * time.Millisecond), Reason: "450 later"}
		}
		must(t, out.Settle(t.Context(), c, r))
		wantErr(t, out.Settle(t.Context(), c, r), spool.ErrNotFound)
	}
	if r := recipients(t, s); r != "b@x.test" {
		t.Fatalf("left: %s", r)
	}
	must(t, out.Close())
	out = ownOutgoing(t, st.Open(t), segment.All)
	for try := 1; try <= 3; try++ {
		c := nextChunk(t, out)
		if c.Tries != try || c.Reason != "450 later" || !slices.Equal(c.Recipients, []string{"b@x.test"}) {
			t.Fatalf("got %+v", c)
		}
		if time.Now().Before(c.Due) {
			t.Fatal("it came before it was due")
		}
		m, err := out.Content(t.Context(), c)
		if txt := text(t, m, err); txt != body {
			t.Fatalf("content %q", txt)
		}
		r := spool.Settlement{}
		if try < 3 {
			r = spool.Settlement{Deferred: c.Recipients, Due: time.Now().Add(10 * time.Millisecond), Reason: "450 later"}
		}
		must(t, out.Settle(t.Context(), c, r))
	}
	noChunk(t, out)
	wantEmpty(t, s)
}

func testProgress(t *testing.T, st Storage) {
	s := st.Open(t)
	o, e := prepared(t, s)
	p, err := o.Prepare(t.Context(), e)
	must(t, err)
	w, err := p.Content("plain")
	must(t, err)
	must(t, w.Close())
	c := chunkOf(e, "a@x.test", "b@x.test", "c@x.test", "d@x.test")
	c.ReturnKey, c.Names = strings.Repeat("ab", 32), []string{"Ann", "", "Çem\n", "Don"}
	c.UnsubscribeKey = strings.Repeat("cd", 32)
	c.Slots = []spool.Slot{{Offset: 5, Length: 3, Field: "name", Encoding: "qp"}, {Offset: 8, Field: "address", Encoding: "plain"}}
	c.Sign = []spool.SignKey{{Domain: "l.test", Selector: "s1", File: "/etc/mlist/a key"}}
	bad := c
	bad.Names = bad.Names[1:]
	if p.AddChunk(t.Context(), bad) == nil {
		t.Fatal("a chunk with a name too few was taken")
	}
	must(t, p.AddChunk(t.Context(), c))
	must(t, p.Commit(t.Context()))

	out := ownOutgoing(t, s, segment.All)
	got := nextChunk(t, out)
	if got.ReturnKey != c.ReturnKey || got.UnsubscribeKey != c.UnsubscribeKey || !slices.Equal(got.Slots, c.Slots) || !slices.Equal(got.Sign, c.Sign) || !slices.Equal(got.Names, c.Names) {
		t.Fatalf("got %+v", got)
	}
	must(t, out.Progress(got, 1))
	if r := recipients(t, s); r != "a@x.test c@x.test d@x.test" {
		t.Fatalf("left: %s", r)
	}
	out.Release(got, time.Time{})
	wantErr(t, out.Progress(got, 0), spool.ErrNotFound)
	got = nextChunk(t, out)
	must(t, out.Progress(got, 1)) // c: a number counts within what was handed out
	must(t, out.Close())          // as a process that dies
	wantErr(t, out.Progress(got, 0), spool.ErrFenced)

	out = ownOutgoing(t, st.Open(t), segment.All)
	got = nextChunk(t, out)
	if !slices.Equal(got.Recipients, []string{"a@x.test", "d@x.test"}) || !slices.Equal(got.Names, []string{"Ann", "Don"}) {
		t.Fatalf("got %+v", got)
	}
	must(t, out.Progress(got, 0))
	must(t, out.Settle(t.Context(), got, spool.Settlement{Deferred: []string{"d@x.test"}, Due: time.Now(), Reason: "450 later"}))
	got = nextChunk(t, out)
	if !slices.Equal(got.Recipients, []string{"d@x.test"}) || !slices.Equal(got.Names, []string{"Don"}) || got.Tries != 1 {
		t.Fatalf("got %+v", got)
	}
	must(t, out.Progress(got, 0))
	must(t, s.RemovePost(t.Context(), e.ID))
	wantErr(t, out.Progress(got, 0), spool.ErrNotFound)
	must(t, out.Settle(t.Context(), got, spool.Settlement{}))
	wantEmpty(t, s)
}

func testTurns(t *testing.T, st Storage) {
	s := st.Open(t)
	var large []string
	for i := range 60 {
		large = append(large, fmt.Sprintf("r%d@x.test", i))
	}
	publish(t, s, large...)
	out := ownOutgoing(t, s, segment.All)
	first := nextChunk(t, out)
	small := publish(t, s, "a@x.test")
	waitForOthers(t, out, first)
	for i := range 61 {
		c := nextChunk(t, out)
		if c.Post == small {
			if i > 10 {
				t.Fatalf("the small post came after %d chunks of the large one", i)
			}
			return
		}
	}
	t.Fatal("the small post never came")
}

// waitForOthers waits until the owner of out knows that a post other than c's has something
// to do: what was just put is seen a little later.
func waitForOthers(t *testing.T, out spool.OutgoingOwner, c *spool.Chunk) {
	t.Helper()
	for end := time.Now().Add(patience); !out.Others(c); {
		if time.Now().After(end) {
			t.Fatal("another post is not seen to wait")
		}
		time.Sleep(time.Millisecond)
	}
}

func testOthers(t *testing.T, st Storage) {
	s := st.Open(t)
	publish(t, s, "a@x.test", "b@x.test", "c@x.test")
	out := ownOutgoing(t, s, segment.All)
	first := nextChunk(t, out)
	if out.Others(first) {
		t.Fatal("chunks of the same post are others")
	}
	small := publish(t, s, "d@x.test")
	for c := first; c.Post != small; c = nextChunk(t, out) {
		waitForOthers(t, out, first)
	}
	if out.Others(first) {
		t.Fatal("what is handed out does not wait")
	}
}

func testReleaseChunk(t *testing.T, st Storage) {
	s := st.Open(t)
	publish(t, s, "a@x.test")
	out := ownOutgoing(t, s, segment.All)
	c := nextChunk(t, out)
	due := time.Now().Add(200 * time.Millisecond)
	out.Release(c, due)
	c = nextChunk(t, out)
	if time.Now().Before(due) || c.Tries != 0 {
		t.Fatalf("got %+v", c)
	}
	out.Release(c, time.Now().Add(time.Hour))
	noChunk(t, out)
	must(t, out.Close())
	out = ownOutgoing(t, s, segment.All)
	out.Release(nextChunk(t, out), time.Time{})
	must(t, out.Settle(t.Context(), nextChunk(t, out), spool.Settlement{}))
	wantEmpty(t, s)
}

func testRetryChunks(t *testing.T, st Storage) {
	s := st.Open(t)
	id := publish(t, s, "a@x.test", "b@x.test")
	out := ownOutgoing(t, s, segment.All)
	for range 2 {
		c := nextChunk(t, out)
		must(t, out.Settle(t.Context(), c, spool.Settlement{Deferred: c.Recipients, Due: time.Now().Add(time.Hour), Reason: "busy"}))
	}
	noChunk(t, out)
	must(t, st.Open(t).RetryChunks(t.Context(), id))
	for range 2 {
		c := nextChunk(t, out)
		if c.Tries != 1 {
			t.Fatalf("got %+v", c)
		}
		must(t, out.Settle(t.Context(), c, spool.Settlement{}))
	}
	wantEmpty(t, s)
	wantErr(t, s.RetryChunks(t.Context(), "abcdefghijklmnop"), spool.ErrNotFound)
}

func testRemovePost(t *testing.T, st Storage) {
	s := st.Open(t)
	id := publish(t, s, "a@x.test", "b@x.test", "c@x.test")
	out := ownOutgoing(t, s, segment.All)
	a, b := nextChunk(t, out), nextChunk(t, out)
	must(t, st.Open(t).RemovePost(t.Context(), id))
	must(t, out.Settle(t.Context(), a, spool.Settlement{}))
	must(t, out.Settle(t.Context(), b, spool.Settlement{Deferred: b.Recipients, Due: time.Now()}))
	noChunk(t, out)
	wantEmpty(t, s)
}

func testPausePost(t *testing.T, st Storage) {
	s := st.Open(t)
	id := publish(t, s, "a@x.test", "b@x.test", "c@x.test")
	out := ownOutgoing(t, s, segment.All)
	a := nextChunk(t, out)
	must(t, st.Open(t).PausePost(t.Context(), id))
	must(t, s.PausePost(t.Context(), id)) // again changes nothing
	noChunk(t, out)
	must(t, out.Settle(t.Context(), a, spool.Settlement{Deferred: a.Recipients, Due: time.Now()}))
	other := publish(t, s, "d@x.test") // others go on
	d := nextChunk(t, out)
	if d.Post != other {
		t.Fatalf("chunk %s of a paused post was handed out", d.ID())
	}
	must(t, out.Settle(t.Context(), d, spool.Settlement{}))
	must(t, out.Close())
	out = ownOutgoing(t, st.Open(t), segment.All)
	noChunk(t, out)
	for c, err := range s.Chunks(t.Context(), false) {
		must(t, err)
		if !c.Paused {
			t.Fatalf("chunk %s is not shown as paused", c.ID())
		}
	}
	must(t, s.ResumePost(t.Context(), id))
	for range 3 {
		must(t, out.Settle(t.Context(), nextChunk(t, out), spool.Settlement{}))
	}
	noChunk(t, out)
	wantEmpty(t, s)
	wantErr(t, s.PausePost(t.Context(), spool.MakeID(1, 1)), spool.ErrNotFound)
	wantErr(t, s.ResumePost(t.Context(), spool.MakeID(1, 1)), spool.ErrNotFound)
}

func testOwners(t *testing.T, st Storage) {
	s := st.Open(t)
	low, high := segment.Set{{First: 0, Last: 0x7fff}}, segment.Set{{First: 0x8000, Last: 0xffff}}
	a := ownOutgoing(t, s, low)
	ownOutgoing(t, st.Open(t), high)
	names := func() (out []string) {
		all, err := st.Open(t).Owners(t.Context())
		must(t, err)
		for _, o := range all {
			if o.PID == 0 || o.Name == "" {
				t.Fatalf("owner %+v", o)
			}
			out = append(out, string(o.Queue)+" "+o.Segments.String())
		}
		slices.Sort(out)
		return out
	}
	if got := strings.Join(names(), ", "); got != "outgoing 0000-7fff, outgoing 8000-ffff" {
		t.Fatalf("owners %s", got)
	}
	must(t, a.Close())
	if got := strings.Join(names(), ", "); got != "outgoing 8000-ffff" {
		t.Fatalf("owners %s", got)
	}
}

func testSharedPost(t *testing.T, st Storage) {
	s := st.Open(t)
	low, high := segment.Set{{First: 0, Last: 0x7fff}}, segment.Set{{First: 0x8000, Last: 0xffff}}
	a, b := ownOutgoing(t, s, low), ownOutgoing(t, st.Open(t), high)
	var chunks []string
	for i := range 20 {
		chunks = append(chunks, fmt.Sprintf("r%d@x.test", i))
	}
	publish(t, s, chunks...)
	inLow := 0
	for c, err := range s.Chunks(t.Context(), false) {
		must(t, err)
		if len(c.Recipients) != 0 {
			t.Fatal("Chunks gave recipients that were not asked for")
		}
		if low.Contains(c.Key) {
			inLow++
		}
	}
	for i := range 20 {
		o, set := a, low
		if i >= inLow {
			o, set = b, high
		}
		c := nextChunk(t, o)
		if !set.Contains(c.Key) {
			t.Fatalf("the owner of %s got key %s", set, c.Key)
		}
		must(t, o.Settle(t.Context(), c, spool.Settlement{}))
	}
	noChunk(t, a)
	noChunk(t, b)
	wantEmpty(t, s)
}
