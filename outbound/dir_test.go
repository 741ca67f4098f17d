package outbound

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/dir"
	"github.com/mlist/mlist/outbound/internal/fakemta"
)

func openSpool(t testing.TB, path string) *dir.Spool {
	t.Helper()
	sp, err := dir.Open(path, dir.Options{Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return sp
}

// post commits a post for n recipients in chunks, as the pipeline does. ready is called
// just before the commit.
func post(t testing.TB, sp spool.Spool, n, size int, ready func()) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	draft, err := sp.Create(ctx)
	must(err)
	defer draft.Close()
	const list = "dev@lists.test"
	_, err = io.WriteString(draft, "Subject: hello\r\n\r\nhello\r\n")
	must(err)
	_, err = draft.Put(ctx, spool.Incoming, "", spool.Envelope{List: list, Role: "post", Key: segment.KeyOf(list), Received: time.Now()})
	must(err)
	o, err := sp.Own(ctx, spool.Incoming, segment.All, "test")
	must(err)
	e, err := o.Next(ctx)
	must(err)
	p, err := o.Prepare(ctx, e)
	must(err)
	w, err := p.Content("plain")
	must(err)
	_, err = io.WriteString(w, "Subject: [dev] hello\r\n\r\n"+strings.Repeat("A line of a usual length in a mail of a usual length, it seems.\r\n", 60))
	must(err)
	must(w.Close())
	for first := 0; first < n; first += size {
		c := spool.Chunk{List: list, Variant: "plain", Sender: "dev-bounces@lists.test", Created: time.Now()}
		for i := first; i < min(first+size, n); i++ {
			c.Recipients = append(c.Recipients, fmt.Sprintf("member%06d@m.test", i))
		}
		must(p.AddChunk(ctx, c))
	}
	ready()
	must(p.Commit(ctx))
	must(o.Close())
}

// settling tells of settlements.
type settling struct {
	*dir.Spool
	n    atomic.Int64
	done chan struct{} // gets a token after each
}

type settlingOwner struct {
	spool.OutgoingOwner
	s *settling
}

func (s *settling) OwnOutgoing(ctx context.Context, set segment.Set, name string) (spool.OutgoingOwner, error) {
	o, err := s.Spool.OwnOutgoing(ctx, set, name)
	return settlingOwner{o, s}, err
}

func (o settlingOwner) Settle(ctx context.Context, c *spool.Chunk, r spool.Settlement) error {
	err := o.OutgoingOwner.Settle(ctx, c, r)
	o.s.n.Add(1)
	wake(o.s.done)
	return err
}

// left counts the recipients in outgoing.
func left(t testing.TB, sp spool.Spool) int {
	t.Helper()
	n := 0
	for c, err := range sp.Chunks(t.Context(), true) {
		if err != nil {
			t.Fatal(err)
		}
		n += len(c.Recipients)
	}
	return n
}

func drained(t testing.TB, s *settling) {
	t.Helper()
	end := time.After(time.Minute)
	for left(t, s) > 0 {
		select {
		case <-s.done:
		case <-end:
			t.Fatalf("%d recipients left after a minute", left(t, s))
		}
	}
}

func TestOverASpoolInADirectory(t *testing.T) {
	path := t.TempDir()
	sp := &settling{Spool: openSpool(t, path), done: make(chan struct{}, 1)}
	post(t, sp, 1000, 100, func() {})
	s := fakemta.Start(t, "", fakemta.Script{MaxRecipients: 70, Rcpt: map[string]string{
		"member000007@m.test": "550 5.1.1 no", "member000450@m.test": "450 4.2.1 later"}})
	cfg := testConfig(s.Addr)
	cfg.RecipientsPerTransaction, cfg.RetryMin, cfg.RetryMax = 80, 20*time.Millisecond, 20*time.Millisecond
	d := run(t, cfg, sp)
	s.Wait(t, "half is delivered", func() bool { return len(deliveries(s)) > 500 })
	if err := d.stop(t); err != nil {
		t.Fatal(err)
	}
	got := len(deliveries(s))
	if l := left(t, sp); l != 999-got && l != 1000-got { // the refused one is settled or not
		t.Errorf("%d delivered and %d left", got, l)
	}
	if err := sp.Close(); err != nil {
		t.Fatal(err)
	}

	s.Set(fakemta.Script{Rcpt: map[string]string{"member000007@m.test": "550 5.1.1 no"}})
	sp = &settling{Spool: openSpool(t, path), done: make(chan struct{}, 1)}
	d = run(t, cfg, sp)
	drained(t, sp)
	if err := d.stop(t); err != nil {
		t.Fatal(err)
	}
	all := deliveries(s)
	for r, n := range all {
		if n != 1 {
			t.Errorf("%s got %d copies", r, n)
		}
	}
	if len(all) != 999 {
		t.Errorf("%d deliveries, want 999", len(all))
	}
	bounced := 0
	for e, err := range sp.Entries(t.Context(), spool.Bounces) {
		if err != nil {
			t.Fatal(err)
		}
		m, err := sp.Read(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size()))
		m.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range groups(t, b) {
			bounced++
			if g.recipient != "member000007@m.test" || g.status != "5.1.1" || g.scope != ScopeRecipient {
				t.Errorf("group %+v", g)
			}
		}
	}
	if bounced != 1 {
		t.Errorf("%d bounced, want 1", bounced)
	}
	if err := sp.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestMain(m *testing.M) {
	if addr := os.Getenv("OUTBOUND_TEST_SINK"); addr != "" {
		ln, err := net.Listen("unix", addr)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fakemta.ServeSink(ln)
		return
	}
	if path := os.Getenv("OUTBOUND_TEST_SPOOL"); path != "" {
		serveSpool(path, os.Getenv("OUTBOUND_TEST_MTA"))
		return
	}
	goleak.VerifyTestMain(m)
}

// serveSpool is the daemon in a process of its own, to be killed.
func serveSpool(path, mta string) {
	sp, err := dir.Open(path, dir.Options{})
	if err == nil {
		cfg := testConfig(mta)
		cfg.RetryMin, cfg.RetryMax = 20*time.Millisecond, 20*time.Millisecond
		cfg.Idle = 100 * time.Millisecond // the test looks again when a connection closes
		err = New(cfg, sp, slog.New(slog.DiscardHandler)).Run(context.Background())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// A daemon that is killed while it delivers loses nothing, and repeats only what it had
// no reply to, or had not gone on from.
func TestKilled(t *testing.T) {
	path := t.TempDir()
	sp := openSpool(t, path)
	defer sp.Close()
	const members = 2000
	post(t, sp, members, 10, func() {})
	s := fakemta.Start(t, "", fakemta.Script{})
	for kills := 1; left(t, sp) > 0; kills++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "OUTBOUND_TEST_SPOOL="+path, "OUTBOUND_TEST_MTA="+s.Addr)
		cmd.Stderr = t.Output()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		before := len(s.Messages())
		s.Wait(t, "some more is delivered", func() bool {
			return len(s.Messages())-before > 7*kills || left(t, sp) == 0
		})
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		s.Wait(t, "the connections end", func() bool { _, open := s.Conns(); return open == 0 })
	}
	got, excused := map[string]int{}, map[string]int{}
	for _, m := range s.Messages() {
		for _, r := range m.Recipients {
			got[r]++
			if !m.Heard {
				excused[r]++
			}
		}
	}
	if len(got) != members {
		t.Errorf("%d of %d recipients have the post", len(got), members)
	}
	for r, n := range got {
		if n > 1+excused[r] {
			t.Errorf("%s got %d copies, %d excused", r, n, excused[r])
		}
	}
}

// BenchmarkDeliver measures the way from a committed post to a sink, over a spool in a
// directory, the commit included.
func BenchmarkDeliver(b *testing.B) {
	sock := b.TempDir() + "/sink"
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "OUTBOUND_TEST_SINK="+sock)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	for _, n := range []int{10, 10_000, 100_000} {
		b.Run(fmt.Sprintf("members=%d", n), func(b *testing.B) {
			sp := &settling{Spool: openSpool(b, b.TempDir()), done: make(chan struct{}, 1)}
			cfg := testConfig("")
			cfg.MTA.Network, cfg.MTA.Address = "unix", sock
			cfg.Connections = 8
			d := New(cfg, sp, slog.New(slog.DiscardHandler))
			d.mta.wait.first = 10 * time.Millisecond // the sink may still be starting
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- d.Run(ctx) }()
			chunks := int64((n + 999) / 1000)
			var busy, used time.Duration
			for b.Loop() {
				want := sp.n.Load() + chunks
				var start time.Time
				var cpu0 time.Duration
				b.StopTimer()
				post(b, sp, n, 1000, func() { b.StartTimer(); start, cpu0 = time.Now(), cpu() })
				for sp.n.Load() < want {
					<-sp.done
				}
				busy += time.Since(start)
				used += cpu() - cpu0
			}
			cancel()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
			_ = sp.Close()
			b.ReportMetric(float64(n*b.N)/busy.Seconds(), "deliveries/s")
			b.ReportMetric(float64(used.Nanoseconds())/float64(n*b.N), "cpu-ns/delivery")
		})
	}
}

