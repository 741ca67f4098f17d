package milter

import (
	"context"
	"errors"
	"fmt"
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

var hello = [][2]string{{"From", "ann@net.test"}, {"Subject", "hello\n\tagain"}}

func TestRecipients(t *testing.T) {
	w := start(t, func(c *Config) { c.ListDomains = []string{"Lists.Test"} })
	c := w.connect()
	defer c.Close()
	c.mail("ann@net.test")
	for _, tt := range []struct{ to, want string }{
		{"dev@lists.test", "continue"},
		{"nobody@lists.test", "550 5.1.1 <nobody@lists.test>: no such list address here"},
		{"100%@lists.test", "550 5.1.1 <100%@lists.test>: no such list address here"}, // %% on the wire
		{"dev-owner@lists.test", "continue"},
		{"dev-bounces+ann=net.test@lists.test", "continue"},
		{"news@lists.test", "continue"}, // after those refused
		{"bob@net.test", "continue"},    // another domain's
		{"no address", "continue"},
		{"dev+x@lists.test", "550 5.1.1 <dev+x@lists.test>: no such list address here"},
		{"dev+subscribe@lists.test", "continue"},
		{"Postmaster@lists.test", "continue"}, // must be there, and is no list's
		{"abuse@lists.test", "continue"},
	} {
		got := strings.ReplaceAll(c.rcpt(tt.to), "%%", "%")
		if got != tt.want {
			t.Errorf("RCPT %s: %s, want %s", tt.to, got, tt.want)
		}
	}
}

// Where users are, too, Postfix takes dev+x for dev: what is no address of the list's is refused.
func TestWhatStandsBehindAListsNameIsNoUsers(t *testing.T) {
	w := start(t, nil)
	c := w.connect()
	defer c.Close()
	c.mail("ann@net.test")
	for to, want := range map[string]string{
		"dev+x@lists.test":           "550 5.1.1 <dev+x@lists.test>: no such list address here",
		"dev-owner+x@lists.test":     "550 5.1.1 <dev-owner+x@lists.test>: no such list address here",
		"dev+leave@lists.test":       "continue",
		"ann+x@lists.test":           "continue", // a user's, perhaps
		"ann@lists.test":             "continue",
		"dev-bounces+x=y@lists.test": "continue",
	} {
		if got := c.rcpt(to); got != want {
			t.Errorf("RCPT %s: %s, want %s", to, got, want)
		}
	}
}

func TestAListThatTakesNoPostsIsRefusedAlone(t *testing.T) {
	w := start(t, nil)
	c := w.connect()
	defer c.Close()
	dev := address.Address{Local: "dev", Domain: "lists.test"}
	for _, tt := range []struct {
		state     list.State
		why, want string
	}{
		{list.Frozen, "Until Monday.", "550 5.7.1 dev@lists.test takes no posts at present. Until Monday."},
		{list.Closed, "", "550 5.7.1 dev@lists.test is closed and takes no posts any more."},
		{list.Open, "", "continue"},
	} {
		if _, err := w.store.SetState(t.Context(), dev, tt.state, tt.why); err != nil {
			t.Fatal(err)
		}
		c.mail("ann@net.test")
		for to, want := range map[string]string{"dev@lists.test": tt.want, "dev-owner@lists.test": "continue", "news@lists.test": "continue"} {
			if got := c.rcpt(to); got != want {
				t.Errorf("%s list, RCPT %s: %s, want %s", tt.state, to, got, want)
			}
		}
		c.Abort(nil)
	}
}

func TestASenderWhomTheListRefusesWhateverComes(t *testing.T) {
	w := start(t, nil)
	w.stages.banned = "eve@else.test"
	c := w.connect()
	defer c.Close()
	for _, tt := range []struct{ from, want string }{
		{"eve@else.test", "550 5.7.1 eve@else.test may not post to this list."},
		{"ann@net.test", "continue"},
	} {
		c.mail(tt.from)
		for to, want := range map[string]string{"dev@lists.test": tt.want, "dev-owner@lists.test": "continue"} {
			if got := c.rcpt(to); got != want {
				t.Errorf("from %s, RCPT %s: %s, want %s", tt.from, to, got, want)
			}
		}
		c.Abort(nil)
	}
	p := w.stages.envelopes[0]
	if p.List.Address != "dev@lists.test" || p.Envelope.Peer != "client.test [192.0.2.1]" || len(p.Senders) != 1 || p.Senders[0].Source != "envelope" || p.Body != nil {
		t.Errorf("the stages are told %+v", p)
	}
}

func TestInADomainWithUsersUnknownAddressesPass(t *testing.T) {
	w := start(t, nil)
	c := w.connect()
	defer c.Close()
	c.mail("ann@net.test")
	if got := c.rcpt("nobody@lists.test"); got != "continue" {
		t.Errorf("%s", got)
	}
}

// A message is refused when every list that it is for rejects it and nobody else gets it.
func TestTheEndOfAMessage(t *testing.T) {
	reject, other := sdk.Reject("nonmember", "Only members post here: 100% of them."), sdk.Reject("too-big", "Too big.")
	for _, tt := range []struct {
		name       string
		recipients string
		dev, news  sdk.Verdict
		want       string
		asked      int
	}{
		{"accepted", "dev@lists.test", sdk.Accept, sdk.Accept, "continue", 1},
		{"rejected", "dev@lists.test", reject, sdk.Accept, "550 5.7.1 Only members post here: 100%% of them.", 1},
		{"held", "dev@lists.test", sdk.Hold("nonmember", "Held."), sdk.Accept, "continue", 1},
		{"discarded", "dev@lists.test", sdk.Discard("loop", "A loop."), sdk.Accept, "continue", 1},
		{"rejected by both", "dev@lists.test news@lists.test", reject, other, "550 5.7.1 Only members post here: 100%% of them.", 2},
		{"rejected by one", "news@lists.test dev@lists.test", reject, sdk.Accept, "continue", 1},
		{"named twice", "dev@lists.test DEV@lists.test", reject, sdk.Accept, "550 5.7.1 Only members post here: 100%% of them.", 1},
		{"and to the owners", "dev@lists.test dev-owner@lists.test", reject, sdk.Accept, "continue", 0},
		{"and to a person", "dev@lists.test bob@net.test", reject, sdk.Accept, "continue", 0},
		{"to a person", "bob@net.test", reject, reject, "continue", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, nil)
			w.stages.verdicts = map[string]sdk.Verdict{"dev@lists.test": tt.dev, "news@lists.test": tt.news}
			c := w.connect()
			defer c.Close()
			c.mail("ann@net.test")
			for to := range strings.FieldsSeq(tt.recipients) {
				c.rcpt(to)
			}
			if got := c.message(hello, "Hi.\r\n"); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if len(w.stages.asked) != tt.asked {
				t.Errorf("%d lists' stages were asked, want %d", len(w.stages.asked), tt.asked)
			}
		})
	}
}

