package spooltest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

func testRoundTrip(t *testing.T, st Storage) {
	s := st.Open(t)
	env := envelope("dev@l.test")
	env.Role, env.Detail, env.Sender = "bounces", "ann=net.test", ""
	env.Flags = []string{spool.FlagMalformed, spool.FlagSMTPUTF8}
	env.Notes = map[string]string{"spam": "0.3", "a b": " x: y "}
	id := put(t, s, spool.Incoming, "", env, body)
	if _, err := spool.CheckID(string(id)); err != nil {
		t.Fatal(err)
	}
	o := own(t, s, spool.Incoming, segment.All)
	e := next(t, o)
	want := spool.Entry{ID: id, Queue: spool.Incoming, Envelope: env, Size: int64(len(body))}
	if !reflect.DeepEqual(e, want) {
		t.Fatalf("got  %+v\nwant %+v", e, want)
	}
	m, err := o.Open(t.Context(), e)
	if got := text(t, m, err); got != body {
		t.Fatalf("message %q, want %q", got, body)
	}
	found, err := s.Find(t.Context(), id)
	must(t, err)
	if !reflect.DeepEqual(found, want) {
		t.Fatalf("Find gives %+v, want %+v", found, want)
	}
	m, err = s.Read(t.Context(), found)
	if got := text(t, m, err); got != body {
		t.Fatalf("message %q, want %q", got, body)
	}
	must(t, o.Done(t.Context(), e))
	wantEmpty(t, s)
	_, err = s.Find(t.Context(), id)
	wantErr(t, err, spool.ErrNotFound)
	_, err = s.Read(t.Context(), e)
	wantErr(t, err, spool.ErrNotFound)
	wantErr(t, s.Remove(t.Context(), e), spool.ErrNotFound)
}

func testLarge(t *testing.T, st Storage) {
	s := st.Open(t)
	d, err := s.Create(t.Context())
	must(t, err)
	defer d.Close()
	line := bytes.Repeat([]byte("0123456789abcdef"), 64)
	var all []byte
	for range 700 {
		_, err := d.Write(line)
		must(t, err)
		all = append(all, line...)
	}
	var ids []spool.ID
	for i := range 3 {
		id, err := d.Put(t.Context(), spool.Incoming, "", envelope(fmt.Sprintf("l%d@l.test", i)))
		must(t, err)
		ids = append(ids, id)
	}
	if _, err := d.Write(line); err == nil {
		t.Error("a write after the first Put was taken")
	}
	must(t, d.Close())
	for _, id := range ids {
		e, err := s.Find(t.Context(), id)
		must(t, err)
		m, err := s.Read(t.Context(), e)
		if got := text(t, m, err); got != string(all) {
			t.Fatalf("message of %d bytes differs from the %d written", len(got), len(all))
		}
	}
}

func testDraftClosed(t *testing.T, st Storage) {
	s := st.Open(t)
	for _, size := range []int{10, 1 << 20} {
		d, err := s.Create(t.Context())
		must(t, err)
		_, err = d.Write(make([]byte, size))
		must(t, err)
		must(t, d.Close())
		if _, err := d.Put(t.Context(), spool.Incoming, "", envelope("dev@l.test")); err == nil {
			t.Error("a closed draft was put")
		}
	}
	wantEmpty(t, s)
}

func testPutTwice(t *testing.T, st Storage) {
	s := st.Open(t)
	id := put(t, s, spool.Incoming, "", envelope("dev@l.test"), "first")
	if got := put(t, st.Open(t), spool.Incoming, id, envelope("dev@l.test"), "second"); got != id {
		t.Fatalf("id %s, want %s", got, id)
	}
	if ids := list(t, s, spool.Incoming); len(ids) != 1 {
		t.Fatalf("incoming has %v, want one entry", ids)
	}
	e, err := s.Find(t.Context(), id)
	must(t, err)
	m, err := s.Read(t.Context(), e)
	if got := text(t, m, err); got != "first" {
		t.Fatalf("the entry is now %q", got)
	}
	o := own(t, s, spool.Incoming, segment.All)
	must(t, o.Defer(t.Context(), next(t, o), time.Now().Add(time.Hour), "later"))
	put(t, s, spool.Incoming, id, envelope("dev@l.test"), "third")
	noEntry(t, o)
	for _, bad := range []spool.ID{"../../etc/passwd", "short", "ABCDEFGHIJKLMNOP"} {
		d, err := s.Create(t.Context())
		must(t, err)
		if _, err := d.Put(t.Context(), spool.Incoming, bad, envelope("dev@l.test")); err == nil {
			t.Errorf("id %q was taken", bad)
		}
		must(t, d.Close())
	}
}

