package sqlstore

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// The walks from both ends may be over before their last batch is looked at.
func TestTheLastBatchIsNotLost(t *testing.T) {
	const n = 5 * batchSize
	s := openAt(t, filepath.Join(t.TempDir(), "mlist.db"))
	l := makeList(t, s, "dev")
	addMany(t, s, l, n)
	for range 20 {
		got := 0
		for some, err := range s.Recipients(t.Context(), store.Source{ListID: l.ID, Filter: store.Filter{Roles: []list.Role{list.Member}}}) {
			if err != nil {
				t.Fatal(err)
			}
			got += len(some)
		}
		if got != n {
			t.Fatalf("%d of %d", got, n)
		}
	}
}

// Several lists are merged as they are read: a sort would hold them all.
func TestMergingSortsNothing(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "mlist.db"))
	walks, err := newWalks([]store.Source{{ListID: 1}, {ListID: 2}, {ListID: 3, Except: true}})
	if err != nil {
		t.Fatal(err)
	}
	var args []any
	for i := range walks {
		args = walks[i].args(args)
	}
	rows, err := s.stream.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+s.dialect.merge(len(walks)), args...)
	if err != nil {
		t.Fatal(err)
	}
	plan := ""
	err = eachRow(t.Context(), rows, func(rows *sql.Rows) error {
		var id, parent, unused int
		var step string
		err := rows.Scan(&id, &parent, &unused, &step)
		plan += step + "\n"
		return err
	})
	if err != nil || !strings.Contains(plan, "MERGE (UNION ALL)") || strings.Contains(plan, "TEMP B-TREE") {
		t.Errorf("%v, plan\n%s", err, plan)
	}
}
