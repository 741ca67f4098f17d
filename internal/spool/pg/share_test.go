package pg

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/balance"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// within is how long anything here may take: a bound, not a measure.
const within = 40 * time.Second

// eventually looks again and again until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, within)
		}
	}
}

// swift is as Default, but moves as much as there is to move at once.
func swift() balance.Policy {
	p := balance.Default
	p.Every, p.Most, p.Urgent = 200*time.Millisecond, 1, 1
	return p
}

func shareOn(t *testing.T, url, host string, lease time.Duration) (*Spool, *outgoing) {
	t.Helper()
	s := open(t, url, Options{Host: host, Lease: lease, Rescan: 200 * time.Millisecond, policy: swift()})
	o, err := s.ShareOutgoing(t.Context(), spool.Partner{Name: "outbound on " + host})
	if err != nil {
		t.Fatal(err)
	}
	return s, o.(*outgoing)
}

// part is how much of the space an owner serves, in percent.
func part(o *outgoing) int { return o.segments().Size() * 100 / 65536 }

// fill makes posts with n chunks, and returns the recipients.
func fill(t *testing.T, s *Spool, n int) map[string]bool {
	t.Helper()
	in, err := s.Own(t.Context(), spool.Incoming, segment.All, "pipeline")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	write(t, s, "dev@l.test", "hello")
	var all []string
	want := map[string]bool{}
	for i := range n {
		all = append(all, fmt.Sprint(i, "@x.test"))
		want[all[i]] = true
	}
	commit(t, in, all...)
	return want
}

