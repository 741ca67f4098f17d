package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// at is when the posts of a test came; stores keep microseconds.
var at = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

const window = time.Hour

// file files a post and ends the test on an error.
func (w *world) file(p store.Post, numbered bool) store.PostRecord {
	w.Helper()
	r, err := w.FilePost(w.ctx, p, numbered, window)
	w.ok(err)
	return r
}

// filed files posts together, of which the first n go well, and holds numbers and entries
// against want.
func (w *world) filed(posts []store.Post, n int, want string) {
	w.Helper()
	records, err := w.FilePosts(w.ctx, posts, window)
	if len(records) != n || (err != nil) != (n < len(posts)) {
		w.Errorf("%d of %d were filed, %v; want %d", len(records), len(posts), err, n)
	}
	var got []string
	for _, r := range records {
		got = append(got, fmt.Sprint(r.Number, r.Entry))
	}
	if text := strings.Join(got, " "); text != want {
		w.Errorf("filed as %s, want %s", text, want)
	}
}

func (w *world) peek(p store.Post) store.PostRecord {
	w.Helper()
	r, err := w.PeekPost(w.ctx, p, window)
	w.ok(err)
	return r
}

// same complains unless both records are want.
func (w *world) same(what string, got, want store.PostRecord) {
	w.Helper()
	if got != want {
		w.Errorf("%s: %+v, want %+v", what, got, want)
	}
}