func testSerial(t *testing.T, st Storage) {
	s := st.Open(t)
	var ids []spool.ID
	for i := range 5 {
		ids = append(ids, put(t, s, spool.Incoming, "", envelope("dev@l.test"), fmt.Sprint(i)))
	}
	if got := list(t, s, spool.Incoming); !slices.Equal(got, ids) {
		t.Fatalf("Entries gives %v, want %v", got, ids)
	}
	o := own(t, s, spool.Incoming, segment.All)
	for _, id := range ids {
		e := next(t, o)
		if e.ID != id {
			t.Fatalf("got %s, want %s", e.ID, id)
		}
		noEntry(t, o)
		must(t, o.Done(t.Context(), e))
	}
	wantEmpty(t, s)
}

func testParallel(t *testing.T, st Storage) {
	s := st.Open(t)
	o := own(t, s, spool.Bounces, segment.All)
	for i := range 8 {
		put(t, s, spool.Bounces, "", envelope(fmt.Sprintf("list%d@l.test", i)), body)
	}
	var out []spool.Entry
	for range 8 {
		out = append(out, next(t, o))
	}
	for _, e := range out {
		must(t, o.Done(t.Context(), e))
	}
	wantEmpty(t, s)
}

func testNextCancelled(t *testing.T, st Storage) {
	o := own(t, st.Open(t), spool.Incoming, segment.All)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error)
	go func() { _, err := o.Next(ctx); got <- err }()
	cancel()
	wantErr(t, wait(t, got), context.Canceled)
}

func wait(t *testing.T, got <-chan error) error {
	t.Helper()
	select {
	case err := <-got:
		return err
	case <-time.After(patience):
		t.Fatal("it hangs")
		return nil
	}
}

func testNextWakes(t *testing.T, st Storage) {
	o := own(t, st.Open(t), spool.Incoming, segment.All)
	noEntry(t, o)
	got := make(chan error)
	var e spool.Entry
	go func() {
		var err error
		e, err = o.Next(t.Context())
		got <- err
	}()
	id := put(t, st.Open(t), spool.Incoming, "", envelope("dev@l.test"), body)
	must(t, wait(t, got))
	if e.ID != id {
		t.Fatalf("got %s, want %s", e.ID, id)
	}
}

func testDefer(t *testing.T, st Storage) {
	s := st.Open(t)
	first := put(t, s, spool.Incoming, "", envelope("dev@l.test"), body)
	second := put(t, s, spool.Incoming, "", envelope("dev@l.test"), body)
	o := own(t, s, spool.Incoming, segment.All)
	must(t, o.Defer(t.Context(), next(t, o), time.Now().Add(time.Hour), "plugin\ncrashed"))
	if e := next(t, o); e.ID != second {
		t.Fatalf("got %s, want %s", e.ID, second)
	} else {
		must(t, o.Done(t.Context(), e))
	}
	must(t, o.Close())
	o = own(t, st.Open(t), spool.Incoming, segment.All)
	noEntry(t, o)
	e, err := s.Find(t.Context(), first)
	must(t, err)
	must(t, s.Retry(t.Context(), e))
	due := time.Now()
	for try := 1; try <= 3; try++ {
		e := next(t, o)
		if e.ID != first || e.Tries != try || e.Reason != "plugin\ncrashed" {
			t.Fatalf("got %+v, want %s with %d tries", e, first, try)
		}
		if time.Now().Before(due.Truncate(time.Microsecond)) {
			t.Fatal("it came before it was due")
		}
		due = time.Now().Add(30 * time.Millisecond)
		must(t, o.Defer(t.Context(), e, due, "plugin\ncrashed"))
		must(t, o.Close())
		o = own(t, st.Open(t), spool.Incoming, segment.All)
	}
}

