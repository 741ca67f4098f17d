package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/sdk"
)

// recorder is a Tracer that keeps what it is told.
type recorder struct {
	mu     sync.Mutex
	events []string
}

func (r *recorder) Trace(entry, _, kind string, args ...any) {
	text := kind
	for i := 0; i+1 < len(args); i += 2 {
		switch key := args[i].(string); key {
		case "reason", "number", "recipients", "chunks", "tries", "code":
			text += fmt.Sprintf(" %s=%v", key, args[i+1])
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, entry+" "+text)
}

// of returns the events of an entry.
func (r *recorder) of(id spool.ID) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, e := range r.events {
		if rest, ok := strings.CutPrefix(e, string(id)+" "); ok {
			out = append(out, rest)
		}
	}
	return strings.Join(out, "; ")
}

func TestWhatBecomesOfAPostIsTraced(t *testing.T) {
	tests := []struct {
		name   string
		stages stagesFunc
		want   string
	}{
		{"accepted", verdict(sdk.Accept), "stages; prepared number=1 recipients=4 chunks=2; committed"},
		{"held", verdict(sdk.Hold("nonmember", "who?")), "stages code=nonmember reason=who?; held code=nonmember reason=who?"},
		{"discarded", verdict(sdk.Discard("spam", "no")), "stages code=spam reason=no; discarded code=spam reason=no; done reason=discarded"},
		{"rejected", verdict(sdk.Reject("big", "no")), "stages code=big reason=no; rejected code=big reason=no; prepared recipients=1 chunks=1; committed"},
		{"failed", func(context.Context, *host.Post) (host.Result, error) { return host.Result{}, errors.New("died") },
			"deferred tries=1 reason=died; deferred tries=2 reason=died; failed tries=3 reason=died"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tt.stages)
			w.stop()
			w.add(list.Member, "a@x.test", "b@x.test", "c@x.test", "d@x.test")
			id := w.post(hello)
			r := &recorder{}
			w.tracer = r
			w.start(tt.stages)
			w.idle()
			w.stop()
			if got := r.of(id); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}