func TestStagesSeeTheMessage(t *testing.T) {
	w := start(t, nil)
	c := w.connect()
	defer c.Close()
	body := strings.Repeat("A line of the body.\r\n", 10_000)
	c.mail("Ann@Net.test")
	c.rcpt("Dev@lists.test")
	c.message(hello, body)
	if len(w.stages.asked) != 1 {
		t.Fatalf("asked %d times", len(w.stages.asked))
	}
	p := w.stages.asked[0]
	if p.List.Address != "dev@lists.test" || p.Envelope.Sender != "Ann@net.test" || p.Envelope.Recipient != "Dev@lists.test" || p.Envelope.Peer != "client.test [192.0.2.1]" {
		t.Errorf("list %s, envelope %+v", p.List.Address, p.Envelope)
	}
	if len(p.Senders) != 2 || p.Senders[0].Address != "ann@net.test" || p.Senders[0].Source != "from" {
		t.Errorf("senders %+v", p.Senders)
	}
	if want := "From: ann@net.test\r\nSubject: hello\r\n\tagain\r\n|" + body; w.stages.texts[0] != want {
		t.Errorf("the stages saw %.200q, want %.200q", w.stages.texts[0], want)
	}
}

// The library makes a new object after some responses, and forgets who is connected.
func TestASessionOutlivesRefusals(t *testing.T) {
	w := start(t, func(c *Config) { c.ListDomains = []string{"lists.test"} })
	w.stages.verdicts["dev@lists.test"] = sdk.Reject("nonmember", "No.")
	c := w.connect()
	defer c.Close()
	for i := range 3 {
		c.mail("ann@net.test")
		c.rcpt("nobody@lists.test")
		if got := c.rcpt("dev@lists.test"); got != "continue" {
			t.Fatalf("message %d: RCPT after a refused one: %s", i, got)
		}
		if got := c.message(hello, "Hi.\r\n"); got != "550 5.7.1 No." {
			t.Fatalf("message %d: %s", i, got)
		}
		c.Abort(nil)
	}
	for i, p := range w.stages.asked {
		if p.Envelope.Peer != "client.test [192.0.2.1]" || p.Envelope.Sender != "ann@net.test" {
			t.Errorf("message %d: envelope %+v", i, p.Envelope)
		}
	}
}

