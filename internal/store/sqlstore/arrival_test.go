package sqlstore

import (
	"path/filepath"
	"regexp"
	"testing"
)

// TestALookUpAtRCPTReadsNoWholeTable: SQLite chooses in which order it goes through what a
// statement joins, and one of these would be to read all members of a list.
func TestALookUpAtRCPTReadsNoWholeTable(t *testing.T) {
	st, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "mlist.db"), Options{Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for _, statement := range []string{arrival, standings} {
		args := make([]any, 3+arrivalBans) // more than one of them takes
		for i := range args {
			args[i] = ""
		}
		if statement == standings {
			args = args[:1+lookups]
		}
		rows, err := st.reader.Query("EXPLAIN QUERY PLAN "+statement, args...)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for n := 0; rows.Next() || n == 0; n++ {
			var id, parent, unused int
			var step string
			if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
				t.Fatal(err)
			}
			// l is the one row of the list.
			if regexp.MustCompile(`^SCAN [^l]|AUTOMATIC|^SEARCH m .*role=\?\)`).MatchString(step) {
				t.Errorf("%s\nin %.40s…", step, statement)
			}
		}
	}
}
