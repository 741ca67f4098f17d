package outbound

import (
	"bufio"
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/outbound/sender"
)

func TestAnExpiredDeferralKeepsTheServersWords(t *testing.T) {
	now := time.Now()
	d := New(Config{MaxAge: time.Hour}, nil, nil)
	d.now = func() time.Time { return now }
	c := &spool.Chunk{Created: now.Add(-2 * time.Hour), Sender: "dev-bounces@l.test", List: "dev@l.test"}
	out := &outcome{deferred: []refusal{{recipient: "b@m.test",
		reply: sender.Reply{Code: 450, Enhanced: sender.Enhanced{4, 2, 1}, Text: "greylisted"}}}}
	d.expire(c, out, 3)
	got := groups(t, dsn("post", c, out.refused, "l.test", now))
	if len(got) != 1 || got[0].status != "4.4.7" || !strings.HasSuffix(got[0].diagnostic, "450 4.2.1 greylisted") {
		t.Errorf("%+v", got)
	}
}

// group is one recipient of a report.
type group struct{ recipient, status, scope, diagnostic string }

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// groups reads a report with the parsers of the standard library.
func groups(t fataler, message []byte) []group {
	t.Helper()
	fail := func(err error) {
		t.Fatalf("%v in\n%s", err, message)
	}
	m, err := mail.ReadMessage(bytes.NewReader(message))
	if err != nil {
		fail(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" || m.Header.Get("Auto-Submitted") == "" {
		t.Fatalf("header %v, %v", m.Header, err)
	}
	mr := multipart.NewReader(m.Body, params["boundary"])
	if _, err = mr.NextPart(); err != nil {
		fail(err)
	}
	part, err := mr.NextPart()
	if err != nil {
		fail(err)
	}
	if k := part.Header.Get("Content-Type"); k != "message/delivery-status" && k != "message/global-delivery-status" {
		t.Fatalf("type %q", k)
	}
	body, err := io.ReadAll(part)
	if err != nil {
		fail(err)
	}
	if part.Header.Get("Content-Type") == "message/delivery-status" && !ascii(string(body)) {
		t.Fatalf("not ASCII: %s", body)
	}
	if _, err = mr.NextPart(); err != io.EOF {
		t.Fatalf("after the second part: %v", err)
	}
	var out []group
	tr := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(body, "\r\n\r\n"...))))
	for n := 0; ; n++ {
		h, err := tr.ReadMIMEHeader()
		if len(h) == 0 {
			return out
		}
		if err != nil && err != io.EOF {
			fail(err)
		}
		if n == 0 {
			if h.Get("Reporting-MTA") == "" || len(h) != 3 {
				t.Fatalf("first group %v", h)
			}
			continue
		}
		_, addr, ok := strings.Cut(h.Get("Final-Recipient"), ";")
		if !ok || h.Get("Action") != "failed" || len(h) != 6 {
			t.Fatalf("group %v", h)
		}
		out = append(out, group{addr, h.Get("Status"), h.Get(HeaderScope), h.Get("Diagnostic-Code")})
	}
}

func TestDSNCannotBeBrokenByWhatIsInIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.OneOf(rapid.SampledFrom([]rune("\r\n\x00\u0085\u2028:;- =_Xab")), rapid.Rune()))
		c := &spool.Chunk{Post: postID, Name: text.Draw(t, "name"), List: text.Draw(t, "list"), Sender: text.Draw(t, "sender"), Created: time.Now()}
		var refused []refusal
		for range rapid.IntRange(1, 4).Draw(t, "refused") {
			refused = append(refused, refusal{
				recipient: text.Draw(t, "recipient"),
				reply:     sender.Reply{Code: 550, Enhanced: sender.Enhanced{5, 1, 1}, Text: strings.Repeat(text.Draw(t, "text"), rapid.SampledFrom([]int{1, 300}).Draw(t, "times"))},
				message:   rapid.Bool().Draw(t, "message"),
			})
		}
		message := dsn(bounceID(c, refused), c, refused, text.Draw(t, "host"), time.Now())
		got := groups(t, message)
		if len(got) != len(refused) {
			t.Fatalf("%d groups for %d recipients", len(got), len(refused))
		}
		for i, g := range got {
			if g.status != "5.1.1" || (g.scope == ScopeMessage) != refused[i].message {
				t.Fatalf("group %+v of %+v", g, refused[i])
			}
		}
		for line := range bytes.SplitSeq(message, []byte("\r\n")) {
			if bytes.ContainsAny(line, "\r\n\x00") {
				t.Fatalf("line %q", line)
			}
		}
	})
}

func TestBounceIDs(t *testing.T) {
	c := chunk(1, "a@m.test")
	a, b := []refusal{{recipient: "a@m.test"}}, []refusal{{recipient: "b@m.test"}}
	id := bounceID(c, a)
	if _, err := spool.CheckID(string(id)); err != nil {
		t.Error(err)
	}
	if bounceID(c, a) != id {
		t.Error("the same run gives another id")
	}
	if id[:6] != c.Post[:6] {
		t.Errorf("id %s does not sort with post %s", id, c.Post)
	}
	other := *c
	other.Tries++
	if bounceID(c, b) == id || bounceID(&other, a) == id {
		t.Error("another run gives the same id")
	}
	other.Post = "../../etc"
	if _, err := spool.CheckID(string(bounceID(&other, a))); err != nil {
		t.Error(err)
	}
}
