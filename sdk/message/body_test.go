package message_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mlist/mlist/sdk/message"
)

func newBody(s string) *message.Body {
	return message.NewBody(strings.NewReader("head"+s+"tail"), 4, int64(len(s)))
}

func read(t testing.TB, b *message.Body) string {
	t.Helper()
	var w bytes.Buffer
	if n, err := b.WriteTo(&w); err != nil || n != b.Size() || int64(w.Len()) != n {
		t.Fatalf("WriteTo = %d, %v; size %d, wrote %d", n, err, b.Size(), w.Len())
	}
	return w.String()
}

func TestSplicesMakeWhatTheyMakeOfABytesSlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		model := []byte(rapid.StringN(0, 60, -1).Draw(t, "body"))
		original := string(model)
		b := newBody(original)
		for range rapid.IntRange(0, 20).Draw(t, "splices") {
			off := rapid.IntRange(0, len(model)).Draw(t, "offset")
			del := rapid.IntRange(0, len(model)-off).Draw(t, "delete")
			ins := []byte(rapid.StringN(0, 8, -1).Draw(t, "insert"))
			if err := b.Splice(message.Splice{Offset: int64(off), Delete: int64(del), Insert: ins}); err != nil {
				t.Fatal(err)
			}
			model = slices.Concat(model[:off], ins, model[off+del:])
			compare(t, b, model)
			from := rapid.IntRange(0, len(model)+2).Draw(t, "from")
			p := make([]byte, rapid.IntRange(0, 30).Draw(t, "length"))
			n, err := b.ReadAt(p, int64(from))
			want := model[min(from, len(model)):min(from+len(p), len(model))]
			if !bytes.Equal(p[:n], want) || (n < len(p)) != (err == io.EOF) {
				t.Fatalf("ReadAt(%d at %d) = %q, %v; want %q", len(p), from, p[:n], err, want)
			}
		}
		again := newBody(original)
		for _, s := range b.Splices() {
			if err := again.Splice(s); err != nil {
				t.Fatal(err)
			}
		}
		compare(t, again, model)
	})
}

func compare(t *rapid.T, b *message.Body, want []byte) {
	var w bytes.Buffer
	if _, err := b.WriteTo(&w); err != nil || !bytes.Equal(w.Bytes(), want) || b.Size() != int64(len(want)) {
		t.Fatalf("body is %q (%d), %v; want %q", w.Bytes(), b.Size(), err, want)
	}
}

func TestASpliceOutsideChangesNothing(t *testing.T) {
	b := newBody("hello")
	for _, s := range []message.Splice{{Offset: -1}, {Offset: 6}, {Delete: -1}, {Delete: 6}, {Offset: 5, Delete: 1}, {Offset: 1, Delete: 1<<63 - 1}} {
		s.Insert = []byte("x")
		if err := b.Splice(s); err == nil {
			t.Errorf("%+v: no error", s)
		}
	}
	if got := read(t, b); got != "hello" || len(b.Splices()) != 0 {
		t.Errorf("body is %q, %d splices", got, len(b.Splices()))
	}
}

func TestASpliceKeepsItsOwnCopy(t *testing.T) {
	b := newBody("")
	text := []byte("abc")
	if err := b.Splice(message.Splice{Insert: text}); err != nil {
		t.Fatal(err)
	}
	text[0] = 'X'
	if got := read(t, b); got != "abc" {
		t.Errorf("body is %q", got)
	}
}

func TestAFileThatIsTooShortIsAnError(t *testing.T) {
	b := message.NewBody(strings.NewReader("abc"), 0, 10)
	if _, err := b.ReadAt(make([]byte, 10), 0); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("ReadAt: %v", err)
	}
	if _, err := b.WriteTo(io.Discard); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("WriteTo: %v", err)
	}
	if _, err := b.ReadAt(make([]byte, 1), -1); err == nil || err == io.EOF {
		t.Errorf("negative offset: %v", err)
	}
}

