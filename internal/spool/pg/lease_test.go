package pg

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// Messages that come in slowly, or a queue that is read slowly, may have all connections of a
// process: its leases are renewed all the same.
func TestLeasesAreRenewedWhenAllElseIsBusy(t *testing.T) {
	s := open(t, freshSchema(t, startServer(t)), Options{Lease: time.Second})
	o, err := s.OwnOutgoing(t.Context(), segment.All, "one")
	if err != nil {
		t.Fatal(err)
	}
	for range connections {
		c, err := s.pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Release()
	}
	first := o.(*outgoing).valid.Load()
	eventually(t, "renewals", func() bool { return o.(*outgoing).valid.Load() > first+2*time.Second.Nanoseconds() })
	if err := o.Holds(); err != nil {
		t.Error(err)
	}
}

// A database that was restored, or a standby that took over, does not know the epochs of late: none
// is given a second time all the same.
func TestEpochsAreNeverGivenTwice(t *testing.T) {
	url := freshSchema(t, startServer(t))
	late, other := open(t, url, Options{Lease: time.Hour}), open(t, url, Options{Lease: time.Hour})
	in, err := late.Own(t.Context(), spool.Incoming, segment.All, "late")
	if err != nil {
		t.Fatal(err)
	}
	write(t, late, "dev@l.test", "hello")
	e, err := in.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := late.pool.Exec(t.Context(), `DELETE FROM spool_owners`); err != nil {
		t.Fatal(err)
	}
	var sequence string
	if err := late.pool.QueryRow(t.Context(), `SELECT sequencename FROM pg_sequences WHERE schemaname = current_schema() AND sequencename LIKE 'spool_%epoch%'`).Scan(&sequence); err != nil {
		t.Fatal(err)
	}
	if _, err := late.pool.Exec(t.Context(), `ALTER SEQUENCE `+sequence+` RESTART`); err != nil {
		t.Fatal(err)
	}
	now, err := other.Own(t.Context(), spool.Incoming, segment.All, "other")
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Done(t.Context(), e); !errors.Is(err, spool.ErrFenced) {
		t.Errorf("whose lease the database has forgotten removed an entry: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if again, err := now.Next(ctx); err != nil || again.ID != e.ID {
		t.Errorf("the next owner got %s, %v", again.ID, err)
	}
}

// A post lacks nobody: when parts of it are gone before its commit, by whatever mistake, it is
// made anew.
func TestAPostIsCommittedWholeOrNot(t *testing.T) {
	s := open(t, freshSchema(t, startServer(t)), Options{})
	in, err := s.Own(t.Context(), spool.Incoming, segment.All, "one")
	if err != nil {
		t.Fatal(err)
	}
	write(t, s, "dev@l.test", "hello")
	e, err := in.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{`DELETE FROM spool_chunks WHERE name = '000007'`, `DELETE FROM spool_contents`, ``} {
		p, err := in.Prepare(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		w, err := p.Content("plain")
		if err == nil {
			_, err = w.Write(make([]byte, smallContent+1))
			err = errors.Join(err, w.Close())
		}
		for i := range chunkRows + 1 {
			err = errors.Join(err, p.AddChunk(t.Context(), spool.Chunk{Variant: "plain", Recipients: []string{fmt.Sprint(i, "@x.test")}}))
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.pool.Exec(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		if err := p.Commit(t.Context()); (err == nil) != (gone == "") {
			t.Fatalf("after %q: committed with %v", gone, err)
		}
	}
	n := 0
	for _, err := range s.Chunks(t.Context(), false) {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	if n != chunkRows+1 {
		t.Errorf("%d chunks, want %d", n, chunkRows+1)
	}
}

// The server's clock is set back: the lease of a daemon that has died does not last longer for it.
func TestTheServersClockIsSetBack(t *testing.T) {
	url := freshSchema(t, startServer(t))
	s, dead := shareOn(t, url, "dead", time.Second)
	eventually(t, "the first has all", func() bool { return part(dead) == 100 })
	dead.stop()
	<-dead.gone
	if _, err := s.pool.Exec(t.Context(), `UPDATE spool_owners SET until = until + interval '1 hour'`); err != nil {
		t.Fatal(err)
	}
	_, other := shareOn(t, url, "other", time.Second)
	eventually(t, "another has all", func() bool { return part(other) == 100 })
}

// While spool.lease is changed on one host after the other, none is taken for dead.
func TestHostsWithOtherLeases(t *testing.T) {
	url := freshSchema(t, startServer(t))
	_, short := shareOn(t, url, "short", time.Second)
	s, long := shareOn(t, url, "long", time.Minute)
	eventually(t, "both have a half", func() bool { return part(short) > 45 && part(long) > 45 })
	site, err := s.site(t.Context(), s.pool, spool.Outgoing)
	if err != nil || len(site.Members) != 2 {
		t.Fatalf("%+v, %v", site.Members, err)
	}
	for _, m := range site.Members {
		if m.Silent {
			t.Errorf("%s is taken to be silent", m.Host)
		}
	}
}
