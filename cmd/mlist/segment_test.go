package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/pg"
	"github.com/mlist/mlist/test/postgres"
	"github.com/mlist/mlist/test/tools/sink"
)

// sharing is outbound daemons, each as if on a host of its own, with one database and an MTA
// each.
type sharing struct {
	t       *testing.T
	server  *postgres.Server
	url     string
	spool   *pg.Spool
	hosts   map[string]*sharer
	sent    int             // posts
	wanted  map[string]bool // recipients
	excused map[string]bool // who may get it twice: the MTA's reply had not been seen when the daemon was stopped
}

type sharer struct {
	dir string
	mta *sink.Server
	*process
}

func newSharing(t *testing.T, opts postgres.Options) *sharing {
	server := postgres.StartFor(t, opts, "DAEMONS THAT SHARE SEGMENTS ARE NOT TESTED")
	if err := server.Run(t.Context(), "CREATE SCHEMA shared"); err != nil {
		t.Fatal(err)
	}
	s := &sharing{t: t, server: server, url: server.URL("shared"), hosts: map[string]*sharer{}, wanted: map[string]bool{}, excused: map[string]bool{}}
	var err error
	if s.spool, err = pg.Open(t.Context(), s.url, pg.Options{Migrate: true, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.spool.Close() })
	return s
}

// start starts a daemon on a host, which may have had one before.
func (s *sharing) start(name, daemon string) *sharer {
	s.t.Helper()
	h := s.hosts[name]
	if h == nil {
		h = &sharer{mta: newSink(s.t, sink.Faults{Delay: 5 * time.Millisecond}), dir: installed(s.t, "")}
		s.hosts[name] = h
		s.segments(h, name, "auto")
	}
	h.process = start(s.t, h.dir, daemon)
	h.says(s.t, "msg=ready", 1)
	return h
}

// segments configures a host.
func (s *sharing) segments(h *sharer, name, segments string) {
	s.t.Helper()
	text := configIn(h.dir, fmt.Sprintf("outbound.mta = \"smtp://%s\"\noutbound.connections = 2\noutbound.retry_min = \"1s\"\noutbound.retry_max = \"2s\"\noutbound.segments = %q\npipeline.segments = \"auto\"\npipeline.plugin_dir = %q\n"+
		"spool.host = %q\nspool.lease = \"2s\"\ntrace.dir = %q\n", h.mta.Addr(), segments, plugins(s.t), name, filepath.Join(h.dir, "trace")))
	for key, local := range map[string]string{"spool.url": "dir:" + filepath.Join(h.dir, "spool"), "store.url": "sqlite:" + filepath.Join(h.dir, "mlist.db")} {
		text = strings.Replace(text, fmt.Sprintf("%s = %q", key, local), fmt.Sprintf("%s = %q", key, s.url), 1)
	}
	if err := os.WriteFile(filepath.Join(h.dir, "mlist.toml"), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// until looks again and again until something is so.
func (s *sharing) until(what string, is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(2 * bound); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("%s: not within %s", what, 2*bound)
		}
	}
}