func testRetryDeferred(t *testing.T, st Storage) {
	s := st.Open(t)
	id := put(t, s, spool.Incoming, "", envelope("dev@l.test"), body)
	o := own(t, s, spool.Incoming, segment.All)
	must(t, o.Defer(t.Context(), next(t, o), time.Now().Add(time.Hour), "busy"))
	noEntry(t, o)
	admin := st.Open(t)
	e, err := admin.Find(t.Context(), id)
	must(t, err)
	if e.Tries != 1 || e.Due.IsZero() || e.Reason != "busy" {
		t.Fatalf("Find gives %+v", e)
	}
	must(t, admin.Retry(t.Context(), e))
	e = next(t, o)
	if e.ID != id || e.Tries != 1 || !e.Due.IsZero() {
		t.Fatalf("got %+v", e)
	}
	must(t, o.Done(t.Context(), e))
	wantErr(t, admin.Retry(t.Context(), e), spool.ErrNotFound)
	wantEmpty(t, s)
}

func testPark(t *testing.T, st Storage) {
	s, admin := st.Open(t), st.Open(t)
	for _, from := range []spool.Queue{spool.Incoming, spool.Bounces} {
		for _, to := range []spool.Queue{spool.Held, spool.Failed} {
			id := put(t, s, from, "", envelope("dev@l.test"), body)
			o := own(t, s, from, segment.All)
			must(t, o.Defer(t.Context(), next(t, o), time.Now(), "once"))
			must(t, o.Park(t.Context(), next(t, o), to, "nonmember", map[string]string{"k": "v"}))
			noEntry(t, o)
			e, err := admin.Find(t.Context(), id)
			must(t, err)
			if e.Queue != to || e.Reason != "nonmember" || e.Notes["k"] != "v" || e.Tries != 1 || !e.Due.IsZero() {
				t.Fatalf("parked: %+v", e)
			}
			must(t, admin.Retry(t.Context(), e, spool.FlagApproved))
			e = next(t, o)
			if e.ID != id || e.Queue != from || e.Tries != 0 || !slices.Contains(e.Flags, spool.FlagApproved) || e.Notes["k"] != "v" {
				t.Fatalf("it came back as %+v", e)
			}
			// The flag outlives another deferral and another owner.
			must(t, o.Defer(t.Context(), e, time.Now(), "twice"))
			must(t, o.Close())
			o = own(t, s, from, segment.All)
			e = next(t, o)
			if e.Tries != 1 || !slices.Contains(e.Flags, spool.FlagApproved) {
				t.Fatalf("after a deferral: %+v", e)
			}
			must(t, o.Park(t.Context(), e, to, "again", nil))
			e, err = admin.Find(t.Context(), id)
			must(t, err)
			must(t, admin.Remove(t.Context(), e))
			must(t, o.Close())
			wantEmpty(t, s)
		}
	}
}

func testRelease(t *testing.T, st Storage) {
	s := st.Open(t)
	id := put(t, s, spool.Incoming, "", envelope("dev@l.test"), body)
	o := own(t, s, spool.Incoming, segment.All)
	o.Release(next(t, o))
	if e := next(t, o); e.ID != id || e.Tries != 0 {
		t.Fatalf("got %+v", e)
	}
}

func testSegments(t *testing.T, st Storage) {
	s := st.Open(t)
	low, high := segment.Set{{First: 0, Last: 0x7fff}}, segment.Set{{First: 0x8000, Last: 0xffff}}
	a, b := own(t, s, spool.Incoming, low), own(t, st.Open(t), spool.Incoming, high)
	for i := range 16 {
		put(t, s, spool.Incoming, "", envelope(fmt.Sprintf("list%d@l.test", i)), body)
	}
	for i := range 16 {
		o, set := a, low
		if !low.Contains(segment.KeyOf(fmt.Sprintf("list%d@l.test", i))) {
			o, set = b, high
		}
		e := next(t, o)
		if !set.Contains(e.Key) {
			t.Fatalf("the owner of %s got key %s", set, e.Key)
		}
		must(t, o.Done(t.Context(), e))
	}
	wantEmpty(t, s)
}

