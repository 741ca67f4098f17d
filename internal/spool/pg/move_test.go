package pg

import (
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/dir"
	"github.com/mlist/mlist/internal/spool/spooltest"
)

func (url storage) OpenMoving(t *testing.T) spool.Movable {
	t.Helper()
	return open(t, string(url), Options{Moving: true, Lease: time.Second})
}

func (url storage) OpenError(t *testing.T) error {
	t.Helper()
	s, err := Open(t.Context(), string(url), Options{Migrate: true})
	if err == nil {
		return s.Close()
	}
	return err
}

// dirStorage is the other kind of spool.
type dirStorage string

func (path dirStorage) open(moving bool) (*dir.Spool, error) {
	return dir.Open(string(path), dir.Options{Moving: moving})
}

func (path dirStorage) must(t *testing.T, moving bool) *dir.Spool {
	t.Helper()
	s, err := path.open(moving)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (path dirStorage) Open(t *testing.T) spool.Spool { return path.must(t, false) }

func (path dirStorage) OpenMoving(t *testing.T) spool.Movable { return path.must(t, true) }

func (path dirStorage) OpenError(*testing.T) error {
	s, err := path.open(false)
	if err == nil {
		return s.Close()
	}
	return err
}

func TestMove(t *testing.T) {
	server := startServer(t)
	here := func(t *testing.T) spooltest.MovableStorage { return storage(freshSchema(t, server)) }
	there := func(t *testing.T) spooltest.MovableStorage { return dirStorage(t.TempDir()) }
	t.Run("to a directory", func(t *testing.T) { spooltest.RunMoveOnce(t, here(t), there(t)) })
	t.Run("from a directory", func(t *testing.T) { spooltest.RunMove(t, there, here) })
}

// A daemon that opened the spool before its mail was moved, and was not told, cannot take mail in.
func TestNothingIsPutWhereTheMailHasLeft(t *testing.T) {
	server := startServer(t)
	at := storage(freshSchema(t, server))
	s := open(t, string(at), Options{})
	write(t, s, "dev@l.test", "before")
	if err := at.OpenMoving(t).Leave(t.Context(), "dir:/elsewhere"); err != nil {
		t.Fatal(err)
	}
	d, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Put(t.Context(), spool.Incoming, "", spool.Envelope{List: "dev@l.test"}); err == nil || !strings.Contains(err.Error(), "moved elsewhere") {
		t.Errorf("put after the move: %v", err)
	}
}
