package spooltest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/transfer"
)

// MovableStorage makes spools that share one storage, as Storage does.
type MovableStorage interface {
	Storage
	// OpenMoving opens one whose mail is moved.
	OpenMoving(t *testing.T) spool.Movable
	// OpenError is why it cannot be opened as any other; nil if it can.
	OpenError(t *testing.T) error
}

// RunMove moves mail from one storage to another, and back, and once more to the first.
func RunMove(t *testing.T, from, to func(t *testing.T) MovableStorage) {
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, from, to MovableStorage)
	}{
		{"what went and came back is what there was", testThereAndBack},
		{"a move that is cut short is begun anew", testCutShort},
		{"mail that was moved goes on", testGoesOn},
		{"a move follows what changes", testFollows},
		{"only an empty spool is filled", testNotEmpty},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, from(t), to(t)) })
	}
}

// RunMoveOnce moves mail from one storage to another, where it goes on: what is left to be tried
// when RunMove has moved it the other way.
func RunMoveOnce(t *testing.T, from, to MovableStorage) { testGoesOn(t, from, to) }

// stock puts mail in every state into a spool.
func stock(t *testing.T, s spool.Spool) {
	t.Helper()
	o, b := own(t, s, spool.Incoming, segment.All), own(t, s, spool.Bounces, segment.All)
	due := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	odd := envelope("odd@l.test")
	odd.Notes, odd.Flags = map[string]string{"a.b": "x\ny\\", "c": ""}, []string{"by=x", spool.FlagSMTPUTF8}
	odd.Sender, odd.Detail, odd.Peer = "gr\xfc\xdfe@x.test", "a=b", "10.0.0.1"

	// Held by a stage, with notes; and failed, of bounces.
	put(t, s, spool.Incoming, "", odd, body+"held")
	must(t, o.Park(t.Context(), next(t, o), spool.Held, "too\nlarge", map[string]string{"held.rule": "size"}))
	put(t, s, spool.Bounces, "", envelope("dev@l.test"), body+"poison")
	for range 2 {
		e := next(t, b)
		must(t, b.Defer(t.Context(), e, time.Time{}, "crash"))
	}
	must(t, b.Park(t.Context(), next(t, b), spool.Failed, "three tries", nil))

	// A post with two contents, of which some are served, some are told to come later, and some
	// are under way; and one that is paused.
	post := func(list string, chunks ...spool.Chunk) spool.ID {
		put(t, s, spool.Incoming, "", envelope(list), body+list)
		e := next(t, o)
		p, err := o.Prepare(t.Context(), e)
		must(t, err)
		variants := []string{}
		for _, c := range chunks {
			if slices.Contains(variants, c.Variant) {
				continue
			}
			variants = append(variants, c.Variant)
			w, err := p.Content(c.Variant)
			must(t, err)
			_, err = fmt.Fprintf(w, "%s of %s: %s", c.Variant, list, strings.Repeat("z", 70_000))
			must(t, err)
			must(t, w.Close())
		}
		for _, c := range chunks {
			c.List, c.Sender, c.Created = list, "dev-bounces@l.test", e.Received
			must(t, p.AddChunk(t.Context(), c))
		}
		must(t, p.Commit(t.Context()))
		return e.ID
	}
	each := spool.Chunk{Variant: "munged", Recipients: []string{"d@x.test", "e@x.test", "f@x.test"}, Names: []string{"", "E. E\xfc", "F"},
		ReturnKey: "k", UnsubscribeKey: "u", Slots: []spool.Slot{{Offset: 3, Length: 5, Field: "name", Encoding: "plain"}},
		Sign: []spool.SignKey{{Domain: "l.test", Selector: "s", File: "/etc/a key"}}, Flags: []string{spool.FlagOwnPaths}}
	post("half@l.test", spool.Chunk{Variant: "plain", Recipients: []string{"a@x.test", "b@x.test", "c@x.test"}}, each, spool.Chunk{Variant: "plain", Recipients: []string{"g@x.test"}})
	out := ownOutgoing(t, s, segment.All)
	for range 3 {
		switch c := nextChunk(t, out); c.Recipients[0] {
		case "a@x.test":
			must(t, out.Settle(t.Context(), c, spool.Settlement{Deferred: []string{"b@x.test"}, Due: due, Reason: "451 4.7.1 later\r\n"}))
		case "d@x.test":
			must(t, out.Progress(c, 1)) // and then it is killed
		default:
			must(t, out.Settle(t.Context(), c, spool.Settlement{}))
		}
	}
	must(t, out.Close())
	must(t, s.PausePost(t.Context(), post("paused@l.test", chunkOf(spool.Entry{}, "p@x.test"))))
	put(t, s, spool.Incoming, "", envelope("small@l.test"), body)
	publishNext(t, o, "s@x.test")

	// A commit that was cut short: the entry is there beside its post.
	done := post("again@l.test", chunkOf(spool.Entry{}, "n@x.test"))
	put(t, s, spool.Incoming, done, envelope("again@l.test"), body+"again@l.test")

	// Waiting, tried, and large; one message for two lists.
	must(t, o.Close())
	o = own(t, s, spool.Incoming, segment.All)
	put(t, s, spool.Incoming, "", envelope("tried@l.test"), body)
	for {
		e := next(t, o)
		if e.List == "tried@l.test" {
			must(t, o.Defer(t.Context(), e, due, "the MTA\\ is away"))
			break
		}
		defer o.Release(e)
	}
	d, err := s.Create(t.Context())
	must(t, err)
	defer d.Close()
	for range 10 {
		_, err = d.Write([]byte(strings.Repeat("0123456789abcde\n", 5000)))
		must(t, err)
	}
	for _, list := range []string{"one@l.test", "two@l.test"} {
		_, err = d.Put(t.Context(), spool.Incoming, "", envelope(list))
		must(t, err)
	}
	put(t, s, spool.Bounces, "", envelope("dev@l.test"), "")
	must(t, o.Close())
	must(t, b.Close())
}

