package dir

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// Ids that come twice.

// A caller that gives one id to two lists breaks a promise. Nobody's mail may pay for it.
func TestOneIDForTwoListsLosesNothing(t *testing.T) {
	s := storage(t.TempDir()).Open(t).(*Spool)
	in, out := ownBoth(t, s)
	id := putFor(t, s, spool.Incoming, "", "a@l.test")
	putFor(t, s, spool.Incoming, id, "b@l.test")
	commitOne(t, in, "r")
	commitOne(t, in, "r")
	sent := map[string]int{}
	first, err := out.Next(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	sent[first.Recipients[0]]++
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	second, err := out.Next(ctx)
	if err == nil {
		sent[second.Recipients[0]]++
		if err := out.Settle(t.Context(), second, spool.Settlement{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Settle(t.Context(), first, spool.Settlement{}); err != nil {
		t.Fatal(err)
	}
	for len(sent) < 2 {
		c, err := out.Next(soon(t))
		if err != nil {
			t.Fatalf("sent %v, and then: %v", sent, err)
		}
		if sent[c.Recipients[0]]++; sent[c.Recipients[0]] > 1 {
			t.Fatalf("%s came twice", c.Recipients[0])
		}
		if err := out.Settle(t.Context(), c, spool.Settlement{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := (&world{t: t, s: s}).look(); got != "" {
		t.Fatalf("left: %s", got)
	}
}

// One id may come again after its entry went to failed: outbound gives the same id to the
// same bounce.
func TestParkWhereTheSameEntryIsParked(t *testing.T) {
	s := storage(t.TempDir()).Open(t).(*Spool)
	in, _ := ownBoth(t, s)
	id := spool.ID("")
	for _, reason := range []string{"first", "second"} {
		id = putFor(t, s, spool.Incoming, id, "a@l.test")
		e, err := in.Next(soon(t))
		if err == nil {
			err = in.Park(t.Context(), e, spool.Failed, reason, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := (&world{t: t, s: s}).look(); got != "failed:second" {
		t.Fatalf("the spool holds %q", got)
	}
}

func TestADamagedEntryDoesNotReplaceAGoodOneInFailed(t *testing.T) {
	s := storage(t.TempDir()).Open(t).(*Spool)
	id := putFor(t, s, spool.Failed, "", "a@l.test")
	n := entryName{id, segment.KeyOf("a@l.test")}
	if err := os.WriteFile(s.path(spool.Incoming, n.String()), []byte("cut"), 0o600); err != nil {
		t.Fatal(err)
	}
	in, _ := ownBoth(t, s)
	putFor(t, s, spool.Incoming, "", "b@l.test")
	if e, err := in.Next(soon(t)); err != nil || e.List != "b@l.test" {
		t.Fatalf("next is %+v, %v", e, err)
	}
	got := map[string]int{}
	for e, err := range s.Entries(t.Context(), spool.Failed) {
		if err != nil {
			t.Fatal(err)
		}
		got[e.List]++
		if e.List == "" && !strings.Contains(e.Reason, string(id)) {
			t.Errorf("the reason %q does not tell whose it was", e.Reason)
		}
	}
	if got["a@l.test"] != 1 || got[""] != 1 {
		t.Fatalf("failed has %v", got)
	}
}
