package outbound

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/outbound/internal/fakemta"
)

func TestWhatBecomesOfAChunk(t *testing.T) {
	const a, b, c = "a@m.test", "b@m.test", "c@m.test"
	old := time.Now().Add(-6 * 24 * time.Hour)
	tests := []struct {
		name     string
		script   fakemta.Script
		change   func(*spool.Chunk)
		accepted string // recipients, without the domain
		deferred string
		bounced  string // recipient:status:scope
	}{
		{"all are accepted", fakemta.Script{}, nil, "abc", "", ""},
		{"each its own", fakemta.Script{Rcpt: map[string]string{a: "550 5.1.1 no", b: "450 4.2.1 later"}}, nil, "c", "b", "a:5.1.1:recipient"},
		{"all are refused", fakemta.Script{Rcpt: map[string]string{a: "550 no", b: "550 no", c: "550 no"}}, nil, "", "",
			"a:5.0.0:recipient b:5.0.0:recipient c:5.0.0:recipient"},
		{"the sender is deferred", fakemta.Script{Mail: "451 4.3.0 later"}, nil, "", "abc", ""},
		{"the content is deferred", fakemta.Script{Final: "451 4.3.0 later"}, nil, "", "abc", ""},
		{"the content is refused", fakemta.Script{Final: "554 5.6.0 no", Rcpt: map[string]string{a: "550 5.1.1 no"}}, nil, "", "",
			"a:5.1.1:recipient b:5.6.0:message c:5.6.0:message"},
		{"there is no reply to the content", fakemta.Script{Final: fakemta.Drop}, nil, "", "abc", ""},
		{"there is no reply to the content, after a refusal", fakemta.Script{Final: fakemta.Drop, Rcpt: map[string]string{a: "550 5.1.1 no"}}, nil,
			"", "bc", "a:5.1.1:recipient"},
		{"the connection drops each time", fakemta.Script{Data: fakemta.Drop}, nil, "", "abc", ""},
		{"too old, but never tried", fakemta.Script{Rcpt: map[string]string{b: "450 4.2.1 later"}},
			func(c *spool.Chunk) { c.Created = old }, "ac", "b", ""},
		{"too old", fakemta.Script{Rcpt: map[string]string{b: "450 4.2.1 later"}},
			func(c *spool.Chunk) { c.Created, c.Tries = old, 3 }, "ac", "", "b:4.4.7:recipient"},
		{"too old and the content is deferred", fakemta.Script{Final: "451 4.3.0 later"},
			func(c *spool.Chunk) { c.Created, c.Tries = old, 3 }, "", "", "a:4.4.7:message b:4.4.7:message c:4.4.7:message"},
		{"nobody is told of a null reverse-path", fakemta.Script{Rcpt: map[string]string{b: "550 5.1.1 no"}},
			func(c *spool.Chunk) { c.Sender = "" }, "ac", "", ""},
		{"a server with few recipients a transaction", fakemta.Script{MaxRecipients: 1}, nil, "abc", "", ""},
		{"a server that loses patience", fakemta.Script{MaxErrors: 1, Rcpt: map[string]string{a: "550 5.1.1 no", b: "450 4.2.1 later"}}, nil,
			"c", "b", "a:5.1.1:recipient"},
		{"an address that would break out", fakemta.Script{}, func(c *spool.Chunk) { c.Recipients[1] = "b@m.test>\r\nDATA" }, "ac", "",
			"b@m.test>??DATA:5.1.3:recipient"},
		{"an international address and no SMTPUTF8", fakemta.Script{}, func(c *spool.Chunk) { c.Recipients[1] = "ö@m.test" }, "ac", "",
			"ö:5.6.7:recipient"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := fakemta.Start(t, "", tt.script)
			ch := chunk(0, a, b, c)
			if tt.change != nil {
				tt.change(ch)
			}
			m := newMemory(ch)
			d := run(t, testConfig(s.Addr), m)
			m.wait(t, "the chunk is dealt with", func() bool { return slices.Contains(m.events, "settle") && m.idle() })
			if err := d.stop(t); err != nil {
				t.Fatal(err)
			}
			var accepted, deferred, bounced []string
			for r, n := range deliveries(s) {
				if n != 1 && !strings.HasPrefix(tt.script.Final, "4") {
					t.Errorf("%s got %d copies", r, n)
				}
				accepted = append(accepted, r[:1])
			}
			if tt.script.Final == fakemta.Drop {
				accepted = nil
			}
			slices.Sort(accepted)
			for _, w := range m.waiting {
				for _, r := range w.Recipients {
					deferred = append(deferred, strings.TrimSuffix(r, "@m.test"))
				}
				if left := time.Until(w.Due); left < 40*time.Second || left > 80*time.Second || w.Reason == "" {
					t.Errorf("due in %v, reason %q", left, w.Reason)
				}
			}
			slices.Sort(deferred)
			for id, b := range m.bounces {
				if b.env.List != ch.List || b.env.Role != "bounces" || !slices.Contains(b.env.Flags, spool.FlagOutbound) {
					t.Errorf("bounce %s: envelope %+v", id, b.env)
				}
				for _, g := range groups(t, b.message) {
					bounced = append(bounced, strings.TrimSuffix(g.recipient, "@m.test")+":"+g.status+":"+g.scope)
				}
			}
			slices.Sort(bounced)
			got := strings.Join(accepted, "") + "|" + strings.Join(deferred, "") + "|" + strings.Join(bounced, " ")
			if want := tt.accepted + "|" + tt.deferred + "|" + tt.bounced; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			for i, e := range m.events {
				if e == "put" && (i+1 == len(m.events) || m.events[i+1] != "settle") {
					t.Errorf("events %v: a bounce without a settlement after it", m.events)
				}
			}
		})
	}
}

