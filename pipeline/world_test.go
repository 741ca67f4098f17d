package pipeline

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/archive"
	archivedir "github.com/mlist/mlist/internal/archive/dir"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/dir"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/store/sqlstore"
	"github.com/mlist/mlist/sdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stagesFunc stands in for the handlers.
type stagesFunc func(ctx context.Context, p *host.Post) (host.Result, error)

func (f stagesFunc) Run(ctx context.Context, p *host.Post) (host.Result, error) { return f(ctx, p) }

func verdict(v sdk.Verdict) stagesFunc {
	return func(_ context.Context, p *host.Post) (host.Result, error) {
		p.Rules = []sdk.Rule{{Kind: sdk.RuleSelect, Roles: []string{"member"}, Modes: []string{"regular"}, Statuses: []string{"enabled"}}}
		return host.Result{Verdict: v, Stage: "test"}, nil
	}
}

// world is a pipeline over a real spool and a real store, with one list.
type world struct {
	t          *testing.T
	spool      *dir.Spool
	store      *sqlstore.Store
	list       *list.List
	daemon     *Daemon
	tracer     Tracer // of the next start; or nil
	meter      Meter  // likewise
	archive    archive.Archive
	archiveDir string
	limits     store.StateLimits
	now        func() time.Time // of the next start; or nil
	stop       func()
}

func newWorld(t *testing.T, stages Stages) *world {
	t.Helper()
	ctx := t.Context()
	w := &world{t: t}
	var err error
	if w.spool, err = dir.Open(filepath.Join(t.TempDir(), "spool"), dir.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.spool.Close() })
	path := filepath.Join(t.TempDir(), "m.db")
	empty, err := newStore()
	if err == nil {
		err = os.WriteFile(path, empty, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if w.store, err = sqlstore.Open(ctx, "sqlite:"+path, sqlstore.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	w.archiveDir = filepath.Join(t.TempDir(), "archive")
	w.archive = archivedir.New(w.archiveDir)
	w.list = &list.List{Address: addr(t, "dev@lists.test"), Settings: list.Defaults()}
	if err := w.store.CreateList(ctx, w.list); err != nil {
		t.Fatal(err)
	}
	w.start(stages)
	return w
}

// start starts the daemon; w.stop ends it and waits.
func (w *world) start(stages Stages) {
	w.t.Helper()
	w.startWith(w.store, stages)
}

// startWith starts the daemon with another store.
func (w *world) startWith(st Store, stages Stages) {
	w.t.Helper()
	w.daemon = New(Config{
		Name: "test", Hostname: "lists.test", Segments: segment.All, Workers: 4, MaxTries: 3,
		RetryMin: time.Millisecond, RetryMax: 5 * time.Millisecond, RecipientsPerChunk: 3, NoticesPerDay: 2, StateLimits: w.limits,
	}, w.spool, st, stages, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if w.tracer != nil {
		w.daemon.SetTracer(w.tracer)
	}
	if w.meter != nil {
		w.daemon.SetMeter(w.meter)
	}
	if w.now != nil {
		w.daemon.now = w.now
	}
	w.daemon.SetArchive(w.archive)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.daemon.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	w.t.Cleanup(w.stop)
	select {
	case <-w.daemon.Ready():
	case err := <-done:
		done <- err
		w.t.Fatalf("Run ended before it was ready: %v", err)
	}
}

func addr(t *testing.T, s string) address.Address {
	t.Helper()
	a, err := address.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (w *world) add(role list.Role, addrs ...string) {
	w.t.Helper()
	_, err := w.store.AddMembers(w.t.Context(), w.list.ID, func(yield func(list.Membership, error) bool) {
		for _, a := range addrs {
			if !yield(list.Membership{Address: addr(w.t, a), Role: role}, nil) {
				return
			}
		}
	}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) put(q spool.Queue, env spool.Envelope, text string) spool.ID {
	w.t.Helper()
	d, err := w.spool.Create(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer d.Close()
	if _, err := io.WriteString(d, text); err != nil {
		w.t.Fatal(err)
	}
	env.List = "dev@lists.test"
	env.Key = segment.KeyOf(env.List)
	if env.Role == "" {
		env.Role = string(address.RolePost)
	}
	if env.Received.IsZero() {
		env.Received = time.Now()
	}
	id, err := d.Put(w.t.Context(), q, "", env)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) post(text string) spool.ID {
	w.t.Helper()
	return w.put(spool.Incoming, spool.Envelope{Sender: "ann@net.test", Recipient: "dev@lists.test"}, text)
}

// eventually waits, for a bounded time, until ok says so.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (w *world) entries(q spool.Queue) []spool.Entry {
	w.t.Helper()
	var out []spool.Entry
	for e, err := range w.spool.Entries(w.t.Context(), q) {
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// idle waits until nothing is left to prepare, and moderators are told at once of what they
// are told at once.
func (w *world) idle() {
	w.t.Helper()
	w.eventually("empty incoming and bounces", func() bool {
		return w.told() && len(w.entries(spool.Incoming)) == 0 && len(w.entries(spool.Bounces)) == 0
	})
}

func (w *world) told() bool {
	w.t.Helper()
	ctx := w.t.Context()
	l, err1 := w.store.List(ctx, w.list.Address)
	n, err2 := w.store.CountHeld(ctx, w.list.ID, store.HeldFilter{Untold: true})
	telling, err3 := w.store.Telling(ctx, w.list.ID)
	if errors.Is(err1, store.ErrNotFound) {
		return true
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		w.t.Fatal(err)
	}
	return n == 0 || !l.Settings.AdminImmedNotify || telling.Notices >= noticesPerHour
}

// outgoing returns the chunks of each post, and checks that no chunk is over its size.
func (w *world) outgoing() map[spool.ID][]spool.Chunk {
	w.t.Helper()
	out := map[spool.ID][]spool.Chunk{}
	for c, err := range w.spool.Chunks(w.t.Context(), true) {
		if err != nil {
			w.t.Fatal(err)
		}
		if len(c.Recipients) == 0 || len(c.Recipients) > 3 {
			w.t.Errorf("chunk %s has %d recipients", c.ID(), len(c.Recipients))
		}
		out[c.Post] = append(out[c.Post], c)
	}
	return out
}

func (w *world) recipients(id spool.ID) []string {
	var all []string
	for _, c := range w.outgoing()[id] {
		all = append(all, c.Recipients...)
	}
	slices.Sort(all)
	return all
}

// take returns the content of the one post in outgoing, as outbound would read it.
func (w *world) take() (*spool.Chunk, string) {
	w.t.Helper()
	o, err := w.spool.OwnOutgoing(w.t.Context(), segment.All, "test")
	if err != nil {
		w.t.Fatal(err)
	}
	defer o.Close()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	c, err := o.Next(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	defer o.Release(c, time.Time{})
	m, err := o.Content(ctx, c)
	if err != nil {
		w.t.Fatal(err)
	}
	defer m.Close()
	text, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size()))
	if err != nil {
		w.t.Fatal(err)
	}
	return c, string(text)
}

// newStore is the file of a new store: to make one takes longer than most tests do.
var newStore = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "mlist-pipeline")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "m.db")
	s, err := sqlstore.Open(context.Background(), "sqlite:"+path, sqlstore.Options{Migrate: true})
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

const hello = "From: ann@net.test\r\nTo: dev@lists.test\r\nSubject: hello\r\nMessage-ID: <1@net.test>\r\n\r\nhello\r\n"
