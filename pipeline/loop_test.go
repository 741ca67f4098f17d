package pipeline

import (
	"context"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/sdk"
)

// takeAll returns the text of every outgoing post and empties outgoing.
func (w *world) takeAll() []string {
	w.t.Helper()
	var out []string
	for len(w.outgoing()) > 0 {
		c, text := w.take()
		out = append(out, text)
		if err := w.spool.RemovePost(w.t.Context(), c.Post); err != nil {
			w.t.Fatal(err)
		}
	}
	return out
}

// A list whose owner is the list itself, or two lists that own each other: the notice
// about a held post is held in turn.
func TestNoticesAboutHeldNoticesEnd(t *testing.T) {
	w := newWorld(t, stagesFunc(func(_ context.Context, p *host.Post) (host.Result, error) {
		return host.Result{Verdict: sdk.Hold("nonmember", "You are not a member."), Stage: "posting"}, nil
	}))
	w.add(list.Owner, "dev@lists.test")
	w.post(hello)
	w.idle()
	var back string
	for _, text := range w.takeAll() {
		if strings.Contains(text, "waits for you") {
			back = text
		}
	}
	if back == "" {
		t.Fatal("no notice to the owners")
	}

	t.Run("of the list itself", func(t *testing.T) {
		w.put(spool.Incoming, spool.Envelope{Recipient: "dev@lists.test"}, back)
		w.idle()
		if got := w.takeAll(); len(got) != 0 {
			t.Errorf("a notice about a notice:\n%s", got[0])
		}
	})
	t.Run("of another list, which passes the mark on", func(t *testing.T) {
		theirs := strings.ReplaceAll(back, "X-Loop: dev-owner@lists.test", "X-Loop: ops-owner@lists.test")
		w.put(spool.Incoming, spool.Envelope{Recipient: "dev@lists.test"}, theirs)
		w.idle()
		got := w.takeAll()
		if len(got) != 1 {
			t.Fatalf("%d notices", len(got))
		}
		header, _, _ := strings.Cut(got[0], "\r\n\r\n")
		for _, mark := range []string{"X-Loop: dev-owner@lists.test", "X-Loop: ops-owner@lists.test"} {
			if !strings.Contains(header, mark) {
				t.Errorf("no %q in\n%s", mark, header)
			}
		}
	})
	t.Run("of one list after the other without end", func(t *testing.T) {
		marks := strings.Repeat("X-Loop: some-owner@lists.test\r\n", maxNoticeHops)
		w.put(spool.Incoming, spool.Envelope{Recipient: "dev@lists.test"}, marks+hello)
		w.idle()
		if got := w.takeAll(); len(got) != 0 {
			t.Errorf("told %d times", len(got))
		}
	})
	if held := w.entries(spool.Held); len(held) != 4 {
		t.Errorf("%d held, want 4", len(held))
	}
}
