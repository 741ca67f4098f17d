package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

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
	to, err := Open(ctx, name, Options{Migrate: true})
	if err != nil {
		return err
	}
	defer to.Close()
	_, err = Transfer(ctx, from, to, false, func(t TableRows) { fmt.Println(t.Rows, t.Name) })
	return err
}

func TestATransferThereAndBack(t *testing.T) {
	dir := t.TempDir()
	source := openAt(t, filepath.Join(dir, "a.db"))
	l := fillAll(t, source, 3000)
	all := countAll(t, source)
	url := freshSchema(t, startPostgres(t))
	there, back := openURL(t, url), openAt(t, filepath.Join(dir, "b.db"))

	dry, err := Transfer(t.Context(), source, there, true, nil)
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
		done, err := Transfer(t.Context(), step.from, step.to, false, nil)
		if err != nil || countAll(t, step.to) != all {
			t.Fatalf("%d of %d rows were copied, %v", countAll(t, step.to), all, err)
		}
		again, err := Transfer(t.Context(), step.from, step.to, false, nil)
		if err != nil || !again.Already || len(again.Tables) != len(done.Tables) {
			t.Errorf("the second time: %+v, %v", again, err)
		}
	}
	if _, err := Transfer(t.Context(), source, back, false, nil); err != nil {
		t.Errorf("what came back is not what went: %v", err)
	}
	// What numbers there ever were is known there, too.
	for _, s := range []*Store{there, back} {
		if next := makeList(t, s, "next"); next.ID != l.ID+1 {
			t.Errorf("the next list has number %d after %d", next.ID, l.ID)
		}
	}
	if _, err := Transfer(t.Context(), source, there, false, nil); !errors.Is(err, ErrNotEmpty) || !strings.Contains(err.Error(), "domains") && !strings.Contains(err.Error(), "lists") {
		t.Errorf("a store with something else was written to: %v", err)
	}
}
