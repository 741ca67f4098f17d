package pipeline

import (
	"context"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/archive"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// keeping has the post kept as it stands between two edits.
func keeping(uses ...sdk.Use) stagesFunc {
	return func(ctx context.Context, p *host.Post) (host.Result, error) {
		p.Header.Append("X-Before", "1")
		if err := p.Body.Splice(message.Splice{Offset: 0, Insert: []byte("before\r\n")}); err != nil {
			return host.Result{}, err
		}
		p.Kept = []host.Kept{{For: uses, Header: p.Header.Bytes(), Splices: 1}}
		p.Header.Append("X-After", "1")
		if err := p.Body.Splice(message.Splice{Offset: p.Body.Size(), Insert: []byte("after\r\n")}); err != nil {
			return host.Result{}, err
		}
		return verdict(sdk.Accept)(ctx, p)
	}
}

func (w *world) archived() []store.Archived {
	w.t.Helper()
	var out []store.Archived
	for a, err := range w.store.Archived(w.t.Context(), w.list.ID, store.ArchiveFilter{Unarchived: true}) {
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}

// raw is what the archive has at a place.
func (w *world) raw(place string) string {
	w.t.Helper()
	r, err := w.archive.Open(w.t.Context(), place)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

func (w *world) places() []string {
	w.t.Helper()
	var out []string
	for p, err := range w.archive.Places(w.t.Context()) {
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, p.Name)
	}
	return out
}

const inArchive = "From: ann@net.test\r\nTo: dev@lists.test\r\nSubject: hello\r\nMessage-ID: <1@net.test>\r\nX-Before: 1\r\n\r\nbefore\r\nhello\r\n"

func TestAPostIsArchivedAsItStoodThen(t *testing.T) {
	w := newWorld(t, keeping(sdk.KeepArchive))
	w.add(list.Member, "bob@x.test")
	id := w.post(hello)
	w.idle()
	got := w.archived()
	if len(got) != 1 {
		t.Fatalf("archive has %+v", got)
	}
	a := got[0]
	if a.Number != 1 || a.Entry != string(id) || a.MessageID != "1@net.test" || a.Hash != message.IDHash("1@net.test") || a.Subject != "hello" ||
		a.From != "ann@net.test" || a.Size != int64(len(inArchive)) || a.DigestPlace != "" || a.Waiting {
		t.Errorf("archive has %+v", a)
	}
	if text := w.raw(a.Place); text != inArchive {
		t.Errorf("kept is\n%s", text)
	}
	w.stop()
	if _, text := w.take(); !strings.Contains(text, "X-After: 1\r\n\r\nbefore\r\nhello\r\nafter\r\n") {
		t.Errorf("sent is\n%s", text)
	}
}

func TestOnlyAnAcceptedPostIsKept(t *testing.T) {
	for _, v := range []sdk.Verdict{sdk.Hold("x", "y"), sdk.Reject("x", "y"), sdk.Discard("x", "y")} {
		w := newWorld(t, stagesFunc(func(ctx context.Context, p *host.Post) (host.Result, error) {
			if _, err := keeping(sdk.KeepArchive, sdk.KeepDigest)(ctx, p); err != nil {
				return host.Result{}, err
			}
			return verdict(v)(ctx, p)
		}))
		w.post(hello)
		w.idle()
		if got := w.archived(); len(got) > 0 || len(w.places()) > 0 {
			t.Errorf("%s: archive has %+v", v.Kind, got)
		}
	}
}

func TestAPostIsKeptForADigestIfSomebodyReadsDigests(t *testing.T) {
	for _, c := range []struct {
		name            string
		reader          bool
		uses            []sdk.Use
		archive, digest bool
	}{
		{"nobody", false, []sdk.Use{sdk.KeepDigest}, false, false},
		{"nobody, and an archive", false, []sdk.Use{sdk.KeepDigest, sdk.KeepArchive}, true, false},
		{"somebody", true, []sdk.Use{sdk.KeepDigest}, false, true},
		{"somebody, and an archive", true, []sdk.Use{sdk.KeepArchive, sdk.KeepDigest}, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, keeping(c.uses...))
			w.add(list.Member, "bob@x.test")
			if c.reader {
				w.reader("rea@x.test", list.MIMEDigest)
			}
			w.post(hello)
			w.idle()
			var a store.Archived
			if got := w.archived(); len(got) == 1 {
				a = got[0]
			}
			if (a.Place != "") != c.archive || (a.DigestPlace != "") != c.digest || a.Waiting != c.digest {
				t.Errorf("archive has %+v", a)
			}
			if c.archive && c.digest && a.Place != a.DigestPlace {
				t.Errorf("one form is kept twice: %s, %s", a.Place, a.DigestPlace)
			}
			if c.digest && (w.raw(a.DigestPlace) != inArchive || a.DigestSize != int64(len(inArchive))) {
				t.Errorf("kept is %d octets\n%s", a.DigestSize, w.raw(a.DigestPlace))
			}
		})
	}
}