func TestWhatCannotBeJudged(t *testing.T) {
	down := errors.New("down")
	for _, tt := range []struct {
		name      string
		onFailure OnFailure
		store     error
		stages    error
		rcpt, end string
	}{
		{"the store, tempfail", Tempfail, down, nil, "451 4.3.0 mx.test cannot check this at present, try again later", "continue"},
		{"the store, pass", Pass, down, nil, "continue", "continue"},
		{"a handler, tempfail", Tempfail, nil, down, "continue", "451 4.3.0 mx.test cannot check this at present, try again later"},
		{"a handler, pass", Pass, nil, down, "continue", "continue"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, func(c *Config) { c.OnFailure = tt.onFailure })
			w.store.err, w.stages.err = tt.store, tt.stages
			w.stages.verdicts["dev@lists.test"] = sdk.Reject("x", "y")
			c := w.connect()
			defer c.Close()
			c.mail("ann@net.test")
			if got := c.rcpt("dev@lists.test"); got != tt.rcpt {
				t.Errorf("RCPT: %s, want %s", got, tt.rcpt)
			}
			if got := c.message(hello, "Hi.\r\n"); got != tt.end {
				t.Errorf("end: %s, want %s", got, tt.end)
			}
		})
	}
}

// A handler that hangs is waited for once at RCPT, however many recipients there are, and once at the end.
func TestAHandlerThatFailsIsAskedOnceBeforeTheEnd(t *testing.T) {
	w := start(t, nil)
	w.stages.err = context.DeadlineExceeded
	c := w.connect()
	defer c.Close()
	for range 2 { // each message anew
		c.mail("ann@net.test")
		for range 5 {
			for _, to := range []string{"dev@lists.test", "news@lists.test"} {
				if got := c.rcpt(to); got != "continue" {
					t.Errorf("RCPT %s: %s", to, got)
				}
			}
		}
		if got := c.message(hello, "Hi.\r\n"); !strings.HasPrefix(got, "451 ") {
			t.Errorf("end: %s", got)
		}
	}
	if w.stages.failures != 2 || len(w.stages.asked) != 2 {
		t.Errorf("asked %d times at RCPT, %d times at the end", w.stages.failures, len(w.stages.asked))
	}
}

