package dir

import (
	"testing"
	"time"

	"github.com/mlist/mlist/internal/spool"
)

// Waiting that is in memory alone ends when the clock is put back, and not hours later.
func TestAClockThatIsPutBackEndsHolds(t *testing.T) {
	for _, tt := range []struct {
		wall, real time.Duration
		back       bool
	}{
		{time.Second, time.Second, false},
		{30*time.Second - 10*time.Millisecond, 30 * time.Second, false}, // slewed
		{time.Hour, time.Second, false},
		{-time.Hour, time.Second, true},
		{0, 30 * time.Second, true},
	} {
		if got := steppedBack(tt.wall, tt.real); got != tt.back {
			t.Errorf("%v on the wall in %v: %v", tt.wall, tt.real, got)
		}
	}
	now := time.Now()
	hours := now.Add(2 * time.Hour) // what five seconds look like after it
	t.Run("of entries", func(t *testing.T) {
		tb := newTable(8)
		held, deferred := entryName{spool.MakeID(1, 1), 1}, entryName{spool.MakeID(2, 2), 2}
		tb.add(held, state{}, now)
		tb.give(tb.take(), state{}, hours.UnixMicro(), now)
		tb.add(deferred, stateAt(1, hours), now)
		tb.wake(now)
		if tb.take() != nil {
			t.Fatal("it did not wait")
		}
		tb.endHolds()
		tb.wake(now)
		if it := tb.take(); it == nil || it.name != held {
			t.Fatalf("got %+v", it)
		}
		if it := tb.take(); it != nil {
			t.Fatalf("%+v was not due", it)
		}
	})
	t.Run("of chunks", func(t *testing.T) {
		s := storage(t.TempDir()).Open(t).(*Spool)
		in, out := ownBoth(t, s)
		putFor(t, s, spool.Incoming, "", "a@l.test")
		commitOne(t, in, "r1", "r2")
		for range 2 {
			c, err := out.Next(soon(t))
			if err != nil {
				t.Fatal(err)
			}
			if c.Name == "000001" {
				out.Release(c, hours)
			}
		}
		o := out.(*outgoing)
		o.mu.Lock()
		o.turns.endHolds()
		o.cond.Broadcast()
		o.mu.Unlock()
		c, err := out.Next(soon(t))
		if err != nil || c.Name != "000001" {
			t.Fatalf("got %+v, %v", c, err)
		}
	})
}
