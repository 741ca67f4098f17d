package pg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/dir"
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
	e, err := o.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.Prepare(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	w, err := p.Content("plain")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
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

func TestTheServerGoesAway(t *testing.T) {
	server := startServer(t)
	s := open(t, freshSchema(t, server), Options{Rescan: 50 * time.Millisecond})
	o, err := s.Own(t.Context(), spool.Incoming, segment.All, "one")
	if err != nil {
		t.Fatal(err)
	}
	write(t, s, "dev@l.test", "hello")
	e, err := o.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Connections that broke may show as errors; then all goes on as before, under the same lease.
	for tries := 0; ; tries++ {
		err := o.Done(t.Context(), e)
		if err == nil {
			break
		}
		if tries == 20 || errors.Is(err, spool.ErrFenced) {
			t.Fatal(err)
		}
	}
	id := write(t, s, "dev@l.test", "again")
	if e, err := o.Next(t.Context()); err != nil || e.ID != id {
		t.Errorf("got %v, %v", e.ID, err)
	}
}

func TestWhatCrashesLeaveIsRemoved(t *testing.T) {
	s := open(t, freshSchema(t, startServer(t)), Options{})
	o, err := s.Own(t.Context(), spool.Incoming, segment.All, "one")
	if err != nil {
		t.Fatal(err)
	}
	write(t, s, "dev@l.test", "hello")
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
		_, err = io.WriteString(w, strings.Repeat("x", smallContent+1)) // one that goes there, too
		err = errors.Join(err, w.Close())
	}
	for i := range chunkRows { // so many that they go to the database
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

// A notification is a hint: who is told nothing looks.
func TestNobodyIsTold(t *testing.T) {
	url := freshSchema(t, startServer(t))
	writer, reader := open(t, url, Options{}), open(t, url, Options{Rescan: 50 * time.Millisecond})
	for _, q := range spool.Queues {
		writer.pending[q] = true // as if a NOTIFY were always about to be sent
	}
	in, err := reader.Own(t.Context(), spool.Incoming, segment.All, "one")
	if err != nil {
		t.Fatal(err)
	}
	out, err := reader.OwnOutgoing(t.Context(), segment.All, "one")
	if err != nil {
		t.Fatal(err)
	}
	type next struct {
		id  spool.ID
		err error
	}
	entries, chunks := make(chan next, 1), make(chan next, 1)
	go func() { e, err := in.Next(t.Context()); entries <- next{e.ID, err} }()
	id := write(t, writer, "dev@l.test", "hello")
	if got := <-entries; got.err != nil || got.id != id {
		t.Fatalf("got %+v", got)
	}
	go func() {
		c, err := out.Next(t.Context())
		if err != nil {
			c = &spool.Chunk{}
		}
		chunks <- next{c.Post, err}
	}()
	reader.mu.Lock()
	reader.pending[spool.Outgoing] = true
	bells := reader.bells[spool.Outgoing]
	reader.bells[spool.Outgoing] = nil // nor does the pipeline of this process tell
	reader.mu.Unlock()
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if in, err = writer.Own(t.Context(), spool.Incoming, segment.All, "two"); err != nil {
		t.Fatal(err)
	}
	commit(t, in, "a@x.test")
	if got := <-chunks; got.err != nil || got.id != id {
		t.Fatalf("got %+v", got)
	}
	reader.mu.Lock()
	reader.bells[spool.Outgoing] = bells
	reader.mu.Unlock()
}

// hanging forwards connections to a server until it hangs: then it still takes what comes, as
// a network does that loses it.
func hanging(t *testing.T, to string) (addr string, hang func(bool)) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var hangs atomic.Bool
	var group sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	copyTo := func(to, from net.Conn) {
		defer to.Close()
		b := make([]byte, 64<<10)
		for {
			n, err := from.Read(b)
			if err != nil {
				return
			}
			if hangs.Load() {
				continue
			}
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
	}
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("unix", to)
			if err != nil {
				c.Close()
				continue
			}
			mu.Lock()
			conns = append(conns, c, s)
			mu.Unlock()
			group.Go(func() { copyTo(s, c) })
			group.Go(func() { copyTo(c, s) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		group.Wait()
	})
	return l.Addr().String(), hangs.Store
}

// A server that answers no more is an error, which is a 4xx at LMTP, and all goes on when it
// answers again.
func TestTheServerHangs(t *testing.T) {
	u, err := url.Parse(freshSchema(t, startServer(t)))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	addr, hang := hanging(t, filepath.Join(q.Get("host"), ".s.PGSQL."+q.Get("port")))
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	q.Set("host", host)
	q.Set("port", port)
	q.Set("sslmode", "disable")
	q.Set("connect_timeout", "2")
	u.RawQuery = q.Encode()
	s := open(t, u.String(), Options{silence: 500 * time.Millisecond})
	long := strings.Repeat("x", 3*partSize)
	before := write(t, s, "dev@l.test", long)
	in, err := s.Own(t.Context(), spool.Incoming, segment.All, "one")
	if err != nil {
		t.Fatal(err)
	}
	commit(t, in, "a@x.test")
	write(t, s, "dev@l.test", long)
	e, err := in.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.OwnOutgoing(t.Context(), segment.All, "one")
	if err != nil {
		t.Fatal(err)
	}
	c, err := out.Next(t.Context())
	if err != nil || c.Post != before {
		t.Fatal(c, err)
	}
	put := func(size int) error {
		d, err := s.Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if _, err := d.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		_, err = d.Put(t.Context(), spool.Incoming, "", spool.Envelope{List: "dev@l.test", Key: segment.KeyOf("dev@l.test"), Received: time.Now()})
		return err
	}
	hang(true)
	for _, size := range []int{10, partSize + 1} {
		if err := put(size); err == nil {
			t.Errorf("a message of %d octets was kept by a server that hangs", size)
		}
	}
	// Nothing that reads has a deadline of its own here.
	for what, read := range map[string]func() error{
		"an entry":   func() error { _, err := in.Open(t.Context(), e); return err },
		"a content":  func() error { _, err := out.Content(t.Context(), c); return err },
		"the next":   func() error { _, err := in.Next(t.Context()); return err },
		"the chunks": func() error { _, err := out.Next(t.Context()); return err },
		"a queue": func() error {
			for _, err := range s.Entries(t.Context(), spool.Incoming) {
				return err
			}
			return nil
		},
		"the owners": func() error { _, err := s.Owners(t.Context()); return err },
	} {
		if err := read(); err == nil {
			t.Errorf("%s was read from a server that hangs", what)
		}
	}
	hang(false)
	for tries := 0; ; tries++ { // connections that were made meanwhile may still have to end
		err := put(10)
		if err == nil {
			break
		}
		if tries == 20 {
			t.Fatal(err)
		}
	}
	m, err := in.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if got, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size())); err != nil || string(got) != long {
		t.Errorf("%d octets are read, %v", len(got), err)
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

func (url storage) OpenMoving(t *testing.T) spool.Movable {
	t.Helper()
	return open(t, string(url), Options{Moving: true, Lease: time.Second})
}

func (url storage) OpenError(t *testing.T) error {
	t.Helper()
	s, err := Open(t.Context(), string(url), Options{Migrate: true})
	if err == nil {
		return s.Close()
	}
	return err
}

// dirStorage is the other kind of spool.
type dirStorage string

func (path dirStorage) open(moving bool) (*dir.Spool, error) {
	return dir.Open(string(path), dir.Options{Moving: moving})
}

func (path dirStorage) must(t *testing.T, moving bool) *dir.Spool {
	t.Helper()
	s, err := path.open(moving)
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

func (path dirStorage) Open(t *testing.T) spool.Spool         { return path.must(t, false) }
func (path dirStorage) OpenMoving(t *testing.T) spool.Movable { return path.must(t, true) }

func (path dirStorage) OpenError(*testing.T) error {
	s, err := path.open(false)
	if err == nil {
		return s.Close()
	}
	return err
}

func TestMove(t *testing.T) {
	server := startServer(t)
	here := func(t *testing.T) spooltest.MovableStorage { return storage(freshSchema(t, server)) }
	there := func(t *testing.T) spooltest.MovableStorage { return dirStorage(t.TempDir()) }
	t.Run("to a directory", func(t *testing.T) { spooltest.RunMoveOnce(t, here(t), there(t)) })
	t.Run("from a directory", func(t *testing.T) { spooltest.RunMove(t, there, here) })
}

// A daemon that opened the spool before its mail was moved, and was not told, cannot take mail in.
func TestNothingIsPutWhereTheMailHasLeft(t *testing.T) {
	server := startServer(t)
	at := storage(freshSchema(t, server))
	s := open(t, string(at), Options{})
	write(t, s, "dev@l.test", "before")
	if err := at.OpenMoving(t).Leave(t.Context(), "dir:/elsewhere"); err != nil {
		t.Fatal(err)
	}
	d, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Put(t.Context(), spool.Incoming, "", spool.Envelope{List: "dev@l.test"}); err == nil || !strings.Contains(err.Error(), "moved elsewhere") {
		t.Errorf("put after the move: %v", err)
	}
}