func publishNext(t *testing.T, o spool.Owner, to string) {
	t.Helper()
	post(t, o, next(t, o), to)
}

// image is all that is in a spool, as text.
func image(t *testing.T, s spool.Movable) string {
	t.Helper()
	var b strings.Builder
	for _, q := range []spool.Queue{spool.Incoming, spool.Bounces, spool.Held, spool.Failed} {
		for e, err := range s.StoredEntries(ctxOf(t), q) {
			must(t, err)
			m, err := s.Read(ctxOf(t), e.Entry)
			txt := text(t, m, err)
			if len(txt) > 100 {
				txt = fmt.Sprint(len(txt), txt[:50])
			}
			fmt.Fprintf(&b, "%s %s %q %q %q %s %s %v %v %d %v %q %q %v %q\n", q, e.ID, e.List+e.Role, e.Detail, e.Sender, e.Recipient, e.Peer, e.Flags, e.Notes, e.Tries, e.Due, e.Reason, e.Origin, e.Finished, txt)
		}
	}
	for p, err := range s.StoredPosts(ctxOf(t)) {
		must(t, err)
		fmt.Fprintf(&b, "post %s %v", p.ID, p.Paused)
		for _, v := range p.Variants {
			m, err := s.StoredContent(ctxOf(t), p, v)
			txt := text(t, m, err)
			fmt.Fprintf(&b, " %s: %d %.20q", v, len(txt), txt)
		}
		b.WriteString("\n")
		for c, err := range s.StoredChunks(ctxOf(t), p) {
			must(t, err)
			fmt.Fprintf(&b, "  %s %s %s %q %v %v %q %q %d %v %q %q %q %v %v\n", c.Name, c.Key, c.Variant, c.Sender, c.Flags, c.Created, c.Recipients, c.Names, c.Tries, c.Due, c.Reason, c.ReturnKey, c.UnsubscribeKey, c.Slots, c.Sign)
		}
	}
	return b.String()
}

