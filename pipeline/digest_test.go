package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk"
)

func TestTheFlagOfDigestsIsOneWord(t *testing.T) {
	if spool.FlagDigest != sdk.FlagDigest {
		t.Errorf("%q and %q", spool.FlagDigest, sdk.FlagDigest)
	}
}

// digesting keeps posts for digests, and sends a digest to those of its form.
func digesting(ctx context.Context, p *host.Post) (host.Result, error) {
	if !slices.Contains(p.Envelope.Flags, sdk.FlagDigest) {
		p.Kept = []host.Kept{{For: []sdk.Use{sdk.KeepDigest}, Header: p.Header.Bytes()}}
		return verdict(sdk.Accept)(ctx, p)
	}
	modes := map[string]string{"mime": "mime_digests", "plain": "plaintext_digests", "summary": "summary_digests"}
	p.Rules = []sdk.Rule{{Kind: sdk.RuleSelect, Roles: []string{"member"}, Modes: []string{modes[p.Notes["digest.form"]]}, Statuses: []string{"enabled"}}}
	if !p.Approved || p.Number != 0 {
		return host.Result{}, fmt.Errorf("digest %+v", p)
	}
	return host.Result{Verdict: sdk.Accept}, nil
}

func (w *world) set(changes ...string) {
	w.t.Helper()
	m := map[string]*string{}
	for _, c := range changes {
		name, value, _ := strings.Cut(c, "=")
		m[name] = &value
	}
	l, err := w.store.ChangeList(w.t.Context(), w.list.Address, m)
	if err != nil {
		w.t.Fatal(err)
	}
	w.list = l
}

func numbered(i int) string {
	return strings.NewReplacer("Subject: hello", fmt.Sprintf("Subject: hello %d", i), "<1@", fmt.Sprintf("<%d@", i)).Replace(hello)
}

// sent returns, for each recipient, the subjects of what is in outgoing for them, and the
// content of the last digest.
func (w *world) sent() (subjects map[string][]string, content string) {
	w.t.Helper()
	o, err := w.spool.OwnOutgoing(w.t.Context(), segment.All, "test")
	if err != nil {
		w.t.Fatal(err)
	}
	defer o.Close()
	n := 0
	for range w.outgoing() {
		n++
	}
	subjects = map[string][]string{}
	for left := n; left > 0; {
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
		c, err := o.Next(ctx)
		cancel()
		if err != nil {
			w.t.Fatal(err)
		}
		m, err := o.Content(w.t.Context(), c)
		if err != nil {
			w.t.Fatal(err)
		}
		text, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size()))
		m.Close()
		if err != nil {
			w.t.Fatal(err)
		}
		msg, err := mail.ReadMessage(strings.NewReader(string(text)))
		if err != nil {
			w.t.Fatal(err)
		}
		subject := msg.Header.Get("Subject")
		if strings.Contains(subject, "Digest") {
			content = string(text)
		}
		for _, r := range c.Recipients {
			subjects[r] = append(subjects[r], subject)
			slices.Sort(subjects[r])
		}
		if err := o.Settle(w.t.Context(), c, spool.Settlement{}); err != nil {
			w.t.Fatal(err)
		}
		left = len(w.outgoing())
	}
	return subjects, content
}

// waits is how many posts wait for a digest.
func (w *world) waits() int {
	w.t.Helper()
	got, err := w.store.WaitingDigest(w.t.Context(), w.list.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return got.Posts
}

// allSent waits until nothing waits for a digest, and all are on their way.
func (w *world) allSent() {
	w.t.Helper()
	w.eventually("an issue of all that waits", func() bool { return w.waits() == 0 })
	w.settled()
}

// settled waits until every closed issue is on its way, and nothing else is.
func (w *world) settled() {
	w.t.Helper()
	w.eventually("digests on their way", func() bool {
		for range w.store.UnfiledDigests(w.t.Context()) {
			return false
		}
		return len(w.entries(spool.Incoming)) == 0
	})
}

// inDigest are the messages within a multipart/digest, as they are.
func inDigest(t *testing.T, text string) []string {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/digest" {
		t.Fatalf("%s, %v", kind, err)
	}
	var out []string
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		if kind := part.Header.Get("Content-Type"); kind != "message/rfc822" {
			t.Errorf("a part is %s", kind)
		}
		out = append(out, string(b))
	}
}

