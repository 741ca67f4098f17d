package outbound

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/outbound/sender"
)

func TestADelayIsReportedOnceADay(t *testing.T) {
	begun := time.Date(2026, 11, 24, 0, 30, 0, 0, time.UTC)
	deferred := []refusal{{recipient: "ann@m.test", reply: sender.Reply{Code: 451, Enhanced: sender.Enhanced{4, 3, 0}, Text: "later"}}}
	m := newMemory()
	d := New(Config{DelayNotice: 4 * time.Hour}, m, slog.New(slog.DiscardHandler))
	post := func(list, sender string) *spool.Chunk {
		c := chunk(0, "ann@m.test")
		c.List, c.Sender, c.Created = list, sender, begun
		return c
	}
	dev, ops := post("dev@l.test", "dev-bounces@l.test"), post("ops@l.test", "ops-bounces@l.test")
	full := true
	m.put = func() error {
		if full {
			return errors.New("no space left on device")
		}
		return nil
	}
	for _, step := range []struct {
		name     string
		after    time.Duration
		chunk    *spool.Chunk
		deferred []refusal
		full     bool
		reports  int
	}{
		{"it is early", time.Hour, dev, deferred, false, 0},
		{"nothing is deferred", 5 * time.Hour, dev, nil, false, 0},
		{"it cannot be written", 5 * time.Hour, dev, deferred, true, 0},
		{"it is late", 5 * time.Hour, dev, deferred, false, 1},
		{"again on that day", 6 * time.Hour, dev, deferred, false, 1},
		{"another list", 6 * time.Hour, ops, deferred, false, 2},
		{"nobody is to be told", 6 * time.Hour, post("qa@l.test", ""), deferred, false, 2},
		{"the next day", 25 * time.Hour, dev, deferred, false, 3},
	} {
		d.now = func() time.Time { return begun.Add(step.after) }
		full = step.full
		d.tellDelay(t.Context(), step.chunk, step.deferred)
		if len(m.bounces) != step.reports {
			t.Errorf("%s: %d reports", step.name, len(m.bounces))
		}
	}
	for id, b := range m.bounces {
		if _, err := spool.CheckID(string(id)); err != nil || b.env.List == "" || !has(b.env.Flags, spool.FlagOutbound) ||
			!strings.Contains(string(b.message), "Action: delayed\r\nStatus: 4.3.0\r\n") {
			t.Errorf("%s: %+v\n%s", id, b.env, b.message)
		}
	}
	// Another daemon makes the same report of the same day, which is one entry then.
	other := New(Config{DelayNotice: 4 * time.Hour}, m, slog.New(slog.DiscardHandler))
	other.now = func() time.Time { return begun.Add(5 * time.Hour) }
	other.tellDelay(t.Context(), dev, deferred)
	if len(m.bounces) != 3 {
		t.Errorf("two daemons make %d reports", len(m.bounces))
	}
}
