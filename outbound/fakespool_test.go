package outbound

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/outbound/internal/fakemta"
	"github.com/mlist/mlist/outbound/sender"
)

const postID = spool.ID("abcdefghijklmnop")

// memory is a spool whose faults a test can choose.
type memory struct {
	content  string
	mu       sync.Mutex
	waiting  []*spool.Chunk
	out      map[string]*spool.Chunk
	bounces  map[spool.ID]bounced
	events   []string // "put", "settle", "release" in order
	settled  []spool.Settlement
	change   chan struct{}
	closed   bool
	ownErr   error
	lost     error                    // what Holds returns
	next     func() error             // a fault of Next
	contents func(*spool.Chunk) error // of Content
	settle   func(*spool.Chunk) error // of Settle
	progress func(*spool.Chunk) error // of Progress
	served   map[string]int           // by Progress
	put      func() error             // of Put
}

type bounced struct {
	env     spool.Envelope
	message []byte
}

func newMemory(chunks ...*spool.Chunk) *memory {
	return &memory{content: "Subject: hello\r\n\r\nhello\r\n", waiting: chunks, out: map[string]*spool.Chunk{},
		bounces: map[spool.ID]bounced{}, served: map[string]int{}, change: make(chan struct{})}
}

// chunk makes a chunk of post number n for the recipients.
func chunk(n int, recipients ...string) *spool.Chunk {
	return &spool.Chunk{Post: postID[:15] + spool.ID(rune('a'+n%26)), Name: fmt.Sprintf("%06d", n), List: "dev@lists.test",
		Sender: "dev-bounces@lists.test", Created: time.Now(), Recipients: recipients}
}

func (m *memory) lock(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	close(m.change)
	m.change = make(chan struct{})
}

func (m *memory) OwnOutgoing(context.Context, segment.Set, string) (spool.OutgoingOwner, error) {
	return m, m.ownErr
}

func (m *memory) Next(ctx context.Context) (*spool.Chunk, error) {
	for {
		m.mu.Lock()
		ch, fault := m.change, m.next
		wait := time.Hour
		for i, c := range m.waiting {
			if left := time.Until(c.Due); left > 0 {
				wait = min(wait, left)
				continue
			}
			if fault != nil {
				break
			}
			m.waiting = slices.Delete(m.waiting, i, i+1)
			m.out[c.ID()] = c
			m.mu.Unlock()
			return c, nil
		}
		m.mu.Unlock()
		if fault != nil {
			if err := fault(); err != nil {
				return nil, err
			}
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		case <-ch:
		case <-t.C:
		}
		t.Stop()
	}
}

type content struct{ *bytes.Reader }

func (content) Close() error            { return nil }
func (content) File() (*os.File, int64) { return nil, 0 }

func (m *memory) Content(_ context.Context, c *spool.Chunk) (spool.Message, error) {
	if m.contents != nil {
		if err := m.contents(c); err != nil {
			return nil, err
		}
	}
	return content{bytes.NewReader([]byte(m.content))}, nil
}

func (m *memory) Others(c *spool.Chunk) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.waiting, func(w *spool.Chunk) bool { return w.Post != c.Post && time.Until(w.Due) <= 0 })
}

func (m *memory) Holds() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lost
}

func (m *memory) Settle(_ context.Context, c *spool.Chunk, s spool.Settlement) error {
	if m.settle != nil {
		if err := m.settle(c); err != nil {
			return err
		}
	}
	m.lock(func() {
		if m.out[c.ID()] != c {
			panic("settled, but not handed out: " + c.ID())
		}
		delete(m.out, c.ID())
		m.events = append(m.events, "settle")
		m.settled = append(m.settled, s)
		if len(s.Deferred) > 0 {
			next := *c
			next.Recipients, next.Due, next.Reason, next.Tries = s.Deferred, s.Due, s.Reason, c.Tries+1
			m.waiting = append(m.waiting, &next)
		}
	})
	return nil
}