func TestADigestGoesOutWhenEnoughWaits(t *testing.T) {
	w := newWorld(t, stagesFunc(digesting))
	w.add(list.Member, "bob@x.test")
	w.reader("mime@x.test", list.MIMEDigest)
	w.reader("plain@x.test", list.PlaintextDigest)
	w.set("digest_count_threshold=2", "digest_send_periodic=false")
	answer := strings.Replace(numbered(3), "\r\n\r\n", "\r\nReferences: <1@net.test>\r\n\r\n", 1)
	w.post(numbered(1))
	w.idle()
	if w.waits() != 1 {
		t.Errorf("%d posts wait", w.waits())
	}
	w.post(numbered(2))
	w.allSent()
	w.set("digest_count_threshold=0")
	w.post(answer)
	w.idle()
	w.stop()
	if w.waits() != 1 {
		t.Errorf("%d posts wait", w.waits())
	}
	if got := w.archived(); len(got) != 1 || len(w.places()) != 1 {
		t.Errorf("kept are %+v, %v", got, w.places())
	}
	got, content := w.sent()
	want := "map[bob@x.test:[hello 1 hello 2 hello 3] mime@x.test:[dev Digest, Vol 1, Issue 1] plain@x.test:[dev Digest, Vol 1, Issue 1]]"
	if fmt.Sprint(got) != want {
		t.Errorf("sent is %v, want %s", got, want)
	}
	if posts := inDigest(t, content); !slices.Equal(posts, []string{numbered(1), numbered(2)}) {
		t.Errorf("in the digest are %q", posts)
	}
	m, err := mail.ReadMessage(strings.NewReader(content))
	if err != nil || !strings.Contains(content, "From: dev <dev-request@lists.test>\r\n") {
		t.Errorf("%v\n%s", err, content)
	}
	if _, err := m.Header.Date(); err != nil {
		t.Error(err)
	}
	if r, err := w.store.PeekPost(t.Context(), store.Post{ListID: w.list.ID, Entry: "x", Digest: []byte("x")}, time.Hour); err != nil || r.Number != 4 {
		t.Errorf("the next post is %+v, %v: a digest took a number", r, err)
	}
}

func TestADigestIsInTheOrderOfThreads(t *testing.T) {
	w := newWorld(t, stagesFunc(digesting))
	w.reader("mime@x.test", list.MIMEDigest)
	w.set("digest_send_periodic=false")
	answer := strings.Replace(numbered(3), "\r\n\r\n", "\r\nReferences: <1@net.test>\r\n\r\n", 1)
	for _, m := range []string{numbered(1), numbered(2), answer} {
		w.post(m)
		w.idle()
	}
	w.set("digest_count_threshold=4")
	w.post(numbered(4))
	w.allSent()
	w.stop()
	if _, content := w.sent(); !slices.Equal(inDigest(t, content), []string{numbered(1), answer, numbered(2), numbered(4)}) {
		t.Errorf("in the digest are %q", inDigest(t, content))
	}
}