func TestALargeChunkIsSentInTransactions(t *testing.T) {
	var all []string
	for i := range 25 {
		all = append(all, fmt.Sprintf("m%02d@m.test", i))
	}
	all[3], all[17] = "ö1@m.test", "ö2@m.test"
	script := fakemta.Script{Extensions: []string{"SMTPUTF8"}, Rcpt: map[string]string{"m01@m.test": "450 4.2.1 later", "m02@m.test": "550 5.1.1 no"}}
	s := fakemta.Start(t, "", script)
	m := newMemory(chunk(0, all...))
	cfg := testConfig(s.Addr)
	cfg.RecipientsPerTransaction = 10
	d := run(t, cfg, m)
	m.wait(t, "all is dealt with", func() bool { return len(m.settled) > 0 && m.idle() })
	if err := d.stop(t); err != nil {
		t.Fatal(err)
	}
	got := deliveries(s)
	for _, r := range all {
		want := 1
		if r == "m01@m.test" || r == "m02@m.test" {
			want = 0
		}
		if got[r] != want {
			t.Errorf("%s got %d copies, want %d", r, got[r], want)
		}
	}
	tried := 0
	for _, l := range s.Lines() {
		if strings.Contains(l, "m01@") {
			tried++
		}
	}
	if tried != 1 {
		t.Errorf("the deferred recipient was tried %d times in one go", tried)
	}
	for _, msg := range s.Messages() {
		if len(msg.Recipients) > 10 || strings.Contains(msg.From, "SMTPUTF8") == ascii(strings.Join(msg.Recipients, "")) {
			t.Errorf("transaction %+v", msg)
		}
	}
	last := m.settled[len(m.settled)-1]
	if left := time.Until(last.Due); !slices.Equal(last.Deferred, []string{"m01@m.test"}) || left < 40*time.Second || left > 80*time.Second {
		t.Errorf("the end: %+v, due in %v; want the first wait", last, left)
	}
}

func TestAServerThatGivesUpOnBadAddressesDoesNotStopTheGoodOnes(t *testing.T) {
	refuse := map[string]string{}
	var all []string
	for i := range 100 {
		a := fmt.Sprintf("m%03d@m.test", i)
		all = append(all, a)
		if i%2 == 0 {
			refuse[a] = "550 5.1.1 no"
		}
	}
	s := fakemta.Start(t, "", fakemta.Script{MaxErrors: 20, Rcpt: refuse})
	m := newMemory(chunk(0, all...))
	run(t, testConfig(s.Addr), m)
	m.wait(t, "all is dealt with", func() bool { return len(m.waiting)+len(m.out) == 0 })
	bounced := 0
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.bounces {
		bounced += len(groups(t, b.message))
	}
	got := deliveries(s)
	if len(got) != 50 || bounced != 50 {
		t.Errorf("%d accepted, %d bounced, want 50 and 50", len(got), bounced)
	}
	for r, n := range got {
		if n != 1 {
			t.Errorf("%s got %d copies", r, n)
		}
	}
}

