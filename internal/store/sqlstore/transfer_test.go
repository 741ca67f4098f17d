package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
)

// fillAll puts a list with members into a store, and a row into every table that has none.
func fillAll(t *testing.T, s *Store, members int) *list.List {
	t.Helper()
	gone := makeList(t, s, "gone")
	l := makeList(t, s, "dev")
	if err := s.DeleteList(t.Context(), gone.Address); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddMembers(t.Context(), l.ID, someMembers(members), nil); err != nil {
		t.Fatal(err)
	}
	err := s.update(t.Context(), func(tx *sql.Tx) error {
		if _, err := tx.Exec(`PRAGMA defer_foreign_keys = ON`); err != nil {
			return err
		}
		at := &side{Store: s, tx: tx}
		shapes, err := at.shapes(t.Context())
		if err != nil {
			return err
		}
		for _, shape := range shapes {
			if empty, err := at.isEmpty(t.Context(), []tableShape{shape}); err != nil || !empty {
				if err != nil {
					return err
				}
				continue
			}
			types, err := at.texts(t.Context(), `SELECT type FROM pragma_table_info($1)`, shape.name)
			if err != nil {
				return err
			}
			row := make([]any, len(types))
			for i, column := range shape.columns {
				switch {
				case column == "domain":
					row[i] = l.Address.Domain
				case column == "list_id":
					row[i] = l.ID
				case types[i] == "TEXT":
					row[i] = "Größe\n\t'x' \\"
				case types[i] == "BLOB":
					row[i] = []byte{}
				case types[i] == "REAL":
					row[i] = 0.1
				default:
					row[i] = int64(7)
				}
			}
			if _, err := tx.Exec(at.insertRows(shape, 1), row...); err != nil {
				return fmt.Errorf("%s: %w", shape.name, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func openURL(t *testing.T, url string) *Store {
	t.Helper()
	s, err := Open(t.Context(), url, Options{Migrate: true})
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

func countAll(t *testing.T, s *Store) (n int64) {
	t.Helper()
	err := s.update(t.Context(), func(tx *sql.Tx) error {
		at := &side{Store: s, tx: tx}
		shapes, err := at.shapes(t.Context())
		for _, shape := range shapes {
			var rows int64
			err = errors.Join(err, tx.QueryRow(`SELECT count(*) FROM `+shape.name).Scan(&rows))
			n += rows
		}
		return errors.Join(err, errUnchanged)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// transferTo is a job: it copies a store to the URL that name is, and says when rows are there.
func transferTo(ctx context.Context, url, name string) error {
	from, err := Open(ctx, url, Options{})
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := Open(ctx, name, Options{Migrate: true, Filling: true})
	if err != nil {
		return err
	}
	defer to.Close()
	_, err = Transfer(ctx, from, to, TransferOptions{Progress: func(t TableRows) { fmt.Println(t.Rows, t.Name) }})
	return err
}

func TestATransferThereAndBack(t *testing.T) {
	dir := t.TempDir()
	source := openAt(t, filepath.Join(dir, "a.db"))
	l := fillAll(t, source, 3000)
	all := countAll(t, source)
	url := freshSchema(t, startPostgres(t))
	there, back := openURL(t, url), openAt(t, filepath.Join(dir, "b.db"))

	dry, err := Transfer(t.Context(), source, there, TransferOptions{Dry: true})
	if err != nil || countAll(t, there) != 0 {
		t.Fatalf("a dry run left %d rows, %v", countAll(t, there), err)
	}
	for _, table := range dry.Tables {
		if table.Rows == 0 {
			t.Errorf("table %s is not tried", table.Name)
		}
	}

	// Killed when everything is written and some of it compared: nothing is there.
	c := start(t, "transfer", "sqlite:"+filepath.Join(dir, "a.db"), url)
	if !c.out.Scan() {
		t.Fatalf("the transfer ended: %s", c.errors.String())
	}
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait() // it was killed
	if n := countAll(t, there); n != 0 && n != all {
		t.Fatalf("%d of %d rows are there after a kill", n, all)
	}

	for _, step := range []struct{ from, to *Store }{{source, there}, {there, back}} {
		done, err := Transfer(t.Context(), step.from, step.to, TransferOptions{})
		if err != nil || countAll(t, step.to) != all {
			t.Fatalf("%d of %d rows were copied, %v", countAll(t, step.to), all, err)
		}
		if err := step.to.Filled(t.Context()); err != nil {
			t.Fatal(err)
		}
		again, err := Transfer(t.Context(), step.from, step.to, TransferOptions{Quiet: true})
		if err != nil || !again.Already || len(again.Tables) != len(done.Tables) {
			t.Errorf("the second time: %+v, %v", again, err)
		}
	}
	if _, err := Transfer(t.Context(), source, back, TransferOptions{}); err != nil {
		t.Errorf("what came back is not what went: %v", err)
	}
	// What numbers there ever were is known there, too.
	for _, s := range []*Store{there, back} {
		if next := makeList(t, s, "next"); next.ID != l.ID+1 {
			t.Errorf("the next list has number %d after %d", next.ID, l.ID)
		}
	}
	if _, err := Transfer(t.Context(), source, there, TransferOptions{}); !errors.Is(err, ErrNotEmpty) || !strings.Contains(err.Error(), "domains") && !strings.Contains(err.Error(), "lists") {
		t.Errorf("a store with something else was written to: %v", err)
	}
}

// A copy that was made while the store was in use follows what changed since then.
func TestATransferFollows(t *testing.T) {
	dir := t.TempDir()
	source := openAt(t, filepath.Join(dir, "a.db"))
	l := fillAll(t, source, 500)
	url := freshSchema(t, startPostgres(t))
	for i, target := range []string{url, "sqlite:" + filepath.Join(dir, "b.db")} {
		to, err := Open(t.Context(), target, Options{Migrate: true, Filling: true})
		if err != nil {
			t.Fatal(err)
		}
		defer to.Close()
		transferred := func(o TransferOptions) Transferred {
			t.Helper()
			done, err := Transfer(t.Context(), source, to, o)
			if err != nil || countAll(t, to) != countAll(t, source) || done.Already {
				t.Fatalf("%+v with %d of %d rows, %v", done, countAll(t, to), countAll(t, source), err)
			}
			return done
		}
		transferred(TransferOptions{})
		if _, err := Open(t.Context(), target, Options{Migrate: true}); !errors.Is(err, ErrFilling) {
			t.Errorf("somebody else opened it: %v", err)
		}
		other := openAt(t, filepath.Join(t.TempDir(), "c.db"))
		if _, err := Transfer(t.Context(), other, to, TransferOptions{}); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("another store was copied to it: %v", err)
		}

		// People come, go and come back, a list is removed and one made.
		gone := makeList(t, source, "short-lived")
		if _, err := source.AddMembers(t.Context(), gone.ID, someMembers(20), nil); err != nil {
			t.Fatal(err)
		}
		transferred(TransferOptions{})
		if err := source.DeleteList(t.Context(), gone.Address); err != nil {
			t.Fatal(err)
		}
		first := func(yield func(address.Address, error) bool) {
			for m, err := range someMembers(10) {
				if !yield(m.Address, err) {
					return
				}
			}
		}
		if n, err := source.RemoveMembers(t.Context(), l.ID, list.Member, first); err != nil || n != 10 {
			t.Fatalf("%d members were removed, %v", n, err)
		}
		if _, err := source.AddMembers(t.Context(), l.ID, someMembers(505), nil); err != nil {
			t.Fatal(err)
		}
		transferred(TransferOptions{Quiet: true})

		// Two rows have each what the other had: none can be changed first.
		a, b := makeList(t, source, fmt.Sprint("a", i)), makeList(t, source, fmt.Sprint("b", i))
		transferred(TransferOptions{})
		swap(t, source, a, b)
		transferred(TransferOptions{Quiet: true})
		if err := to.Filled(t.Context()); err != nil {
			t.Fatal(err)
		}
		if done, err := Transfer(t.Context(), source, to, TransferOptions{}); err != nil || !done.Already {
			t.Errorf("it is not what it was: %+v, %v", done, err)
		}
		if _, err := openURL(t, target).List(t.Context(), l.Address); err != nil {
			t.Error(err)
		}
	}
}

// swap gives two lists each other's address.
func swap(t *testing.T, s *Store, a, b *list.List) {
	t.Helper()
	err := s.update(t.Context(), func(tx *sql.Tx) error {
		for _, change := range []struct {
			id      int64
			address string
		}{{a.ID, "z"}, {b.ID, a.Address.Key()}, {a.ID, b.Address.Key()}} {
			if _, err := tx.Exec(`UPDATE lists SET address_key = $1 WHERE id = $2`, change.address, change.id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
