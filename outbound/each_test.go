package outbound

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/oneclick"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/verp"
	"github.com/mlist/mlist/mailauth"
	"github.com/mlist/mlist/outbound/internal/fakemta"
	"github.com/mlist/mlist/outbound/sender"
	"github.com/mlist/mlist/sdk/message"
)

var testKey = verp.Key{1, 2, 3}

// keyed is a chunk whose copies have return paths of their own.
func keyed(n int, recipients ...string) *spool.Chunk {
	c := chunk(n, recipients...)
	c.ReturnKey = testKey.String()
	return c
}

// returnsTo tells which recipient a return path is for.
func returnsTo(t *testing.T, from string) string {
	t.Helper()
	path, _, _ := strings.Cut(strings.TrimPrefix(from, "<"), ">")
	detail, _, _ := strings.Cut(strings.TrimPrefix(path, "dev-bounces+"), "@")
	r := verp.Decode(testKey, address.Address{Local: "dev", Domain: "lists.test"}, detail, time.Now())
	if r.Kind == verp.Batch {
		return "batch"
	}
	if r.Kind != verp.Recipient {
		t.Errorf("%s is of kind %d", from, r.Kind)
	}
	return r.Address.String()
}

func TestEachRecipientHasAReturnPath(t *testing.T) {
	const a, b, c, d = "a@m.test", "b@m.test", "c@m.test", "d@m.test"
	long := strings.Repeat("x", 50) + "@m.test"
	tests := []struct {
		name     string
		script   fakemta.Script
		flags    []string
		to       []string
		served   string
		deferred string
		bounced  string
		batches  int
	}{
		{"all are accepted", fakemta.Script{}, nil, []string{a, b, c, d}, "abcd", "", "", 0},
		{"each its own", fakemta.Script{Rcpt: map[string]string{a: "550 5.1.1 no", b: "450 4.2.1 later"}}, nil, []string{a, b, c, d}, "cd", "b@m.test", "a:5.1.1:recipient", 0},
		{"one content is refused", fakemta.Script{Finals: map[string]string{b: "554 5.6.0 no"}}, nil, []string{a, b, c}, "ac", "", "b:5.6.0:message", 0},
		{"the connection ends now and then", fakemta.Script{MaxErrors: 0, Finals: map[string]string{c: fakemta.Drop}}, nil, []string{a, b, c, d}, "abd", "c@m.test", "", 0},
		{"the MTA makes them", fakemta.Script{Extensions: []string{"XVERP"}}, nil, []string{a, b, c}, "abc", "", "", 1},
		{"the MTA offers to make them", fakemta.Script{Extensions: []string{"XVERP"}}, []string{spool.FlagOwnPaths}, []string{a, b, c}, "abc", "", "", 0},
		{"the MTA makes those that fit", fakemta.Script{Extensions: []string{"XVERP"}}, nil, []string{a, long, c}, "acx", "", "", 1},
		{"the MTA makes them, and refuses one", fakemta.Script{Extensions: []string{"XVERP"}, Rcpt: map[string]string{b: "550 5.1.1 no"}}, nil, []string{a, b, c}, "ac", "", "b:5.1.1:recipient", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := fakemta.Start(t, "", tt.script)
			chunk := keyed(0, tt.to...)
			chunk.Flags = append(chunk.Flags, tt.flags...)
			m := newMemory(chunk)
			r := run(t, testConfig(s.Addr), m)
			m.wait(t, "the chunk is dealt with", func() bool { return slices.Contains(m.events, "settle") && m.idle() })
			if err := r.stop(t); err != nil {
				t.Fatal(err)
			}
			var served, deferred, bounced []string
			batches := 0
			for _, msg := range s.Messages() {
				if msg.Answer != "" && msg.Answer[0] != '2' {
					continue
				}
				for _, to := range msg.Recipients {
					served = append(served, to[:1])
				}
				switch who := returnsTo(t, msg.From); {
				case who == "batch":
					batches++
				case len(msg.Recipients) != 1 || who != msg.Recipients[0] && len(who) > 1:
					t.Errorf("%v came from %s", msg.Recipients, msg.From)
				}
			}
			slices.Sort(served)
			for _, w := range m.waiting {
				deferred = append(deferred, w.Recipients...)
			}
			for _, x := range m.bounces {
				for _, g := range groups(t, x.message) {
					bounced = append(bounced, strings.TrimSuffix(g.recipient, "@m.test")+":"+g.status+":"+g.scope)
				}
			}
			got := fmt.Sprint(strings.Join(served, ""), "|", strings.Join(deferred, " "), "|", strings.Join(bounced, " "), "|", batches)
			if want := fmt.Sprint(tt.served, "|", tt.deferred, "|", tt.bounced, "|", tt.batches); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// TestNothingIsSentBeforeWhatWasAcceptedIsNoted has the notes fail: the copy that could not
// be noted is the last, and is not sent again.
func TestNothingIsSentBeforeWhatWasAcceptedIsNoted(t *testing.T) {
	s := fakemta.Start(t, "", fakemta.Script{})
	m := newMemory(keyed(0, "a@m.test", "b@m.test", "c@m.test", "d@m.test"))
	n := 0
	m.progress = func(*spool.Chunk) error {
		if n++; n == 2 {
			if got := len(deliveries(s)); got != 2 {
				t.Errorf("%d copies were sent before two were noted", got)
			}
			return errors.New("disk full")
		}
		return nil
	}
	d := run(t, testConfig(s.Addr), m)
	m.wait(t, "all are served", func() bool { return m.idle() && len(m.waiting) == 0 })
	if err := d.stop(t); err != nil {
		t.Fatal(err)
	}
	for to, n := range deliveries(s) {
		if n != 1 {
			t.Errorf("%s got %d copies", to, n)
		}
	}
	if len(deliveries(s)) != 4 {
		t.Errorf("%d got it", len(deliveries(s)))
	}
}

func TestATurnIsShortWhenAnotherPostWaits(t *testing.T) {
	c, same, another := keyed(0, "a@m.test"), keyed(0, "b@m.test"), keyed(1, "c@m.test")
	for _, tt := range []struct {
		name    string
		waiting []*spool.Chunk
		took    time.Duration
		over    bool
	}{
		{"nothing waits", nil, 2 * shortTurn, false},
		{"more of the post waits", []*spool.Chunk{same}, 2 * shortTurn, false},
		{"another waits", []*spool.Chunk{same, another}, 2 * shortTurn, true},
		{"another waits, and the turn has just begun", []*spool.Chunk{another}, 0, false},
		{"the turn is over", nil, turn, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := New(Config{}, nil, slog.New(slog.DiscardHandler))
			d.owner, d.stopping = newMemory(tt.waiting...), make(chan struct{})
			r := &copies{d: d, c: c, begun: time.Now().Add(-tt.took)}
			if r.over() != tt.over {
				t.Errorf("over is %v", !tt.over)
			}
		})
	}
}

func TestStopEndsARunOfCopies(t *testing.T) {
	s := fakemta.Start(t, "", fakemta.Script{Delay: 2 * time.Millisecond})
	var all []string
	for i := range 500 {
		all = append(all, fmt.Sprintf("m%03d@m.test", i))
	}
	m := newMemory(keyed(0, all...))
	d := run(t, testConfig(s.Addr), m)
	s.Wait(t, "some are sent", func() bool { return len(s.Messages()) > 3 })
	if err := d.stop(t); err != nil {
		t.Fatal(err)
	}
	served := len(m.served)
	if got := len(deliveries(s)); got != served || served == len(all) {
		t.Errorf("%d copies were taken and %d noted", got, served)
	}
	run(t, testConfig(s.Addr), m, func(*Daemon) { s.Set(fakemta.Script{}) })
	m.wait(t, "the rest is served", func() bool { return m.idle() && len(m.waiting) == 0 })
	for to, n := range deliveries(s) {
		if n != 1 {
			t.Errorf("%s got %d copies", to, n)
		}
	}
}

// slots finds the placeholders [field:encoding] of a content.
func slots(content string) (out []spool.Slot) {
	for pos := 0; ; {
		i := strings.Index(content[pos:], "[")
		if i < 0 {
			return out
		}
		i += pos
		length := strings.Index(content[i:], "]") + 1
		if length == 0 {
			return out
		}
		end := i + length
		field, encoding, _ := strings.Cut(content[i+1:end-1], ":")
		out = append(out, spool.Slot{Offset: int64(i), Length: int64(end - i), Field: field, Encoding: encoding})
		pos = end
	}
}

// signingKey makes the key s1 of lists.test: its file, and DNS that has it.
func signingKey(t *testing.T) (path string, dns mailauth.Resolver) {
	t.Helper()
	text, err := mailauth.Generate("ed25519")
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := mailauth.NewKey("lists.test", "s1", text)
	if err != nil {
		t.Fatal(err)
	}
	record, err := mailauth.Record(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return path, mailauth.NewFile(map[string][]string{"s1._domainkey.lists.test": {record}})
}

func TestPersonalCopies(t *testing.T) {
	path, dns := signingKey(t)
	for _, body := range []string{
		"Hello [name:qp],\r\n\r\nthis went to [address:ascii].\r\n",
		"[name:ascii]", "the same for all\r\n", "", strings.Repeat("0123456789abcdef\r\n", 20_000) + "[address:url]\r\n",
	} {
		content := "From: ann@a.test\r\nTo: [name:word] <[address:utf8]>\r\nSubject: hello\r\nList-Unsubscribe: <https://l.test/[address:url]>\r\n\r\n" + body
		c := keyed(0, "ann@m.test", "bob=x@m.test", "c@m.test")
		c.Names = []string{"Ann <&> Ü", "", "C\r\nBcc: x"}
		c.Slots = slots(content)
		c.Sign = []spool.SignKey{{Domain: "lists.test", Selector: "s1", File: path}}
		s := fakemta.Start(t, "", fakemta.Script{})
		m := newMemory(c)
		m.content = content
		d := run(t, testConfig(s.Addr), m)
		m.wait(t, "all are served", func() bool { return m.idle() && len(m.waiting) == 0 && len(m.served) == 3 })
		if err := d.stop(t); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"ann@m.test":   strings.NewReplacer("[name:word]", message.EncodePhrase("Ann <&> Ü"), "[address:utf8]", "ann@m.test", "[address:url]", "ann%40m.test", "[name:qp]", "Ann <&> =C3=9C", "[address:ascii]", "ann@m.test", "[name:ascii]", "Ann <&> ?").Replace(content),
			"bob=x@m.test": strings.NewReplacer("[name:word]", "", "[address:utf8]", "bob=x@m.test", "[address:url]", "bob%3Dx%40m.test", "[name:qp]", "", "[address:ascii]", "bob=x@m.test", "[name:ascii]", "").Replace(content),
			"c@m.test":     strings.NewReplacer("[name:word]", message.EncodePhrase("C  Bcc: x"), "[address:utf8]", "c@m.test", "[address:url]", "c%40m.test", "[name:qp]", "C  Bcc: x", "[address:ascii]", "c@m.test", "[name:ascii]", "C  Bcc: x").Replace(content),
		}
		msgs := s.Messages()
		if len(msgs) != 3 {
			t.Fatalf("%d copies", len(msgs))
		}
		for _, msg := range msgs {
			signature, rest, _ := strings.Cut(msg.Content, "From: ann@a.test\r\n")
			if !strings.HasPrefix(signature, "DKIM-Signature: ") {
				t.Errorf("it begins with %.60q", signature)
			}
			got := "From: ann@a.test\r\n" + rest
			expected := want[msg.Recipients[0]]
			if !strings.HasSuffix(expected, "\r\n") {
				expected += "\r\n"
			}
			if got != expected {
				t.Errorf("%s got %.400q\nwant %.400q", msg.Recipients[0], got, expected)
			}
			verify(t, dns, msg.Content, 1)
		}
	}
}

// judge finds out what the signatures of a message are worth.
func judge(t *testing.T, dns mailauth.Resolver, text string) []mailauth.Signature {
	t.Helper()
	r := strings.NewReader(text)
	block, at, err := message.Split(r, r.Size())
	if err != nil {
		t.Fatal(err)
	}
	v := &mailauth.Verifier{Resolver: dns}
	found, err := v.Verify(context.Background(), message.ParseHeader(block), strings.NewReader(text[at:]))
	if err != nil {
		t.Fatal(err)
	}
	return found.DKIM
}

// verify checks the signatures of a message, of which it has n, and returns the first.
func verify(t *testing.T, dns mailauth.Resolver, text string, n int) mailauth.Signature {
	t.Helper()
	found := judge(t, dns, text)
	if len(found) != n {
		t.Fatalf("signatures: %+v", found)
	}
	for _, one := range found {
		if one.Result != mailauth.Pass {
			t.Errorf("DKIM: %+v", one)
		}
	}
	return found[0]
}

// FuzzCopy compares copies with what replacing text makes of the content.
func FuzzCopy(f *testing.F) {
	f.Add("Subject: [name:word]\r\n\r\nHi [address:ascii]!", "Ann", "a@b.test", 3)
	f.Add("[name:qp]", "=?x\r\n", "ä@b.test", 1)
	f.Fuzz(func(t *testing.T, content, name, addr string, block int) {
		c := chunk(0, addr)
		for _, s := range slots(strings.ReplaceAll(content, "\x00", "")) {
			if _, err := fill(s, member{}); err != nil {
				return
			}
		}
		content = strings.ReplaceAll(content, "\x00", "")
		c.Slots = slots(content)
		r, err := newRenderer(c, bytes.NewReader([]byte(content)), int64(len(content)), nil)
		if err != nil {
			t.Fatal(err)
		}
		cp, err := r.copy(member{address: addr, name: name})
		if err != nil {
			t.Fatal(err)
		}
		want, pos := "", 0
		for _, s := range c.Slots {
			v, err := fill(s, member{address: addr, name: name})
			if err != nil || strings.ContainsAny(v, "\r\n") && s.Encoding != "word" {
				t.Fatalf("%q, %v", v, err)
			}
			want += content[pos:s.Offset] + v
			pos = int(s.Offset + s.Length)
		}
		want += content[pos:]
		got := make([]byte, 0, len(want))
		buf := make([]byte, max(1, min(block, 4096)))
		for off := int64(0); off < cp.Size(); {
			n, err := cp.ReadAt(buf[:min(int64(len(buf)), cp.Size()-off)], off)
			if err != nil && n == 0 {
				t.Fatal(err)
			}
			got = append(got, buf[:n]...)
			off += int64(n)
		}
		if string(got) != want || cp.Size() != int64(len(want)) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

func TestAnMTAThatDefersEverythingIsAskedLess(t *testing.T) {
	m := newMTA(testConfig("127.0.0.1:1").withDefaults(), slog.New(slog.DiscardHandler)) // 4 connections
	for range 4 {
		if !m.acquire(t.Context()) {
			t.Fatal("no slot")
		}
	}
	later := refusal{reply: sender.Reply{Code: 451, Text: "later"}, message: true}
	for _, tt := range []struct {
		out  outcome
		slow bool
	}{
		{outcome{accepted: 1, deferred: []refusal{later}}, false},
		{outcome{deferred: []refusal{{reply: sender.Reply{Code: 451}}}}, false}, // one recipient's own
		{outcome{deferred: []refusal{later, later}}, true},
	} {
		if _, slow := overloaded(&tt.out); slow != tt.slow {
			t.Errorf("%+v: overloaded %t", tt.out, slow)
		}
	}
	m.ease(later.reply)
	ended, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	m.release()
	m.release()
	if m.acquire(ended) {
		t.Error("a third transaction was begun")
	}
	m.release()
	if !m.acquire(t.Context()) {
		t.Error("no second transaction was begun")
	}
	m.mu.Lock()
	m.fewEnd = time.Now().Add(-time.Second)
	m.mu.Unlock()
	if !m.acquire(t.Context()) {
		t.Error("no third transaction was begun after a while")
	}
}

// RFC 8058: the token takes off whom the copy is for, and our signature covers both fields.
func TestOneClickUnsubscription(t *testing.T) {
	path, dns := signingKey(t)
	content := "From: ann@a.test\r\nTo: dev@lists.test\r\nSubject: hello\r\nList-Unsubscribe: <https://l.test/u/dev@lists.test/[unsubscribe_token:ascii]>,\r\n" +
		" <mailto:dev-leave@lists.test>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\r\nthe same for all\r\n"
	list := address.Address{Local: "dev", Domain: "lists.test"}
	key := oneclick.Derive([]byte("secret"), list)
	c := keyed(0, "ann@m.test", strings.Repeat("b", 60)+"@m.test")
	c.Slots, c.UnsubscribeKey = slots(content), key.String()
	c.Sign = []spool.SignKey{{Domain: "lists.test", Selector: "s1", File: path}}
	s := fakemta.Start(t, "", fakemta.Script{})
	m := newMemory(c)
	m.content = content
	d := run(t, testConfig(s.Addr), m)
	m.wait(t, "all are served", func() bool { return m.idle() && len(m.served) == 2 })
	if err := d.stop(t); err != nil {
		t.Fatal(err)
	}
	for _, msg := range s.Messages() {
		_, text, _ := strings.Cut(msg.Content, "/u/dev@lists.test/")
		token, rest, _ := strings.Cut(text, ">,")
		whose, err := oneclick.Open(key, token, time.Now())
		if err != nil || whose.String() != msg.Recipients[0] || !strings.HasPrefix(rest, "\r\n <mailto:dev-leave@lists.test>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n") {
			t.Errorf("the copy of %s has a token of %v (%v):\n%s", msg.Recipients, whose, err, msg.Content)
		}
		signature := verify(t, dns, msg.Content, 1)
		for _, field := range []string{"List-Unsubscribe", "List-Unsubscribe-Post"} {
			// Once for what is there, and once more: nobody can add another.
			if n := count(signature.Fields, field); n != 2 {
				t.Errorf("%s is covered %d times, want 2", field, n)
			}
			for _, forged := range []string{strings.Replace(msg.Content, "\r\n"+field+":", "\r\n"+field+": x", 1), field + ": x\r\n" + msg.Content} {
				if r := judge(t, dns, forged)[0].Result; r != mailauth.Fail {
					t.Errorf("with another %s the signature is %s", field, r)
				}
			}
		}
	}
}

func count(all []string, one string) (n int) {
	for _, s := range all {
		if s == one {
			n++
		}
	}
	return n
}

func TestATokenWithoutItsKeyIsNotSent(t *testing.T) {
	c := chunk(0, "c@m.test")
	c.Slots = slots("List-Unsubscribe: <https://l.test/[unsubscribe_token:ascii]>\r\n\r\n")
	if _, err := new(Daemon).tokens(c); err == nil {
		t.Error("a chunk without the key is taken")
	}
}

// A line of mbox stays above the signature, which stands whole below it.
func TestASignatureBelowAnMboxLine(t *testing.T) {
	path, dns := signingKey(t)
	for _, line := range []string{"", "From ann@a.test Tue Jul  1 10:00:00 2025\r\n", ">From ann@a.test\r\n"} {
		for _, to := range []string{"b@m.test", "[name:word] <[address:utf8]>"} {
			content := line + "From: ann@a.test\r\nTo: " + to + "\r\nSubject: hello\r\n\r\nbody\r\n"
			c := chunk(0, "c@m.test")
			c.Slots, c.Names = slots(content), []string{"C"}
			wanted := []spool.SignKey{{Domain: "lists.test", Selector: "s1", File: path}, {Domain: "lists.test", Selector: "s1", File: path}}
			loaded, err := new(keys).load(wanted, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			r, err := newRenderer(c, strings.NewReader(content), int64(len(content)), loaded)
			if err != nil {
				t.Fatal(err)
			}
			cp, err := r.copy(member{address: "c@m.test", name: "C"})
			if err != nil {
				t.Fatal(err)
			}
			text := make([]byte, cp.Size())
			if _, err := cp.ReadAt(text, 0); err != nil {
				t.Fatal(err)
			}
			got := string(text)
			if !strings.HasPrefix(got, line+"DKIM-Signature: ") || strings.Count(got, "DKIM-Signature: ") != 2 || !strings.HasSuffix(got, "\r\nbody\r\n") {
				t.Errorf("the copy is\n%s", got)
			}
			verify(t, dns, got, 2)
		}
	}
}