func (m *memory) Progress(c *spool.Chunk, i int) error {
	if m.progress != nil {
		if err := m.progress(c); err != nil {
			return err
		}
	}
	m.lock(func() {
		if m.out[c.ID()] != c {
			panic("progress, but not handed out: " + c.ID())
		}
		m.served[c.Recipients[i]]++
	})
	return nil
}

func (m *memory) Release(c *spool.Chunk, due time.Time) {
	m.lock(func() {
		if m.out[c.ID()] != c {
			panic("released, but not handed out: " + c.ID())
		}
		delete(m.out, c.ID())
		m.events = append(m.events, "release")
		next := *c
		next.Due = due
		next.Recipients, next.Names = nil, nil
		for i, r := range c.Recipients {
			if m.served[r] > 0 {
				continue
			}
			next.Recipients = append(next.Recipients, r)
			if len(c.Names) > 0 {
				next.Names = append(next.Names, c.Names[i])
			}
		}
		m.waiting = append(m.waiting, &next)
	})
}

func (m *memory) Close() error {
	m.lock(func() { m.closed = true })
	return nil
}

type draft struct {
	m *memory
	b bytes.Buffer
}

func (m *memory) Create(context.Context) (spool.Draft, error) { return &draft{m: m}, nil }

func (d *draft) Write(p []byte) (int, error) { return d.b.Write(p) }
func (d *draft) Close() error                { return nil }

func (d *draft) Put(_ context.Context, q spool.Queue, id spool.ID, env spool.Envelope) (spool.ID, error) {
	if d.m.put != nil {
		if err := d.m.put(); err != nil {
			return "", err
		}
	}
	if _, err := spool.CheckID(string(id)); err != nil || q != spool.Bounces {
		return "", errors.Join(err, errors.New("bad put"))
	}
	d.m.lock(func() {
		d.m.events = append(d.m.events, "put")
		if _, there := d.m.bounces[id]; !there {
			d.m.bounces[id] = bounced{env, bytes.Clone(d.b.Bytes())}
		}
	})
	return id, nil
}

// wait waits until ok, which is called with the lock held after each change.
func (m *memory) wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.After(time.Minute)
	for {
		m.mu.Lock()
		done, ch := ok(), m.change
		m.mu.Unlock()
		if done {
			return
		}
		select {
		case <-ch:
		case <-end:
			m.mu.Lock()
			defer m.mu.Unlock()
			t.Fatalf("%s: did not happen within a minute; events %v", what, m.events)
		}
	}
}

// idle tells that there is nothing left to be done now.
func (m *memory) idle() bool {
	return len(m.out) == 0 && !slices.ContainsFunc(m.waiting, func(c *spool.Chunk) bool { return time.Until(c.Due) < 10*time.Second })
}

// testConfig is for tests that wait neither long nor idly.
func testConfig(addr string) Config {
	return Config{
		MTA:   sender.Config{Network: "tcp", Address: addr, Hostname: "lists.test", Timeout: 5 * time.Second},
		Grace: 5 * time.Second, Connections: 4,
	}
}

// running is a daemon that runs until the test ends.
type running struct {
	*Daemon
	cancel context.CancelFunc
	done   chan error
}

func run(t testing.TB, cfg Config, sp Spool, change ...func(*Daemon)) *running {
	t.Helper()
	d := New(cfg, sp, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})))
	d.mta.wait.first, d.mta.wait.most = 5*time.Millisecond, 20*time.Millisecond
	for _, f := range change {
		f(d)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{d, cancel, make(chan error, 1)}
	go func() { r.done <- d.Run(ctx); close(r.done) }()
	t.Cleanup(func() { r.stop(t) })
	return r
}

// stop ends the daemon and returns what Run did.
func (r *running) stop(t testing.TB) error {
	t.Helper()
	r.cancel()
	select {
	case err := <-r.done:
		return err
	case <-time.After(time.Minute):
		t.Fatal("Run did not end")
		return nil
	}
}

// deliveries counts how often each recipient was accepted.
func deliveries(s *fakemta.Server) map[string]int {
	n := map[string]int{}
	for _, m := range s.Messages() {
		if m.Answer == "" || m.Answer[0] == '2' {
			for _, r := range m.Recipients {
				n[r]++
			}
		}
	}
	return n
}
