package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

const hello = "From: ann@net.test\r\nTo: dev@lists.test\r\nSubject: hello\r\nMessage-ID: <1@net.test>\r\n\r\nhello\r\n"

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

func TestAnAcceptedPostGoesToEveryMemberInChunks(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	members := []string{"a@x.test", "b@x.test", "c@x.test", "d@x.test", "e@x.test", "用户@x.test", "z@x.test"}
	w.add(list.Member, members...)
	id := w.post(hello)
	w.idle()
	slices.Sort(members)
	if got := w.recipients(id); !slices.Equal(got, members) {
		t.Errorf("recipients %v, want %v", got, members)
	}
	for _, c := range w.outgoing()[id] {
		international := !isASCII(c.Recipients[0])
		if hasFlag(c.Flags, spool.FlagSMTPUTF8) != international {
			t.Errorf("chunk of %v has flags %v", c.Recipients, c.Flags)
		}
		if c.Sender != "dev-bounces@lists.test" {
			t.Errorf("envelope sender %s", c.Sender)
		}
	}
	w.stop()
	if _, text := w.take(); text != hello {
		t.Errorf("content %q, want %q", text, hello)
	}
}

func TestASecondCopyIsDropped(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	w.add(list.Member, "a@x.test")
	w.post(hello)
	w.idle()
	w.post(hello)
	w.post(strings.Replace(hello, "hello\r\n", "bye\r\n", 1))
	w.idle()
	if got := w.outgoing(); len(got) != 2 {
		t.Errorf("%d posts went out, want 2", len(got))
	}
}

func TestAFailingPostIsTriedAgainAndThenParked(t *testing.T) {
	var mu sync.Mutex
	tries := 0
	w := newWorld(t, stagesFunc(func(_ context.Context, p *host.Post) (host.Result, error) {
		if p.Header.Get("Subject") != "poison" {
			return verdict(sdk.Accept)(context.Background(), p)
		}
		mu.Lock()
		defer mu.Unlock()
		tries++
		return host.Result{}, errors.New("plugin standard died")
	}))
	w.add(list.Member, "a@x.test")
	bad := w.post(strings.Replace(hello, "hello", "poison", 1))
	good := w.post(hello)
	w.idle()
	failed := w.entries(spool.Failed)
	if len(failed) != 1 || failed[0].ID != bad || !strings.Contains(failed[0].Reason, "plugin standard died") {
		t.Fatalf("failed has %+v", failed)
	}
	if mu.Lock(); tries != 3 {
		t.Errorf("%d tries, want 3", tries)
	}
	mu.Unlock()
	if got := w.recipients(good); len(got) != 1 {
		t.Errorf("the next post went to %v", got)
	}
}

func TestWaitingForAPluginIsNoTry(t *testing.T) {
	var mu sync.Mutex
	calls := 0
	w := newWorld(t, stagesFunc(func(ctx context.Context, p *host.Post) (host.Result, error) {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls <= 6 { // twice as often as there are tries
			return host.Result{}, fmt.Errorf("plugin standard: %w", host.ErrDown)
		}
		return verdict(sdk.Accept)(ctx, p)
	}))
	w.add(list.Member, "a@x.test")
	id := w.post(hello)
	w.idle()
	if got := w.recipients(id); len(got) != 1 {
		t.Errorf("delivered to %v; failed has %v", got, w.entries(spool.Failed))
	}
}

func TestAHeldPostWaitsAndIsDeliveredOnceAccepted(t *testing.T) {
	w := newWorld(t, stagesFunc(func(_ context.Context, p *host.Post) (host.Result, error) {
		if p.Approved {
			return verdict(sdk.Accept)(context.Background(), p)
		}
		p.Notes["why"] = "test"
		return host.Result{Verdict: sdk.Hold("nonmember", "You are not a member."), Stage: "posting"}, nil
	}))
	w.add(list.Member, "a@x.test")
	w.add(list.Owner, "boss@x.test")
	w.add(list.Moderator, "boss@x.test", "mod@x.test")
	id := w.post(hello)
	w.idle()
	held := w.entries(spool.Held)
	if len(held) != 1 || held[0].ID != id || held[0].Reason != "You are not a member." || held[0].Notes["code"] != "nonmember" || held[0].Notes["why"] != "test" {
		t.Fatalf("held has %+v", held)
	}
	var told []string
	for post := range w.outgoing() {
		told = append(told, strings.Join(w.recipients(post), " "))
	}
	slices.Sort(told)
	if want := []string{"ann@net.test", "boss@x.test mod@x.test"}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
	if err := w.spool.Retry(t.Context(), held[0], spool.FlagApproved); err != nil {
		t.Fatal(err)
	}
	w.eventually("the accepted post", func() bool { return len(w.recipients(id)) == 1 })
}

func TestARejectedPostIsAnsweredOnlyToPeople(t *testing.T) {
	tests := []struct {
		name, sender, header string
		answered             bool
	}{
		{"a person gets a notice", "ann@net.test", "", true},
		{"the null sender does not", "", "", false},
		{"an automatic reply does not", "ann@net.test", "Auto-Submitted: auto-replied\r\n", false},
		{"Auto-Submitted: no is a person", "ann@net.test", "Auto-Submitted: no\r\n", true},
		{"bulk mail does not", "ann@net.test", "Precedence: bulk\r\n", false},
		{"list mail does not", "ann@net.test", "List-Id: <x.y>\r\n", false},
		{"a bounce address does not", "x-bounces+1@net.test", "", false},
		{"a mailer daemon does not", "MAILER-DAEMON@net.test", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, verdict(sdk.Reject("nonmember", "Only members may post.")))
			id := w.put(spool.Incoming, spool.Envelope{Sender: tt.sender}, tt.header+hello)
			w.idle()
			w.stop()
			if !tt.answered {
				if got := w.outgoing(); len(got) != 0 {
					t.Fatalf("a notice went out: %v", got)
				}
				return
			}
			c, text := w.take()
			if c.Post != id || c.Sender != "" || !slices.Equal(c.Recipients, []string{tt.sender}) {
				t.Errorf("notice is %+v", c)
			}
			for _, want := range []string{"Auto-Submitted: auto-replied", "Only members may post.", "message/rfc822", "Subject: hello"} {
				if !strings.Contains(text, want) {
					t.Errorf("the notice lacks %q:\n%s", want, text)
				}
			}
		})
	}
}