func TestMTADownAndUp(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	var chunks []*spool.Chunk
	for i := range 50 {
		chunks = append(chunks, chunk(i, fmt.Sprintf("m%d@m.test", i)))
	}
	m := newMemory(chunks...)
	d := run(t, testConfig(addr), m)
	m.wait(t, "a chunk comes back", func() bool { return slices.Contains(m.events, "release") })
	select {
	case <-d.Ready():
	default:
		t.Error("not ready, because the MTA is down")
	}
	sleepFor(t, 100*time.Millisecond) // the prober is at work now
	m.mu.Lock()
	n := len(m.events)
	m.mu.Unlock()
	if n > 4 {
		t.Errorf("%d chunks were taken while the MTA was down, want one for each connection at most", n)
	}
	s := fakemta.Start(t, addr, fakemta.Script{})
	m.wait(t, "all are delivered", func() bool { return len(m.waiting)+len(m.out) == 0 })
	if got := deliveries(s); len(got) != 50 {
		t.Errorf("%d deliveries, want 50", len(got))
	}
	for _, x := range m.settled {
		if len(x.Deferred) > 0 {
			t.Errorf("a try was charged: %+v", x)
		}
	}
}

// sleepFor lets time pass in which nothing must happen.
func sleepFor(t *testing.T, d time.Duration) {
	t.Helper()
	if !sleep(t.Context(), d) {
		t.Fatal("the test was ended")
	}
}

func TestAnMTAThatOnlySays421IsAskedSeldomAndChargesNothing(t *testing.T) {
	s := fakemta.Start(t, "", fakemta.Script{Mail: "421 4.3.2 not now"})
	m := newMemory(chunk(0, "a@m.test"), chunk(1, "b@m.test"), chunk(2, "c@m.test"))
	run(t, testConfig(s.Addr), m, func(d *Daemon) { d.mta.wait.first, d.mta.wait.most = 50*time.Millisecond, 100*time.Millisecond })
	s.Wait(t, "it was tried some times", func() bool { n, _ := s.Conns(); return n >= 5 })
	opened, _ := s.Conns()
	sleepFor(t, 300*time.Millisecond)
	if again, _ := s.Conns(); again-opened > 12 {
		t.Errorf("%d connections in 300 ms", again-opened)
	}
	m.mu.Lock()
	if len(m.settled) > 0 {
		t.Errorf("settled: %+v", m.settled)
	}
	m.mu.Unlock()
	s.Set(fakemta.Script{})
	m.wait(t, "all are delivered", func() bool { return len(m.waiting)+len(m.out) == 0 })
}

func TestAnMTAWithFewConnectionsServesAll(t *testing.T) {
	s := fakemta.Start(t, "", fakemta.Script{MaxConns: 1, Delay: time.Millisecond})
	var chunks []*spool.Chunk
	for i := range 40 {
		chunks = append(chunks, chunk(i, fmt.Sprintf("m%d@m.test", i)))
	}
	m := newMemory(chunks...)
	run(t, testConfig(s.Addr), m)
	m.wait(t, "all are delivered", func() bool { return len(m.waiting)+len(m.out) == 0 })
	if got := deliveries(s); len(got) != 40 {
		t.Errorf("%d deliveries, want 40", len(got))
	}
	for _, x := range m.settled {
		if len(x.Deferred) > 0 {
			t.Errorf("a try was charged: %+v", x)
		}
	}
}

func TestConnectionsAreKeptAndThenClosed(t *testing.T) {
	s := fakemta.Start(t, "", fakemta.Script{})
	m := newMemory()
	cfg := testConfig(s.Addr)
	cfg.Idle = 300 * time.Millisecond
	run(t, cfg, m)
	for i := range 20 {
		m.lock(func() { m.waiting = append(m.waiting, chunk(i, "a@m.test")) })
		m.wait(t, "it is settled", func() bool { return len(m.settled) == i+1 })
	}
	if opened, _ := s.Conns(); opened > 2 {
		t.Errorf("%d connections for posts that came one by one", opened)
	}
	s.Wait(t, "the idle connection is closed", func() bool { _, open := s.Conns(); return open == 0 })
	if l := s.Lines(); l[len(l)-1] != "QUIT" {
		t.Errorf("the last command is %q", l[len(l)-1])
	}
}

func TestAConnectionThatDiedIdleIsReplaced(t *testing.T) {
	s := fakemta.Start(t, "", fakemta.Script{})
	m := newMemory(chunk(0, "a@m.test"))
	run(t, testConfig(s.Addr), m)
	m.wait(t, "the first is settled", func() bool { return len(m.settled) == 1 })
	s.CloseConns()
	s.Wait(t, "the connection ends", func() bool { _, open := s.Conns(); return open == 0 })
	m.lock(func() { m.waiting = append(m.waiting, chunk(1, "b@m.test")) })
	m.wait(t, "the second is settled", func() bool { return len(m.settled) == 2 })
	if slices.Contains(m.events, "release") || len(m.settled[1].Deferred) > 0 {
		t.Errorf("events %v, %+v", m.events, m.settled)
	}
}