func TestDaemonsShareSegments(t *testing.T) {
	server := startServer(t)
	const lease = 2 * time.Second

	t.Run("they come, go and die", func(t *testing.T) {
		t.Parallel()
		url := freshSchema(t, server)
		_, a := shareOn(t, url, "a", lease)
		eventually(t, "the first has all", func() bool { return part(a) == 100 })
		_, b := shareOn(t, url, "b", lease)
		eventually(t, "two have a half each", func() bool { return part(a) < 55 && part(b) > 45 })
		_, c := shareOn(t, url, "c", lease)
		eventually(t, "three have a third each", func() bool { return part(a) < 37 && part(b) < 37 && part(c) > 30 })
		if r, overlap := a.segments().Overlap(b.segments()); overlap {
			t.Errorf("two serve %s", r)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		whole := func(owners ...*outgoing) bool {
			var all segment.Set
			for _, o := range owners {
				all = all.Union(o.segments())
			}
			return all.Size() == 65536
		}
		eventually(t, "the others take over from one that ends", func() bool { return whole(a, b) })
		b.stop() // it hangs: nothing is renewed
		<-b.gone
		eventually(t, "the last one has all", func() bool { return part(a) == 100 })
		if err := b.Holds(); !errors.Is(err, spool.ErrFenced) {
			t.Errorf("one whose lease is out may send: %v", err)
		}
	})

	t.Run("what is in flight is finished first", func(t *testing.T) {
		t.Parallel()
		url := freshSchema(t, server)
		s, a := shareOn(t, url, "a", lease)
		eventually(t, "the first has all", func() bool { return part(a) == 100 })
		want := fill(t, s, 40)
		var flying []*spool.Chunk
		for range 20 {
			c, err := a.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			flying = append(flying, c)
		}
		_, b := shareOn(t, url, "b", lease)
		eventually(t, "the second has a half", func() bool { return part(b) >= 45 })
		var moved *spool.Chunk
		for _, c := range flying {
			if b.segments().Contains(c.Key) {
				t.Fatalf("chunk %s is in flight, and its key another's", c.ID())
			}
			if !a.segments().Contains(c.Key) {
				moved = c
			}
		}
		if moved == nil {
			t.Fatal("of 20 chunks in flight none is in the half that moves")
		}
		for _, c := range flying {
			for _, r := range c.Recipients {
				delete(want, r)
			}
			if err := a.Settle(t.Context(), c, spool.Settlement{}); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "the key follows", func() bool { return b.segments().Contains(moved.Key) })
		both := make(chan *spool.Chunk)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		for _, o := range []*outgoing{a, b} {
			go func() {
				for {
					c, err := o.Next(ctx)
					if err != nil {
						return
					}
					if err := o.Settle(ctx, c, spool.Settlement{}); err != nil {
						t.Error(err)
					}
					select {
					case both <- c:
					case <-ctx.Done():
						return
					}
				}
			}()
		}
		for len(want) > 0 {
			select {
			case c := <-both:
				if !want[c.Recipients[0]] {
					t.Errorf("%s got it twice", c.Recipients[0])
				}
				delete(want, c.Recipients[0])
			case <-time.After(within):
				t.Fatalf("%d recipients are left", len(want))
			}
		}
	})

	t.Run("ranges of one's own come before shares", func(t *testing.T) {
		t.Parallel()
		url := freshSchema(t, server)
		s, a := shareOn(t, url, "a", lease)
		eventually(t, "the first has all", func() bool { return part(a) == 100 })
		low := segment.Set{{First: 0, Last: 0x7fff}}
		o, err := s.OwnOutgoing(t.Context(), low, "static")
		if err != nil {
			t.Fatal(err)
		}
		if !o.(*outgoing).serves(low) {
			t.Error("it was returned before it had its segments")
		}
		if r, overlap := a.segments().Overlap(low); overlap {
			t.Errorf("%s is served by two", r)
		}
		if _, err := s.OwnOutgoing(t.Context(), low, "another"); !errors.Is(err, spool.ErrOwned) {
			t.Errorf("ranges that are somebody's were taken: %v", err)
		}
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it comes back", func() bool { return part(a) == 100 })
	})

	t.Run("one that hangs in a change keeps nobody", func(t *testing.T) {
		t.Parallel()
		url := freshSchema(t, server)
		hung, a := shareOn(t, url, "a", lease)
		eventually(t, "the first has all", func() bool { return part(a) == 100 })
		tx, err := hung.pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // the server has ended it
		if _, err := tx.Exec(t.Context(), `SELECT 1 FROM spool_owners WHERE epoch = $1 FOR KEY SHARE`, a.epoch); err != nil {
			t.Fatal(err)
		}
		a.stop()
		<-a.gone
		_, b := shareOn(t, url, "b", lease)
		eventually(t, "another has all", func() bool { return part(b) == 100 })
	})

	t.Run("lists are shared as well", func(t *testing.T) {
		t.Parallel()
		url := freshSchema(t, server)
		sa, sb := open(t, url, Options{Host: "a", Lease: lease, Rescan: 200 * time.Millisecond, policy: swift()}), open(t, url, Options{Host: "b", Lease: lease, Rescan: 200 * time.Millisecond, policy: swift()})
		got := make(chan string)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		served := func(o spool.Owner) int { return o.Segments().Size() * 100 / 65536 }
		var owners []spool.Owner
		for _, s := range []*Spool{sa, sb} {
			o, err := s.Share(t.Context(), spool.Incoming, spool.Partner{Name: "pipeline on " + s.opts.Host})
			if err != nil {
				t.Fatal(err)
			}
			owners = append(owners, o)
			go func() {
				for {
					e, err := o.Next(ctx)
					if err == nil {
						err = o.Done(ctx, e)
					}
					if err != nil {
						return
					}
					select {
					case got <- s.opts.Host + " " + e.List:
					case <-ctx.Done():
						return
					}
				}
			}()
		}
		eventually(t, "both have a half", func() bool { return served(owners[0]) >= 45 && served(owners[1]) >= 45 })
		hosts := map[string]bool{}
		for i := range 30 {
			write(t, sa, fmt.Sprint("list", i, "@l.test"), "hello")
		}
		for range 30 {
			select {
			case who := <-got:
				hosts[who[:1]] = true
			case <-time.After(within):
				t.Fatal("posts wait that nobody takes")
			}
		}
		if len(hosts) != 2 {
			t.Errorf("only %v worked", hosts)
		}
	})
	t.Run("what operators want", func(t *testing.T) {
		t.Parallel()
		url := freshSchema(t, server)
		s, a := shareOn(t, url, "a", lease)
		_, b := shareOn(t, url, "b", lease)
		pinned := segment.Range{First: 0x1000, Last: 0x1fff}
		if err := s.Pin(t.Context(), spool.Pin{Range: pinned, Host: "a"}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the pin is followed", func() bool { return a.serves(segment.Set{pinned}) })
		if err := s.Pin(t.Context(), spool.Pin{Range: pinned, Host: "b"}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the pin goes to another host", func() bool { return b.serves(segment.Set{pinned}) })
		if err := s.Pin(t.Context(), spool.Pin{Range: segment.Range{First: 0x1f00, Last: 0x2fff}, Host: "a"}); !errors.Is(err, spool.ErrPinned) {
			t.Errorf("a pin over another: %v", err)
		}
		for _, want := range []bool{true, false} { // the second time nothing changes
			if changed, err := s.Drain(t.Context(), "b", true); err != nil || changed != want {
				t.Errorf("drain: %v, %v", changed, err)
			}
		}
		eventually(t, "a drained host has nothing", func() bool { return part(a) == 100 && b.segments().Size() == 0 })
		pins, drained, err := s.Wants(t.Context())
		if err != nil || len(pins) != 1 || pins[0].Host != "b" || pins[0].Range != pinned || len(drained) != 1 || drained[0] != "b" {
			t.Errorf("wants %v, %v, %v", pins, drained, err)
		}
		if changed, err := s.Drain(t.Context(), "b", false); err != nil || !changed {
			t.Errorf("undrain: %v, %v", changed, err)
		}
		eventually(t, "what is pinned comes back", func() bool { return b.serves(segment.Set{pinned}) })
		if gone, err := s.Unpin(t.Context(), segment.All[0]); err != nil || len(gone) != 1 {
			t.Errorf("unpin: %v, %v", gone, err)
		}
		owners, err := s.Owners(t.Context())
		if err != nil || len(owners) != 2 || owners[0].Host != "a" || !owners[0].Auto || owners[0].Since.IsZero() {
			t.Errorf("owners %+v, %v", owners, err)
		}
		fill(t, s, 7)
		chunks := 0
		waiting, err := s.Waiting(t.Context())
		for _, w := range waiting {
			if chunks += w.Chunks; w.Since.IsZero() || w.Deferred != 0 {
				t.Errorf("waiting %+v", w)
			}
		}
		if err != nil || chunks != 7 {
			t.Errorf("%d chunks wait, %v", chunks, err)
		}
	})
}
