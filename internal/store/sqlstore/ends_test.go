package sqlstore

import (
	"path/filepath"
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
	for range 100 {
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