func TestSettledBeforeTheNextMail(t *testing.T) {
	s := fakemta.Start(t, "", fakemta.Script{})
	var chunks []*spool.Chunk
	for i := range 20 {
		chunks = append(chunks, chunk(i, "a@m.test"))
	}
	m := newMemory(chunks...)
	var settled atomic.Int64
	m.settle = func(*spool.Chunk) error {
		mails := int64(0)
		for _, l := range s.Lines() {
			if strings.HasPrefix(l, "MAIL") {
				mails++
			}
		}
		if n := settled.Add(1); mails != n {
			t.Errorf("settlement %d comes after %d MAIL commands", n, mails)
		}
		return nil
	}
	cfg := testConfig(s.Addr)
	cfg.Connections = 1
	run(t, cfg, m)
	m.wait(t, "all are settled", func() bool { return len(m.settled) == 20 })
}

// Nothing may be heard on a connection before its transaction is settled, however many
// jobs want a connection.
func TestAConnectionIsSilentUntilSettled(t *testing.T) {
	s := fakemta.Start(t, "", fakemta.Script{})
	m := newMemory(chunk(0, "a@m.test"))
	hold, held := make(chan struct{}), make(chan struct{}, 1)
	m.settle = func(c *spool.Chunk) error {
		if c.Name == "000000" {
			held <- struct{}{}
			<-hold
		}
		return nil
	}
	run(t, testConfig(s.Addr), m)
	<-held
	m.lock(func() { m.waiting = append(m.waiting, chunk(1, "b@m.test"), chunk(2, "c@m.test")) })
	m.wait(t, "the others are settled", func() bool { return len(m.settled) == 2 })
	if s.Messages()[0].Heard {
		t.Error("the connection was used again before its transaction was settled")
	}
	close(hold)
	m.wait(t, "the first is settled", func() bool { return len(m.settled) == 3 })
}

func TestASettlementThatFailsIsTriedAgainAndNothingIsResent(t *testing.T) {
	s := fakemta.Start(t, "", fakemta.Script{})
	m := newMemory(chunk(0, "a@m.test", "b@m.test"))
	var tries atomic.Int64
	m.settle = func(*spool.Chunk) error {
		if tries.Add(1) <= 3 {
			return errors.New("no space left on device")
		}
		return nil
	}
	run(t, testConfig(s.Addr), m)
	m.wait(t, "it is settled", func() bool { return len(m.settled) == 1 })
	if got := deliveries(s); got["a@m.test"] != 1 || got["b@m.test"] != 1 {
		t.Errorf("deliveries %v", got)
	}
}

func TestABounceThatCannotBeWrittenIsNotLost(t *testing.T) {
	s := fakemta.Start(t, "", fakemta.Script{Rcpt: map[string]string{"b@m.test": "550 5.1.1 no"}})
	m := newMemory(chunk(0, "a@m.test", "b@m.test"))
	m.put = func() error { return errors.New("no space left on device") }
	run(t, testConfig(s.Addr), m)
	m.wait(t, "it is settled", func() bool { return len(m.settled) == 1 })
	if x := m.settled[0]; !slices.Equal(x.Deferred, []string{"b@m.test"}) {
		t.Errorf("settlement %+v", x)
	}
}

func TestContentThatCannotBeReadStopsNobodyElse(t *testing.T) {
	s := fakemta.Start(t, "", fakemta.Script{})
	bad := chunk(0, "a@m.test")
	m := newMemory(bad, chunk(1, "b@m.test"))
	m.contents = func(c *spool.Chunk) error {
		if c.Post == bad.Post {
			return errors.New("input/output error")
		}
		return nil
	}
	run(t, testConfig(s.Addr), m)
	m.wait(t, "both are settled", func() bool { return len(m.settled) == 2 })
	if got := deliveries(s); got["b@m.test"] != 1 || got["a@m.test"] != 0 {
		t.Errorf("deliveries %v", got)
	}
	if w := m.waiting; len(w) != 1 || !strings.Contains(w[0].Reason, "input/output error") {
		t.Errorf("waiting %+v", w)
	}
}

