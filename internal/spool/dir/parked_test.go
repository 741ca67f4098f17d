package dir

import (
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// What lies in held and failed, and comes back.

func TestOrphansInHeldAndFailedAreSwept(t *testing.T) {
	s := storage(t.TempDir()).Open(t).(*Spool)
	for _, q := range []spool.Queue{spool.Held, spool.Failed} {
		id := putFor(t, s, q, "", "a@l.test")
		with := entryName{id, segment.KeyOf("a@l.test")}
		young, old := entryName{s.newID(), 7}, entryName{s.newID(), 7}
		for _, n := range []entryName{with, young, old} {
			if err := s.writeSide(q, n, state{}, note{reason: "r"}); err != nil {
				t.Fatal(err)
			}
			if n == young {
				continue
			}
			long := time.Now().Add(-2 * orphanAge)
			if err := os.Chtimes(s.sidePath(q, n, state{}), long, long); err != nil {
				t.Fatal(err)
			}
		}
		for e, err := range s.Entries(t.Context(), q) {
			if err != nil || e.ID != id {
				t.Fatalf("entry %+v, %v", e, err)
			}
		}
		for n, want := range map[entryName]bool{with: true, young: true, old: false} {
			if there, err := exists(s.sidePath(q, n, state{})); err != nil || there != want {
				t.Errorf("%s: %s.why is there: %v, want %v (%v)", q, n, there, want, err)
			}
		}
	}
}

// An entry that fails at once after an operator's retry keeps the new reason.
func TestRetryThatFailsAtOnceKeepsItsReason(t *testing.T) {
	var during atomic.Value
	during.Store(func() {})
	fs := system
	fs.sync = func(f *os.File) error {
		if strings.HasSuffix(f.Name(), "/"+string(spool.Failed)) {
			during.Swap(func() {}).(func())()
		}
		return system.sync(f)
	}
	s, err := open(t.TempDir(), Options{}, fs)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// The owner is another process: nothing of what it does waits for the operator.
	owner := storage(s.root).Open(t).(*Spool)
	in, _ := ownBoth(t, owner)
	id := putFor(t, s, spool.Incoming, "", "a@l.test")
	park := func(reason string) {
		e, err := in.Next(soon(t))
		if err == nil {
			err = in.Park(t.Context(), e, spool.Failed, reason, nil)
		}
		if err != nil {
			t.Error(err)
		}
	}
	park("first")
	e, err := s.Find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	during.Store(func() { park("second") })
	if err := s.Retry(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if got := (&world{t: t, s: s}).look(); got != "failed:second" {
		t.Fatalf("the spool holds %q", got)
	}
}
