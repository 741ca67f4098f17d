package sqlstore

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/store/storetest"
)

// openAt opens the store at path, makes it if need be, and closes it after the test.
func openAt(tb testing.TB, path string) *Store {
	tb.Helper()
	s, err := Open(tb.Context(), "sqlite:"+path, Options{Migrate: true})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

var emptyStore []byte

// empty is the file of a new store: to make one takes longer than most tests do.
func empty(t *testing.T) []byte {
	t.Helper()
	if emptyStore != nil {
		return emptyStore
	}
	path := filepath.Join(t.TempDir(), "mlist.db")
	s, err := Open(t.Context(), "sqlite:"+path, Options{Migrate: true})
	if err == nil {
		err = s.Close()
	}
	if err == nil {
		emptyStore, err = os.ReadFile(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return emptyStore
}

func TestSQLite(t *testing.T) {
	defer goleak.VerifyNone(t)
	storetest.Run(t, "sqlite", func(t *testing.T) storetest.Open {
		path := filepath.Join(t.TempDir(), "mlist.db")
		if err := os.WriteFile(path, empty(t), 0o600); err != nil {
			t.Fatal(err)
		}
		return func(t *testing.T) store.Store {
			s, err := Open(t.Context(), "sqlite:"+path, Options{Migrate: true})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	})
}
