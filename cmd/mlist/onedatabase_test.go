package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/dir"
	"github.com/mlist/mlist/internal/spool/pg"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/store/sqlstore"
	"github.com/mlist/mlist/pipeline"
	"github.com/mlist/mlist/test/postgres"
)

func databaseServer(t *testing.T) *postgres.Server {
	t.Helper()
	return postgres.StartFor(t, postgres.Options{}, "ONE TRANSACTION ON POSTGRESQL IS NOT TESTED")
}

func openPostgres(t *testing.T, storeURL, spoolURL string) (*sqlstore.Store, *pg.Spool) {
	t.Helper()
	st, err := sqlstore.Open(t.Context(), storeURL, sqlstore.Options{Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	sp, err := pg.Open(t.Context(), spoolURL, pg.Options{Migrate: true, Lease: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sp.Close() })
	return st, sp
}

// Whether store and spool are in one place is for the database to say: URLs that differ may
// mean the same, and schemas of one name be in two databases.
func TestOneDatabaseIsRecognised(t *testing.T) {
	server := databaseServer(t)
	for _, sql := range []string{"CREATE SCHEMA a", "CREATE SCHEMA b", "CREATE DATABASE other", "CREATE ROLE guest LOGIN SUPERUSER"} {
		if err := server.Run(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	a := server.URL("a")
	edit := func(f func(u *url.URL, q url.Values)) string {
		u, err := url.Parse(a)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		f(u, q)
		u.RawQuery = q.Encode()
		return u.String()
	}
	other := edit(func(u *url.URL, q url.Values) { u.Path = "/other"; q.Set("search_path", "public") })
	for _, c := range []struct {
		what, store, spool string
		same               bool
	}{
		{"one URL", a, a, true},
		{"two URLs of one place", a, edit(func(_ *url.URL, q url.Values) { q.Set("search_path", "a,public"); q.Set("application_name", "x") }), true},
		{"two schemas", a, server.URL("b"), false},
		{"two databases", server.URL("public"), other, false},
		{"two users", a, edit(func(u *url.URL, _ url.Values) { u.User = url.User("guest") }), false},
	} {
		st, sp := openPostgres(t, c.store, c.spool)
		together, err := oneDatabase(t.Context(), sp, st)
		if err != nil || (together != nil) != c.same {
			t.Errorf("%s: in one transaction: %v, want %v; %v", c.what, together != nil, c.same, err)
		}
	}
	st, sp := openPostgres(t, a, a)
	lite, err := sqlstore.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "mlist.db"), sqlstore.Options{Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer lite.Close()
	if together, err := oneDatabase(t.Context(), sp, lite); together != nil || err != nil {
		t.Errorf("a store in SQLite shares a transaction with a spool in PostgreSQL, or %v", err)
	}
	folder, err := dir.Open(t.TempDir(), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	if together, err := oneDatabase(t.Context(), folder, st); together != nil || err != nil {
		t.Errorf("a directory shares a transaction with a store in PostgreSQL, or %v", err)
	}
}

// cutter forwards connections to a server, and cuts one in the middle of a transaction: it
// forwards so many steps, of which the last has no answer.
type cutter struct {
	net.Listener
	to    string
	group sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	armed bool
	after int  // steps
	hasty bool // the server may not even have done the last step
	cut   bool
}

func newCutter(t *testing.T, to string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: l, to: to, conns: map[net.Conn]bool{}}
	c.group.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", to)
			if err != nil {
				client.Close()
				continue
			}
			c.mu.Lock()
			c.conns[client], c.conns[server] = true, true
			c.mu.Unlock()
			c.serve(client, server)
		}
	})
	t.Cleanup(func() {
		l.Close()
		c.mu.Lock()
		for conn := range c.conns {
			conn.Close()
		}
		c.mu.Unlock()
		c.group.Wait()
	})
	return c
}

// arm has the next transaction cut after so many steps; was tells whether that has happened.
func (c *cutter) arm(after int, hasty bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed, c.after, c.hasty, c.cut = true, after, hasty, false
}

func (c *cutter) was() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed = false
	return c.cut
}

