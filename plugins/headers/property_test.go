package headers

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// fragments are what subjects and names are made of in the wild, put together at random.
var fragments = []string{
	"Re: ", "RE:", "AW: ", "Re[2]: ", "Fwd: ", "回复：", "השב: ", "[Dev] ", "[dev]", "[Dév] ", "[Dev 41]", "日本 ", "42: ",
	"=?utf-8?Q?a?=", "=?utf-8?B??=", "=?utf-8?q?Re:_[Dev]_x?=", "=?UTF-8?B?UmU6IENhZsOp?=", "=?iso-8859-1?q?=E9t=E9?=", "=?ISO-2022-JP?B?GyRCRnxLXDhsGyhC?=",
	"=?gb2312?b?xOO6ww==?=", "=?koi8-r?B?8NLJ18XU?=", "=?x-unknown?q?x?=", "=?utf-8*en?q?x?=", "=?us-ascii?q?=20?=",
	"=?utf-8?b?8J+Y?=", "=?utf-8?b?gA==?=", "=?utf-8?q?=F0=9F?=", "=?utf-8?Q?", "?=", "=?", "=?utf-8?q?=3D=3Futf-8=3Fq=3Fx=3F=3D?=", "=?utf-8?q?=0D=0ABcc:_x?=",
	"\r\n ", "\r\n\t", "\r\n \r\n ", " ", "  ", "\t", "topic", "a (was: b)", "Café", "😀", "👩‍👩‍👧", "e\u0301", "\u200f", "\u00a0", "Caf\xe9", "\xff", "\x00", "\x7f", "\"", "\\", "<", ">", ",", ";", ":", "@",
	strings.Repeat("x", 800), strings.Repeat("日本", 60), strings.Repeat("y ", 60), "%d", "%(list_name)s",
}

// odd draws the value of a field: lines that are not over 998 octets, folded or not.
func odd(t *rapid.T, name, label string) string {
	var b strings.Builder
	line := len(name) + 2
	for _, f := range rapid.SliceOfN(rapid.SampledFrom(fragments), 0, 8).Draw(t, label) {
		if i := strings.LastIndexByte(f, '\n'); i >= 0 {
			line = len(f) - i - 1
		} else if line += len(f); line > 990 {
			b.WriteString("\r\n ")
			line = len(f) + 1
		}
		b.WriteString(f)
	}
	return b.String()
}

// drawHeader draws a header block.
func drawHeader(t *rapid.T) []byte {
	var b bytes.Buffer
	add := func(name, value string) { b.WriteString(name + ": " + value + "\r\n") }
	add("From", rapid.SampledFrom([]string{"ann@example.org", "\"Ann, A.\" <ann@example.org>", "=?utf-8?q?=C3=84nn?= <ann@example.org>", "Ann Ä <ann@example.org>"}).Draw(t, "from"))
	for i := range rapid.IntRange(0, 2).Draw(t, "subjects") {
		add("Subject", odd(t, "Subject", fmt.Sprint("subject", i)))
	}
	for _, name := range []string{"Reply-To", "Sender", "Precedence", "Comments", "X-Team", "List-Unsubscribe", "X-BeenThere", "Approved", "Message-ID"} {
		switch rapid.IntRange(0, 3).Draw(t, "has "+name) {
		case 0:
			add(name, odd(t, name, name))
		case 1:
			add(name, rapid.SampledFrom([]string{"dev@lists.example.org", "Ann Ä <ann@example.org>, b@c.example", "bulk", "<1@example.org>"}).Draw(t, "plain "+name))
		}
	}
	add("Date", "Tue, 1 Jul 2025 10:00:00 +0200")
	return b.Bytes()
}