// part is how much of outgoing a host has, in percent.
func (s *sharing) part(name string) int {
	s.t.Helper()
	owners, err := s.spool.Owners(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	keys := 0
	for _, o := range owners {
		if o.Host == name {
			keys += o.Segments.Size()
		}
	}
	return keys * 100 / 65536
}

// post puts a post for so many chunks of a few recipients each into outgoing.
func (s *sharing) post(chunks int) {
	s.t.Helper()
	ctx := s.t.Context()
	check := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	d, err := s.spool.Create(ctx)
	check(err)
	defer d.Close()
	_, err = io.WriteString(d, "Subject: x\r\n\r\nx\r\n")
	check(err)
	list := "dev@lists.test"
	_, err = d.Put(ctx, spool.Incoming, "", spool.Envelope{List: list, Key: segment.KeyOf(list), Received: time.Now()})
	check(err)
	o, err := s.spool.Own(ctx, spool.Incoming, segment.All, "test")
	check(err)
	defer o.Close()
	e, err := o.Next(ctx)
	check(err)
	p, err := o.Prepare(ctx, e)
	check(err)
	w, err := p.Content("plain")
	check(err)
	_, err = io.WriteString(w, "Subject: x\r\n\r\nx\r\n")
	check(err)
	check(w.Close())
	s.sent++
	for i := range chunks {
		c := spool.Chunk{List: list, Variant: "plain", Sender: "dev-bounces@lists.test", Created: time.Now()}
		for j := range 3 {
			c.Recipients = append(c.Recipients, fmt.Sprintf("m%d-%d-%d@net.test", s.sent, i, j))
			s.wanted[c.Recipients[j]] = true
		}
		check(p.AddChunk(ctx, c))
	}
	check(p.Commit(ctx))
}

// got counts how often each recipient got something.
func (s *sharing) got() map[string]int {
	got := map[string]int{}
	for _, h := range s.hosts {
		for _, tx := range h.mta.Transactions() {
			for _, r := range tx.Recipients {
				got[r]++
			}
		}
	}
	return got
}

// everybody waits until all have got it, and looks who got it twice.
func (s *sharing) everybody() {
	s.t.Helper()
	var got map[string]int
	s.until("everybody gets it", func() bool { got = s.got(); return len(got) == len(s.wanted) })
	for r, n := range got {
		if n > 2 || n == 2 && !s.excused[r] {
			s.t.Errorf("%s got it %d times", r, n)
		}
	}
}

// excuse notes who may get it twice when a host is stopped.
func (s *sharing) excuse(h *sharer) {
	for _, tx := range h.mta.Transactions() {
		if !tx.Confirmed {
			for _, r := range tx.Recipients {
				s.excused[r] = true
			}
		}
	}
}

// Outbound daemons in processes of their own share one database: they come, hang past their
// lease, wake, are killed and drained, and nobody gets anything twice but for what was in
// flight.
func TestOutboundsShareSegments(t *testing.T) {
	t.Parallel() // it mostly waits for leases to end
	s := newSharing(t, postgres.Options{})
	a, b, c := s.start("a", "outbound"), s.start("b", "outbound"), s.start("c", "outbound")
	s.until("each has a part", func() bool { return s.part("a") > 5 && s.part("b") > 5 && s.part("c") > 5 })

	s.post(200)
	s.until("all work", func() bool {
		return len(a.mta.Transactions()) > 5 && len(b.mta.Transactions()) > 5 && len(c.mta.Transactions()) > 5
	})
	b.signal(t, syscall.SIGSTOP)
	s.until("others have taken over from the one that hangs", func() bool { return s.part("b") == 0 && s.part("a")+s.part("c") >= 99 })
	var left int
	s.until("they send what it did not", func() bool { left = len(s.wanted) - len(s.got()); return left == 0 })
	s.excuse(b) // what its MTA has taken, and it does not know of
	if len(s.excused) > 2*3 {
		t.Errorf("%d recipients were in flight on two connections", len(s.excused))
	}
	b.signal(t, syscall.SIGCONT)
	b.says(t, "taking part anew", 1)
	s.until("it has a part again", func() bool { return s.part("b") > 5 })
	s.everybody()

	s.post(100)
	s.until("it works again", func() bool { return len(s.got()) > 600 })
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.ends(t)
	s.excuse(c)
	s.until("others have taken over from the one that was killed", func() bool { return s.part("c") == 0 && s.part("a")+s.part("b") >= 99 })
	s.everybody()

	if said := command(t, a.dir, "segment", "drain", "a", "--wait=1m"); !strings.Contains(said, "a is drained") {
		t.Errorf("drain says %s", said)
	}
	before := len(a.mta.Transactions())
	s.post(50)
	s.everybody()
	if n := len(a.mta.Transactions()) - before; n > 0 {
		t.Errorf("a host that is drained sent %d", n)
	}
	var shown segmentsJSON
	if err := json.Unmarshal([]byte(command(t, a.dir, "--json", "segment", "ls")), &shown); err != nil {
		t.Fatal(err)
	}
	if len(shown.Drained) != 1 || shown.Drained[0] != "a" || len(shown.Owners) != 2 || len(shown.Unserved) != 2 { // no pipeline runs
		t.Errorf("segment ls says %+v", shown)
	}
	command(t, a.dir, "segment", "undrain", "a")
	s.until("it takes part again", func() bool { return s.part("a") > 5 })
	command(t, a.dir, "segment", "pin", "0000-00ff", "a")
	if text := command(t, b.dir, "segment", "ls"); !strings.Contains(text, "pinned    0000-00ff to a") {
		t.Errorf("segment ls says %s", text)
	}

	// From a share to ranges of its own, and back, without a restart.
	s.segments(a, "a", "0000-7fff")
	a.signal(t, syscall.SIGHUP)
	a.says(t, "segments=0000-7fff", 1)
	s.until("the other has the rest", func() bool { return s.part("a") == 50 && s.part("b") == 50 })
	s.segments(a, "a", "auto")
	a.signal(t, syscall.SIGHUP)
	a.says(t, "segments=auto", 1)
	s.post(50)
	s.everybody()
}

// An MTA that defers all mail costs its daemon its share, and nobody waits for it but those of whom
// it gets to see whether it is well. (`make cluster-test` has it come back, which takes longer.)
func TestAnMTAThatDefersAll(t *testing.T) {
	t.Parallel() // it mostly waits
	s := newSharing(t, postgres.Options{})
	s.start("a", "outbound")
	b := s.start("b", "outbound")
	s.until("each has a part", func() bool { return s.part("a") > 20 && s.part("b") > 20 })
	b.mta.SetFaults(sink.Faults{Rcpt4xx: 1})
	s.post(100)
	s.until("the share of the one whose MTA defers all goes to the other", func() bool { return s.part("b") <= 3 && s.part("a") >= 97 })
	s.post(100)
	s.until("nearly everybody gets it from the other", func() bool { return len(s.wanted)-len(s.got()) <= len(s.wanted)/20 })
	if part := s.part("b"); part > 3 || len(b.mta.Transactions()) > 0 {
		t.Errorf("an MTA that defers all took something, or has %d %% again", part)
	}
	b.mta.SetFaults(sink.Faults{})
	s.everybody()
}

// Two hosts run all daemons with one database: mail that either takes in goes out, once, also
// when one of them dies.
func TestTwoHostsServeOneDatabase(t *testing.T) {
	t.Parallel()
	s := newSharing(t, postgres.Options{})
	a := s.start("a", "serve")
	b := s.start("b", "serve")
	command(t, a.dir, "list", "create", "dev@lists.test")
	command(t, b.dir, "list", "create", "ops@lists.test")
	for _, list := range []string{"dev@lists.test", "ops@lists.test"} {
		command(t, a.dir, "member", "add", list, "ann@net.test", "bob@net.test")
	}
	posts := 0
	post := func(h *sharer) {
		for _, list := range []string{"dev", "ops"} {
			posts++
			lmtp(t, h.dir, "LHLO mx.test", 250, "MAIL FROM:<ann@net.test>", 250, "RCPT TO:<"+list+"@lists.test>", 250, "DATA", 354,
				fmt.Sprintf("From: ann@net.test\r\nTo: %s@lists.test\r\nSubject: x\r\nMessage-ID: <%d@net.test>\r\nDate: Tue, 24 Nov 2026 12:00:00 +0000\r\n\r\nHello.\r\n.", list, posts), 250)
		}
		s.until("members get it", func() bool { return s.got()["bob@net.test"] >= posts })
	}
	post(a)
	post(b)
	s.until("both have parts", func() bool { return s.part("a") > 5 && s.part("b") > 5 })
	post(a)
	s.until("nothing is in flight", func() bool {
		waiting, err := s.spool.Waiting(t.Context())
		return err == nil && len(waiting) == 0
	})
	if err := a.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	a.ends(t)
	post(b)
	if n := s.got()["bob@net.test"]; n != posts {
		t.Errorf("%d posts came %d times", posts, n)
	}
	s.until("the other has all queues", func() bool {
		text := command(t, b.dir, "segment", "ls")
		return !strings.Contains(text, "nobody") && strings.Count(text, "100.0%") == 3
	})
}

// Who drains the last host, or pins to one that is not there, is told what comes of it.
func TestWishesThatNobodyCanFulfil(t *testing.T) {
	t.Parallel()
	s := newSharing(t, postgres.Options{})
	h := &sharer{mta: newSink(t, sink.Faults{}), dir: installed(t, "")}
	s.segments(h, "a", "auto")
	for _, host := range []string{"a", "b"} {
		sp, err := pg.Open(t.Context(), s.url, pg.Options{Host: host, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { sp.Close() })
		if _, err := sp.ShareOutgoing(t.Context(), spool.Partner{Name: "outbound on " + host}); err != nil {
			t.Fatal(err)
		}
		s.until("it has a part", func() bool { return s.part(host) > 0 })
	}
	says := func(want string, args ...string) {
		t.Helper()
		if text := command(t, h.dir, args...); strings.Contains(text, "mlist:") != (want != "") || !strings.Contains(text, want) {
			t.Errorf("mlist %s says %s, want %q", strings.Join(args, " "), text, want)
		}
	}
	says("", "segment", "pin", "0000-0fff", "a")
	says("others serve the range", "segment", "pin", "1000-1fff", "no such host")
	says("", "segment", "drain", "b", "--wait=1m")
	says("no other host shares the segments of a", "segment", "drain", "a")
	says("no daemon on c", "segment", "drain", "c")
	text := command(t, h.dir, "segment", "ls")
	for _, want := range []string{"1000-1fff to no such host, which is not there", "drained   c, which is not there", "drained   a\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("segment ls lacks %q: %s", want, text)
		}
	}
	none := exec.Command("mlist", "--config", filepath.Join(h.dir, "mlist.toml"), "segment", "drain", "a\x1bb")
	if out, _ := none.CombinedOutput(); none.ProcessState.ExitCode() != exitUsage || !strings.Contains(string(out), "want a name") {
		t.Errorf("a name that is none: %s", out)
	}

	p := &patient{app: &app{configPath: filepath.Join(h.dir, "mlist.toml")}}
	var err error
	if p.cfg, err = p.app.load(); err != nil {
		t.Fatal(err)
	}
	for _, off := range []time.Duration{0, -time.Hour} {
		p.now, p.found = time.Now().Add(off), nil
		if p.sharedSpool(t.Context()); (len(p.found) == 1) != (off != 0) {
			t.Errorf("with a clock that is %s off the doctor says %+v", off, p.found)
		}
	}
}
