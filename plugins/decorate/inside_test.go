package decorate_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"
)

func TestHTMLAndAlternativesTakeTheFooterInside(t *testing.T) {
	const (
		html   = "MIME-Version: 1.0\r\nContent-Type: text/html; charset="
		before = "<div class=\"mlist-text\">top</div>\r\n"
		after  = "<div class=\"mlist-text\">1 &#60; 2 &#38; &#8364;</div>\r\n"
		plain  = "1 < 2 & €\r\n"
	)
	tests := []struct{ name, in, want string }{ // want: the body
		{"a whole page", html + "utf-8\r\n\r\n<html><BODY title=\"a>b\">hi</Body></html>\r\n", "<html><BODY title=\"a>b\">" + before + "hi" + after + "</Body></html>\r\n"},
		{"a piece, in Latin 1", html + "iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n<p>\xfc</p>", before + "<p>\xfc</p>" + after},
		{"nothing", html + "utf-8\r\n\r\n", before + after},
		{"the last of several ends", html + "utf-8\r\n\r\n<!-- </body> --><body>hi</body>", "<!-- </body> --><body>" + before + "hi" + after + "</body>"},
		{"an end of the page alone", html + "utf-8\r\n\r\nhi</html>", before + "hi" + after + "</html>"},
		{"quoted-printable, the tag cut in two", html + "utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<body>=C3=BC</bo=\r\ndy>\r\n",
			"<body>=\r\n<div class=3D\"mlist-text\">top</div>\r\n=C3=BC=\r\n<div class=3D\"mlist-text\">1 &#60; 2 &#38; &#8364;</div>\r\n</bo=\r\ndy>\r\n"},
		{"base64", html + "utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString([]byte("<p>hi</p>")) + "\r\n",
			lines64(before + "<p>hi</p>" + after)},
		{"an alternative", "MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nhi\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>hi</p>\r\n--b--\r\n",
			"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\ntop\r\nhi\r\n" + plain + "\r\n--b\r\nContent-Type: text/html\r\n\r\n" + before + "<p>hi</p>" + after + "\r\n--b--\r\n"},
		{"an alternative with pictures", "MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8; format=flowed\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nhi\r\n--b\r\nContent-Type: multipart/related; boundary=r\r\n\r\n--r\r\nContent-Type: text/html\r\n\r\nhi\r\n--r\r\nContent-Type: image/png\r\n\r\nx\r\n--r--\r\n--b--\r\n",
			"--b\r\nContent-Type: text/plain; charset=utf-8; format=flowed\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ntop\r\nhi\r\n1 < 2 & =E2=82=AC\r\n\r\n--b\r\nContent-Type: multipart/related; boundary=r\r\n\r\n--r\r\nContent-Type: text/html\r\n\r\n" + before + "hi" + after + "\r\n--r\r\nContent-Type: image/png\r\n\r\nx\r\n--r--\r\n--b--\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, note := run(t, tt.in, map[string]string{"header": "top\n", "footer": "1 < 2 & €\n"})
			if got := body(out); got != tt.want || note != "" {
				t.Errorf("note %q, body\n%q, want\n%q", note, got, tt.want)
			}
			if header := strings.TrimSuffix(tt.in, body(tt.in)); !strings.HasPrefix(out, header) {
				t.Errorf("header of\n%s", out)
			}
		})
	}
}

func TestAHeaderIsNotPutIntoAFrameThatIsNotWhole(t *testing.T) {
	const html = "<html><p>hi</p>\r\n"
	out, _ := run(t, "MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n"+html, map[string]string{"header": "top\n"})
	if parts := rawParts(t, out); len(parts) != 2 || parts[1] != html {
		t.Errorf("parts %q", parts)
	}
}

// A hostile alternative has forms without number: what is put into each would be more than
// mlist takes for one post, which then could never be delivered.
func TestAnAlternativeOfManyFormsIsWrapped(t *testing.T) {
	big := lines64(strings.Repeat("<p>x</p>", 60_000))
	for name, form := range map[string]string{
		"many empty texts": strings.Repeat("--b\r\n\r\n\r\n", 5001),
		"much base64":      strings.Repeat("--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n"+big, 3),
	} {
		t.Run(name, func(t *testing.T) {
			in := "MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n" + form + "--b--\r\n"
			out, note := run(t, in, map[string]string{"header": "top\n", "footer": footer})
			if parts := rawParts(t, out); note != "" || len(parts) != 3 || parts[1] != body(in) {
				t.Errorf("note %q, %d parts, %d octets of %d", note, len(parts), len(out), len(in))
			}
		})
	}
}

