package dir

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/spooltest"
)

func TestMain(m *testing.M) {
	if runChild() {
		return
	}
	goleak.VerifyTestMain(m)
}

type storage string

func (path storage) Open(t *testing.T) spool.Spool {
	t.Helper()
	s, err := Open(string(path), Options{})
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

func TestSuite(t *testing.T) {
	spooltest.Run(t, func(t *testing.T) spooltest.Storage { return storage(t.TempDir()) })
}

func (path storage) OpenMoving(t *testing.T) spool.Movable {
	t.Helper()
	s, err := Open(string(path), Options{Moving: true})
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

func (path storage) OpenError(t *testing.T) error {
	t.Helper()
	s, err := Open(string(path), Options{})
	if err == nil {
		return s.Close()
	}
	return err
}

func TestMove(t *testing.T) {
	fresh := func(t *testing.T) spooltest.MovableStorage { return storage(t.TempDir()) }
	spooltest.RunMove(t, fresh, fresh)
}