var journalTests = []test{
	{"posts of a list are numbered from 1", func(w *world) {
		l, other := w.list("dev@l.test"), w.list("ops@l.test")
		for i := range 3 {
			p := store.Post{ListID: l.ID, Entry: fmt.Sprint("e", i), Digest: []byte{byte(i)}, At: at}
			want := store.PostRecord{Number: int64(i + 1), Entry: p.Entry}
			w.same("peek before", w.peek(p), want)
			w.same("file", w.file(p, true), want)
			w.same("file again", w.file(p, true), want)
			want.Filed = true
			w.same("peek after", w.peek(p), want)
		}
		w.same("another list", w.file(store.Post{ListID: other.ID, Entry: "e0", Digest: []byte{0}, At: at}, true), store.PostRecord{Number: 1, Entry: "e0"})
	}},
	{"posts are filed together, in order", func(w *world) {
		l := w.list("dev@l.test")
		post := func(entry string) store.Post {
			return store.Post{ListID: l.ID, Entry: entry, Digest: []byte(entry), At: at}
		}
		w.filed([]store.Post{post("a"), post("b"), post("c")}, 3, "1a 2b 3c")
		copyOf := post("copy")
		copyOf.Digest = []byte("e")
		w.filed([]store.Post{post("d"), post("b"), post("e"), copyOf, post("f")}, 5, "4d 2b 5e 5e 6f")
		full := post("full")
		full.State = []store.StateEdit{{Plugin: "p", Key: "k", Kind: store.StateSet, Value: []byte("v")}, {Plugin: "p", Key: "l", Kind: store.StateSet}}
		full.StateLimits = store.StateLimits{Keys: 1}
		w.filed([]store.Post{post("g"), full, post("h")}, 1, "7g")
		w.same("what came after it", w.peek(post("h")), store.PostRecord{Number: 8, Entry: "h"})
		w.filed(nil, 0, "")
	}},
	{"looking changes nothing", func(w *world) {
		l := w.list("dev@l.test")
		for i := range 3 {
			w.same("peek", w.peek(store.Post{ListID: l.ID, Entry: fmt.Sprint(i), Digest: []byte("d"), At: at}), store.PostRecord{Number: 1, Entry: fmt.Sprint(i)})
		}
	}},
	{"a second entry with the same digest is a duplicate and uses no number", func(w *world) {
		l, other := w.list("dev@l.test"), w.list("ops@l.test")
		first := store.Post{ListID: l.ID, Entry: "first", Digest: []byte("d"), At: at}
		second := store.Post{ListID: l.ID, Entry: "second", Digest: []byte("d"), At: at.Add(window)}
		w.file(first, true)
		want := store.PostRecord{Number: 1, Duplicate: true, Entry: "first"}
		w.same("peek", w.peek(second), want)
		w.same("file", w.file(second, true), want)
		w.same("file again", w.file(second, true), want)
		w.same("the first again", w.file(first, true), store.PostRecord{Number: 1, Entry: "first"})
		w.same("the next post", w.file(store.Post{ListID: l.ID, Entry: "third", Digest: []byte("x"), At: at}, true), store.PostRecord{Number: 2, Entry: "third"})
		second.ListID = other.ID
		w.same("on another list", w.file(second, true), store.PostRecord{Number: 1, Entry: "second"})
	}},
	{"the same digest after the window is a new post", func(w *world) {
		l := w.list("dev@l.test")
		w.file(store.Post{ListID: l.ID, Entry: "first", Digest: []byte("d"), At: at}, true)
		late := store.Post{ListID: l.ID, Entry: "late", Digest: []byte("d"), At: at.Add(window + time.Microsecond)}
		w.same("peek", w.peek(late), store.PostRecord{Number: 2, Entry: "late"})
		w.same("file", w.file(late, true), store.PostRecord{Number: 2, Entry: "late"})
	}},
	{"an older entry filed later is the duplicate", func(w *world) {
		l := w.list("dev@l.test")
		w.file(store.Post{ListID: l.ID, Entry: "new", Digest: []byte("d"), At: at}, true)
		w.same("file", w.file(store.Post{ListID: l.ID, Entry: "old", Digest: []byte("d"), At: at.Add(-time.Minute)}, true),
			store.PostRecord{Number: 1, Duplicate: true, Entry: "new"})
	}},
	{"a held post gets its number when it is accepted", func(w *world) {
		l := w.list("dev@l.test")
		held := store.Post{ListID: l.ID, Entry: "held", Digest: []byte("h"), At: at}
		w.same("file without", w.file(held, false), store.PostRecord{Entry: "held"})
		w.same("file without, again", w.file(held, false), store.PostRecord{Entry: "held"})
		w.same("a second copy", w.file(store.Post{ListID: l.ID, Entry: "copy", Digest: []byte("h"), At: at}, true), store.PostRecord{Duplicate: true, Entry: "held"})
		w.same("another post", w.file(store.Post{ListID: l.ID, Entry: "other", Digest: []byte("o"), At: at}, true), store.PostRecord{Number: 1, Entry: "other"})
		w.same("peek", w.peek(held), store.PostRecord{Number: 2, Entry: "held", Filed: true})
		w.same("file with", w.file(held, true), store.PostRecord{Number: 2, Entry: "held"})
		w.same("file with, again", w.file(held, true), store.PostRecord{Number: 2, Entry: "held"})
		w.same("peek again", w.peek(held), store.PostRecord{Number: 2, Entry: "held", Filed: true})
		w.same("file without, afterwards", w.file(held, false), store.PostRecord{Number: 2, Entry: "held"})
	}},
	{"a post of a list that is not there is not found", func(w *world) {
		p := store.Post{ListID: 4711, Entry: "e", Digest: []byte("d"), At: at}
		_, err := w.FilePost(w.ctx, p, true, window)
		w.wants(err, store.ErrNotFound)
		_, err = w.FilePost(w.ctx, p, false, window)
		w.wants(err, store.ErrNotFound)
		_, err = w.PeekPost(w.ctx, p, window)
		w.wants(err, store.ErrNotFound)
	}},
	{"a post without a digest is refused", func(w *world) {
		l := w.list("dev@l.test")
		_, err := w.FilePost(w.ctx, store.Post{ListID: l.ID, Entry: "e", At: at}, true, window)
		w.fails(err)
		_, err = w.PeekPost(w.ctx, store.Post{ListID: l.ID, Digest: []byte("d"), At: at}, window)
		w.fails(err)
	}},
	{"pruned posts keep their numbers taken", func(w *world) {
		l := w.list("dev@l.test")
		w.file(store.Post{ListID: l.ID, Entry: "old", Digest: []byte("d"), At: at.Add(-time.Second)}, true)
		w.file(store.Post{ListID: l.ID, Entry: "new", Digest: []byte("e"), At: at}, true)
		w.ok(w.Prune(w.ctx, at))
		w.same("the old digest", w.file(store.Post{ListID: l.ID, Entry: "again", Digest: []byte("d"), At: at}, true), store.PostRecord{Number: 3, Entry: "again"})
		w.same("the new digest", w.file(store.Post{ListID: l.ID, Entry: "copy", Digest: []byte("e"), At: at}, true), store.PostRecord{Number: 2, Duplicate: true, Entry: "new"})
	}},
	{"a bounce counts once for an entry and recipient", testBounces},
	{"notices are limited within a window", testNotices},
	{"a response comes once within its grace", testResponses},
	{"responses go with their list, and by and by", func(w *world) {
		l, ann, at := w.list("dev@l.test"), w.addr("ann@net.test"), time.UnixMicro(1e15)
		ask := func(at time.Time, entry string) bool {
			got, err := w.AllowResponse(w.ctx, l.ID, "owner", ann, entry, at, 1000*24*time.Hour)
			w.ok(err)
			return got
		}
		ask(at, "A1")
		w.ok(w.Prune(w.ctx, at.Add(time.Hour)))
		if ask(at.Add(time.Hour), "A2") {
			w.Error("it is forgotten within an hour")
		}
		w.ok(w.Prune(w.ctx, at.Add(store.MaxGrace+time.Hour)))
		if !ask(at.Add(2*time.Hour), "A3") {
			w.Error("it is never forgotten")
		}
		w.ok(w.DeleteList(w.ctx, l.Address))
	}},
}