// move moves all mail.
func move(t *testing.T, from, to spool.Movable, clear bool) transfer.Round {
	t.Helper()
	must(t, to.Fill(t.Context(), from.Name()))
	r, err := transfer.New(from, to, nil).Finish(t.Context())
	must(t, err)
	must(t, from.Leave(t.Context(), to.Name()))
	must(t, to.Filled(t.Context()))
	if clear {
		must(t, from.Clear(t.Context()))
	}
	return r
}

func testThereAndBack(t *testing.T, from, to MovableStorage) {
	stock(t, from.Open(t))
	a, b := from.OpenMoving(t), to.OpenMoving(t)
	before := image(t, a)
	if n := strings.Count(before, "\n"); n < 15 {
		t.Fatalf("only %d things are moved:\n%s", n, before)
	}
	for i, step := range []struct{ from, to spool.Movable }{{a, b}, {b, a}, {a, b}} {
		r := move(t, step.from, step.to, i > 0) // the first time it is killed before it clears
		if r.Entries != 7 || r.Posts != 4 || len(r.Damaged) > 0 || r.Octets < 5*70_000 {
			t.Errorf("moved %+v", r)
		}
		if after := image(t, step.to); after != before {
			t.Fatalf("%s has\n%s\nwant\n%s", step.to.Name(), after, before)
		}
		if left := image(t, step.from); i > 0 && left != "" {
			t.Fatalf("%s still has\n%s", step.from.Name(), left)
		}
	}
	wantErr(t, from.OpenError(t), spool.ErrMoved)
	must(t, to.OpenError(t))
}

func testCutShort(t *testing.T, from, to MovableStorage) {
	stock(t, from.Open(t))
	a := from.OpenMoving(t)
	before := image(t, a)
	b := to.OpenMoving(t)
	must(t, b.Fill(t.Context(), a.Name()))
	wantErr(t, to.OpenError(t), spool.ErrFilling)
	for cut := 1; ; cut += 4 {
		cutShort := &cutter{Movable: b, left: cut}
		_, err := transfer.New(a, cutShort, nil).Finish(t.Context())
		if err == nil {
			break
		}
		wantErr(t, err, errCut)
		if image(t, a) != before {
			t.Fatal("a move that was cut short has changed what was to be moved")
		}
	}
	if after := image(t, b); after != before {
		t.Fatalf("got\n%s\nwant\n%s", after, before)
	}
	must(t, a.Leave(t.Context(), b.Name()))
	// Killed between the two: nobody takes either, and it is begun anew.
	wantErr(t, from.OpenError(t), spool.ErrMoved)
	wantErr(t, to.OpenError(t), spool.ErrFilling)
	if m, err := a.Moves(t.Context()); err != nil || m.To != b.Name() || m.From != "" {
		t.Fatalf("moves of the first: %+v, %v", m, err)
	}
	if m, err := b.Moves(t.Context()); err != nil || m.From != a.Name() || m.To != "" {
		t.Fatalf("moves of the second: %+v, %v", m, err)
	}
	move(t, a, b, true)
	if image(t, b) != before {
		t.Fatal("the second time something else came")
	}
}

var errCut = errors.New("cut short")