// reader adds a member who gets digests.
func (w *world) reader(addr_ string, mode list.Mode) {
	w.t.Helper()
	w.add(list.Member, addr_)
	if err := w.store.SetMember(w.t.Context(), w.list.ID, list.Member, addr(w.t, addr_), store.MemberChange{Mode: &mode}); err != nil {
		w.t.Fatal(err)
	}
}

// brokenArchive fails as often as it is told to, before or after it did what it should.
type brokenArchive struct {
	archive.Archive
	before, after int
}

func (b *brokenArchive) Put(ctx context.Context, key archive.Key, write func(io.Writer) error) (archive.Message, error) {
	if b.before--; b.before >= 0 {
		return archive.Message{}, errors.New("the archive's disk is out")
	}
	m, err := b.Archive.Put(ctx, key, write)
	if b.after--; b.after >= 0 && err == nil {
		err = errors.New("gone after the rename")
	}
	return m, err
}

// However far a run came, the next one ends with the post kept once, and sent once.
func TestAPostThatIsRunAgainIsKeptOnce(t *testing.T) {
	for _, c := range []struct {
		name          string
		before, after int
		afterJournal  int64
	}{
		{"after the archive failed", 2, 0, 0}, {"after the bytes were there", 0, 2, 0}, {"after the row was there", 0, 0, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, verdict(sdk.Accept))
			w.stop()
			w.add(list.Member, "bob@x.test")
			real := w.archive
			w.archive = &brokenArchive{Archive: real, before: c.before, after: c.after}
			st := &forgetful{Store: w.store}
			st.fail.Store(c.afterJournal)
			runs := 0
			id := w.post(hello)
			w.startWith(st, stagesFunc(func(ctx context.Context, p *host.Post) (host.Result, error) {
				if runs++; runs > 1 { // settings have changed meanwhile, perhaps
					p.Header.Append("X-Run", "another")
				}
				return keeping(sdk.KeepArchive)(ctx, p)
			}))
			w.idle()
			w.stop()
			got := w.archived()
			if runs != 3 || len(got) != 1 || len(w.places()) != 1 || len(w.recipients(id)) != 1 {
				t.Fatalf("%d runs, archive has %+v, %v; sent to %v", runs, got, w.places(), w.recipients(id))
			}
			w.archive = real
			if text := w.raw(got[0].Place); int64(len(text)) != got[0].Size {
				t.Errorf("the row says %d octets of\n%s", got[0].Size, text)
			}
		})
	}
}

func TestWhatNoRowRefersToIsSweptWhenItIsOld(t *testing.T) {
	w := newWorld(t, keeping(sdk.KeepArchive))
	w.post(hello)
	w.idle()
	w.stop()
	orphan, err := w.archive.Put(t.Context(), archive.Key{List: "dev@lists.test", At: time.Now(), Name: "aaaaaaaaaaaaaaaa-digest"}, func(io.Writer) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		later time.Duration
		want  int
	}{{0, 2}, {sweepAge - time.Hour, 2}, {sweepAge + time.Hour, 1}} {
		w.daemon.now = func() time.Time { return time.Now().Add(c.later) }
		if err := w.daemon.sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := w.places(); len(got) != c.want {
			t.Errorf("%s later: %v", c.later, got)
		}
	}
	if got := w.archived(); len(got) != 1 || w.raw(got[0].Place) != inArchive || got[0].Place == orphan.Place {
		t.Errorf("archive has %+v", got)
	}
}

