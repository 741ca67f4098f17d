package decorate_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	gomessage "github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset"

	"github.com/mlist/mlist/plugins/decorate"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
	"github.com/mlist/mlist/sdk/message"
)

const (
	footer = "___\nDev -- %(list_address)s\nTo unsubscribe: %(leave_address)s\n"
	filled = "___\nDev -- dev@lists.example.org\nTo unsubscribe: dev-leave@lists.example.org\n"
)

// run puts a whole message through the stage and returns it with the note.
func run(t testing.TB, in string, settings map[string]string) (out, note string) {
	t.Helper()
	block, at, err := message.Split(strings.NewReader(in), int64(len(in)))
	if err != nil {
		t.Fatal(err)
	}
	p := &sdk.Post{
		Entry:  "entry-1",
		List:   sdk.List{Address: "dev@lists.example.org", Settings: settings},
		Header: message.ParseHeader(block),
		Body:   message.NewBody(strings.NewReader(in), at, int64(len(in))-at),
	}
	v, err := decorate.Stages()[0].Handler.Handle(context.Background(), p)
	if err != nil || v != sdk.Accept {
		t.Fatalf("verdict %v, %v", v, err)
	}
	checkReplay(t, p, block)
	header := string(p.Header.Bytes())
	if !strings.HasSuffix(header, "\n") && header != "" {
		header += p.Header.LineEnd()
	}
	var body bytes.Buffer
	if _, err := p.Body.WriteTo(&body); err != nil {
		t.Fatal(err)
	}
	return header + p.Header.LineEnd() + body.String(), p.Notes["footer"]
}

// checkReplay makes sure that the operations say all that was changed.
func checkReplay(t testing.TB, p *sdk.Post, block []byte) {
	t.Helper()
	h := message.ParseHeader(block)
	if err := h.Apply(p.Header.Ops()); err != nil || !bytes.Equal(h.Bytes(), p.Header.Bytes()) {
		t.Errorf("replayed header %q, %v", h.Bytes(), err)
	}
}

