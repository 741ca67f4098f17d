package message_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk/message"
)

// check opens a message, checks it and sees to it that it comes out as it went in.
func check(t testing.TB, in string) []message.Defect {
	t.Helper()
	m, err := message.Open(strings.NewReader(in), int64(len(in)))
	if err != nil {
		t.Fatal(err)
	}
	found, err := m.Check()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if n, err := m.WriteTo(&out); err != nil || n != int64(len(in)) || out.String() != in {
		t.Fatalf("%.80q came out as %.80q, %v", in, out.String(), err)
	}
	return found
}

func codes(defects []message.Defect) string {
	var all []string
	for _, d := range defects {
		all = append(all, fmt.Sprintf("%s %d", d.Code, d.Line))
	}
	return strings.Join(all, ", ")
}

const good = "From: a@b.example\r\nDate: x\r\nMessage-ID: <1@b>\r\n"

func TestCheck(t *testing.T) {
	mime := good + "MIME-Version: 1.0\r\nContent-Type: "
	mixed := mime + "multipart/mixed; boundary=b\r\n\r\n"
	for _, tt := range []struct{ name, in, want string }{
		{"nothing is wrong", good + "\r\nhello\r\n", ""},
		{"nothing is wrong with LF", "From: a@b\nDate: x\nMessage-ID: x\n\nhello\n", ""},
		{"nothing at all", "", "empty 1"},
		{"an empty line", "\n", "no-header 1"},
		{"no header", "hello\r\nthere\r\n", "no-header 1"},
		{"only a header", good, "no-empty-line 3"},
		{"only a header, cut off", good[:len(good)-2], "no-empty-line 3, no-line-end 3"},
		{"nobody wrote it", "Subject: x\r\n\r\n", "no-from 1, no-date 1, no-message-id 1"},
		{"nothing but the start of a field", "A:", "no-empty-line 1, no-line-end 1, no-from 1, no-date 1, no-message-id 1"},
		{"an mbox line", "From a Mon\r\n" + good + "\r\n", "mbox-from 1"},
		{"two of one", good + "Subject: a\r\n b\r\nSubject: c\r\nsubject : d\r\n\r\n", "duplicate-subject 6"},
		{"From without an address", "From: x\r\nDate: x\r\nMessage-ID: x\r\n\r\n", "bad-from 1"},
		{"encoded words", good + "Subject: =?x?q?a?= =?utf-8?x?b?=\r\n =?utf-8?q?" + strings.Repeat("x", 80) + "?=\r\n\r\n", "unknown-charset-in-header 4, bad-encoded-word 4, long-encoded-word 4"},
		{"NUL, CR and 8 bits in the header", good + "A: \x00\rb\xff\r\n\r\n", "nul-in-header 4, cr-in-header 4, 8bit-header 4"},
		{"NUL, CR and 8 bits in the body", good + "\r\nx\r\na\x00b\r\na\rb\r\n\xff\r\n", "nul-in-body 6, cr-in-body 7, 8bit-body 8"},
		{"CR CR LF", good + "\r\nx\r\r\n", "cr-in-body 5"},
		{"CR at the end", good + "\r\nx\r\n\r", "cr-in-body 6, no-last-line-end 6"},
		{"LF among CRLF", good + "\r\nx\r\ny\nz", "mixed-line-ends 6, no-last-line-end 7"},
		{"CRLF among LF", "From: a@b\nDate: x\nMessage-ID: x\n\nhello\r\n", "mixed-line-ends 5"},
		{"a line of 998", good + "\r\n" + strings.Repeat("x", 998) + "\r\n", ""},
		{"a line of 999", good + "\r\n" + strings.Repeat("x", 999) + "\r\n", "long-line 5"},
		{"a line of two megabytes", good + "\r\n" + strings.Repeat("x", 2<<20) + "\r\n", "long-line 5"},
		{"a header line of five megabytes", good + "A: " + strings.Repeat("x", 5<<20) + "\r\n\r\n", "header-too-long 1, long-line 4"},
		{"8 bits that are announced", mime + "text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xc3\xa9\r\n", ""},
		{"a charset that is none", mime + "text/plain; charset=klingon\r\n\r\nx\r\n", "unknown-charset 7"},
		{"an encoding that is none", mime + "text/plain\r\nContent-Transfer-Encoding: rot13\r\n\r\nx\r\n", "unknown-encoding 8"},
		{"UTF-16 as it is", mime + "text/plain; charset=utf-16\r\n\r\nx\r\n", "unencoded-charset 7"},
		{"a type that is none", mime + "text\r\n\r\nx\r\n", "bad-content-type 5"},
		{"no MIME-Version", good + "Content-Type: text/plain\r\n\r\nx\r\n", "no-mime-version 1"},
		{"a uuencoded file", good + "\r\nhi\r\nbegin 644 x.exe\r\nM\r\nend\r\n", "uuencoded 6"},
		{"no uuencoded file", good + "\r\nbegin 644\r\nbegin the 644 x\r\n", ""},
		{"base64", mime + "text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\naGk=\r\n", ""},
		{"base64 with text after it", mime + "text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\naGk=\r\n-- \r\nlist\r\n", "bad-base64 9"},
		{"base64 cut off", mime + "text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\naGkaa\r\n", "bad-base64 9"},
		{"quoted-printable", mime + "text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na=3D=\r\nb= \r\nc=", "no-last-line-end 10"},
		{"bad quoted-printable", mime + "text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nok\r\nx=y\r\n", "bad-quoted-printable 9"},
		{"parts", mixed + "--b\r\n\r\nx\r\n--b--\r\n", ""},
		{"no close delimiter", mixed + "\r\n--b\r\n\r\nx\r\n", "no-close-delimiter 7"},
		{"no boundary", mime + "multipart/mixed\r\n\r\nx\r\n", "no-boundary 7"},
		{"boundary not found", mixed + "x\r\n", "boundary-not-found 7"},
		{"a boundary used twice", mixed + "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n", "no-close-delimiter 7, duplicate-boundary 10"},
		{"a part without a header", mixed + "--b\r\nhi there\r\n--b--\r\n", "part-without-header 8"},
		{"a defect in a message within", mixed + "--b\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: multipart/mixed\r\n\r\nx\r\n--b--\r\n", "no-boundary 12"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := codes(check(t, tt.in)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// What is wrong with a message does not depend on where its windows meet.
func TestCheckAcrossWindows(t *testing.T) {
	head := good + "MIME-Version: 1.0\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
	for shift := range 40 {
		in := head + strings.Repeat("x=\r\n", (64<<10-20)/4) + strings.Repeat("y", shift) + "=3D=\r\nok\r\n"
		if got := codes(check(t, in)); got != "" {
			t.Fatalf("shift %d: %s", shift, got)
		}
	}
}

// tally counts how much is read of a message that is not in memory.
type tally struct {
	io.ReaderAt
	octets, calls int64
}

func (c *tally) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	c.octets += int64(n)
	c.calls++
	return n, err
}

// Checking twice as much reads twice as much, whatever it is.
func TestCheckIsLinear(t *testing.T) {
	deep := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i)
		}
		return b.String()
	}
	for name, make := range map[string]func(n int) string{
		"delimiters": func(n int) string {
			return "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\n", n)
		},
		"no delimiters": func(n int) string { return "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("\n--", n) },
		"multiparts":    deep,
		"messages":      func(n int) string { return strings.Repeat("Content-Type: message/rfc822\n\n", n) },
		"escapes": func(n int) string {
			return "Content-Transfer-Encoding: quoted-printable\n\n" + strings.Repeat("=\t ", n)
		},
		"bare CR": func(n int) string { return "A: 1\n\n" + strings.Repeat("\r", 4*n) },
		"parts of one octet": func(n int) string {
			return "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\nA", n)
		},
		"messages in a digest": func(n int) string {
			return "Content-Type: multipart/digest; boundary=b\n\n" + strings.Repeat("--b\n\nA:1\n\nx\n", n)
		},
	} {
		var read, calls [2]int64
		for i, n := range []int{20_000, 80_000} {
			in := make(n)
			c := &tally{ReaderAt: strings.NewReader(in)}
			m, err := message.Open(c, int64(len(in)))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.Check(); err != nil {
				t.Fatal(err)
			}
			calls[i] = c.calls
			if read[i] = c.octets; read[i] > 40*int64(len(in))+2<<20 {
				t.Errorf("%s: %d octets read of %d", name, read[i], len(in))
			}
		}
		if name == "delimiters" && calls[1] > 200 {
			t.Errorf("%s: %d calls of ReadAt", name, calls[1])
		}
		if read[1] > 6*read[0]+4<<20 {
			t.Errorf("%s: reads %d octets, then %d of four times as many", name, read[0], read[1])
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{"", "\n", "x", good + "\r\nx\r\n", "A: 1\r\n\n\r\r\n", "From x\n" + good + "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nContent-Transfer-Encoding: base64\n\na\r\n--b--",
		"Content-Type: text/plain; charset*0*=utf-8'en'u%74; charset*1=f\nContent-Transfer-Encoding: quoted-printable\n\n=\x00=3d= \n="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		for _, d := range check(t, in) {
			if d.Line < 1 || d.Line > int64(strings.Count(in, "\n"))+1 || d.Code == "" || strings.ContainsAny(d.Code+d.Text, "\r\n\x00") {
				t.Fatalf("%+v", d)
			}
		}
	})
}
