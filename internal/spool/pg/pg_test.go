package pg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/spooltest"
	"github.com/mlist/mlist/test/postgres"
)

// schemas hands out names of schemas: each test has its spool in its own.
var schemas atomic.Int64

func startServer(t testing.TB) *postgres.Server {
	t.Helper()
	return postgres.StartFor(t, postgres.Options{}, "THE SPOOL IN POSTGRESQL IS NOT TESTED")
}

func freshSchema(t testing.TB, server *postgres.Server) string {
	t.Helper()
	name := fmt.Sprint("spool", schemas.Add(1))
	if err := server.Run(t.Context(), "CREATE SCHEMA "+name); err != nil {
		t.Fatal(err)
	}
	return server.URL(name)
}

type storage string

func (url storage) Open(t *testing.T) spool.Spool {
	t.Helper()
	s, err := Open(t.Context(), string(url), Options{Migrate: true, Lease: time.Second})
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

func TestSuite(t *testing.T) {
	server := startServer(t)
	spooltest.Run(t, func(t *testing.T) spooltest.Storage { return storage(freshSchema(t, server)) })
	t.Run("a broken body", func(t *testing.T) { testABrokenBody(t, freshSchema(t, server)) })
}

// write puts an entry for a list.
func write(t testing.TB, s *Spool, list, body string) spool.ID {
	t.Helper()
	d, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := io.WriteString(d, body); err != nil {
		t.Fatal(err)
	}
	id, err := d.Put(t.Context(), spool.Incoming, "", spool.Envelope{List: list, Key: segment.KeyOf(list), Received: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// commit makes a post of the next entry.
func commit(t *testing.T, o spool.Owner, recipients ...string) spool.ID {
	t.Helper()
	e, p := prepare(t, o, "")
	for _, r := range recipients {
		if err := p.AddChunk(t.Context(), spool.Chunk{List: e.List, Variant: "plain", Created: e.Received, Recipients: []string{r}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return e.ID
}

// prepare takes the next entry, and begins a post of it: its one variant has this content, and it has no chunks yet.
func prepare(t testing.TB, o spool.Owner, content string) (spool.Entry, spool.Prepared) {
	t.Helper()
	e, err := o.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.Prepare(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	w, err := p.Content("plain")
	if err == nil {
		_, err = io.WriteString(w, content)
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return e, p
}

func open(t testing.TB, url string, o Options) *Spool {
	t.Helper()
	o.Migrate, o.Log = true, slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := Open(t.Context(), url, o)
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

// An owner that hangs past its lease loses its segments, and wakes to find that it can change
// nothing.
func TestALeaseEnds(t *testing.T) {
	url := freshSchema(t, startServer(t))
	hangs, other := open(t, url, Options{Lease: 300 * time.Millisecond}), open(t, url, Options{})
	write(t, hangs, "dev@l.test", "hello")
	in, err := hangs.Own(t.Context(), spool.Incoming, segment.All, "the one that hangs")
	if err != nil {
		t.Fatal(err)
	}
	commit(t, in, "a@x.test")
	out, err := hangs.OwnOutgoing(t.Context(), segment.All, "the one that hangs")
	if err != nil {
		t.Fatal(err)
	}
	c, err := out.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.OwnOutgoing(t.Context(), segment.All, "other"); !errors.Is(err, spool.ErrOwned) || !strings.Contains(err.Error(), "the one that hangs") {
		t.Fatalf("segments of a living owner were taken: %v", err)
	}
	out.(*outgoing).stop() // it renews no more
	<-out.(*outgoing).gone
	var taken spool.OutgoingOwner
	for end := time.Now().Add(time.Minute); taken == nil; time.Sleep(20 * time.Millisecond) {
		if taken, err = other.OwnOutgoing(t.Context(), segment.All, "other"); err != nil && (!errors.Is(err, spool.ErrOwned) || time.Now().After(end)) {
			t.Fatal(err)
		}
	}
	defer taken.Close()
	if err := out.Settle(t.Context(), c, spool.Settlement{}); !errors.Is(err, spool.ErrFenced) {
		t.Errorf("an owner whose lease is over settled a chunk: %v", err)
	}
	if err := out.Progress(c, 0); !errors.Is(err, spool.ErrFenced) {
		t.Errorf("an owner whose lease is over noted progress: %v", err)
	}
	if _, err := out.Next(t.Context()); !errors.Is(err, spool.ErrFenced) {
		t.Errorf("an owner whose lease is over was handed something: %v", err)
	}
	if c, err := taken.Next(t.Context()); err != nil || c.Recipients[0] != "a@x.test" {
		t.Errorf("the next owner got %+v, %v", c, err)
	}
}

func TestWhatCrashesLeaveIsRemoved(t *testing.T) {
	s := open(t, freshSchema(t, startServer(t)), Options{})
	o, err := s.Own(t.Context(), spool.Incoming, segment.All, "one")
	if err != nil {
		t.Fatal(err)
	}
	write(t, s, "dev@l.test", "hello")
	_, p := prepare(t, o, strings.Repeat("x", smallContent+1)) // one that goes there, too
	for i := range chunkRows {                                 // so many that they go to the database
		err = errors.Join(err, p.AddChunk(t.Context(), spool.Chunk{Variant: "plain", Recipients: []string{fmt.Sprint(i, "@x.test")}}))
	}
	if err != nil {
		t.Fatal(err)
	}
	count := func() (n int) {
		err := s.pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM spool_chunks) + (SELECT count(*) FROM spool_contents) + (SELECT count(*) FROM spool_bodies)`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	const entry = 1 // whose body stays
	if n := count(); n != chunkRows+1+1+entry {
		t.Fatalf("%d rows before the crash", n)
	}
	if err := s.reapOnce(t.Context(), 0); err != nil || count() != chunkRows+1+1+entry {
		t.Errorf("what is under way was removed, or %v", err)
	}
	if err := s.reapOnce(t.Context(), leftFor+time.Minute); err != nil || count() != entry {
		t.Errorf("%d rows are left, %v", count(), err)
	}
}

func TestManyDeferredPostsHideNoOther(t *testing.T) {
	s := open(t, freshSchema(t, startServer(t)), Options{})
	in, err := s.Own(t.Context(), spool.Incoming, segment.All, "one")
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.OwnOutgoing(t.Context(), segment.All, "one")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		write(t, s, "dev@l.test", "hello")
		commit(t, in, fmt.Sprint(i, "@x.test"))
		c, err := out.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := out.Settle(t.Context(), c, spool.Settlement{Deferred: c.Recipients, Due: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	write(t, s, "dev@l.test", "hello")
	id := commit(t, in, "new@x.test")
	if c, err := out.Next(t.Context()); err != nil || c.Post != id {
		t.Errorf("got %+v, %v", c, err)
	}
}

// Two daemons that end the last two chunks of a post at the same time leave nothing of it.
func TestTheLastTwoChunksTogether(t *testing.T) {
	url := freshSchema(t, startServer(t))
	one, two := open(t, url, Options{}), open(t, url, Options{})
	in, err := one.Own(t.Context(), spool.Incoming, segment.All, "one")
	if err != nil {
		t.Fatal(err)
	}
	var owners []spool.OutgoingOwner
	for i, s := range []*Spool{one, two} {
		half := segment.Set{{First: segment.Key(i << 15), Last: segment.Key(i<<15 + 0x7fff)}}
		o, err := s.OwnOutgoing(t.Context(), half, fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		owners = append(owners, o)
	}
	for range 20 {
		write(t, one, "dev@l.test", "hello")
		commit(t, in, "a@x.test", "b@x.test", "c@x.test", "d@x.test", "e@x.test", "f@x.test")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var left atomic.Int64
	left.Store(20 * 6)
	var group sync.WaitGroup
	for _, o := range owners {
		for range 4 {
			group.Go(func() {
				for {
					c, err := o.Next(ctx)
					if err != nil {
						if left.Load() > 0 {
							t.Error(err)
						}
						return
					}
					m, err := o.Content(ctx, c)
					if err == nil {
						err = m.Close()
					}
					if err = errors.Join(err, o.Progress(c, 0), o.Settle(ctx, c, spool.Settlement{})); err != nil {
						t.Error(err)
					}
					if left.Add(-1) == 0 {
						cancel()
					}
				}
			})
		}
	}
	group.Wait()
	var posts, contents, bodies int
	err = one.pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM spool_posts), (SELECT count(*) FROM spool_contents), (SELECT count(*) FROM spool_bodies)`).Scan(&posts, &contents, &bodies)
	if err != nil || posts+contents+bodies > 0 {
		t.Errorf("%d posts, %d contents and %d bodies are left, %v", posts, contents, bodies, err)
	}
}

// A body of which a part is missing is an error, never a shorter message.
func testABrokenBody(t *testing.T, url string) {
	s := open(t, url, Options{})
	for _, breaks := range []string{
		`DELETE FROM spool_body_parts WHERE part = 2`, `DELETE FROM spool_body_parts WHERE part = 0`,
		`UPDATE spool_body_parts SET bytes = '' WHERE part = 1`, `UPDATE spool_body_parts SET bytes = bytes || '1' WHERE part = 2`,
	} {
		id := write(t, s, "dev@l.test", strings.Repeat("x", 3*partSize))
		if _, err := s.pool.Exec(t.Context(), breaks); err != nil {
			t.Fatal(err)
		}
		e, err := s.Find(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := s.Read(t.Context(), e); err == nil {
			t.Errorf("%s: %d octets are read", breaks, m.Size())
			m.Close()
		}
	}
}