func TestRunEnds(t *testing.T) {
	fenced := fmt.Errorf("next: %w", spool.ErrFenced)
	tests := []struct {
		name  string
		fault func(*memory)
		want  error
	}{
		{"when the segments have an owner", func(m *memory) { m.ownErr = spool.ErrOwned }, spool.ErrOwned},
		{"when Next is fenced", func(m *memory) { m.next = func() error { return fenced } }, spool.ErrFenced},
		{"when Content is fenced", func(m *memory) { m.contents = func(*spool.Chunk) error { return fenced } }, spool.ErrFenced},
		{"when Settle is fenced", func(m *memory) { m.settle = func(*spool.Chunk) error { return fenced } }, spool.ErrFenced},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMemory(chunk(0, "a@m.test"))
			tt.fault(m)
			d := run(t, testConfig(fakemta.Start(t, "", fakemta.Script{}).Addr), m)
			select {
			case err := <-d.done:
				if !errors.Is(err, tt.want) {
					t.Errorf("%v, want %v", err, tt.want)
				}
			case <-time.After(time.Minute):
				t.Fatal("it goes on")
			}
		})
	}
}

func TestAFaultOfNextPasses(t *testing.T) {
	m := newMemory(chunk(0, "a@m.test"))
	n := 0
	m.next = func() error {
		if n++; n > 2 {
			m.lock(func() { m.next = nil })
			return nil
		}
		return errors.New("input/output error")
	}
	run(t, testConfig(fakemta.Start(t, "", fakemta.Script{}).Addr), m)
	m.wait(t, "it is settled", func() bool { return len(m.settled) == 1 })
}

func TestWhatIsUnderWayIsFinished(t *testing.T) {
	s := fakemta.Start(t, "", fakemta.Script{Delay: 20 * time.Millisecond})
	m := newMemory(chunk(0, "a@m.test"), chunk(1, "b@m.test"))
	d := run(t, testConfig(s.Addr), m)
	s.Wait(t, "a transaction begins", func() bool { return len(s.Lines()) > 1 })
	if err := d.stop(t); err != nil {
		t.Fatal(err)
	}
	if got := deliveries(s); len(got) != len(m.settled) || len(m.out) != 0 || !m.closed {
		t.Errorf("deliveries %v, %d settled, %d out", got, len(m.settled), len(m.out))
	}
}

func TestWhatTakesTooLongIsReleased(t *testing.T) {
	for _, where := range []fakemta.Script{{Mail: fakemta.Hang}, {Data: fakemta.Hang}, {Final: fakemta.Hang}, {Greeting: fakemta.Hang}} {
		s := fakemta.Start(t, "", where)
		m := newMemory(chunk(0, "a@m.test"))
		cfg := testConfig(s.Addr)
		cfg.Grace = 50 * time.Millisecond
		cfg.MTA.Timeout = time.Hour
		d := run(t, cfg, m)
		s.Wait(t, "the connection is made", func() bool { _, open := s.Conns(); return open == 1 })
		if err := d.stop(t); err != nil { // it returns, for all that the MTA says nothing
			t.Fatal(err)
		}
		if len(m.out) != 0 || len(m.settled) != 0 || len(m.waiting) != 1 || m.waiting[0].Tries != 0 {
			t.Errorf("%+v: out %v, settled %v, waiting %v", where, m.out, m.settled, m.waiting)
		}
	}
}

func TestReload(t *testing.T) {
	one, two := fakemta.Start(t, "", fakemta.Script{}), fakemta.Start(t, "", fakemta.Script{})
	m := newMemory(chunk(0, "a@m.test"))
	d := run(t, testConfig(one.Addr), m)
	m.wait(t, "the first is settled", func() bool { return len(m.settled) == 1 })
	d.Reload(testConfig(two.Addr))
	m.lock(func() { m.waiting = append(m.waiting, chunk(1, "b@m.test")) })
	m.wait(t, "the second is settled", func() bool { return len(m.settled) == 2 })
	if a, b := deliveries(one), deliveries(two); a["a@m.test"] != 1 || b["b@m.test"] != 1 || len(a)+len(b) != 2 {
		t.Errorf("deliveries %v and %v", a, b)
	}
	one.Wait(t, "the old connection is closed", func() bool { _, open := one.Conns(); return open == 0 })
}

func TestDelays(t *testing.T) {
	for n, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
		if got := doubled(time.Second, 10*time.Second, n); got != want*time.Second {
			t.Errorf("%d: %v", n, got)
		}
	}
	if got := doubled(time.Second, time.Hour, 1<<30); got != time.Hour {
		t.Errorf("many: %v", got)
	}
	for range 1000 {
		if got := jitter(10 * time.Second); got < 8*time.Second || got > 12*time.Second {
			t.Fatalf("jitter: %v", got)
		}
	}
}