func testOwned(t *testing.T, st Storage) {
	s, other := st.Open(t), st.Open(t)
	o := own(t, s, spool.Incoming, segment.Set{{First: 0, Last: 0x7fff}})
	for _, sp := range []spool.Spool{s, other} {
		_, err := sp.Own(ctxOf(t), spool.Incoming, segment.Set{{First: 0x7fff, Last: 0x8000}}, "second")
		wantErr(t, err, spool.ErrOwned)
		if !bytes.Contains([]byte(err.Error()), []byte("spooltest")) {
			t.Errorf("error %q does not name the owner", err)
		}
	}
	own(t, other, spool.Bounces, segment.All)
	own(t, other, spool.Incoming, segment.Set{{First: 0x8000, Last: 0xffff}})
	ownOutgoing(t, s, segment.All)
	_, err := other.OwnOutgoing(ctxOf(t), segment.All, "second")
	wantErr(t, err, spool.ErrOwned)
	must(t, o.Close())
	own(t, other, spool.Incoming, segment.Set{{First: 0, Last: 0x7fff}})
}

func testFenced(t *testing.T, st Storage) {
	s := st.Open(t)
	id := put(t, s, spool.Incoming, "", envelope("dev@l.test"), body)
	o := own(t, s, spool.Incoming, segment.All)
	e := next(t, o)
	p, err := o.Prepare(t.Context(), e)
	must(t, err)
	w, err := p.Content("plain")
	must(t, err)
	must(t, w.Close())
	must(t, p.AddChunk(t.Context(), chunkOf(e, "a@x.test")))
	waiting := make(chan error)
	go func() { _, err := o.Next(t.Context()); waiting <- err }()
	must(t, o.Close())
	wantErr(t, wait(t, waiting), spool.ErrFenced)
	wantErr(t, p.Commit(t.Context()), spool.ErrFenced)
	wantErr(t, o.Done(t.Context(), e), spool.ErrFenced)
	wantErr(t, o.Defer(t.Context(), e, time.Now(), "x"), spool.ErrFenced)
	wantErr(t, o.Park(t.Context(), e, spool.Held, "x", nil), spool.ErrFenced)
	_, err = o.Prepare(t.Context(), e)
	wantErr(t, err, spool.ErrFenced)
	o.Release(e)
	if r := recipients(t, s); r != "" {
		t.Fatalf("outgoing has %s", r)
	}
	o = own(t, s, spool.Incoming, segment.All)
	if e = next(t, o); e.ID != id || e.Tries != 0 {
		t.Fatalf("the next owner got %+v", e)
	}
	post(t, o, e, "a@x.test")
	out := ownOutgoing(t, s, segment.All)
	c := nextChunk(t, out)
	must(t, out.Close())
	wantErr(t, out.Settle(t.Context(), c, spool.Settlement{}), spool.ErrFenced)
	_, err = out.Next(t.Context())
	wantErr(t, err, spool.ErrFenced)
	if r := recipients(t, s); r != "a@x.test" {
		t.Fatalf("outgoing has %q", r)
	}
}

func testOddText(t *testing.T, st Storage) {
	s := st.Open(t)
	env := envelope("dev@l.test")
	env.Sender, env.Recipient, env.Peer = `"a\\ b"@x.test`, "用户@例え.jp", "a: b\\n"
	env.Notes = map[string]string{`k\s`: "line\nbreak\r", "": "no key"}
	id := put(t, s, spool.Incoming, "", env, "\n\n")
	o := own(t, s, spool.Incoming, segment.All)
	e := next(t, o)
	if e.ID != id || !reflect.DeepEqual(e.Envelope, env) {
		t.Fatalf("got  %+v\nwant %+v", e.Envelope, env)
	}
	m, err := o.Open(t.Context(), e)
	if got := text(t, m, err); got != "\n\n" {
		t.Fatalf("message %q", got)
	}
	put(t, s, spool.Bounces, "", env, "")
	b := own(t, s, spool.Bounces, segment.All)
	m, err = b.Open(t.Context(), next(t, b))
	if got := text(t, m, err); got != "" {
		t.Fatalf("an empty message came back as %q", got)
	}
	var _ io.ReaderAt = m
}