func TestOneAddressGetsSoManyNoticesADay(t *testing.T) {
	w := newWorld(t, verdict(sdk.Reject("nonmember", "Only members may post.")))
	for i := range 5 {
		w.post(fmt.Sprintf("X-Number: %d\r\n%s", i, hello))
	}
	w.idle()
	if got := w.outgoing(); len(got) != 2 {
		t.Errorf("%d notices, want 2", len(got))
	}
}

func TestADiscardedPostLeavesNothing(t *testing.T) {
	w := newWorld(t, verdict(sdk.Discard("loop", "It has been here.")))
	w.post(hello)
	w.idle()
	if len(w.outgoing())+len(w.entries(spool.Held))+len(w.entries(spool.Failed)) != 0 {
		t.Error("something is left")
	}
}

func TestNumbersCountDeliveredPostsOnly(t *testing.T) {
	var mu sync.Mutex
	var numbers []int64
	w := newWorld(t, stagesFunc(func(_ context.Context, p *host.Post) (host.Result, error) {
		if p.Header.Get("Subject") == "spam" {
			return host.Result{Verdict: sdk.Discard("spam", "spam"), Stage: "test"}, nil
		}
		mu.Lock()
		numbers = append(numbers, p.Number)
		mu.Unlock()
		return verdict(sdk.Accept)(context.Background(), p)
	}))
	w.add(list.Member, "a@x.test")
	for _, subject := range []string{"one", "spam", "two", "spam", "three"} {
		w.post(strings.Replace(hello, "hello", subject, 1) + subject)
	}
	w.idle()
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(numbers, []int64{1, 2, 3}) {
		t.Errorf("numbers %v, want 1 2 3", numbers)
	}
}

func TestMailForTheOwnersIsForwardedOnce(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	w.add(list.Owner, "boss@x.test")
	id := w.put(spool.Incoming, spool.Envelope{Sender: "ann@net.test", Role: "owner"}, hello)
	w.idle()
	if got := w.recipients(id); !slices.Equal(got, []string{"boss@x.test"}) {
		t.Errorf("forwarded to %v", got)
	}
	w.stop()
	_, text := w.take()
	if !strings.HasSuffix(text, hello) {
		t.Errorf("forwarded as %q", text)
	}
	w.start(verdict(sdk.Accept))
	again := w.put(spool.Incoming, spool.Envelope{Sender: "ann@net.test", Role: "owner"}, text)
	w.idle()
	if got := w.recipients(again); len(got) != 0 {
		t.Errorf("a loop went to %v", got)
	}
}

func TestMailOfADeletedListIsParked(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	w.stop()
	w.post(hello)
	if err := w.store.DeleteList(t.Context(), w.list.Address); err != nil {
		t.Fatal(err)
	}
	w.start(verdict(sdk.Accept))
	w.idle()
	if failed := w.entries(spool.Failed); len(failed) != 1 || !strings.Contains(failed[0].Reason, "gone") {
		t.Errorf("failed has %+v", failed)
	}
}

func TestARefusedMessageIsFiledButNotHeldAgainstItsRecipients(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	w.put(spool.Bounces, spool.Envelope{Role: "bounces", Flags: []string{spool.FlagOutbound}}, strings.ReplaceAll(`From: MAILER-DAEMON@lists.test
Content-Type: multipart/report; report-type=delivery-status; boundary=b
MIME-Version: 1.0

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; lists.test

Final-Recipient: rfc822; gone@x.test
Action: failed
Status: 5.1.1
X-Mlist-Scope: recipient

Final-Recipient: rfc822; fine@x.test
Action: failed
Status: 5.7.1
Diagnostic-Code: smtp; 554 5.7.1 looks like spam
X-Mlist-Scope: message

--b--
`, "\n", "\r\n"))
	w.idle()
	var filed []string
	for e, err := range w.store.BounceEvents(t.Context(), w.list.ID) {
		if err != nil {
			t.Fatal(err)
		}
		filed = append(filed, fmt.Sprintf("%s hard=%v", e.Recipient, e.Hard))
	}
	slices.Sort(filed)
	if !slices.Equal(filed, []string{"fine@x.test hard=false", "gone@x.test hard=true"}) {
		t.Errorf("filed %v", filed)
	}
}

func TestBouncesAreFiled(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	w.add(list.Owner, "gone@x.test")
	w.put(spool.Bounces, spool.Envelope{Role: "bounces"}, strings.ReplaceAll(`From: MAILER-DAEMON@net.test
Content-Type: multipart/report; report-type=delivery-status; boundary=b
MIME-Version: 1.0

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; net.test

Final-Recipient: rfc822; gone@x.test
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no such user

--b--
`, "\n", "\r\n"))
	w.idle()
	var events []store.BounceEvent
	for e, err := range w.store.BounceEvents(t.Context(), w.list.ID) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	if len(events) != 1 || events[0].Recipient.String() != "gone@x.test" || !events[0].Hard || events[0].Status != "5.1.1" {
		t.Errorf("events %+v", events)
	}
}
