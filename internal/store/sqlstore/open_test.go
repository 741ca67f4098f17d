package sqlstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

func TestOpenSaysWhatToDo(t *testing.T) {
	tests := []struct {
		name string
		url  func(t *testing.T, dir string) string
		opts Options
		want []string // parts of the error
	}{
		{"a scheme of a later version", func(*testing.T, string) string { return "mysql://mlist:secret@db/mlist" }, Options{}, []string{`"mysql"`, "sqlite:PATH"}},
		{"no scheme", func(_ *testing.T, dir string) string { return dir + "/mlist.db" }, Options{}, []string{"sqlite:PATH"}},
		{"no path", func(*testing.T, string) string { return "sqlite:" }, Options{}, []string{"sqlite:PATH"}},
		{"no directory", func(_ *testing.T, dir string) string { return "sqlite:" + dir + "/no/mlist.db" }, Options{Migrate: true}, []string{"/no: make it"}},
		{"a directory that is a file", func(t *testing.T, dir string) string {
			write(t, dir+"/file", "")
			return "sqlite:" + dir + "/file/mlist.db"
		}, Options{Migrate: true}, []string{"file"}},
		{"no store", func(_ *testing.T, dir string) string { return "sqlite:" + dir + "/mlist.db" }, Options{}, []string{"no store yet"}},
		{"an empty file", func(t *testing.T, dir string) string {
			write(t, dir+"/mlist.db", "")
			return "sqlite:" + dir + "/mlist.db"
		}, Options{}, []string{"no store yet"}},
		{"a file that is no database", func(t *testing.T, dir string) string {
			write(t, dir+"/mlist.db", strings.Repeat("Dear reader, ", 1000))
			return "sqlite:" + dir + "/mlist.db"
		}, Options{Migrate: true}, []string{"mlist.db", "not a database"}},
		{"a directory in the place of the database", func(t *testing.T, dir string) string {
			if err := os.Mkdir(dir+"/mlist.db", 0o700); err != nil {
				t.Fatal(err)
			}
			return "sqlite:" + dir + "/mlist.db"
		}, Options{Migrate: true}, []string{"mlist.db", "unable to open database file"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Open(t.Context(), tt.url(t, t.TempDir()), tt.opts)
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not have %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q has the password", err)
			}
		})
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStoreOfAnotherSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mlist.db")
	s := openAt(t, path)
	want := latestSchema(s.dialect)
	for _, tt := range []struct {
		name, sql string
		migrate   bool
		have      int64
		text      string
	}{
		{"newer", `INSERT INTO schema_version (version_id, is_applied) VALUES (99, 1)`, false, 99, "install"},
		{"newer, and it may migrate", ``, true, 99, "install"},
		{"older", `DELETE FROM schema_version WHERE version_id > 0`, false, 0, "no store yet"},
	} {
		if _, err := s.writer.Exec(tt.sql); tt.sql != "" && err != nil {
			t.Fatal(err)
		}
		other, err := Open(t.Context(), "sqlite:"+path, Options{Migrate: tt.migrate})
		if err == nil {
			other.Close()
		}
		var schema *SchemaError
		if !errors.As(err, &schema) || schema.Have != tt.have || schema.Want != want || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	older := &SchemaError{Have: 1, Want: 2}
	if !strings.Contains(older.Error(), "start its daemons again") {
		t.Errorf("of an older schema it says %q", older)
	}
}

func TestNewStoreIsForItsOwnerAlone(t *testing.T) {
	for _, tt := range []struct{ mode, want fs.FileMode }{{0, 0o600}, {0o660, 0o660}} {
		path := filepath.Join(t.TempDir(), "odd name?#%41.db")
		s, err := Open(t.Context(), "sqlite:"+path, Options{Migrate: true, FileMode: tt.mode})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{path, path + "-wal", path + "-shm"} {
			info, err := os.Stat(p)
			if err != nil || info.Mode().Perm() != tt.want {
				t.Errorf("%s: %v, %v; want %v", p, info, err, tt.want)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestStoreOutlivesItsHandle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mlist.db")
	now := time.Date(2026, 1, 2, 3, 4, 5, 6789, time.UTC)
	s, err := Open(t.Context(), "sqlite:"+path, Options{Migrate: true, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	l := makeList(t, s, "dev")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(t.Context(), "sqlite:"+path, Options{}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, err := s.List(t.Context(), l.Address)
	if err != nil || !got.Created.Equal(now.Truncate(time.Microsecond)) {
		t.Errorf("list %+v, %v", got, err)
	}
}

// The disk is full: SQLite's own limit on the file's size stands for it.
func TestFullDiskChangesNothing(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "mlist.db"))
	l := makeList(t, s, "dev")
	addMany(t, s, l, 100)
	var pages int
	if err := s.writer.QueryRow(`PRAGMA page_count`).Scan(&pages); err != nil {
		t.Fatal(err)
	}
	if _, err := s.writer.Exec(`PRAGMA max_page_count = ` + strconv.Itoa(pages)); err != nil {
		t.Fatal(err)
	}
	r, err := s.AddMembers(t.Context(), l.ID, someMembers(5000), nil)
	if err == nil || !strings.Contains(err.Error(), "full") || errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrNotFound) {
		t.Errorf("adding to a full disk: %+v, %v", r, err)
	}
	if n, err := s.CountMembers(t.Context(), l.ID, store.Filter{}); n != 100 || err != nil {
		t.Errorf("it left %d members, %v", n, err)
	}
	if _, err := s.writer.Exec(`PRAGMA max_page_count = 1000000`); err != nil {
		t.Fatal(err)
	}
	if r, err := s.AddMembers(t.Context(), l.ID, someMembers(5000), nil); r.Added != 4900 || err != nil {
		t.Errorf("with space again: %+v, %v", r, err)
	}
}

// A write waits for another process's, and gives up when its context does.
func TestWriteThatMustWaitHeedsItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mlist.db")
	s, other := openAt(t, path), openAt(t, path)
	tx, err := other.writer.Begin()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	l := &list.List{Address: address.Address{Local: "dev", Domain: "lists.test"}, Settings: list.Defaults()}
	if err := s.CreateList(ctx, l); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v, want a deadline's", err)
	}
	if err := s.Ping(t.Context()); err != nil { // reading does not wait
		t.Error(err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateList(t.Context(), l); err != nil {
		t.Error(err)
	}
}

func TestPingNoticesATableThatIsGone(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "mlist.db"))
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.writer.Exec(`DROP TABLE schema_version`); err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); err == nil {
		t.Error("no error")
	}
}

// What is removed for good is not left in the file, for whoever reads that or a backup of it.
func TestWhatIsRemovedIsNotInTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mlist.db")
	s := openAt(t, path)
	l := &list.List{Address: address.Address{Local: "dev", Domain: "l.test"}, Settings: list.Defaults()}
	if err := s.CreateList(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	for i := range 9 {
		subject := "after"
		if i == 4 {
			subject = "a word that is regretted " + strings.Repeat("very much ", 20) + "regretted"
		}
		_, err := s.ImportPosts(t.Context(), l.ID, []store.Archived{{Entry: fmt.Sprint("e", i), Kept: store.Kept{Subject: subject, Place: "p", Size: 1}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.RemoveArchived(t.Context(), l.ID, 5, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(b, []byte("after")) || bytes.Contains(b, []byte("regretted")) {
		t.Errorf("the file has %t, %v", bytes.Contains(b, []byte("regretted")), err)
	}
}
