package milter

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mta "github.com/d--j/go-milter"
	"go.uber.org/goleak"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/store/sqlstore"
	"github.com/mlist/mlist/sdk"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

// stages give each list a verdict, and remember what they were asked.
type stages struct {
	mu        sync.Mutex
	verdicts  map[string]sdk.Verdict // by the list's address
	err       error
	asked     []*host.Post
	texts     []string
	banned    string // an envelope sender
	envelopes []*host.Post
	failures  int  // of ConsultEnvelope
	panics    bool // Consult does
}

func (s *stages) Consult(_ context.Context, p *host.Post) (host.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.panics {
		panic("as the test wants it")
	}
	file, err := os.ReadFile(p.File)
	if err != nil {
		return host.Result{}, err
	}
	s.asked, s.texts = append(s.asked, p), append(s.texts, string(p.Header.Bytes())+"|"+string(file[p.Offset:p.Offset+p.Length]))
	if s.err != nil {
		return host.Result{}, s.err
	}
	v, ok := s.verdicts[p.List.Address]
	if !ok {
		v = sdk.Accept
	}
	return host.Result{Verdict: v}, nil
}

// ConsultEnvelope refuses those whom banned names.
func (s *stages) ConsultEnvelope(_ context.Context, p *host.Post) (host.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		s.failures++
		return host.Result{}, s.err
	}
	s.envelopes = append(s.envelopes, p)
	if p.Envelope.Sender == s.banned {
		return host.Result{Verdict: sdk.Reject("banned", p.Envelope.Sender+" may not post to this list.")}, nil
	}
	return host.Result{Verdict: sdk.Accept}, nil
}

// broken is a store that fails when it is told to.
type broken struct {
	store.Store
	err error
}

func (b *broken) Resolve(ctx context.Context, a address.Address) (store.Target, error) {
	if b.err != nil {
		return store.Target{}, b.err
	}
	return b.Store.Resolve(ctx, a)
}

func (b *broken) Arrival(ctx context.Context, to, from address.Address, at time.Time) (list.Arrival, error) {
	if b.err != nil {
		return list.Arrival{}, b.err
	}
	return b.Store.Arrival(ctx, to, from, at)
}

// world is a daemon with a store in which there are the lists dev and news.
type world struct {
	t      *testing.T
	store  *broken
	stages *stages
	daemon *Daemon
	stop   context.CancelFunc
	ended  chan error
	tmp    string
}

func start(t *testing.T, change func(*Config)) *world {
	t.Helper()
	ctx := t.Context()
	st, err := sqlstore.Open(ctx, "sqlite:"+filepath.Join(t.TempDir(), "mlist.db"), sqlstore.Options{Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	for _, name := range []string{"dev@lists.test", "news@lists.test"} {
		a, err := address.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := st.CreateList(ctx, &list.List{Address: a, Settings: list.Defaults()}); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{t: t, store: &broken{Store: st}, stages: &stages{verdicts: map[string]sdk.Verdict{}}, tmp: t.TempDir(), ended: make(chan error, 1)}
	t.Setenv("TMPDIR", w.tmp)
	cfg := Config{Listen: []string{"tcp:127.0.0.1:0"}, Hostname: "mx.test", MaxSessions: 10, MaxMessageSize: 1 << 20, IdleTimeout: time.Minute}
	if change != nil {
		change(&cfg)
	}
	w.daemon = New(cfg, w.store, w.stages, slog.New(slog.NewTextHandler(t.Output(), nil)))
	run, stop := context.WithCancel(context.Background())
	w.stop = stop
	go func() { w.ended <- w.daemon.Run(run) }()
	select {
	case <-w.daemon.Ready():
	case err := <-w.ended:
		t.Fatalf("Run: %v", err)
	}
	t.Cleanup(w.close)
	return w
}

func (w *world) close() {
	if w.stop == nil {
		return
	}
	w.stop()
	w.stop = nil
	select {
	case err := <-w.ended:
		if err != nil {
			w.t.Errorf("Run: %v", err)
		}
	case <-time.After(time.Minute):
		w.t.Error("Run did not end")
	}
	if left, _ := os.ReadDir(w.tmp); len(left) > 0 {
		w.t.Errorf("%d files left behind", len(left))
	}
}

// client is an MTA's side of one SMTP session.
type client struct {
	*mta.ClientSession
	t *testing.T
}

// session makes a connection; an error is the milter's refusal of it.
func (w *world) session(network, addr string) (*mta.ClientSession, error) {
	macros := mta.NewMacroBag()
	macros.Set(mta.MacroQueueId, "4XYZ")
	return mta.NewClient(network, addr).Session(macros)
}

func (w *world) connectTo(network, addr string) *client {
	w.t.Helper()
	s, err := w.session(network, addr)
	if err != nil {
		w.t.Fatal(err)
	}
	c := &client{s, w.t}
	c.does(s.Conn("client.test", mta.FamilyInet, 4321, "192.0.2.1"))
	c.does(s.Helo("client.test"))
	return c
}

func (w *world) connect() *client {
	w.t.Helper()
	return w.connectTo("tcp", w.daemon.Addrs()[0].String())
}

// does tells what the milter answered: "continue" or a reply.
func (c *client) does(a *mta.Action, err error) string {
	c.t.Helper()
	switch {
	case err != nil:
		c.t.Fatal(err)
	case a.Type == mta.ActionContinue:
		return "continue"
	case a.Type == mta.ActionRejectWithCode:
		return strings.TrimRight(a.SMTPReply, "\r\n")
	}
	return a.String()
}

func (c *client) mail(sender string) {
	c.t.Helper()
	if got := c.does(c.Mail(sender, "")); got != "continue" {
		c.t.Fatalf("MAIL: %s", got)
	}
}

func (c *client) rcpt(to string) string {
	c.t.Helper()
	return c.does(c.Rcpt(to, ""))
}

// message sends header fields and a body, and tells what the milter said at the end.
func (c *client) message(fields [][2]string, body string) string {
	c.t.Helper()
	c.does(c.DataStart())
	for _, f := range fields {
		c.does(c.HeaderField(f[0], f[1], nil))
	}
	c.does(c.HeaderEnd())
	for first := true; first || len(body) > 0; first = false {
		n := min(len(body), 65535)
		c.does(c.BodyChunk([]byte(body[:n])))
		body = body[n:]
	}
	_, a, err := c.End()
	return c.does(a, err)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

var hello = [][2]string{{"From", "ann@net.test"}, {"Subject", "hello\n\tagain"}}