func TestWithoutAnArchiveNothingIsKept(t *testing.T) {
	w := newWorld(t, keeping(sdk.KeepArchive, sdk.KeepDigest))
	w.stop()
	w.archive = nil
	w.start(keeping(sdk.KeepArchive, sdk.KeepDigest))
	w.reader("rea@x.test", list.MIMEDigest)
	w.add(list.Member, "bob@x.test")
	id := w.post(hello)
	w.idle()
	if got := w.archived(); len(got) > 0 || len(w.recipients(id)) != 1 {
		t.Errorf("archive has %+v, sent to %v", got, w.recipients(id))
	}
}

func TestDescribe(t *testing.T) {
	received := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	long := strings.Repeat("\u00e4", 400)
	for _, c := range []struct {
		name, header string
		want         store.Kept
	}{
		{"all there", "Message-ID: <1@x>\r\nDate: Sun, 1 Mar 2026 12:30:00 +0100\r\nFrom: =?utf-8?q?=C3=84nn?= <ann@x.test>, bob@x.test\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nReferences: <0@x> <1@x>\r\n <00@x>\r\nIn-Reply-To: <9@x>\r\n",
			store.Kept{MessageID: "1@x", Hash: message.IDHash("1@x"), Date: received.Add(-30 * time.Minute), From: "ann@x.test", FromName: "\u00c4nn", Subject: "Gr\u00fc\u00dfe",
				Refs: []string{"0@x", "00@x"}, Parent: message.IDHash("00@x")}},
		{"only an answer's", "Message-ID: <1@x>\r\nIn-Reply-To: <9@x>\r\n", store.Kept{MessageID: "1@x", Hash: message.IDHash("1@x"), Date: received, Refs: []string{"9@x"}, Parent: message.IDHash("9@x")}},
		{"nothing there", "", store.Kept{Date: received}},
		{"a date of long ago", "Date: Fri, 1 Jan 1904 00:00:00 +0000\r\n", store.Kept{Date: received}},
		{"a date to come", "Date: Tue, 3 Mar 2026 12:00:00 +0000\r\n", store.Kept{Date: received}},
		{"no date", "Date: yesterday\r\n", store.Kept{Date: received}},
		{"a long subject", "Subject: " + long + "\r\n", store.Kept{Date: received, Subject: long[:500]}},
	} {
		if got := Describe(message.ParseHeader([]byte(c.header)), received); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n%+v, want\n%+v", c.name, got, c.want)
		}
	}
	many := Describe(message.ParseHeader([]byte("References: "+strings.Repeat("<r@x> ", 99)+"<last@x>\r\n")), received)
	if len(many.Refs) != maxRefs || many.Parent != message.IDHash("last@x") {
		t.Errorf("%d references", len(many.Refs))
	}
}

func TestWhenAMessageOfAnMboxArrived(t *testing.T) {
	at := func(s string) time.Time {
		t.Helper()
		v, err := time.Parse(time.DateTime, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	const received, date = "Received: from a (helo; b) by c; Tue, 3 Mar 2015 10:00:00 +0100 (CET)\r\nReceived: from d; Mon, 2 Mar 2015 10:00:00 +0000\r\n", "Date: Sun, 1 Mar 2015 10:00:00 +0000\r\n"
	now := at("2026-03-02 12:00:00")
	for _, c := range []struct{ name, line, header, want string }{
		{"what the line says", "2015-03-04 10:00:00", received + date, "2015-03-04 10:00:00"},
		{"public-inbox writes no date", "1970-01-01 00:00:00", received + date, "2015-03-03 09:00:00"},
		{"nor does git", "2001-09-17 00:00:00", date, "2015-03-01 10:00:00"},
		{"a clock that was ahead", "2099-01-01 00:00:00", received, "2015-03-03 09:00:00"},
		{"all are wrong", "1970-01-01 00:00:00", "Received: by me\r\nDate: Thu, 1 Jan 1970 00:00:00 +0000\r\n", "2026-03-02 12:00:00"},
		{"git's, and nothing else", "2001-09-17 00:00:00", "Subject: x\r\n", "2001-09-17 00:00:00"},
	} {
		if got := Arrived(message.ParseHeader([]byte(c.header)), at(c.line), now); !got.Equal(at(c.want)) {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}