func TestManyTinySplices(t *testing.T) {
	b := newBody("")
	for range 5000 {
		if err := b.Splice(message.Splice{Offset: b.Size(), Insert: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, b); got != strings.Repeat("x", 5000) {
		t.Errorf("body of %d", len(got))
	}
}

func FuzzBody(f *testing.F) {
	f.Add("hello", []byte{0, 1, 2, 'x', 3, 0, 1, 'y'})
	f.Fuzz(func(t *testing.T, text string, script []byte) {
		b, model := newBody(text), []byte(text)
		for ; len(script) >= 4; script = script[4:] {
			off, del, n := int(script[0]), int(script[1]), int(script[2]%5)
			ins := bytes.Repeat(script[3:4], n)
			err := b.Splice(message.Splice{Offset: int64(off), Delete: int64(del), Insert: ins})
			if inside := off+del <= len(model); inside != (err == nil) {
				t.Fatalf("splice %d+%d of %d: %v", off, del, len(model), err)
			} else if inside {
				model = slices.Concat(model[:off], ins, model[off+del:])
			}
		}
		if got := read(t, b); got != string(model) {
			t.Fatalf("%q, want %q", got, model)
		}
	})
}

func TestSplit(t *testing.T) {
	long := "A: " + strings.Repeat("x", 9000) + "\r\n"
	full := "A: " + strings.Repeat("x", message.MaxHeader-5) + "\r\n"
	tests := []struct{ name, in, block, body string }{
		{"header and body", "A: 1\r\nB: 2\r\n\r\nbody\r\n", "A: 1\r\nB: 2\r\n", "body\r\n"},
		{"LF ends lines too", "A: 1\n\nbody", "A: 1\n", "body"},
		{"an empty body", "A: 1\r\n\r\n", "A: 1\r\n", ""},
		{"no empty line is no body", "A: 1\r\nB: 2\r\n", "A: 1\r\nB: 2\r\n", ""},
		{"no line end at all", "A: 1", "A: 1", ""},
		{"nothing", "", "", ""},
		{"an empty line first", "\r\nbody", "", "body"},
		{"a first line that is no field", "hello world\r\nA: 1\r\n\r\nbody", "", "hello world\r\nA: 1\r\n\r\nbody"},
		{"a first line that is a fold", " A: 1\n\nbody", "", " A: 1\n\nbody"},
		{"an mbox line", "From a@b Mon\nA: 1\n\nbody", "From a@b Mon\nA: 1\n", "body"},
		{"an mbox line above no field", "From here on\nwe walk\n\nbody", "", "From here on\nwe walk\n\nbody"},
		{"a line with a space is no empty line", "A: 1\n \nB: 2\n\nbody", "A: 1\n \nB: 2\n", "body"},
		{"a long header", long + "\r\nbody", long, "body"},
		{"the longest header", full + "\r\nbody", full, "body"},
		{"the longest header without an empty line", full, full, ""},
		{"a long line that is no field", strings.Repeat("x", message.MaxHeader+10), "", strings.Repeat("x", message.MaxHeader+10)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			block, body, err := message.Split(strings.NewReader(tt.in), int64(len(tt.in)))
			if err != nil || string(block) != tt.block || tt.in[body:] != tt.body {
				t.Errorf("got %.80q, body at %d, %v", block, body, err)
			}
		})
	}
	for _, in := range []string{"A" + full + "\r\nbody", full + "x", full + "B: " + strings.Repeat("x", 1<<20)} {
		if _, _, err := message.Split(strings.NewReader(in), int64(len(in))); !errors.Is(err, message.ErrHeaderTooLong) {
			t.Errorf("header over the limit: %v", err)
		}
	}
	if _, _, err := message.Split(strings.NewReader("A: 1\n"), 100); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short file: %v", err)
	}
}

type counting struct {
	r io.ReaderAt
	n int
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(p, off)
	c.n += n
	return n, err
}

func TestSplitReadsLittleOfALargeMessage(t *testing.T) {
	in := "A: 1\n\n" + strings.Repeat("x", 10<<20)
	for _, in := range []string{in, "no header\n\n\n" + in} {
		c := &counting{r: strings.NewReader(in)}
		if _, _, err := message.Split(c, int64(len(in))); err != nil || c.n > 8192 {
			t.Errorf("read %d octets, %v", c.n, err)
		}
	}
}

func FuzzSplit(f *testing.F) {
	for _, s := range []string{"A: 1\r\n\r\nb", "\n", "x\n\n", "From a\nA:1\n\n", "A:1\r\r\n\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		block, body, err := message.Split(strings.NewReader(in), int64(len(in)))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(in, string(block)) || body > int64(len(in)) || strings.Trim(in[len(block):body], "\r\n") != "" || body > int64(len(block))+2 {
			t.Fatalf("block %q, body at %d", block, body)
		}
	})
}
