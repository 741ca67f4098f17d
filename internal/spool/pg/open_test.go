package pg

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// What a database is like, and what else is in it.
func TestDatabasesOfAllKinds(t *testing.T) {
	server := startServer(t)
	run := func(t *testing.T, statement string) {
		t.Helper()
		if err := server.Run(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("a newer spool is not opened", func(t *testing.T) {
		where := freshSchema(t, server)
		s := open(t, where, Options{})
		if _, err := s.pool.Exec(t.Context(), `INSERT INTO spool_version (version_id, is_applied) VALUES (99999, true)`); err != nil {
			t.Fatal(err)
		}
		for _, may := range []bool{true, false} {
			if other, err := Open(t.Context(), where, Options{Migrate: may}); !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), "newer") {
				t.Errorf("migrate %v: %v", may, err)
				if err == nil {
					other.Close()
				}
			}
		}
	})
	t.Run("one that is not in UTF-8 is refused", func(t *testing.T) {
		run(t, `CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`)
		u, err := url.Parse(server.URL("public"))
		if err != nil {
			t.Fatal(err)
		}
		u.Path = "/latin"
		if s, err := Open(t.Context(), u.String(), Options{Migrate: true}); err == nil || !strings.Contains(err.Error(), "LATIN1") {
			t.Errorf("opened with %v", err)
			if err == nil {
				s.Close()
			}
		}
	})
	t.Run("sites do not wait for each other", func(t *testing.T) {
		one, two := open(t, freshSchema(t, server), Options{Lease: time.Minute}), open(t, freshSchema(t, server), Options{Lease: time.Minute})
		tx, err := one.pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback(t.Context()) //nolint:errcheck // it has no more to do
		if _, err := lockOwners(t.Context(), tx); err != nil {
			t.Fatal(err)
		}
		var waits bool // for what one has locked
		err = two.pool.QueryRow(t.Context(), strings.Replace(takeLeases, "SELECT pg_advisory_xact_lock", "SELECT NOT pg_try_advisory_xact_lock", 1)).Scan(&waits)
		if err != nil || waits {
			t.Errorf("the other site waits: %v, %v", waits, err)
		}
		if o, err := two.OwnOutgoing(t.Context(), segment.All, "one"); err != nil {
			t.Error(err)
		} else if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("settings of others do not count", func(t *testing.T) {
		run(t, `ALTER ROLE mlist SET default_transaction_isolation = 'serializable'; ALTER ROLE mlist SET synchronous_commit = 'on'`)
		defer run(t, `ALTER ROLE mlist RESET ALL`)
		s := open(t, freshSchema(t, server), Options{})
		in, err := s.Own(t.Context(), spool.Incoming, segment.All, "one")
		if err != nil {
			t.Fatal(err)
		}
		o, err := s.OwnOutgoing(t.Context(), segment.All, "one")
		if err != nil {
			t.Fatal(err)
		}
		write(t, s, "dev@l.test", "hello")
		commit(t, in, "a@x.test")
		c, err := o.Next(t.Context())
		if err == nil {
			err = errors.Join(o.Progress(c, 0), o.Settle(t.Context(), c, spool.Settlement{}))
		}
		if err != nil {
			t.Fatal(err)
		}
		var isolation, synchronous string
		// Of the connections on which nothing waits for the disk: each after it was used for that.
		err = s.soon.QueryRow(t.Context(), `SELECT current_setting('transaction_isolation'), current_setting('synchronous_commit')`).Scan(&isolation, &synchronous)
		if err != nil || isolation != "read committed" || synchronous != "on" {
			t.Errorf("isolation %s, synchronous_commit %s, %v", isolation, synchronous, err)
		}
	})
}