// leaves decodes every leaf of a message with another MIME library.
func leaves(t testing.TB, in string) (texts []string) {
	t.Helper()
	e, err := gomessage.Read(strings.NewReader(in))
	if err != nil && !gomessage.IsUnknownCharset(err) && !gomessage.IsUnknownEncoding(err) {
		t.Fatalf("go-message: %v", err)
	}
	err = e.Walk(func(_ []int, part *gomessage.Entity, err error) error {
		if err != nil && !gomessage.IsUnknownCharset(err) && !gomessage.IsUnknownEncoding(err) {
			return err
		}
		if part.MultipartReader() == nil {
			text, err := io.ReadAll(part.Body)
			texts = append(texts, string(text))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatalf("go-message: %v\n%s", err, in)
	}
	return texts
}

// rawParts returns the parts of a multipart as the standard library finds them.
func rawParts(t testing.TB, in string) (texts []string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	r := multipart.NewReader(m.Body, params["boundary"])
	for {
		part, err := r.NextRawPart()
		if err == io.EOF {
			return texts
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, in)
		}
		text, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
}

func body(in string) string {
	_, at, _ := message.Split(strings.NewReader(in), int64(len(in)))
	return in[at:]
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func TestTheFooterJoinsPlainText(t *testing.T) {
	const plain = "From: a@example.org\r\nContent-Type: text/plain; charset="
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	tests := []struct {
		name, in, footer string
		want             string // the text, decoded
	}{
		{"no MIME at all", "From: a@example.org\r\n\r\nhi\r\n", footer, "hi\r\n" + crlf(filled)},
		{"LF ends lines", "From: a@example.org\n\nhi\n", footer, "hi\n" + filled},
		{"a text takes its own last line end", "From: a@example.org\r\n\r\nhi\r\nho\n", footer, "hi\r\nho\n" + filled},
		{"no line end at the end", "From: a@example.org\r\n\r\nhi\r\nho", footer, "hi\r\nho\r\n" + crlf(filled)},
		{"one line without a line end", "From: a@example.org\n\nhi", footer, "hi\n" + filled},
		{"an empty body", "From: a@example.org\r\n\r\n", footer, crlf(filled)},
		{"no body", "From: a@example.org\r\n", footer, crlf(filled)},
		{"a footer without a line end", "From: a@example.org\n\nhi\n", "-- bye", "hi\n-- bye\n"},
		{"utf-8", plain + "utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\ngrüß\r\n", "tschüß\n", "grüß\r\ntschüß\r\n"},
		{"utf-8 in 7bit becomes 8bit", plain + "UTF-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\nhi\r\n", "tschüß\n", "hi\r\ntschüß\r\n"},
		{"utf-8 in no encoding becomes 8bit", plain + "\"utf-8\"\r\n\r\nhi\r\n", "tschüß\n", "hi\r\ntschüß\r\n"},
		{"iso-8859-1 takes what it can hold", plain + "iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\ngr\xfc\xdf\r\n", "tschüß\n", "grüß\r\ntschüß\r\n"},
		{"koi8-r takes ASCII", plain + "koi8-r\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xd4\xc5\r\n", "bye\n", "те\r\nbye\r\n"},
		{"iso-2022-jp takes Japanese", plain + "iso-2022-jp\r\n\r\n\x1b$BF|\x1b(B\r\n", "日本\n", "日\r\n日本\r\n"},
		{"quoted-printable", plain + "utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ngr=C3=BC=C3=9F=\r\n ok\r\n", "tschüß = " + strings.Repeat("x", 100) + " \n", "grüß ok\r\ntschüß = " + strings.Repeat("x", 100) + " \r\n"},
		{"quoted-printable that ends in a soft line break", plain + "utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nhi=\r\n", footer, "hi\r\n" + crlf(filled)},
		{"quoted-printable that ends in soft line breaks", plain + "utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nhi=\r\n=\r\n", footer, "hi\r\n" + crlf(filled)},
		{"quoted-printable that ends in the sign of one", plain + "utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nhi=", footer, "hi\r\n" + crlf(filled)},
		{"quoted-printable without a line end", plain + "utf-8\nContent-Transfer-Encoding: Quoted-Printable\n\nhi", footer, "hi\r\n" + crlf(filled)},
		{"an empty quoted-printable", plain + "utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n", footer, crlf(filled)},
		{"base64 that ends in a full group", plain + "utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b64("grü\r\n") + "\r\n", "tschüß\n", "grü\r\ntschüß\r\n"},
		{"base64 with one sign of padding", plain + "utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b64("hello") + "\r\n", footer, "hello\r\n" + crlf(filled)},
		{"base64 with two signs of padding", plain + "utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b64("hi\r\n") + "\r\n", footer, "hi\r\n" + crlf(filled)},
		{"base64 without its padding", plain + "utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" + strings.TrimRight(b64("hi\r\n"), "=") + "\r\n", footer, "hi\r\n" + crlf(filled)},
		{"base64 without a final line end", plain + "utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b64(strings.Repeat("x", 57)) + "\r\n" + b64("hi\n"), footer, strings.Repeat("x", 57) + "hi\n" + filled},
		{"base64 in a full group without a final line end", plain + "utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b64("hey"), footer, "hey\r\n" + crlf(filled)},
		{"base64 in full lines with padding", plain + "utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b64(strings.Repeat("x", 56)) + "\r\n", footer, strings.Repeat("x", 56) + "\r\n" + crlf(filled)},
		{"base64 with a group over two lines", plain + "utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nYW\r\nJj\r\nZA\r\n==\r\n\r\n", footer, "abcd\r\n" + crlf(filled)},
		{"base64 in one endless line", plain + "utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b64(strings.Repeat("x", 20001)) + "\r\n", footer, strings.Repeat("x", 20001) + "\r\n" + crlf(filled)},
		{"an empty base64", plain + "utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n", footer, crlf(filled)},
		{"format=flowed keeps the footer's lines", plain + "utf-8; format=flowed\r\n\r\nA line that \r\ngoes on.\r\n", "> a \nFrom b\n  c\n-- \nd\n", "A line that \r\ngoes on.\r\n > a\r\n From b\r\n   c\r\n-- \r\nd\r\n"},
		{"a flowed line at the end is ended", plain + "utf-8; format=flowed; delsp=yes\r\n\r\ngoes on \r\n", footer, "goes on \r\n\r\n" + crlf(filled)},
		{"a flowed line at the end without a line end", plain + "utf-8; format=flowed\r\n\r\ngoes on ", footer, "goes on \r\n\r\n" + crlf(filled)},
		{"a flowed line at the end of quoted-printable", plain + "utf-8; format=flowed\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ngoes on=20\r\n", footer, "goes on \r\n\r\n" + crlf(filled)},
		{"a flowed line at the end of base64", plain + "utf-8; format=flowed\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b64("goes on \r\n") + "\r\n", footer, "goes on \r\n\r\n" + crlf(filled)},
		{"a flowed signature line at the end", plain + "utf-8; format=flowed\r\n\r\nhi\r\n-- \r\n", footer, "hi\r\n-- \r\n" + crlf(filled)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, note := run(t, tt.in, map[string]string{"footer": tt.footer})
			got := leaves(t, out)
			if len(got) != 1 || got[0] != tt.want || note != "" {
				t.Errorf("note %q, text %q, want %q\nfrom\n%s", note, got, tt.want, out)
			}
			checkLines(t, out)
			// Header too: the author's text and the footer come after it.
			out, _ = run(t, tt.in, map[string]string{"footer": tt.footer, "header": "on top of " + "it\n"})
			got = leaves(t, out)
			rest, ok := strings.CutPrefix(strings.ReplaceAll(got[0], "\r\n", "\n"), "on top of it")
			rest = strings.TrimLeft(rest, " \n")
			if want := strings.TrimLeft(strings.ReplaceAll(tt.want, "\r\n", "\n"), " \n"); !ok || len(got) != 1 || rest != want {
				t.Errorf("with header %q, want %q\nfrom\n%s", got, tt.want, out)
			}
		})
	}
}

// checkLines fails on lines that RFC 5322 does not allow, but for those of the author.
func checkLines(t *testing.T, out string) {
	t.Helper()
	for line := range strings.Lines(out) {
		if len(line) > 1000 && !strings.Contains(line, "eHh4eHh4") {
			t.Errorf("line of %d octets", len(line))
		}
	}
}

func TestOtherMessagesGetParts(t *testing.T) {
	const base = "From: a@example.org\r\nMIME-Version: 1.0\r\n"
	alternative := "Content-Type: multipart/alternative; boundary=alt\r\n"
	altBody := "--alt\r\n\r\nhi\r\n--alt\r\nContent-Type: text/html\r\n\r\n<p>hi</p>\r\n--alt--\r\n"
	tests := []struct{ name, header, body string }{ // those named broken are so before
		{"another text", base + "Content-Type: text/enriched;\r\n\tcharset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nX-After: 1\r\n", "<p>grüß</p>\r\n"},
		{"another text without a line end", base + "Content-Type: text/enriched\r\n", "<p>hi</p>"},
		{"HTML in UTF-16", base + "Content-Type: text/html; charset=utf-16\r\nContent-Transfer-Encoding: base64\r\n", "PABwAD4A\r\n"},
		{"HTML in broken quoted-printable", base + "Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n", "<p>=ZZ</p>\r\n"},
		{"an alternative", base + alternative, altBody},
		{"an alternative with LF", strings.ReplaceAll(base+alternative, "\r", ""), strings.ReplaceAll(altBody, "\r", "")},
		{"a broken alternative without an end", base + alternative, strings.TrimSuffix(altBody, "--alt--\r\n")},
		{"a picture", base + "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment;\r\n filename=x.png\r\nContent-Description: a picture\r\n", "iVBORw0KGgo="},
		{"a text file", base + "Content-Type: text/plain\r\nContent-Disposition: attachment; filename=x.txt\r\n", "hi\r\n"},
		{"a forwarded message", base + "Content-Type: message/rfc822\r\n", "From: b@example.org\r\n\r\nhi\r\n"},
		{"a charset that has no such characters", base + "Content-Type: text/plain; charset=iso-8859-1\r\n", "hi\r\n"},
		{"ASCII", base + "Content-Type: text/plain; charset=us-ascii\r\n", "hi\r\n"},
		{"no charset, no MIME", "From: a@example.org\r\n", "hi\r\nho"},
		{"an unknown charset", base + "Content-Type: text/plain; charset=x-mars\r\n", "hi\r\n"},
		{"UTF-16", base + "Content-Type: text/plain; charset=utf-16\r\nContent-Transfer-Encoding: base64\r\n", "aABpAA==\r\n"},
		{"a broken encoding", base + "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: x-uuencode\r\n", "hi\r\n"},
		{"broken base64", base + "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n", "aGk=aGk=\r\n"},
		{"an empty message of another type", base + "Content-Type: text/enriched\r\n", ""},
		{"a text like a delimiter", base + "Content-Type: text/enriched\r\n", "--mlist-\r\n--\r\n"},
	}
	const after = "tschüß €\n"
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := tt.header + "\r\n" + tt.body
			if !strings.Contains(tt.header, "\r") {
				in = tt.header + "\n" + tt.body
			}
			out, note := run(t, in, map[string]string{"footer": after, "header": "top\n"})
			parts := rawParts(t, out)
			if len(parts) != 3 || parts[1] != tt.body || note != "" {
				t.Fatalf("note %q, parts %q from\n%s", note, parts, out)
			}
			if strings.Contains(tt.name, "broken") {
				// The other library gives up on these, as it does on what came in.
			} else if got := leaves(t, out); strings.TrimRight(got[0], "\r\n") != "top" || strings.TrimRight(got[len(got)-1], "\r\n") != "tschüß €" {
				t.Errorf("texts %q", got)
			}
			checkMoved(t, tt.header, out)
			if again, _ := run(t, in, map[string]string{"footer": after, "header": "top\n"}); again != out {
				t.Errorf("a second run gives other octets")
			}
			if parts := rawParts(t, first(run(t, in, map[string]string{"footer": after}))); len(parts) != 2 || parts[0] != tt.body {
				t.Errorf("without a header: %q", parts)
			}
		})
	}
}

func first(s, _ string) string { return s }

// checkMoved makes sure that the fields that describe the content moved octet for
// octet, and that the others stayed.
func checkMoved(t *testing.T, header, out string) {
	t.Helper()
	block, at, err := message.Split(strings.NewReader(out), int64(len(out)))
	if err != nil {
		t.Fatal(err)
	}
	for f := range message.ParseHeader([]byte(header)).Fields() {
		where := string(block)
		if strings.HasPrefix(f.Name, "Content-") {
			where = out[at:]
		}
		if !strings.Contains(where, string(f.Raw)) {
			t.Errorf("%q is not where it should be in\n%s", f.Raw, out)
		}
	}
	h := message.ParseHeader(block)
	if n := len(h.Values("Content-Type")); n != 1 || len(h.Values("MIME-Version")) != 1 || h.Has("Content-Disposition") {
		t.Errorf("header is\n%s", block)
	}
}

func TestMultipartMixedGetsMoreParts(t *testing.T) {
	const header = "From: a@example.org\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"b b\"\n\n"
	const parts = "--b b\n\none\n\n--b b\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\niVBORw0KGgo="
	tests := []struct {
		name, in string
		want     []string // raw parts between header and footer
	}{
		{"two parts", header + parts + "\n--b b--\n", []string{"one\n", "iVBORw0KGgo="}},
		{"CRLF", crlf(header + parts + "\n--b b--\n"), []string{"one\r\n", "iVBORw0KGgo="}},
		{"a header with LF and a body with CRLF", header + crlf(parts+"\n--b b--\n"), []string{"one\r\n", "iVBORw0KGgo="}},
		{"preamble and epilogue", header + "pre\n\n" + parts + "\n--b b--\nepilogue\n--b b\nno part", []string{"one\n", "iVBORw0KGgo="}},
		{"the boundary ends the message", header + parts + "\n--b b--", []string{"one\n", "iVBORw0KGgo="}},
		{"no close delimiter", header + parts + "\n", []string{"one\n", "iVBORw0KGgo=\n"}},
		{"no close delimiter and no line end", header + parts, []string{"one\n", "iVBORw0KGgo="}},
		{"an empty part", header + "--b b\n\n\n--b b--\n", []string{""}},
		{"no part at all", header + "--b b--\n", nil},
		{"space after the boundary", header + "--b b  \n\none\n--b b-- \n", []string{"one"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, note := run(t, tt.in, map[string]string{"footer": footer, "header": "top\n"})
			got := rawParts(t, out)
			if note != "" || len(got) != len(tt.want)+2 || fmt.Sprint(got[1:len(got)-1]) != fmt.Sprint(tt.want) {
				t.Fatalf("note %q, parts %q from\n%s", note, got, out)
			}
			if got[0] != lineEnds(tt.in, "top\n") || got[len(got)-1] != lineEnds(tt.in, filled) {
				t.Errorf("parts %q", got)
			}
			if want, _, _ := strings.Cut(tt.in, "--b b"); !strings.HasPrefix(out, want) {
				t.Errorf("what is before the parts has changed:\n%s", out)
			}
			leaves(t, out)
			// Without what was put in, the message is what it was.
			if _, tail, ok := strings.Cut(tt.in, "--b b--"); ok && !strings.HasSuffix(out, "--b b--"+tail) {
				t.Errorf("what is after the parts has changed:\n%s", out)
			}
		})
	}
}

// lineEnds gives text the line ends of the body.
func lineEnds(in, text string) string {
	if strings.Contains(body(in), "\r\n") {
		return crlf(text)
	}
	return text
}

func TestSomeMessagesAreLeftAsTheyAre(t *testing.T) {
	signed := "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nhi\r\n--b\r\n\r\nsig\r\n--b--\r\n"
	for name, tt := range map[string]struct{ in, note string }{
		"signed":                    {signed, "skipped: signed"},
		"signed within":             {"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n" + signed + "--a--\r\n", "skipped: signed"},
		"encrypted":                 {"Content-Type: multipart/encrypted; boundary=b\r\n\r\n--b--\r\n", "skipped: signed"},
		"S/MIME":                    {"Content-Type: application/pkcs7-mime\r\n\r\nMIIB\r\n", "skipped: signed"},
		"inline PGP":                {"From: a@example.org\r\n\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\n", "skipped: signed"},
		"a multipart without parts": {"Content-Type: multipart/mixed; boundary=a\r\n\r\nhi\r\n", "skipped: no boundary"},
		"no boundary is named":      {"Content-Type: multipart/alternative\r\n\r\n--a\r\n", "skipped: no boundary"},
		"an encoded multipart":      {"Content-Type: multipart/mixed; boundary=a\r\nContent-Transfer-Encoding: base64\r\n\r\n--a\r\n\r\n--a--", "skipped: encoded multipart"},
		"fields without end":        {"Content-Type: text/html; charset=utf-16\r\n" + manyFields(101) + "\r\nhi\r\n", "skipped: too many fields of content"},
		"part of a message":         {"Content-Type: message/partial; id=1; number=1; total=2\r\n\r\nA: 1\r\n", "skipped: part of a larger message"},
	} {
		out, note := run(t, tt.in, map[string]string{"footer": footer, "header": "x"})
		if out != tt.in || note != tt.note {
			t.Errorf("%s: note %q, message\n%s", name, note, out)
		}
	}
	for _, empty := range []string{"", " \n", "%(description)s\n"} {
		in := "From: a@example.org\r\n\r\nhi"
		if out, note := run(t, in, map[string]string{"footer": empty}); out != in || note != "" {
			t.Errorf("footer %q: note %q, message %q", empty, note, out)
		}
	}
}

func TestPlaceholders(t *testing.T) {
	text := "%(display_name)s|%(list_address)s|%(list_name)s|%(leave_address)s|%(request_address)s|%(owner_address)s|%(description)s|%(other)s|100%"
	out, _ := run(t, "A: 1\n\n", map[string]string{"footer": text, "display_name": "The Dev", "description": "%(list_name)s\x00\x1b"})
	want := "The Dev|dev@lists.example.org|dev|dev-leave@lists.example.org|dev-request@lists.example.org|dev-owner@lists.example.org|%(list_name)s|%(other)s|100%\n"
	if body(out) != want {
		t.Errorf("got %q, want %q", body(out), want)
	}
}

type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errors.New("disk on fire") }

func TestABodyThatCannotBeReadIsTriedAgain(t *testing.T) {
	for _, header := range []string{"Content-Type: multipart/mixed; boundary=b\n", "Content-Type: multipart/alternative; boundary=b\n"} {
		p := &sdk.Post{List: sdk.List{Address: "dev@lists.example.org", Settings: map[string]string{"footer": footer}},
			Header: message.ParseHeader([]byte(header)), Body: message.NewBody(broken{}, 0, 10)}
		if _, err := (decorate.Handler{}).Handle(context.Background(), p); err == nil {
			t.Errorf("%q: no error", header)
		}
	}
}

// zeros is a file of any size that takes no memory.
type zeros struct{}

func (zeros) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		p[i] = "QUJDREVGR0hJSktM\r\n"[(off+int64(i))%18]
	}
	return len(p), nil
}

func TestALargeMessageCostsNoMemory(t *testing.T) {
	for _, header := range []string{
		"Content-Type: multipart/mixed; boundary=b\r\n",
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n",
		"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n",
	} {
		const size = 18 * 600_000 // over 10 MB
		p := &sdk.Post{List: sdk.List{Address: "dev@lists.example.org", Settings: map[string]string{"footer": footer}},
			Header: message.ParseHeader([]byte(header)), Body: message.NewBody(zeros{}, 0, size)}
		if strings.Contains(header, "mixed") {
			for _, s := range []message.Splice{{Insert: []byte("--b\r\n\r\n")}, {Offset: size + 7, Insert: []byte("\r\n--b--\r\n")}} {
				if err := p.Body.Splice(s); err != nil {
					t.Fatal(err)
				}
			}
		}
		var before, after runtime.MemStats
		old := p.Body.Size()
		runtime.ReadMemStats(&before)
		_, err := decorate.Handler{}.Handle(context.Background(), p)
		runtime.ReadMemStats(&after)
		if err != nil || p.Body.Size() == old {
			t.Fatalf("size %d, %v", p.Body.Size(), err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 256<<10 {
			t.Errorf("%q: %d octets allocated", header, n)
		}
	}
}

// Whatever comes in, nothing of it is lost: only a last group of base64 is replaced.
func FuzzHandle(f *testing.F) {
	f.Add("Content-Type: text/plain; charset=utf-8; format=flowed\n", "hi \n", footer, "top")
	f.Add("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n", "aGk=", footer, "tschüß")
	f.Add("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n", "a=\n=", footer, "")
	f.Add("Content-Type: multipart/mixed; boundary=b\n", "--b\n\nhi\n--b--", footer, "x")
	f.Add("Content-Type: multipart/mixed; boundary=b\n", "--b\nA:", footer, "x")
	f.Add("Content-Type: text/html\nA: 1\ncontent-x : 2", "<p>", footer, "x")
	f.Fuzz(func(t *testing.T, header, body, after, before string) {
		block, _, err := message.Split(strings.NewReader(header), int64(len(header)))
		if err != nil {
			t.Skip()
		}
		p := &sdk.Post{Entry: "e", List: sdk.List{Address: "dev@lists.example.org", Settings: map[string]string{"footer": after, "header": before}},
			Header: message.ParseHeader(block), Body: message.NewBody(strings.NewReader(body), 0, int64(len(body)))}
		if _, err := (decorate.Handler{}).Handle(context.Background(), p); err != nil {
			t.Fatal(err)
		}
		checkReplay(t, p, block)
		for _, s := range p.Body.Splices() {
			if s.Delete == 0 {
				continue
			}
			old := strings.Join(strings.Fields(body[s.Offset:s.Offset+s.Delete]), "")
			text, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(old, "="))
			if len(old) > 4 || err != nil && !strings.Contains(err.Error(), "illegal") {
				t.Fatalf("deletes %q, %v", old, err)
			}
			start := strings.Join(strings.Fields(string(s.Insert)), "")
			got, err := base64.StdEncoding.DecodeString(start)
			if err != nil || !bytes.HasPrefix(got, text) {
				t.Fatalf("replaces %q by %q: %v", text, got, err)
			}
		}
	})
}

// Each file in testdata is a message, a line of ten =, and what it becomes.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			const line = "==========\n"
			in, want, _ := strings.Cut(string(data), line)
			got, _ := run(t, in, map[string]string{"footer": footer, "header": "Grüße\n"})
			leaves(t, got)
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(file, []byte(in+line+got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestPersonalPlaceholders(t *testing.T) {
	settings := map[string]string{"personalize": "individual", "footer": "Sent to %(user_address)s, that is " + strings.Repeat("x", 35) + " %(user_name)s"}
	mark := handlertest.Mark
	tests := []struct{ name, in, want string }{
		{"plain", "Subject: x\r\n\r\nhello\r\n", mark + "aa, that is " + strings.Repeat("x", 35) + " " + mark + "na\r\n"},
		{"quoted-printable", "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nhello\r\n",
			" " + mark + "nq=\r\n\r\n"},
		{"quoted-printable in another charset", "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nhello\r\n",
			mark + "ap, that is"},
		{"base64", "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8K\r\n",
			"aGVsbG8K\r\n\r\n--mlist-"},
		{"HTML", "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n<p>hello</p>\r\n", mark + "nh</div>\r\n"},
		{"HTML in quoted-printable", "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>hello</p>\r\n",
			"<p>hello</p>\r\n\r\n--mlist-"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := handlertest.TryStages(t, handlertest.Case{Message: tt.in, Settings: settings}, decorate.Stages()...)
			if err != nil {
				t.Fatal(err)
			}
			out := string(r.Message)
			if !strings.Contains(out, tt.want) {
				t.Errorf("got %s\nwithout %q", out, tt.want)
			}
			if strings.Count(out, mark) != 2 {
				t.Errorf("%d placeholders in %s", strings.Count(out, mark), out)
			}
		})
	}
	many := map[string]string{"personalize": "individual", "footer": strings.Repeat("to %(user_name)s\n", 300) + "bye\n"}
	r, err := handlertest.TryStages(t, handlertest.Case{Message: tests[0].in, Settings: many}, decorate.Stages()...)
	if err != nil || strings.Contains(string(r.Message), mark) || !strings.HasSuffix(string(r.Message), "hello\r\nbye\r\n") {
		t.Errorf("too many: %v\n%s", err, r.Message)
	}
	settings["personalize"] = "none"
	if out, _ := run(t, tests[0].in, settings); out != tests[0].in {
		t.Errorf("with one copy for all: %s", out)
	}
	settings["header"], settings["footer"] = "Hi %(user_name_or_address)s,\n\nthis is %(display_name)s.\n", "To leave: %(leave_address)s\nSent to %(user_delivered_to)s"
	if out, _ := run(t, tests[0].in, settings); out != "Subject: x\r\n\r\n\r\nthis is dev.\r\nhello\r\nTo leave: dev-leave@lists.example.org\r\n" {
		t.Errorf("with one copy for all: %q", out)
	}
}

// manyFields are fields that would have to move along with the content.
func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "Content-X-%d: x\r\n", i)
	}
	return b.String()
}