func testBounces(w *world) {
	l := w.list("dev@l.test")
	e := store.BounceEvent{ListID: l.ID, Recipient: w.addr("Ann@n.test"), Entry: "b1", At: at, Status: "5.1.1", Hard: true, Text: "550 no such user \xff\x00"}
	other, later := e, e
	other.Recipient = w.addr("bob@n.test")
	later.Entry, later.At, later.Hard, later.Status = "b2", at.Add(time.Minute), false, ""
	again := e
	again.Recipient, again.Text = w.addr("ANN@n.test"), "other"
	gone := e
	gone.ListID = 4711
	w.ok(w.RecordBounces(w.ctx, store.BounceRules{}, []store.BounceEvent{e, other}))
	w.ok(w.RecordBounces(w.ctx, store.BounceRules{}, []store.BounceEvent{gone}))
	w.fails(w.RecordBounces(w.ctx, store.BounceRules{}, []store.BounceEvent{e, gone}))
	w.ok(w.RecordBounces(w.ctx, store.BounceRules{}, []store.BounceEvent{again, later}))
	w.ok(w.RecordBounces(w.ctx, store.BounceRules{}, nil))
	e.Text, other.Text, later.Text = "550 no such user \uFFFD\uFFFD", "550 no such user \uFFFD\uFFFD", "550 no such user \uFFFD\uFFFD"
	want := []store.BounceEvent{later, e, other}
	if got := collect(w, w.BounceEvents(w.ctx, l.ID)); !slices.Equal(got, want) {
		w.Errorf("events are\n%+v, want\n%+v", got, want)
	}
	for range w.BounceEvents(w.ctx, l.ID) {
		break
	}
	// A refusal that was filed in two entries, since the first one's end was not known, is one.
	first := store.BounceEvent{ListID: l.ID, Recipient: w.addr("eve@n.test"), Entry: "c1", At: at.Add(time.Hour), Status: "5.1.1", Text: "no such user", Post: "p1"}
	twice, soft := first, first
	twice.Entry, twice.At = "c2", at.Add(2*time.Hour)
	soft.Entry, soft.Status = "c3", "4.2.2"
	w.ok(w.RecordBounces(w.ctx, store.BounceRules{}, []store.BounceEvent{first}))
	w.ok(w.RecordBounces(w.ctx, store.BounceRules{}, []store.BounceEvent{twice}))
	w.ok(w.RecordBounces(w.ctx, store.BounceRules{}, []store.BounceEvent{soft}))
	got, err := w.MemberBounces(w.ctx, l.ID, first.Recipient, 10)
	w.ok(err)
	if len(got) != 2 || slices.ContainsFunc(got, func(e store.BounceEvent) bool { return e.Entry == "c2" }) {
		w.Errorf("events of one refusal are %+v", got)
	}
}

