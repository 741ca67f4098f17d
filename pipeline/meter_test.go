package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/sdk"
)

// meter keeps what is counted.
type meter struct {
	mu   sync.Mutex
	have map[string]int

	trouble error
}

func (m *meter) add(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.have == nil {
		m.have = map[string]int{}
	}
	m.have[what]++
}

func (m *meter) Entry(list, outcome string) {
	if list != "dev@lists.test" {
		outcome += " of " + list
	}
	m.add(outcome)
}
func (m *meter) Accepted(_ string, waited time.Duration, n int64) {
	m.add(fmt.Sprint("accepted ", n, " ", waited > 0))
}
func (m *meter) Stage(stage, verdict string, _ time.Duration) { m.add(stage + " " + verdict) }
func (m *meter) Bounce(class string)                          { m.add("bounce " + class) }
func (m *meter) Trouble(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trouble = err
}
func (m *meter) StoreError() { m.add("store error") }
func (m *meter) is(t *testing.T, want map[string]int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !maps.Equal(m.have, want) {
		t.Errorf("counted %v, want %v", m.have, want)
	}
}

func TestWhatBecomesOfAPostIsCounted(t *testing.T) {
	timed := stagesFunc(func(ctx context.Context, p *host.Post) (host.Result, error) {
		r, err := verdict(sdk.Accept)(ctx, p)
		r.Stages = []host.StageTime{{Stage: "posting", Verdict: sdk.KindAccept, Took: time.Millisecond}}
		return r, err
	})
	tests := []struct {
		name   string
		stages stagesFunc
		want   map[string]int
	}{
		{"accepted", timed, map[string]int{"accepted 2 true": 1, "posting accept": 1}},
		{"held", verdict(sdk.Hold("nonmember", "who?")), map[string]int{"held": 1}},
		{"discarded", verdict(sdk.Discard("spam", "no")), map[string]int{"discarded": 1}},
		{"rejected", verdict(sdk.Reject("big", "no")), map[string]int{"rejected": 1}},
		{"failed", func(context.Context, *host.Post) (host.Result, error) { return host.Result{}, errors.New("died") },
			map[string]int{"deferred": 2, "failed": 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tt.stages)
			w.stop()
			w.add(list.Member, "a@x.test", "b@x.test")
			w.post(hello)
			m := &meter{}
			w.meter = m
			w.start(tt.stages)
			w.idle()
			w.stop()
			m.is(t, tt.want)
		})
	}
}

func TestBouncesDuplicatesAndOutagesAreCounted(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	w.stop()
	w.add(list.Member, "ann@x.test")
	w.post(hello)
	m := &meter{}
	w.meter = m
	broken := &brokenStore{Store: w.store}
	broken.fail.Store(1)
	w.startWith(broken, verdict(sdk.Accept))
	w.idle()
	w.post(hello) // again
	w.put(spool.Bounces, spool.Envelope{Role: "bounces", Flags: []string{spool.FlagOutbound}}, dsn("ann@x.test", "5.1.1"))
	w.idle()
	w.stop()
	m.is(t, map[string]int{"deferred": 1, "store error": 1, "accepted 1 true": 1, "duplicate": 1, "bounce mailbox": 1})
}

// What keeps posts waiting is told while it does, and not after.
func TestTroubleIsToldWhileItLasts(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	w.stop()
	w.add(list.Member, "ann@x.test")
	w.post(hello)
	broken := &brokenStore{Store: w.store}
	broken.fail.Store(1 << 40)
	m := &meter{}
	w.meter = m
	w.startWith(broken, verdict(sdk.Accept))
	trouble := func() string {
		m.mu.Lock()
		defer m.mu.Unlock()
		return fmt.Sprint(m.trouble)
	}
	w.eventually("trouble", func() bool { return trouble() == "look the list up: the disk that it is on does not answer" })
	broken.fail.Store(0)
	w.eventually("its end", func() bool { return trouble() == "<nil>" })
	w.idle()
}
