package pg

import (
	"errors"
	"io"
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
)

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