func testNotices(w *world) {
	ann, bob := w.addr("ann@n.test"), w.addr("bob@n.test")
	ask := func(what string, want bool, a string, at time.Time) {
		w.Helper()
		addr := ann
		if a[0] == 'B' {
			addr = bob
		}
		got, err := w.AllowNotice(w.ctx, addr, a, at, 2, window)
		w.ok(err)
		if got != want {
			w.Errorf("%s: %t, want %t", what, got, want)
		}
	}
	ask("the first", true, "A1", at)
	ask("the first again", true, "A1", at)
	ask("the second", true, "A2", at.Add(time.Minute))
	ask("the third", false, "A3", at.Add(2*time.Minute))
	ask("somebody else's", true, "B1", at)
	ask("one after the first left the window", true, "A4", at.Add(window))
	ask("one more", false, "A5", at.Add(window))
	ask("the refused one, later", false, "A3", at.Add(10*window))
	ask("the first, later", true, "A1", at.Add(10*window))
	w.ok(w.Prune(w.ctx, at.Add(time.Minute)))
	ask("the second after a prune that spares it", true, "A2", at.Add(time.Minute))
	ask("one that was pruned, and is too many now", false, "A1", at.Add(window))
	if got, err := w.AllowNotice(w.ctx, ann, "A9", at.Add(20*window), 0, window); got || err != nil {
		w.Errorf("a limit of 0: %t, %v", got, err)
	}
}

func testResponses(w *world) {
	l, other := w.list("dev@l.test"), w.list("ops@l.test")
	at := time.UnixMicro(1e15)
	for i, step := range []struct {
		list              *list.List
		kind, addr, entry string
		after             time.Duration
		want              bool
	}{
		{l, "owner", "ann@net.test", "A1", 0, true},
		{l, "owner", "Ann@NET.test", "A1", 0, true}, // again, after a crash
		{l, "owner", "ann@net.test", "A2", time.Hour, false},
		{l, "owner", "ann@net.test", "A2", time.Hour, false},
		{l, "owner", "ben@net.test", "A3", time.Hour, true},
		{l, "posting", "ann@net.test", "A4", time.Hour, true},
		{other, "owner", "ann@net.test", "A5", time.Hour, true},
		{l, "owner", "ann@net.test", "A6", -time.Hour, false}, // older than what was answered
		{l, "owner", "ann@net.test", "A7", 24*time.Hour - 1000, false},
		{l, "owner", "ann@net.test", "A8", 24 * time.Hour, true},
		{l, "owner", "ann@net.test", "A9", 25 * time.Hour, false},
	} {
		got, err := w.AllowResponse(w.ctx, step.list.ID, step.kind, w.addr(step.addr), step.entry, at.Add(step.after), 24*time.Hour)
		w.ok(err)
		if got != step.want {
			w.Errorf("step %d, %s: %v", i+1, step.entry, got)
		}
	}
	got, err := w.AllowResponse(w.ctx, l.ID, "owner", w.addr("ann@net.test"), "A10", at.Add(25*time.Hour), 0)
	w.ok(err)
	if !got {
		w.Error("without a grace it comes each time")
	}
}
