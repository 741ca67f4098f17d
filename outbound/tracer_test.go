package outbound

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mlist/mlist/outbound/internal/fakemta"
)

// recorder is a Tracer that keeps what it is told.
type recorder struct {
	mu     sync.Mutex
	events []string
}

func (r *recorder) Trace(_, _, kind string, args ...any) {
	text := kind
	for i := 0; i+1 < len(args); i += 2 {
		if key := args[i].(string); !slices.Contains([]string{"chunk", "as", "of", "ms", "size", "queue", "role", "peer"}, key) {
			text += fmt.Sprintf(" %s=%v", key, args[i+1])
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, text)
}

func TestWhatTheMTASaysIsTraced(t *testing.T) {
	s := fakemta.Start(t, "", fakemta.Script{Rcpt: map[string]string{"b@m.test": "550 5.1.1 no", "c@m.test": "450 4.2.1 " + strings.Repeat("later ", 60)}})
	m := newMemory(chunk(0, "a@m.test", "b@m.test", "c@m.test"))
	r := &recorder{}
	d := run(t, testConfig(s.Addr), m, func(d *Daemon) { d.SetTracer(r) })
	m.wait(t, "it is settled", func() bool { return len(m.settled) == 1 })
	if err := d.stop(t); err != nil {
		t.Fatal(err)
	}
	want := []string{"bounced recipients=1", "kept", "sent accepted=1 deferred=1 refused=1 left=1 reply=250 "}
	if len(r.events) != len(want) {
		t.Fatalf("events %q", r.events)
	}
	for i, w := range want {
		if !strings.HasPrefix(r.events[i], w) {
			t.Errorf("event %q, want %q", r.events[i], w)
		}
	}
	sent := r.events[2]
	if !strings.Contains(sent, "replies=[{b@m.test refused 550 5.1.1 no} {c@m.test deferred 450 4.2.1 later") || len(sent) > 500 {
		t.Errorf("the replies: %s", sent)
	}
}

func TestAnMTAThatIsDownIsTracedOnceForEachChunk(t *testing.T) {
	s := fakemta.Start(t, "", fakemta.Script{Rcpt: map[string]string{"a@m.test": "421 4.3.2 shutting down"}})
	m := newMemory(chunk(0, "a@m.test"))
	r := &recorder{}
	d := run(t, testConfig(s.Addr), m, func(d *Daemon) { d.SetTracer(r) })
	heard := func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.events)
	}
	m.wait(t, "it is traced", func() bool { return heard() > 0 })
	if err := d.stop(t); err != nil {
		t.Fatal(err)
	}
	waits := 0
	for _, e := range r.events {
		if strings.HasPrefix(e, "waits reason=") && strings.Contains(e, "421") {
			waits++
		}
	}
	if waits != 1 {
		t.Errorf("events %q", r.events)
	}
}
