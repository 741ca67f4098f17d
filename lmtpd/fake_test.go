package lmtpd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
)

// lists resolves addresses of the lists it names, or fails.
type lists struct {
	mu     sync.Mutex
	names  map[string]bool
	frozen map[string]string // and why
	err    error
	asked  int
}

func (l *lists) Resolve(_ context.Context, a address.Address) (store.Target, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	if l.err != nil {
		return store.Target{}, l.err
	}
	for _, c := range address.Candidates(a) {
		if l.names[c.List.Key()] {
			t := store.Target{List: c.List, Role: c.Role, Detail: c.Detail, State: list.Open}
			if why, ok := l.frozen[c.List.Key()]; ok {
				t.State, t.Why = list.Frozen, why
			}
			return t, nil
		}
	}
	return store.Target{}, store.ErrNotFound
}

// kept is an entry in a memory spool.
type kept struct {
	queue spool.Queue
	env   spool.Envelope
	body  string
}

// memory is a spool in memory, with faults.
type memory struct {
	mu      sync.Mutex
	entries []kept
	drafts  int // open
	create  error
	write   error // at the write that passes writeAt octets
	writeAt int
	put     func(n int) error // n counts puts from 0
	puts    int
	gate    chan struct{} // if not nil, a put waits for it
}

func (m *memory) Create(context.Context) (spool.Draft, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.create != nil {
		return nil, m.create
	}
	m.drafts++
	return &memoryDraft{m: m}, nil
}

func (m *memory) all() []kept {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]kept(nil), m.entries...)
}

func (m *memory) open() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.drafts
}

type memoryDraft struct {
	m      *memory
	b      bytes.Buffer
	closed bool
}

func (d *memoryDraft) Write(p []byte) (int, error) {
	if d.m.write != nil && d.b.Len()+len(p) > d.m.writeAt {
		return 0, d.m.write
	}
	return d.b.Write(p)
}

func (d *memoryDraft) Put(ctx context.Context, q spool.Queue, id spool.ID, env spool.Envelope) (spool.ID, error) {
	if d.m.gate != nil {
		select {
		case <-d.m.gate:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	n := d.m.puts
	d.m.puts++
	if d.m.put != nil {
		if err := d.m.put(n); err != nil {
			return "", err
		}
	}
	d.m.entries = append(d.m.entries, kept{q, env, d.b.String()})
	return spool.ID("entryaaaaaaaaaaa"), nil
}

func (d *memoryDraft) Close() error {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.closed {
		return errors.New("closed twice")
	}
	d.closed = true
	d.m.drafts--
	return nil
}

// world is a running daemon.
type world struct {
	*Daemon
	lists  *lists
	spool  *memory
	log    *lockedBuffer
	cancel context.CancelFunc
	ended  chan error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func testConfig() Config {
	return Config{
		Listen: []string{"tcp:127.0.0.1:0"}, SocketMode: 0o666, Hostname: "lists.test",
		MaxMessageSize: 1000, MaxHeaderSize: 300, MaxConnections: 20, MaxRecipients: 5,
		IdleTimeout: 10 * time.Second, Grace: 5 * time.Second,
	}
}

// start runs a daemon with the lists dev@l.test and ops@l.test until the test ends.
func start(t testing.TB, change func(*Config), m *memory) *world {
	t.Helper()
	return startWith(t, change, m, func(*Daemon) {})
}

// startWith is start, with something done before the daemon runs.
func startWith(t testing.TB, change func(*Config), m *memory, before func(*Daemon)) *world {
	t.Helper()
	cfg := testConfig()
	if change != nil {
		change(&cfg)
	}
	if m == nil {
		m = &memory{}
	}
	w := &world{
		lists: &lists{names: map[string]bool{"dev@l.test": true, "ops@l.test": true, "old@l.test": true}, frozen: map[string]string{"old@l.test": "Bis Montag, Grüße."}},
		spool: m, log: &lockedBuffer{}, ended: make(chan error, 1),
	}
	w.Daemon = New(cfg, w.lists, m, slog.New(slog.NewTextHandler(w.log, nil)))
	before(w.Daemon)
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	go func() { w.ended <- w.Run(ctx) }()
	select {
	case <-w.Ready():
	case err := <-w.ended:
		t.Fatalf("Run: %v", err)
	}
	t.Cleanup(func() { w.stopAndWait(t) })
	return w
}

func (w *world) stopAndWait(t testing.TB) {
	t.Helper()
	if w.ended == nil {
		return
	}
	w.cancel()
	select {
	case err := <-w.ended:
		w.ended = nil
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Run does not end")
	}
	if n := w.spool.open(); n != 0 {
		t.Errorf("%d drafts were left open", n)
	}
	w.Daemon.conns.Each(func(c *conn) { t.Errorf("connection of %s is still known", c.peer) })
}

// peer is the raw other end of a connection.
type peer struct {
	net.Conn
	r *bufio.Reader
	t testing.TB
}

func (w *world) dial(t testing.TB) *peer {
	t.Helper()
	a := w.Addrs()[0]
	c, err := net.Dial(a.Network(), a.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return &peer{c, bufio.NewReader(c), t}
}

// greet dials and says LHLO.
func (w *world) greet(t testing.TB) *peer {
	t.Helper()
	p := w.dial(t)
	p.want("220 lists.test")
	p.send("LHLO mx.test\r\n")
	p.want("250 ")
	return p
}

func (p *peer) send(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p, s); err != nil {
		p.t.Fatalf("send %.60q: %v", s, err)
	}
}

// reply reads one reply and returns its last line.
func (p *peer) reply() (string, error) {
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			return line, err
		}
		if len(line) < 4 || line[3] != '-' {
			return strings.TrimRight(line, "\r\n"), nil
		}
	}
}

// want reads replies that start with the prefixes; "EOF" is the end of the connection.
func (p *peer) want(prefixes ...string) {
	p.t.Helper()
	for _, prefix := range prefixes {
		got, err := p.reply()
		switch {
		case prefix == "EOF":
			if !errors.Is(err, io.EOF) {
				p.t.Fatalf("reply %q, %v; want the end of the connection", got, err)
			}
		case err != nil || !strings.HasPrefix(got, prefix):
			p.t.Fatalf("reply %q, %v; want %q; the log says\n%s", got, err, prefix, p.t.Name())
		}
	}
}

// wait waits for cond, bounded.
func wait(t testing.TB, what string, cond func() bool) {
	t.Helper()
	end := time.Now().Add(time.Minute)
	for !cond() {
		if time.Now().After(end) {
			t.Fatalf("waited a minute for %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