// testGoesOn delivers what was moved: those who were served are not served again.
func testGoesOn(t *testing.T, from, to MovableStorage) {
	stock(t, from.Open(t))
	move(t, from.OpenMoving(t), to.OpenMoving(t), true)
	s := to.Open(t)
	for c, err := range s.Chunks(t.Context(), false) {
		must(t, err)
		if c.Paused {
			must(t, s.ResumePost(t.Context(), c.Post))
		}
		must(t, s.RetryChunks(t.Context(), c.Post))
	}
	o := own(t, s, spool.Incoming, segment.All)
	out := ownOutgoing(t, s, segment.All)
	var got []string
	for range 5 {
		c := nextChunk(t, out)
		m, err := out.Content(t.Context(), c)
		text(t, m, err)
		got = append(got, c.Recipients...)
		must(t, out.Settle(t.Context(), c, spool.Settlement{}))
	}
	slices.Sort(got)
	if g := strings.Join(got, " "); g != "b@x.test d@x.test f@x.test n@x.test p@x.test s@x.test" {
		t.Errorf("delivered to %s", g)
	}
	noChunk(t, out)
	for range 3 {
		e := next(t, o)
		done, err := o.Finished(t.Context(), e)
		must(t, err)
		if done != (e.List == "again@l.test") {
			t.Errorf("entry for %s: finished is %v", e.List, done)
		}
		must(t, o.Done(t.Context(), e))
	}
	noEntry(t, o)
	for _, q := range []spool.Queue{spool.Held, spool.Failed} {
		for e, err := range s.Entries(t.Context(), q) {
			must(t, err)
			must(t, s.Retry(t.Context(), e))
		}
	}
	if e := next(t, o); e.List != "odd@l.test" {
		t.Errorf("held came back for %s", e.List)
	}
	b := own(t, s, spool.Bounces, segment.All)
	e := next(t, b)
	if m, err := b.Open(t.Context(), e); text(t, m, err) != body+"poison" {
		t.Errorf("a bounce of %d octets came back first", e.Size)
	}
}

// testFollows has rounds while mail flows.
func testFollows(t *testing.T, from, to MovableStorage) {
	s := from.Open(t)
	stock(t, s)
	a, b := from.OpenMoving(t), to.OpenMoving(t)
	must(t, b.Fill(t.Context(), a.Name()))
	tr := transfer.New(a, b, nil)
	if r, err := tr.Round(t.Context()); err != nil || r.Changed != 11 {
		t.Fatalf("the first round: %+v, %v", r, err)
	}
	if r, err := tr.Round(t.Context()); err != nil || r.Changed != 0 {
		t.Fatalf("the second round: %+v, %v", r, err)
	}
	o, out := own(t, s, spool.Incoming, segment.All), ownOutgoing(t, s, segment.All)
	for range 2 { // of those that are due
		must(t, out.Settle(t.Context(), nextChunk(t, out), spool.Settlement{}))
	}
	e := next(t, o)
	must(t, o.Park(t.Context(), e, spool.Held, "wait", nil))
	put(t, s, spool.Incoming, "", envelope("new@l.test"), body)
	for e, err := range s.Entries(t.Context(), spool.Failed) {
		must(t, err)
		must(t, s.Retry(t.Context(), e, spool.FlagApproved))
	}
	must(t, o.Close())
	must(t, out.Close())
	if _, err := tr.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := image(t, b), image(t, a); got != want {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
}

func testNotEmpty(t *testing.T, from, to MovableStorage) {
	a, s := from.OpenMoving(t), to.Open(t)
	put(t, s, spool.Held, "", envelope("dev@l.test"), body)
	wantErr(t, to.OpenMoving(t).Fill(t.Context(), a.Name()), spool.ErrNotEmpty)
	must(t, to.OpenError(t))
	if err := a.Clear(t.Context()); err == nil {
		t.Error("a spool was cleared whose mail is nowhere else")
	}
}

// cutter is a spool that takes so many things, and then no more.
type cutter struct {
	spool.Movable
	mu   sync.Mutex
	left int
}

func (c *cutter) take() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left < 0 {
		return errCut
	}
	return nil
}

func (c *cutter) RestoreEntry(ctx context.Context, e spool.StoredEntry, message io.Reader) error {
	if err := c.take(); err != nil {
		return err
	}
	return c.Movable.RestoreEntry(ctx, e, message)
}

func (c *cutter) RestorePost(ctx context.Context, p spool.StoredPost, content func(string) (spool.Message, error), chunks iter.Seq2[spool.Chunk, error]) error {
	if err := c.take(); err != nil {
		// In the middle of it.
		return errors.Join(err, c.Movable.RestorePost(ctx, p, content, func(yield func(spool.Chunk, error) bool) {
			for chunk, err := range chunks {
				if !yield(chunk, err) {
					return
				}
				break
			}
			yield(spool.Chunk{}, errCut)
		}))
	}
	return c.Movable.RestorePost(ctx, p, content, chunks)
}
