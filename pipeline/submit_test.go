package pipeline

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/store/sqlstore"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/wire"
)

// asking accepts posts, or gives another verdict, counts them in the state, and submits
// messages.
func asking(v sdk.Verdict, submissions ...sdk.Submission) stagesFunc {
	return func(ctx context.Context, p *host.Post) (host.Result, error) {
		p.State = []host.StateEdit{{Plugin: "t", Kind: wire.StateAdd, Key: "n", Delta: 1}, {Plugin: "t", Kind: wire.StateSet, Key: "last", Value: []byte(p.Entry)},
			{Plugin: "t", Kind: wire.StateSet, Key: "gone"}, {Plugin: "t", Kind: wire.StateDelete, Key: "gone"}}
		for _, m := range submissions {
			p.Submissions = append(p.Submissions, wire.Submission{Submission: m, Stage: "test"})
		}
		return verdict(v)(ctx, p)
	}
}

// kept is what the state has under a key, as a new post would see it.
func (w *world) kept(key string) string {
	w.t.Helper()
	value, ok, err := w.store.PluginState(w.t.Context(), w.list.ID, "new", "t", key)
	if err != nil {
		w.t.Fatal(err)
	}
	if !ok {
		return "-"
	}
	return string(value)
}

func TestStateAndSubmissionsGoWithThePost(t *testing.T) {
	news := sdk.Submission{Message: []byte("From: robot@lists.test\nSubject: news\n\nhello owners\n")}
	hint := sdk.Submission{To: "Ann@net.test", Message: []byte("Subject: hint\r\nDate: Mon, 2 Mar 2026 10:00:00 +0000\r\n\r\nhello \u00e4nn\r\n")}
	for _, c := range []struct {
		name    string
		v       sdk.Verdict
		members bool
		n       string
		want    map[string]string // recipients by variant
	}{
		{"an accepted post", sdk.Accept, true, "1", map[string]string{"plain": "bob@x.test", "submission-1": "own@x.test", "submission-2": "Ann@net.test"}},
		{"one that no member gets", sdk.Accept, false, "1", map[string]string{"submission-1": "own@x.test", "submission-2": "Ann@net.test"}},
		{"a held post", sdk.Hold("x", "y"), true, "-", nil},
		{"a discarded post", sdk.Discard("x", "y"), true, "-", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, asking(c.v, news, hint))
			w.add(list.Owner, "own@x.test")
			if c.members {
				w.add(list.Member, "bob@x.test")
			}
			id := w.post(hello)
			w.idle()
			if got := w.kept("n"); got != c.n {
				t.Errorf("counted %s, want %s", got, c.n)
			}
			if got := w.kept("gone"); got != "-" {
				t.Errorf("what was taken away is %q", got)
			}
			got := map[string]string{}
			for _, chunk := range w.outgoing()[id] {
				got[chunk.Variant] += strings.Join(chunk.Recipients, " ")
				if null := chunk.Sender == ""; null != (chunk.Variant != plain) {
					t.Errorf("variant %s goes out from %q", chunk.Variant, chunk.Sender)
				}
				if eight := slices.Contains(chunk.Flags, spool.Flag8BitMIME); eight != (chunk.Variant == "submission-2") {
					t.Errorf("variant %s has the flags %v", chunk.Variant, chunk.Flags)
				}
			}
			if len(got) != len(c.want) {
				t.Errorf("outgoing has %v, want %v", got, c.want)
			}
			for variant, want := range c.want {
				if got[variant] != want {
					t.Errorf("variant %s goes to %q, want %q", variant, got[variant], want)
				}
			}
		})
	}
}

