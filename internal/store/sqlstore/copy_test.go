package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/store"
)

func TestACopyIsTheStoreOfOneInstantWhileOthersWrite(t *testing.T) {
	dir := t.TempDir()
	st := openAt(t, filepath.Join(dir, "a.db"))
	l := makeList(t, st, "dev")
	file := func(st *Store, n int, place string) error {
		kept := &store.Kept{DigestPlace: place, DigestSize: 10}
		_, err := st.FilePost(t.Context(), store.Post{ListID: l.ID, Entry: fmt.Sprint("e", n), Digest: fmt.Append(nil, n), At: time.Now(), Kept: kept}, true, time.Hour)
		return err
	}
	for n := range 3 {
		if err := file(st, n, fmt.Sprint("place", n)); err != nil {
			t.Fatal(err)
		}
	}
	other := openAt(t, filepath.Join(dir, "a.db"))
	wrote := make(chan error, 1)
	copied := filepath.Join(dir, "b.db")
	err := st.Copy(t.Context(), copied, func(_ context.Context, waiting []string) error {
		slices.Sort(waiting)
		if want := []string{"place0", "place1", "place2"}; !slices.Equal(waiting, want) {
			t.Errorf("waiting are %v, want %v", waiting, want)
		}
		go func() { wrote <- file(other, 3, "place3") }()
		// It is seen by nobody as long as this lasts, whether it has begun or not.
		peek, err := st.PeekPost(t.Context(), store.Post{ListID: l.ID, Entry: "e4", Digest: []byte("4"), At: time.Now()}, time.Hour)
		if err == nil && peek.Number != 4 {
			t.Errorf("the next number is %d while nobody may write", peek.Number)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Errorf("the write that had to wait: %v", err)
	}
	b := openAt(t, copied)
	peek, err := b.PeekPost(t.Context(), store.Post{ListID: l.ID, Entry: "e4", Digest: []byte("4"), At: time.Now()}, time.Hour)
	if err != nil || peek.Number != 4 {
		t.Errorf("the copy's next number is %d, %v", peek.Number, err)
	}
}

func TestACopyThatFailsLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	st := openAt(t, filepath.Join(dir, "a.db"))
	full := errors.New("the disk is full")
	path := filepath.Join(dir, "b.db")
	if err := st.Copy(t.Context(), path, func(context.Context, []string) error { return full }); !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a file: %v", err)
	}
	makeList(t, st, "dev") // others may write again
}

func TestADamagedFileIsNoStore(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.db")
	st, err := Open(t.Context(), "sqlite:"+path, Options{Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if err := CheckFile(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{nil, data[:len(data)/2], []byte("no database at all, but long enough to have been read as one, whatever SQLite thinks of it")} {
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := CheckFile(t.Context(), path); err == nil {
			t.Errorf("%d octets are taken for a store", len(bad))
		}
	}
}