func TestWhenADigestIsDue(t *testing.T) {
	noon := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC) // a Monday
	for _, c := range []struct {
		name     string
		settings string
		posts    int
		size     int64
		oldest   time.Time
		now      time.Time
		want     bool
	}{
		{"at the hour", "", 1, 1, noon.Add(-time.Minute), noon, true},
		{"before the hour", "", 1, 1, noon.Add(-time.Hour), noon.Add(-time.Minute), false},
		{"what came after the hour waits for the next", "", 1, 1, noon.Add(time.Minute), noon.Add(time.Hour), false},
		{"an hour that was missed", "", 1, 1, noon.AddDate(0, 0, -3), noon.Add(-time.Hour), true},
		{"nothing waits", "", 0, 0, time.Time{}, noon, false},
		{"digests are off", "digests_enabled=false", 1, 1 << 30, noon.Add(-time.Hour), noon, false},
		{"never by time", "digest_send_periodic=false", 1, 1, noon.AddDate(0, -1, 0), noon, false},
		{"another hour", "digest_send_hour=7", 1, 1, noon.Add(-6 * time.Hour), noon, true},
		{"weekly, on the day", "digest_schedule=weekly", 1, 1, noon.AddDate(0, 0, -1), noon, true},
		{"weekly, on another day", "digest_schedule=weekly digest_weekday=sunday", 1, 1, noon.Add(-23 * time.Hour), noon, false},
		{"the size is there", "digest_send_periodic=false", 1, 30 << 10, noon, noon, true},
		{"the size is not there", "digest_send_periodic=false", 1, 30<<10 - 1, noon, noon, false},
		{"any size", "digest_send_periodic=false digest_size_threshold=0", 1000, 1 << 30, noon, noon, false},
		{"the count is there", "digest_send_periodic=false digest_count_threshold=3", 3, 1, noon, noon, true},
	} {
		l := &list.List{Settings: list.Defaults()}
		for _, s := range strings.Fields(c.settings) {
			name, value, _ := strings.Cut(s, "=")
			if err := l.Settings.Set(name, value); err != nil {
				t.Fatal(err)
			}
		}
		if got := due(l, store.Waiting{Posts: c.posts, Size: c.size, Oldest: c.oldest}, c.now); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

// later stops the daemon and sets its clock, for steps to be taken by hand.
func (w *world) later(d time.Duration) {
	w.stop()
	w.daemon.now = func() time.Time { return time.Now().Add(d) }
}

func TestADigestGoesOutAtItsHour(t *testing.T) {
	w := newWorld(t, stagesFunc(digesting))
	w.reader("mime@x.test", list.MIMEDigest)
	w.set(fmt.Sprintf("digest_send_hour=%d", (time.Now().Hour()+2)%24))
	w.post(hello)
	w.idle()
	for _, c := range []struct {
		later time.Duration
		want  int
	}{{0, 1}, {3 * time.Hour, 0}} {
		w.later(c.later)
		if err := w.daemon.closeDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		if w.waits() != c.want {
			t.Errorf("%s later %d posts wait", c.later, w.waits())
		}
	}
	if err := w.daemon.fileAll(t.Context()); err != nil || len(w.entries(spool.Incoming)) != 1 {
		t.Errorf("%v, filed are %v", err, w.entries(spool.Incoming))
	}
}

func TestAPipelineMakesDigestsOfItsOwnListsOnly(t *testing.T) {
	w := newWorld(t, stagesFunc(digesting))
	w.reader("mime@x.test", list.MIMEDigest)
	w.post(hello)
	w.idle()
	w.later(48 * time.Hour)
	cfg := *w.daemon.cfg.Load()
	key := segment.KeyOf(w.list.Address.Key())
	for _, set := range []segment.Set{{}, {{First: key, Last: key}}} {
		cfg.Segments = set
		w.daemon.cfg.Store(&cfg)
		if err := errors.Join(w.daemon.closeDue(t.Context()), w.daemon.fileAll(t.Context())); err != nil {
			t.Fatal(err)
		}
		if got := len(w.entries(spool.Incoming)); got != len(set) || (w.waits() == 0) != (len(set) > 0) {
			t.Errorf("segments %v: %d digests, %d posts wait", set, got, w.waits())
		}
	}
}

func TestWhoLeavesDigestsGetsTheLastOne(t *testing.T) {
	w := newWorld(t, stagesFunc(digesting))
	for _, r := range []string{"stays@x.test", "leaves@x.test", "returns@x.test", "off@x.test"} {
		w.reader(r, list.MIMEDigest)
	}
	w.set("digest_send_periodic=false")
	w.post(numbered(1))
	w.idle()
	regular, mimeAgain, off := list.Regular, list.MIMEDigest, list.ByUser
	for _, c := range []struct {
		addr   string
		change store.MemberChange
	}{
		{"leaves@x.test", store.MemberChange{Mode: &regular}}, {"returns@x.test", store.MemberChange{Mode: &regular}},
		{"off@x.test", store.MemberChange{Mode: &regular}}, {"off@x.test", store.MemberChange{Status: &off}},
	} {
		if err := w.store.SetMember(t.Context(), w.list.ID, list.Member, addr(t, c.addr), c.change); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.store.CloseDigest(t.Context(), w.list.ID, NextIssue(w.list, time.Now())); err != nil {
		t.Fatal(err)
	}
	if err := w.store.SetMember(t.Context(), w.list.ID, list.Member, addr(t, "returns@x.test"), store.MemberChange{Mode: &mimeAgain}); err != nil {
		t.Fatal(err)
	}
	w.stop()
	w.start(stagesFunc(digesting))
	w.settled()
	w.stop()
	got, _ := w.sent()
	const issue = "[dev Digest, Vol 1, Issue 1]"
	if want := "map[leaves@x.test:" + issue + " returns@x.test:" + issue + " stays@x.test:" + issue + "]"; fmt.Sprint(got) != want {
		t.Errorf("sent is %v, want %s", got, want)
	}
}

func TestAListWhoseDigestFailsKeepsNoOther(t *testing.T) {
	w := newWorld(t, stagesFunc(digesting))
	w.reader("mime@x.test", list.MIMEDigest)
	other := w.include("other@lists.test", nil, list.Membership{Address: addr(t, "mime@x.test"), Mode: list.MIMEDigest})
	w.post(numbered(1))
	w.postTo(other.Address.String(), numbered(2))
	w.idle()
	w.later(48 * time.Hour)
	d := w.daemon
	broken := New(*d.cfg.Load(), w.spool, stumblingStore{w.store, &stumbler{at: 1}}, stagesFunc(digesting), d.log)
	broken.now = d.now
	_ = broken.closeDue(t.Context())
	waits := w.waits()
	got, err := w.store.WaitingDigest(t.Context(), other.ID)
	if err != nil || waits+got.Posts != 1 {
		t.Errorf("%d and %d posts wait, %v", waits, got.Posts, err)
	}
}

var errKilled = errors.New("killed")

// Whatever step of making a digest is the last before a crash: the digest goes out, once,
// and with all that waited.
func TestADigestThatIsRunAgainIsSentOnce(t *testing.T) {
	for at := 1; ; at++ {
		reached := false
		for _, after := range []bool{false, true} {
			s := &stumbler{at: at, after: after}
			w := newWorld(t, stagesFunc(digesting))
			w.reader("mime@x.test", list.MIMEDigest)
			w.reader("plain@x.test", list.PlaintextDigest)
			w.set("digest_send_periodic=false")
			w.post(numbered(1))
			w.post(numbered(2))
			w.idle()
			w.stop()
			w.set("digest_count_threshold=2")
			d := New(*w.daemon.cfg.Load(), stumblingSpool{w.spool, s}, stumblingStore{w.store, s}, stagesFunc(digesting), w.daemon.log)
			d.SetArchive(w.archive)
			_ = d.closeDue(t.Context())
			_ = d.fileAll(t.Context()) // the log has what went wrong
			reached = reached || s.what != ""
			// Another takes up what there is: the messages, and the issue if it is not done.
			w.start(stagesFunc(digesting))
			w.allSent()
			w.stop()
			got, content := w.sent()
			const issue = "[dev Digest, Vol 1, Issue 1]"
			if want := "map[mime@x.test:" + issue + " plain@x.test:" + issue + "]"; fmt.Sprint(got) != want {
				t.Errorf("killed at %s (%d), after it: %t: sent is %v", s.what, at, after, got)
			}
			if len(inDigest(t, content)) != 2 || w.waits() != 0 || len(w.archived()) != 0 {
				t.Errorf("killed at %s (%d), after it: %t: %d posts wait, %+v are kept, and sent are\n%s", s.what, at, after, w.waits(), w.archived(), content)
			}
		}
		if !reached {
			if at < 8 {
				t.Errorf("only %d steps", at-1)
			}
			return
		}
	}
}

// A message of a digest that was taken up, but not sent yet, when the issue is filed again.
func TestADigestThatIsFiledAgainWhileItIsUnderWay(t *testing.T) {
	w := newWorld(t, stagesFunc(digesting))
	w.reader("mime@x.test", list.MIMEDigest)
	w.set("digest_send_periodic=false")
	w.post(hello)
	w.idle()
	w.stop()
	d := w.daemon
	if err := d.closeIssue(t.Context(), w.list); err != nil {
		t.Fatal(err)
	}
	s := &stumbler{}
	broken := New(*d.cfg.Load(), w.spool, stumblingStore{w.store, s}, stagesFunc(digesting), d.log)
	broken.SetArchive(w.archive)
	s.at = 4 // DigestPosts, IsFiled, IsFiled, DigestFiled
	_ = broken.fileAll(t.Context())
	if s.what != "DigestFiled" || len(w.entries(spool.Incoming)) != 1 {
		t.Fatalf("stopped at %s with %v", s.what, w.entries(spool.Incoming))
	}
	// While the stages have the message, and when it is gone, the issue is filed once more.
	inHand, goOn := make(chan struct{}), make(chan struct{})
	w.start(stagesFunc(func(ctx context.Context, p *host.Post) (host.Result, error) {
		close(inHand)
		<-goOn
		return digesting(ctx, p)
	}))
	<-inHand
	if err := w.daemon.fileAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	w.settled()
	for range 3 {
		if err := w.daemon.fileAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.settled()
	w.stop()
	if got, _ := w.sent(); fmt.Sprint(got) != "map[mime@x.test:[dev Digest, Vol 1, Issue 1]]" {
		t.Errorf("sent is %v", got)
	}
}

func TestADigestSaysWhatItCannotRead(t *testing.T) {
	w := newWorld(t, stagesFunc(digesting))
	w.reader("mime@x.test", list.MIMEDigest)
	w.set("digest_send_periodic=false")
	for i := range 4 {
		w.post(numbered(i + 1))
		w.idle()
	}
	w.stop()
	posts := w.archived()
	if err := w.daemon.closeIssue(t.Context(), w.list); err != nil {
		t.Fatal(err)
	}
	if err := w.archive.Remove(t.Context(), posts[0].DigestPlace); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.RemoveArchived(t.Context(), w.list.ID, posts[1].Number, time.Now()); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(w.archiveDir, "*", "*", "*", posts[2].Entry+"*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	if b, err := os.ReadFile(files[0]); err != nil || os.WriteFile(files[0], b[:len(b)-6], 0o600) != nil {
		t.Fatal(err)
	}
	w.start(stagesFunc(digesting))
	w.settled()
	w.stop()
	_, content := w.sent()
	got := inDigest(t, content)
	if len(got) != 4 || got[3] != numbered(4) {
		t.Fatalf("in the digest are %q", got)
	}
	for i, want := range []string{"Subject: hello 1\r\n\r\nThis post is damaged in the archive.", "This post was removed from the archive.", "The rest of this post is damaged in the archive."} {
		if !strings.Contains(got[i], want) {
			t.Errorf("post %d is\n%s", i+1, got[i])
		}
	}
}
