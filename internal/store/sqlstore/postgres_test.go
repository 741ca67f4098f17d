package sqlstore

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/store/storetest"
	"github.com/mlist/mlist/test/postgres"
)

// schemas hands out names of schemas: each test has its tables in its own.
var schemas atomic.Int64

// startPostgres starts a server for one test and those within it.
func startPostgres(t *testing.T) *postgres.Server {
	t.Helper()
	return postgres.StartFor(t, postgres.Options{}, "THE STORE ON POSTGRESQL IS NOT TESTED")
}

// freshSchema is the URL of a schema with nothing in it.
func freshSchema(t *testing.T, server *postgres.Server) string {
	t.Helper()
	name := fmt.Sprint("test", schemas.Add(1))
	if err := server.Run(t.Context(), "CREATE SCHEMA "+name); err != nil {
		t.Fatal(err)
	}
	return server.URL(name)
}

func TestPostgres(t *testing.T) {
	server := startPostgres(t)
	storetest.Run(t, "postgres", func(t *testing.T) storetest.Open {
		url := freshSchema(t, server)
		return func(t *testing.T) store.Store {
			s, err := Open(t.Context(), url, Options{Migrate: true})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	})
}

// The server knows all that a statement names: nothing else sends it those that no test runs.
func TestThePostgresServerKnowsEveryStatement(t *testing.T) {
	url := freshSchema(t, startPostgres(t))
	s, err := Open(t.Context(), url, Options{Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, q := range append(s.queries(), query{text: s.dialect.merge(3)}) {
		if q.db == nil && q.stmt != nil {
			continue // it is SQLite's
		}
		if _, err := conn.Prepare(t.Context(), "", q.text); err != nil {
			t.Errorf("%v:\n%s", err, q.text)
		}
	}
}

func TestBothDialectsHaveTheSameSchema(t *testing.T) {
	if s, p := latestSchema(&sqliteDialect), latestSchema(&postgresDialect); s != p {
		t.Errorf("SQLite's last migration is %d, PostgreSQL's %d: each change is made in both", s, p)
	}
}

func TestTheServerGoesAway(t *testing.T) {
	server := startPostgres(t)
	s, err := Open(t.Context(), freshSchema(t, server), Options{Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dev := &list.List{Address: address.Address{Local: "dev", Domain: "l.test"}, Settings: list.Defaults()}
	if err := s.CreateList(t.Context(), dev); err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The first use of each connection may find out that it is gone, and fail; none hangs, and
	// then all is well without anybody's doing.
	post := store.Post{ListID: dev.ID, Entry: "1", Digest: []byte("d"), At: time.Unix(1e9, 0)}
	for tries := 0; ; tries++ {
		_, readErr := s.List(t.Context(), dev.Address)
		r, writeErr := s.FilePost(t.Context(), post, true, time.Hour)
		if readErr == nil && writeErr == nil {
			if r.Number != 1 {
				t.Errorf("the post has number %d", r.Number)
			}
			return
		}
		if tries == 10 {
			t.Fatalf("after ten tries: read %v, write %v", readErr, writeErr)
		}
	}
}

func TestManyStartAtOnce(t *testing.T) {
	url := freshSchema(t, startPostgres(t))
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			s, err := Open(t.Context(), url, Options{Migrate: true})
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func TestAPasswordIsNotPrinted(t *testing.T) {
	for _, url := range []string{
		"postgres://mlist:hunter2@127.0.0.1:1/mlist?connect_timeout=1",
		"postgres://mlist@127.0.0.1:1/mlist?password=hunter2&connect_timeout=1",
		"postgres://mlist:hunter2@127.0.0.1:1/mlist?sslmode=nonsense",
		"postgres://mlist:hunter2@127.0.0.1:port/mlist",
	} {
		_, err := Open(t.Context(), url, Options{})
		if err == nil {
			t.Fatalf("%s was opened", url)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}