func TestASubmissionGetsWhatEveryMessageHas(t *testing.T) {
	w := newWorld(t, asking(sdk.Accept, sdk.Submission{Message: []byte("From: robot@lists.test\nSubject: news\n\nhello owners\n")}))
	w.add(list.Owner, "own@x.test")
	id := w.post(hello)
	w.idle()
	_, text := w.take()
	for _, want := range []string{"From: robot@lists.test\n", "Date: ", "Message-ID: <submission-1." + string(id) + "@lists.test>\n",
		"Auto-Submitted: auto-generated\n", "X-Loop: dev-owner@lists.test\n", "\n\nhello owners\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// forgetful files a post and says that it could not, as often as it is told to: what a
// crash right after it looks like.
type forgetful struct {
	*sqlstore.Store
	fail atomic.Int64
}

func (f *forgetful) FilePost(ctx context.Context, p store.Post, numbered bool, window time.Duration) (store.PostRecord, error) {
	r, err := f.Store.FilePost(ctx, p, numbered, window)
	if err == nil && f.fail.Add(-1) >= 0 {
		err = errors.New("gone after the commit")
	}
	return r, err
}

func TestAPostThatIsRunAgainChangesStateOnce(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	w.stop()
	w.add(list.Member, "bob@x.test")
	st := &forgetful{Store: w.store}
	st.fail.Store(2)
	var saw []string
	id := w.post(hello)
	w.startWith(st, stagesFunc(func(ctx context.Context, p *host.Post) (host.Result, error) {
		// A handler that drops what it has seen must not drop a post because of itself.
		_, seen, err := w.store.PluginState(ctx, p.ListID, p.Entry, "t", "n")
		if err != nil {
			return host.Result{}, err
		}
		if saw = append(saw, p.Entry); seen {
			return verdict(sdk.Discard("seen", "seen before"))(ctx, p)
		}
		return asking(sdk.Accept, sdk.Submission{To: "ann@net.test", Message: []byte("Subject: x\n\n")})(ctx, p)
	}))
	w.idle()
	w.stop()
	if len(saw) != 3 {
		t.Fatalf("runs: %v", saw)
	}
	if n := w.kept("n"); n != "1" {
		t.Errorf("counted %s, want 1", n)
	}
	if got := w.recipients(id); len(got) != 2 {
		t.Errorf("it went to %v", got)
	}
}

func TestAPostThatAStageSubmitsGoesThroughTheStages(t *testing.T) {
	for _, c := range []struct {
		name     string
		v        sdk.Verdict
		approved bool
		members  bool
		want     int // posts that the stages see
	}{
		{"not approved", sdk.Accept, false, true, 2},
		{"approved", sdk.Accept, true, true, 2},
		{"with nobody to get them", sdk.Accept, false, false, 2},
		{"of a post that is held", sdk.Hold("x", "y"), false, true, 1},
		{"of a post that is rejected", sdk.Reject("x", "y"), false, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var saw []*host.Post
			w := newWorld(t, stagesFunc(func(ctx context.Context, p *host.Post) (host.Result, error) {
				saw = append(saw, p) // one after the other: they are of one list
				if len(p.SubmittedBy) > 0 {
					return verdict(sdk.Accept)(ctx, p)
				}
				return asking(c.v, sdk.Submission{Post: true, Approved: c.approved, Message: []byte("Subject: more\n\nof it\n")})(ctx, p)
			}))
			if c.members {
				w.add(list.Member, "bob@x.test")
			}
			id := w.post(hello)
			w.idle()
			w.stop()
			if len(saw) != c.want {
				t.Fatalf("the stages saw %d posts, want %d", len(saw), c.want)
			}
			if c.want == 1 {
				return
			}
			p := saw[1]
			if p.Number != 2 || p.Approved != c.approved || p.Envelope.Sender != "" || p.Envelope.Recipient != "dev@lists.test" || !slices.Equal(p.SubmittedBy, []string{"test"}) {
				t.Errorf("the new post is %+v", p)
			}
			if got := p.Header.Get("Message-ID"); got != "<submission-1."+string(id)+"@lists.test>" || p.Header.Get("Auto-Submitted") != "auto-generated" || p.Header.Has(loopField) {
				t.Errorf("its header is\n%s", p.Header.Bytes())
			}
			if n := len(w.outgoing()); c.members != (n == 2) {
				t.Errorf("%d posts go out", n)
			}
		})
	}
}

func TestPostsThatLeadToOneAnotherEnd(t *testing.T) {
	var by [][]string
	w := newWorld(t, stagesFunc(func(ctx context.Context, p *host.Post) (host.Result, error) {
		by = append(by, p.SubmittedBy)
		return asking(sdk.Accept, sdk.Submission{Post: true, Message: []byte("Subject: again\n\n")})(ctx, p)
	}))
	w.add(list.Member, "bob@x.test")
	w.post(hello)
	w.idle()
	w.stop()
	if len(by) != 1+maxDepth || !slices.Equal(by[maxDepth], []string{"test", "test", "test"}) {
		t.Errorf("the stages saw %v", by)
	}
}

func TestAPostThatIsRunAgainMakesItsNewPostOnce(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	w.stop()
	w.add(list.Member, "bob@x.test")
	st := &forgetful{Store: w.store}
	st.fail.Store(2)
	var saw []int
	w.post(hello)
	w.startWith(st, stagesFunc(func(ctx context.Context, p *host.Post) (host.Result, error) {
		saw = append(saw, len(p.SubmittedBy))
		if len(p.SubmittedBy) > 0 {
			return verdict(sdk.Accept)(ctx, p)
		}
		return asking(sdk.Accept, sdk.Submission{Post: true, Message: []byte("Subject: once\n\n")})(ctx, p)
	}))
	w.idle()
	w.stop()
	if !slices.Equal(saw, []int{0, 0, 0, 1}) {
		t.Errorf("runs, by how many stages led to them: %v, want three tries and one new post", saw)
	}
	if got := len(w.outgoing()); got != 2 {
		t.Errorf("%d posts went out, want 2", got)
	}
}

func TestStateThatIsTooMuchFailsThePostAndSaysWhose(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	w.stop()
	w.add(list.Member, "bob@x.test")
	w.limits = store.StateLimits{Keys: 1}
	id := w.post(hello)
	w.start(asking(sdk.Accept)) // keeps two
	w.idle()
	failed := w.entries(spool.Failed)
	if len(failed) != 1 || failed[0].ID != id {
		t.Fatalf("failed has %v", failed)
	}
	if want := "list dev@lists.test: plugin t would keep state under 2 keys, at most 1 are allowed"; failed[0].Reason != want {
		t.Errorf("the reason is %q, want %q", failed[0].Reason, want)
	}
	if len(w.outgoing()) > 0 || w.kept("n") != "-" {
		t.Errorf("outgoing %v, state %s", w.outgoing(), w.kept("n"))
	}
}