func cpu() time.Duration {
	var ru syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// TestSegmentsMoveUnderLoad has two daemons over one directory change their segments again
// and again while a post goes out: nothing is lost and nothing comes twice.
func TestSegmentsMoveUnderLoad(t *testing.T) {
	path := t.TempDir()
	sp := &settling{Spool: openSpool(t, path), done: make(chan struct{}, 1)}
	post(t, sp, 3000, 20, func() {})
	s := fakemta.Start(t, "", fakemta.Script{Delay: 50 * time.Microsecond})
	set := func(text string) segment.Set {
		out, err := segment.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	cfg := func(segments, name string) Config {
		c := testConfig(s.Addr)
		c.Segments, c.Name, c.Connections = set(segments), name, 2
		return c
	}
	a := run(t, cfg("0000-7fff", "a"), sp)
	<-a.Ready()
	other := &settling{Spool: openSpool(t, path), done: make(chan struct{}, 1)}
	overlap := New(cfg("7000-ffff", "x"), other, a.log)
	if err := overlap.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "7000-7fff belongs to a (pid ") {
		t.Fatalf("overlap: %v", err)
	}
	b := run(t, cfg("8000-ffff", "b"), other)
	<-b.Ready()
	for i := 1; left(t, sp) > 0; i++ {
		cut := []string{"2fff,3000", "bfff,c000", "7fff,8000", "0fff,1000"}[i%4]
		end, start, _ := strings.Cut(cut, ",")
		low := "0000-" + end
		high := start + "-ffff"
		if i%3 == 0 {
			low, high = high, low // each takes what the other has
		}
		n := len(deliveries(s))
		a.Reload(cfg(low, "a"))
		b.Reload(cfg(high, "b"))
		s.Wait(t, "some more are delivered", func() bool { return len(deliveries(s)) >= min(n+150, 3000) })
	}
	for _, d := range []*running{a, b} {
		if err := d.stop(t); err != nil {
			t.Fatal(err)
		}
	}
	all := deliveries(s)
	for r, n := range all {
		if n != 1 {
			t.Errorf("%s got %d copies", r, n)
		}
	}
	if len(all) != 3000 {
		t.Errorf("%d deliveries, want 3000", len(all))
	}
}