func (c *cutter) serve(client, server net.Conn) {
	var mu sync.Mutex // over mute
	mute, answered := false, make(chan struct{}, 1)
	c.group.Go(func() {
		defer close(answered)
		defer client.Close()
		b := make([]byte, 64<<10)
		for {
			n, err := server.Read(b)
			if err != nil {
				return
			}
			mu.Lock()
			if !mute {
				_, err = client.Write(b[:n])
			} else {
				select {
				case answered <- struct{}{}:
				default:
				}
			}
			mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	c.group.Go(func() {
		defer server.Close()
		defer client.Close()
		left, hasty := -1, false // steps to forward, once the transaction has begun
		for first := true; ; first = false {
			kind, message, err := readMessage(client, first)
			if err != nil {
				return
			}
			c.mu.Lock()
			if c.armed && left < 0 && kind == 'Q' && strings.HasPrefix(string(message[5:]), "begin") {
				c.armed, left, hasty = false, c.after, c.hasty
			}
			if left == 0 {
				c.cut = true
				c.mu.Unlock()
				return
			}
			c.mu.Unlock()
			// What others do not change nothing: Parse, Bind, Describe.
			if step := kind == 'Q' || kind == 'E' || kind == 'S'; step && left > 0 {
				if left--; left == 0 {
					mu.Lock()
					mute = true
					mu.Unlock()
				}
			}
			if left > 0 && kind == 'Q' && strings.HasPrefix(string(message[5:]), "commit") {
				if left > atCommit/2 {
					left = 0
					mu.Lock()
					mute = true
					mu.Unlock()
				} else {
					left = -1 // it is over
				}
			}
			if _, err := server.Write(message); err != nil {
				return
			}
			if left == 0 {
				if kind != 'E' && !hasty { // what has an answer
					<-answered
				}
				c.mu.Lock()
				c.cut = true
				c.mu.Unlock()
				return
			}
		}
	})
}

// atCommit is as many steps as it takes to the commit.
const atCommit = 1 << 20

// readMessage reads what a client sends; the first message has no kind.
func readMessage(from io.Reader, first bool) (kind byte, message []byte, err error) {
	head := make([]byte, 5)
	if first {
		head = head[:4]
	}
	if _, err := io.ReadFull(from, head); err != nil {
		return 0, nil, err
	}
	size := int(binary.BigEndian.Uint32(head[len(head)-4:]))
	if !first {
		kind = head[0]
	}
	message = make([]byte, len(head)+size-4)
	copy(message, head)
	_, err = io.ReadFull(from, message[len(head):])
	return kind, message, err
}

// A connection that is cut at any step of the transaction, which is also what a death of
// either side leaves, has done all of it or nothing; and whoever goes on then, as the pipeline
// does, makes it whole, once.
func TestATransactionThatIsCut(t *testing.T) {
	server := databaseServer(t)
	direct := server.URL("public")
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	cut := newCutter(t, filepath.Join(q.Get("host"), ".s.PGSQL."+q.Get("port")))
	host, port, err := net.SplitHostPort(cut.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	q.Set("host", host)
	q.Set("port", port)
	q.Set("sslmode", "disable")
	u.RawQuery = q.Encode()
	w := newOneTransaction(t, direct, u.String())

	try := func(steps int, hasty bool) (wasCut, known bool) {
		entries, preps, filings, numbers := w.prepare()
		before := w.state()
		cut.arm(steps, hasty)
		err := w.together(t.Context(), w.owner, preps, filings, numbers, time.Hour)
		wasCut = cut.was()
		w.quiet()
		after := w.state()
		switch {
		case after != before && after != before.plus(len(entries)):
			t.Fatalf("cut after %d steps: %+v became %+v", steps, before, after)
		case err == nil && after == before:
			t.Fatalf("cut after %d steps: nothing was done, and that was no error", steps)
		}
		known = err == nil && wasCut
		if err != nil {
			if _, err := w.st.FilePosts(t.Context(), filings, time.Hour); err != nil {
				t.Fatalf("cut after %d steps: file them alone: %v", steps, err)
			}
			if n, err := w.owner.Commit(t.Context(), preps...); n != len(preps) || err != nil {
				t.Fatalf("cut after %d steps: %d were committed alone, %v", steps, n, err)
			}
		}
		if got := w.state(); got != before.plus(len(entries)) {
			t.Fatalf("cut after %d steps: %+v became %+v in the end", steps, before, got)
		}
		return wasCut, known
	}
	steps := 0
	for wasCut := true; wasCut; steps++ { // how many there are differs: statements may be known on a connection
		wasCut, _ = try(steps, false)
	}
	if steps < 20 {
		t.Errorf("only %d steps were seen", steps)
	}
	if _, known := try(atCommit, false); !known {
		t.Error("a commit was made, and its answer cut off: nobody found that out")
	}
	try(atCommit, true)
}

// oneTransaction is a list whose posts are committed together with what the journal says.
type oneTransaction struct {
	*testing.T
	conn     *pgx.Conn
	st       *sqlstore.Store
	sp       *pg.Spool
	together pipeline.Together
	owner    spool.Owner
	list     *list.List
	posts    int64
}

func newOneTransaction(t *testing.T, direct, through string) *oneTransaction {
	t.Helper()
	w := &oneTransaction{T: t}
	var err error
	if w.conn, err = pgx.Connect(t.Context(), direct); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.conn.Close(context.Background()) })
	w.st, w.sp = openPostgres(t, direct, through)
	if w.together, err = oneDatabase(t.Context(), w.sp, w.st); err != nil || w.together == nil {
		t.Fatalf("no transaction in common, %v", err)
	}
	w.list = &list.List{Address: address.Address{Local: "dev", Domain: "l.test"}, Settings: list.Defaults()}
	if err := w.st.CreateList(t.Context(), w.list); err != nil {
		t.Fatal(err)
	}
	if w.owner, err = w.sp.Own(t.Context(), spool.Incoming, segment.All, "one"); err != nil {
		t.Fatal(err)
	}
	return w
}

// prepare puts two posts, and prepares them as the pipeline does: one is kept, and one has a
// handler count something.
func (w *oneTransaction) prepare() (entries []spool.Entry, preps []spool.Prepared, filings []store.Post, numbers []int64) {
	w.Helper()
	ctx := w.Context()
	for range 2 {
		d, err := w.sp.Create(ctx)
		if err != nil {
			w.Fatal(err)
		}
		defer d.Close()
		if _, err := io.WriteString(d, "Subject: hello\r\n\r\n"); err != nil {
			w.Fatal(err)
		}
		env := spool.Envelope{List: "dev@l.test", Key: segment.KeyOf("dev@l.test"), Received: time.Now()}
		if _, err := d.Put(ctx, spool.Incoming, "", env); err != nil {
			w.Fatal(err)
		}
	}
	for i := range 2 {
		var e spool.Entry
		var err error
		ok := true
		if i == 0 {
			e, err = w.owner.Next(ctx)
		} else {
			e, ok, err = w.owner.Following(ctx, entries[0])
		}
		if err != nil || !ok {
			w.Fatalf("entry %d: %v, %v", i, ok, err)
		}
		p, err := w.owner.Prepare(ctx, e)
		if err != nil {
			w.Fatal(err)
		}
		body, err := p.Content("plain")
		if err == nil {
			err = body.Close()
		}
		if err = errors.Join(err, p.AddChunk(ctx, spool.Chunk{List: e.List, Variant: "plain", Recipients: []string{"a@x.test"}})); err != nil {
			w.Fatal(err)
		}
		w.posts++
		f := store.Post{ListID: w.list.ID, Entry: string(e.ID), Digest: []byte(e.ID), At: e.Received}
		if i == 0 {
			f.State = []store.StateEdit{{Plugin: "p", Key: "posts", Kind: store.StateAdd, Delta: 1}}
		}
		f.Kept = &store.Kept{MessageID: string(e.ID), Date: e.Received, Place: string(e.ID)}
		entries, preps, filings, numbers = append(entries, e), append(preps, p), append(filings, f), append(numbers, w.posts)
	}
	return entries, preps, filings, numbers
}

// counts is all that a post changes.
type counts struct{ Last, Filed, Kept, State, Entries, Posts, Chunks, Contents, Finished int }

func (c counts) plus(n int) counts {
	return counts{c.Last + n, c.Filed + n, c.Kept + n, c.State + n/2, c.Entries - n, c.Posts + n, c.Chunks + n, c.Contents + n, c.Finished + n}
}

func (w *oneTransaction) state() (c counts) {
	w.Helper()
	err := w.conn.QueryRow(w.Context(), `SELECT (SELECT posts FROM lists), (SELECT count(DISTINCT number) FROM posts), (SELECT count(*) FROM archive),
		coalesce((SELECT encode(value, 'escape')::int FROM plugin_state), 0), (SELECT count(*) FROM spool_entries), (SELECT count(*) FROM spool_posts),
		(SELECT count(*) FROM spool_chunks), (SELECT count(*) FROM spool_contents), (SELECT count(*) FROM spool_finished)`).
		Scan(&c.Last, &c.Filed, &c.Kept, &c.State, &c.Entries, &c.Posts, &c.Chunks, &c.Contents, &c.Finished)
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// quiet waits until the server has ended what was under way.
func (w *oneTransaction) quiet() {
	w.Helper()
	for {
		var busy int
		err := w.conn.QueryRow(w.Context(), `SELECT count(*) FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND backend_type = 'client backend'`).Scan(&busy)
		if err != nil {
			w.Fatal(err)
		}
		if busy == 0 {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// Posts of several lists are filed at the same time, and other writers between them; each list
// counts its own.
func TestManyListsInOneTransactionEach(t *testing.T) {
	server := databaseServer(t)
	w := newOneTransaction(t, server.URL("public"), server.URL("public"))
	const lists, each = 4, 10
	var group sync.WaitGroup
	for i := range lists {
		l := &list.List{Address: address.Address{Local: fmt.Sprint("l", i), Domain: "l.test"}, Settings: list.Defaults()}
		if err := w.st.CreateList(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		var preps []spool.Prepared
		var filings []store.Post
		for n := range each {
			d, err := w.sp.Create(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			key := l.Address.Key()
			if _, err := d.Put(t.Context(), spool.Incoming, "", spool.Envelope{List: key, Key: segment.KeyOf(key), Received: time.Now()}); err != nil {
				t.Fatal(err)
			}
			d.Close()
			var e spool.Entry
			if n == 0 {
				e, err = w.owner.Next(t.Context())
			} else {
				e, _, err = w.owner.Following(t.Context(), spool.Entry{ID: spool.ID(filings[0].Entry), Envelope: spool.Envelope{Key: segment.KeyOf(key)}})
			}
			if err != nil {
				t.Fatal(err)
			}
			p, err := w.owner.Prepare(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			preps = append(preps, p)
			filings = append(filings, store.Post{ListID: l.ID, Entry: string(e.ID), Digest: []byte(e.ID), At: e.Received})
		}
		group.Go(func() {
			for n := range each {
				if err := w.together(t.Context(), w.owner, preps[n:n+1], filings[n:n+1], []int64{int64(n + 1)}, time.Hour); err != nil {
					t.Error(err)
				}
				if n%3 == 0 {
					if _, err := w.st.Secret(t.Context(), fmt.Sprint(i, n)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
	var last string
	if err := w.conn.QueryRow(t.Context(), `SELECT string_agg(posts::text, ' ' ORDER BY local) FROM lists`).Scan(&last); err != nil || last != "0 10 10 10 10" {
		t.Errorf("the lists have %s posts, %v", last, err)
	}
}
