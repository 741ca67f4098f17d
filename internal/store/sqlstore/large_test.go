package sqlstore

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/store"
)

// Reading 200,000 members takes the memory of reading a few.
func TestStreamDoesNotGrow(t *testing.T) {
	const n = 200_000
	s := openAt(t, filepath.Join(t.TempDir(), "mlist.db"))
	l := makeList(t, s, "dev")
	addMany(t, s, l, n)
	var heap, resident [2]int64 // least and most
	rows := 0
	for _, err := range s.Members(t.Context(), l.ID, store.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if rows++; rows%(n/5) == 1_000 {
			h, r := memory(t)
			if rows == 1_000 {
				heap, resident = [2]int64{h, h}, [2]int64{r, r}
			}
			heap[1], resident[1] = max(heap[1], h), max(resident[1], r)
		}
	}
	if rows != n {
		t.Fatalf("%d rows", rows)
	}
	t.Logf("heap grew by %d KiB, the process by %d KiB", (heap[1]-heap[0])>>10, (resident[1]-resident[0])>>10)
	if grown := heap[1] - heap[0]; grown > 1<<20 {
		t.Errorf("the heap grew by %d KiB", grown>>10)
	}
	// SQLite's pages are outside Go's heap.
	if grown := resident[1] - resident[0]; grown > 8<<20 {
		t.Errorf("the process grew by %d KiB", grown>>10)
	}
}

// memory returns the octets of Go's heap and of the whole process.
func memory(t *testing.T) (heap, resident int64) {
	t.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b, err := os.ReadFile("/proc/self/statm")
	if errors.Is(err, os.ErrNotExist) { // not Linux: the heap alone tells
		return int64(m.HeapAlloc), 0
	}
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return int64(m.HeapAlloc), pages * int64(os.Getpagesize())
}

// A list whose deletion was cut short is gone all the same, and Prune clears it away.
func TestPruneEndsADeletionThatWasCutShort(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "mlist.db"))
	l := makeList(t, s, "dev")
	addMany(t, s, l, 12_000)
	if _, err := s.q.buryList.Exec(key(l.Address), lastKey, 0); err != nil { // and no more
		t.Fatal(err)
	}
	if _, err := s.List(t.Context(), l.Address); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the list is there: %v", err)
	}
	for l, err := range s.AllLists(t.Context(), "") {
		t.Errorf("among all lists there is %v, %v", l, err)
	}
	again := makeList(t, s, "dev")
	addMany(t, s, again, 10)
	if err := s.Prune(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[int64]int64{l.ID: 0, again.ID: 10} {
		if n, err := s.CountMembers(t.Context(), id, store.Filter{}); n != want || err != nil {
			t.Errorf("list %d has %d members, %v; want %d", id, n, err, want)
		}
	}
	if _, err := s.AddMembers(t.Context(), l.ID, someMembers(1), nil); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("adding to it: %v", err)
	}
}

// mayScan are the walks that are no mistake.
var mayScan = []string{"SCAN CONSTANT ROW", "SCAN a USING COVERING INDEX archive_waiting", "SCAN d USING INDEX digests_unfiled",
	"SCAN held_posts USING COVERING INDEX held_posts_by_age"}

// Every statement finds its rows by an index, and by enough of it: none walks a table,
// the indexes of what waits for a digest or a moderator are walked as a whole and hold nothing else,
// and the look-up in the path of each post not even all posts of a list.
func TestEveryStatementUsesAnIndex(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "mlist.db"))
	queries := append(s.queries(), query{text: s.dialect.merge(3)})
	for _, q := range queries {
		params := 0
		for params < 3*walkParams && strings.Contains(q.text, "$"+strconv.Itoa(params+1)) {
			params++
		}
		if params == 0 {
			params = strings.Count(q.text, "?")
		}
		for _, detail := range plan(t, s, q.text, params) {
			oneRow := detail == "SCAN l" && strings.HasPrefix(q.text, "WITH l AS MATERIALIZED ") // the list that it is about
			if strings.HasPrefix(detail, "SCAN") && !oneRow && !slices.Contains(mayScan, detail) && !strings.HasPrefix(detail, "SCAN json_each ") {
				t.Errorf("%s\n\t%s", q.text, detail)
			}
		}
	}
	// Memory must not grow with the lists: what is merged is in order already.
	for _, detail := range plan(t, s, s.dialect.merge(3), 3*walkParams) {
		if strings.Contains(detail, "TEMP B-TREE") {
			t.Errorf("merging recipients sorts: %s", detail)
		}
	}
	if details := strings.Join(plan(t, s, addBounce, 12), "\n"); !strings.Contains(details, "(list_id=? AND address_key=? AND at>?)") {
		t.Errorf("a bounce that is filed is not found by its member:\n%s", details)
	}
	details := strings.Join(plan(t, s, filed, 4), "\n")
	for _, want := range []string{"(list_id=? AND entry=?)", "(list_id=? AND digest=? AND at>?)"} {
		if !strings.Contains(details, want) {
			t.Errorf("a filed post is not found by %s:\n%s", want, details)
		}
	}
}

func plan(t *testing.T, s *Store, query string, params int) (details []string) {
	t.Helper()
	rows, err := s.reader.Query(`EXPLAIN QUERY PLAN `+query, make([]any, params)...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		details = append(details, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return details
}

// Archives grow for ever. What is done for each post, or for one, must not walk through all of its
// list's.
func TestAnArchiveIsNotWalked(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "mlist.db"))
	narrow := []string{"archive_by_hash (list_id=? AND hash=?)", "archive_waiting", "archive_by_issue (list_id=? AND volume=? AND issue=?)", "PRIMARY KEY (list_id=? AND number=?)",
		"archive_by_entry (entry=?", "archive_by_parent"}
	for _, q := range s.queries() {
		if !strings.Contains(q.text, "archive") || q.stmt == &s.q.archived || q.stmt == &s.q.clearArchive {
			continue
		}
		params := 0
		for strings.Contains(q.text, "$"+strconv.Itoa(params+1)) {
			params++
		}
		for _, detail := range plan(t, s, q.text, params) {
			if (strings.Contains(detail, "archive") || strings.HasPrefix(detail, "SEARCH a ")) && !slices.ContainsFunc(narrow, func(n string) bool { return strings.Contains(detail, n) }) {
				t.Errorf("%s\n\t%s", q.text, detail)
			}
		}
	}
}