func lines64(text string) string {
	digits, out := base64.StdEncoding.EncodeToString([]byte(text)), ""
	for digits != "" {
		n := min(76, len(digits))
		out, digits = out+digits[:n]+"\r\n", digits[n:]
	}
	return out
}

func TestAFooterThatIsQuotedAtTheEndIsNotPutAgain(t *testing.T) {
	quoted := "> " + strings.ReplaceAll(strings.TrimSuffix(filled, "\n"), "\n", "\r\n> ") + "\r\n"
	for name, tt := range map[string]struct {
		text string
		puts bool
	}{
		"quoted at the end":      {"yes\r\n\r\n> hi\r\n" + quoted, false},
		"quoted twice":           {"yes\r\n>" + strings.ReplaceAll(quoted, "\r\n>", "\r\n> >") + "\r\n\r\n", false},
		"as it is":               {"yes\r\n" + crlf(filled), false},
		"quoted before the text": {quoted + "yes\r\n", true},
		"a part of it":           {"yes\r\n> To unsubscribe: dev-leave@lists.example.org\r\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			in := "From: a@example.org\r\n\r\n" + tt.text
			out, note := run(t, in, map[string]string{"footer": footer})
			if want := in; !tt.puts && (out != want || note != "skipped: there already") || tt.puts && !strings.HasSuffix(out, crlf(filled)) {
				t.Errorf("note %q\n%s", note, out)
			}
		})
	}
}

// FuzzHTML: what is put inside of HTML is all that changes, in any encoding.
func FuzzHTML(f *testing.F) {
	for _, s := range []string{"<html><body a='>'>hi</body></html>", "a=\r\nb=3D</bo=\ndy>", "PHA+aGk8L3A+\r\n", "<body", "=", "=C3=\r\n", "0=", "\xff\x00</BODY>", "</body><body>"} {
		for coding := range 3 {
			f.Add([]byte(s), coding)
		}
	}
	f.Fuzz(func(t *testing.T, html []byte, coding int) {
		name := []string{"8bit", "quoted-printable", "base64"}[uint(coding)%3]
		decode := func(b []byte) []byte {
			switch name {
			case "quoted-printable":
				b, _ = io.ReadAll(quotedprintable.NewReader(bytes.NewReader(b)))
			case "base64":
				b, _ = base64.StdEncoding.DecodeString(strings.Map(func(r rune) rune {
					if r <= ' ' {
						return -1
					}
					return r
				}, string(b)))
			}
			return b
		}
		in := "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: " + name + "\r\n\r\n" + string(html)
		out, _ := run(t, in, map[string]string{"header": "top", "footer": "end"})
		if strings.Contains(out, "multipart/mixed") {
			if !strings.Contains(out, string(html)) {
				t.Fatalf("wrapped, and changed:\n%q\n%q", html, out)
			}
			return
		}
		if name == "quoted-printable" {
			if _, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(html))); err != nil {
				return // decoders differ on what is broken
			}
		}
		got := decode([]byte(body(out)))
		for _, s := range []string{"top", "end"} {
			piece := []byte("<div class=\"mlist-text\">" + s + "</div>")
			i := bytes.LastIndex(got, piece)
			if s == "top" {
				i = bytes.Index(got, piece)
			}
			if i < 0 {
				t.Fatalf("%s is not in\n%q", s, got)
			}
			end := i + len(piece)
			end += len(got[end:]) - len(bytes.TrimPrefix(bytes.TrimPrefix(got[end:], []byte("\r")), []byte("\n")))
			got = append(bytes.Clone(got[:i]), got[end:]...)
		}
		if want := decode(html); name != "quoted-printable" && !bytes.Equal(got, want) {
			t.Fatalf("%q becomes %q, without what was added %q", html, out, got)
		}
	})
}