// drawList draws a list and its settings.
func drawList(t *rapid.T) sdk.List {
	set := settings(
		"subject_prefix", rapid.SampledFrom([]string{"", "[%(display_name)s] ", "[%(display_name)s:%05d] ", "%d:", "日本 ", "dev", "(%(list_name)s)", "=?utf-8?q?x?=", strings.Repeat("p", 100) + " "}).Draw(t, "prefix"),
		"display_name", rapid.SampledFrom([]string{"", "Dev", "Dév", "日本語 メーリングリスト", "Dev, \"the\" list", "😀", strings.Repeat("long name ", 20)}).Draw(t, "name"),
		"description", rapid.SampledFrom([]string{"", "About <things>", "Über Dinge", strings.Repeat("長い", 80)}).Draw(t, "description"),
		"reply_goes_to_list", rapid.SampledFrom([]string{"no_munging", "point_to_list", "explicit_header", "explicit_header_only"}).Draw(t, "reply"),
		"first_strip_reply_to", rapid.SampledFrom([]string{"true", "false"}).Draw(t, "strip"),
		"reply_to_address", rapid.SampledFrom([]string{"", "help@example.org", "dev@lists.example.org"}).Draw(t, "explicit"),
		"anonymous_list", rapid.SampledFrom([]string{"true", "false", "false"}).Draw(t, "anonymous"),
		"include_sender_header", rapid.SampledFrom([]string{"true", "false"}).Draw(t, "sender"),
		"remove_headers", rapid.SampledFrom([]string{"", "Comments"}).Draw(t, "remove"),
		"add_headers", rapid.SampledFrom([]string{"", "X-Team: Café " + strings.Repeat("z", 250) + "\nX-Team: two", "Precedence: bulk"}).Draw(t, "add"),
	)
	return sdk.List{Address: rapid.SampledFrom([]string{"dev@lists.example.org", "dév@bücher.example", strings.Repeat("l", 50) + "@lists.example.org"}).Draw(t, "list"), Settings: set}
}

// through runs a header block through the stages.
func through(t *rapid.T, l sdk.List, block []byte) []byte {
	p := &sdk.Post{Entry: "test", Number: 42, List: l, Header: message.ParseHeader(block), Envelope: sdk.Envelope{Received: received}}
	for _, s := range Stages() {
		if v, err := s.Handler.Handle(t.Context(), p); err != nil || v != sdk.Accept {
			t.Fatalf("stage %s: verdict %v, error %v", s.Name, v, err)
		}
	}
	return p.Header.Bytes()
}

// sorted are the fields of a block in some order: a field that is taken out and written anew
// stands at the end.
func sorted(block []byte) []string {
	var out []string
	for f := range message.ParseHeader(block).Fields() {
		out = append(out, string(f.Raw))
	}
	slices.Sort(out)
	return out
}

// Whatever a header block holds: what the stages make of it they leave alone, its subject has
// the prefix once and what else the author wrote, and no line is too long for SMTP.
func TestTheHeaderStagesTwiceAreOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, in := drawList(t), drawHeader(t)
		once := through(t, l, in)
		if again := through(t, l, once); !slices.Equal(sorted(again), sorted(once)) {
			t.Fatalf("in\n%q\nonce\n%q\nagain\n%q", in, once, again)
		}
		for line := range bytes.Lines(once) {
			if n := len(bytes.TrimRight(line, "\r\n")); n > 998 {
				t.Fatalf("a line of %d octets: %q\nof %q", n, line, in)
			}
		}
		h := message.ParseHeader(once)
		if message.ParseHeader(in).Text("Subject") != h.Text("Subject") {
			if n := len(h.Values("Subject")); n != 1 {
				t.Fatalf("%d subjects in\n%q", n, once)
			}
			checkPrefix(t, l, h.Text("Subject"), message.ParseHeader(in).Text("Subject"))
		}
	})
}

// checkPrefix looks at a subject that was changed.
func checkPrefix(t *rapid.T, l sdk.List, now, before string) {
	p := newPrefix(l, 42)
	_, rest := p.split(before)
	if rest = words(rest); rest == "" {
		rest = "(no subject)"
	}
	want := words(p.text + " " + rest)
	if !strings.HasSuffix(strings.ToLower(words(now)), strings.ToLower(want)) {
		t.Fatalf("%q becomes %q, which does not end in %q", before, now, want)
	}
}
