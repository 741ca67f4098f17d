package dir

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/transfer"
)

// What cannot be read is told of, and stays where it is.
func TestWhatIsDamagedDoesNotMove(t *testing.T) {
	from, to := storage(t.TempDir()), storage(t.TempDir())
	s := from.Open(t).(*Spool)
	for _, list := range []string{"good@l.test", "bad@l.test"} {
		d, err := s.Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if _, err := d.Put(t.Context(), spool.Failed, "", spool.Envelope{List: list}); err != nil {
			t.Fatal(err)
		}
	}
	var bad string
	for e, err := range s.Entries(t.Context(), spool.Failed) {
		if err != nil {
			t.Fatal(err)
		}
		if e.List == "bad@l.test" {
			bad = s.path(spool.Failed, entryName{e.ID, e.Key}.String())
		}
	}
	if err := os.WriteFile(bad, []byte("mlist: entry 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, b := from.OpenMoving(t), to.OpenMoving(t)
	if err := b.Fill(t.Context(), a.Name()); err != nil {
		t.Fatal(err)
	}
	r, err := transfer.New(a, b, nil).Finish(t.Context())
	if err != nil || r.Entries != 1 || len(r.Damaged) != 1 || !strings.Contains(r.Damaged[0], "no end") {
		t.Errorf("moved %+v, %v", r, err)
	}
	for _, step := range []func(context.Context) error{func(ctx context.Context) error { return a.Leave(ctx, b.Name()) }, b.Filled, a.Clear} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	left, err := os.ReadDir(s.path(spool.Failed, ""))
	if err != nil || len(left) != 1 || !strings.HasSuffix(bad, left[0].Name()) {
		t.Errorf("left in failed: %v, %v", left, err)
	}
}

// A process that was not told acknowledges nothing that nobody would find.
func TestNothingIsPutWhereTheMailHasLeft(t *testing.T) {
	at := storage(t.TempDir())
	s := at.Open(t)
	if err := at.OpenMoving(t).Leave(t.Context(), "postgres://elsewhere/mlist"); err != nil {
		t.Fatal(err)
	}
	d, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if id, err := d.Put(t.Context(), spool.Incoming, "", spool.Envelope{List: "dev@l.test"}); !errors.Is(err, spool.ErrMoved) {
		t.Errorf("put after the move: %q, %v", id, err)
	}
}