// A message for very many lists is not judged, nor kept, and what is remembered of it is bounded.
func TestAMessageToMoreListsThanAreAsked(t *testing.T) {
	w := start(t, nil)
	c := w.connect()
	defer c.Close()
	for n, want := range map[int]string{maxLists: "550 5.7.1 No.", maxLists + 1: "continue", 3 * maxLists: "continue"} {
		w.stages.asked = nil
		c.mail("ann@net.test")
		for i := range n {
			name := fmt.Sprintf("many%d@lists.test", i)
			a, err := address.Parse(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.store.CreateList(t.Context(), &list.List{Address: a, Settings: list.Defaults()}); err != nil && !errors.Is(err, store.ErrExists) {
				t.Fatal(err)
			}
			w.stages.verdicts[name] = sdk.Reject("x", "No.")
			if got := c.rcpt(name); got != "continue" {
				t.Fatalf("RCPT %s: %s", name, got)
			}
		}
		if got := c.message(hello, "Hi.\r\n"); got != want {
			t.Errorf("for %d lists: %s, want %s", n, got, want)
		}
		if want == "continue" && len(w.stages.asked) != 0 {
			t.Errorf("for %d lists: %d were asked", n, len(w.stages.asked))
		}
		c.Abort(nil)
	}
}

// The library takes a panic for the end of the session, and the MTA does as it is configured; others go on.
func TestAPanicEndsOneSession(t *testing.T) {
	w := start(t, nil)
	broken, other := w.connect(), w.connect()
	defer broken.Close()
	defer other.Close()
	other.mail("bob@net.test")
	broken.mail("ann@net.test")
	broken.rcpt("dev@lists.test")
	w.stages.panics = true
	broken.does(broken.DataStart())
	broken.does(broken.HeaderField("From", "ann@net.test", nil))
	broken.does(broken.HeaderEnd())
	if _, a, err := broken.End(); err == nil {
		t.Errorf("the end of the message is answered: %v", a)
	}
	w.stages.panics = false
	other.rcpt("dev@lists.test")
	if got := other.message(hello, "Hi.\r\n"); got != "continue" {
		t.Errorf("another session: %s", got)
	}
}

func TestAMessageThatIsTooBigIsLeftToThePipeline(t *testing.T) {
	w := start(t, func(c *Config) { c.MaxMessageSize = 100_000 })
	w.stages.verdicts["dev@lists.test"] = sdk.Reject("x", "y")
	c := w.connect()
	defer c.Close()
	c.mail("ann@net.test")
	c.rcpt("dev@lists.test")
	if got := c.message(hello, strings.Repeat("x", 200_000)); got != "continue" {
		t.Errorf("body: %s", got)
	}
	c.Abort(nil)
	c.mail("ann@net.test")
	c.rcpt("dev@lists.test")
	var many [][2]string
	for i := range 2000 {
		many = append(many, [2]string{fmt.Sprintf("X-%d", i), strings.Repeat("y", 1000)})
	}
	if got := c.message(many, "Hi.\r\n"); got != "continue" {
		t.Errorf("header: %s", got)
	}
	if len(w.stages.asked) != 0 {
		t.Errorf("asked %d times", len(w.stages.asked))
	}
}

func TestTooManySessions(t *testing.T) {
	w := start(t, func(c *Config) { c.MaxSessions = 2 })
	first, second := w.connect(), w.connect()
	defer second.Close()
	if s, err := w.session("tcp", w.daemon.Addrs()[0].String()); err == nil {
		s.Close()
		t.Error("a third session was served")
	}
	first.Close()
	eventually(t, "a place after one has ended", func() bool {
		s, err := w.session("tcp", w.daemon.Addrs()[0].String())
		if err != nil {
			return false
		}
		s.Close()
		return true
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// An MTA keeps its connection while its client is silent: that must not keep mlist.
func TestStopEndsIdleSessionsAndFinishesMessages(t *testing.T) {
	w := start(t, nil)
	w.stages.verdicts["dev@lists.test"] = sdk.Reject("x", "No.")
	idle, busy := w.connect(), w.connect()
	defer idle.Close()
	defer busy.Close()
	busy.mail("ann@net.test")
	busy.rcpt("dev@lists.test")
	w.stop()
	eventually(t, "the sessions to be told", func() bool {
		told := true
		w.daemon.conns.Each(func(c *conn) {
			c.mu.Lock()
			defer c.mu.Unlock()
			told = told && c.stopping
		})
		return told
	})
	if a, err := idle.Mail("ann@net.test", ""); err == nil {
		t.Errorf("an idle session was served: %v", a)
	}
	if got := busy.message(hello, "Hi.\r\n"); got != "550 5.7.1 No." {
		t.Errorf("the message under way: %s", got)
	}
	w.close()
}

func TestReload(t *testing.T) {
	dir := t.TempDir()
	w := start(t, func(c *Config) { c.Listen = []string{"unix:" + dir + "/a"} })
	old := w.connectTo("unix", dir+"/a")
	cfg := *w.daemon.Config()
	cfg.Listen = []string{"unix:" + dir + "/b"}
	cfg.ListDomains = []string{"lists.test"}
	if err := w.daemon.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	w.connectTo("unix", dir+"/b").Close()
	old.mail("ann@net.test")
	if got := old.rcpt("nobody@lists.test"); !strings.HasPrefix(got, "550") {
		t.Errorf("a session from before: %s", got)
	}
	old.Close()
	cfg.Listen = []string{"unix:" + dir + "/none/c"}
	if err := w.daemon.Reload(cfg); err == nil {
		t.Error("a directory that is missing was no error")
	}
	w.connectTo("unix", dir+"/b").Close()
}

func TestBadConfigurations(t *testing.T) {
	good := Config{MaxSessions: 1, MaxMessageSize: 1, IdleTimeout: 1}
	if _, err := good.completed(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		want   string
		change func(*Config)
	}{
		{"milter.listen", func(c *Config) { c.Listen = []string{"/x"} }},
		{"milter.on_failure", func(c *Config) { c.OnFailure = "shrug" }},
		{"milter.max_sessions", func(c *Config) { c.MaxSessions = 0 }},
		{"milter.idle_timeout", func(c *Config) { c.IdleTimeout = 0 }},
		{"milter.list_domains", func(c *Config) { c.ListDomains = []string{"a b"} }},
	} {
		c := good
		tt.change(&c)
		if _, err := c.completed(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want one about %s", err, tt.want)
		}
	}
}

func TestLines(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "refused",
		"50% off\r\n250 ok":      "50%% off  250 ok",
		"grüße\x00":              "grusse?",
		"Beiträge „à côté“":      `Beitrage "a cote"`,
		"日本":                     "??",
		strings.Repeat("é", 500): strings.Repeat("e", maxReply),
	} {
		if got := line(in); got != want {
			t.Errorf("line(%q) = %q, want %q", in, got, want)
		}
	}
}
