package outbound

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/outbound/internal/fakemta"
)

// shared is a spool whose segments are shared: each ownership is lost after a while.
type shared struct {
	*memory
	times atomic.Int32
	told  chan spool.Load
}

func (s *shared) Share(context.Context, spool.Queue, spool.Partner) (spool.Owner, error) {
	return nil, errors.New("no entries here")
}

func (s *shared) ShareOutgoing(_ context.Context, who spool.Partner) (spool.OutgoingOwner, error) {
	s.times.Add(1)
	select {
	case s.told <- who.Load():
	default:
	}
	return s.memory, nil
}

// A message whose end was not sent is not taken, is charged to nobody, and goes out when the
// lease lasts again.
func TestNothingIsEndedWithoutALease(t *testing.T) {
	for name, personal := range map[string]bool{"one copy for all": false, "a copy for each": true} {
		t.Run(name, func(t *testing.T) {
			mta := fakemta.Start(t, "", fakemta.Script{})
			c := chunk(1, "ann@net.test", "bob@net.test")
			if personal {
				c.Slots = []spool.Slot{{Offset: 9, Length: 5, Field: "address", Encoding: "ascii"}}
			}
			m := newMemory(c)
			m.lost = spool.ErrFenced
			r := run(t, testConfig(mta.Addr), m)
			m.wait(t, "the chunk is given back", func() bool { return len(m.events) > 3 })
			if got := deliveries(mta); len(got) > 0 {
				t.Errorf("without a lease %v was delivered", got)
			}
			m.lock(func() { m.lost = nil })
			m.wait(t, "all is delivered", m.idle)
			if err := r.stop(t); err != nil {
				t.Error(err)
			}
			if got := deliveries(mta); got["ann@net.test"] != 1 || got["bob@net.test"] != 1 {
				t.Errorf("delivered %v", got)
			}
			for _, s := range m.settled {
				if len(s.Deferred) > 0 {
					t.Errorf("a try was charged: %+v", s)
				}
			}
		})
	}
}

// A daemon that shares segments takes part anew when its lease is lost; one with segments of its
// own ends.
func TestALostLeaseIsTakenAnew(t *testing.T) {
	mta := fakemta.Start(t, "", fakemta.Script{})
	var losses atomic.Int32
	losing := func() *memory {
		m := newMemory()
		m.next = func() error {
			if losses.Add(1) <= 2 {
				return spool.ErrFenced
			}
			m.lock(func() { m.next = nil })
			return nil
		}
		return m
	}
	s := &shared{memory: losing(), told: make(chan spool.Load, 1)}
	cfg := testConfig(mta.Addr)
	cfg.Auto = true
	r := run(t, cfg, s)
	s.lock(func() { s.waiting = append(s.waiting, chunk(1, "ann@net.test")) })
	s.wait(t, "it is delivered after two losses", func() bool { return len(s.settled) == 1 })
	if n := s.times.Load(); n != 3 {
		t.Errorf("took part %d times", n)
	}
	if load := r.load(); load.Done != 1 || load.Busy <= 0 || load.Failing {
		t.Errorf("load %+v", load)
	}
	if err := r.stop(t); err != nil {
		t.Error(err)
	}

	losses.Store(0)
	own := run(t, testConfig(mta.Addr), losing())
	select {
	case err := <-own.done:
		if !errors.Is(err, spool.ErrFenced) {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("one whose segments are another's goes on")
	}
}

// An MTA that defers whatever it gets takes nothing; one that takes some, or that was asked
// long ago, may take more.
func TestWhatAnMTATakes(t *testing.T) {
	var l loads
	for _, step := range []struct {
		done, deferred int
		fails          bool
	}{
		{0, manyDeferred - 1, false}, {0, 0, false}, {0, 1, true}, {0, 5, true}, {1, 50, false}, {0, 1, false}, {0, manyDeferred, true},
	} {
		l.end(l.begin(), step.done, step.deferred, 1)
		if got := l.nothingTaken(); got != step.fails {
			t.Errorf("after %+v: %v", step, got)
		}
	}
	l.last = l.last.Add(-deferredLately)
	if l.nothingTaken() {
		t.Error("what was long ago still counts")
	}
}

// What is remembered of a chunk between two transactions holds no longer when another daemon has
// had it.
func TestAChunkThatComesBackIsTriedWhole(t *testing.T) {
	d := New(testConfig("127.0.0.1:1"), newMemory(), slog.New(slog.DiscardHandler))
	c := chunk(1, "ann@net.test", "bob@net.test")
	d.partial[c.ID()] = &partial{tries: 1, rounds: 1, deferred: map[string]refusal{"ann@net.test": {recipient: "ann@net.test"}}}
	c.Tries = 1
	if now, _, before := d.plan(c); len(now) != 1 || len(before) != 1 {
		t.Errorf("the same chunk: now %v, deferred %v", now, before)
	}
	c.Tries = 2
	if now, _, before := d.plan(c); len(now) != 2 || len(before) != 0 {
		t.Errorf("after another's try: now %v, deferred %v", now, before)
	}
	if p := d.takePartial(c); p.rounds != 0 {
		t.Errorf("its rounds are taken for those of now: %+v", p)
	}
}

func TestASpoolThatCannotShareSaysSo(t *testing.T) {
	cfg := testConfig("127.0.0.1:1")
	cfg.Auto = true
	r := run(t, cfg, newMemory())
	if err := <-r.done; err == nil || err.Error() != "share the segments of outgoing: this kind of spool has none to share" {
		t.Errorf("it ended with %v", err)
	}
}
