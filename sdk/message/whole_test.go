package message_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/test/corpus"
)

// edited are the fields that FuzzEdit works on.
var edited = []string{"A", "Subject", "From", "X-New", "Content-Type"}

// FuzzEdit makes any edits of any message, and holds all other octets against those
// that came.
func FuzzEdit(f *testing.F) {
	for m := range corpus.Extremes() {
		if len(m.Text) < 1000 {
			f.Add(m.Text, []byte("\x00a\x05b\x0ac\x10d\x15e\x04f\x09g"))
		}
	}
	for m := range corpus.Generated(3, 10) {
		f.Add(m.Text, []byte{3, 200, 9, 1, 14, 77, 19, 5, 4, 4, 4, 4})
	}
	f.Fuzz(func(t *testing.T, in, script []byte) {
		m, err := message.Open(bytes.NewReader(in), int64(len(in)))
		if err != nil {
			t.Fatal(err)
		}
		block := m.Header.Bytes()
		body := slices.Clone(in[m.BodyAt:])
		gap := in[len(block):m.BodyAt]
		for ; len(script) >= 2; script = script[2:] {
			what, value := script[0], script[1]
			name := edited[int(what/5)%len(edited)]
			text := []string{"x", "é\r\n y", "=?utf-8?q?z?= \n", strings.Repeat("long ", 40), "\x00", ""}[int(value)%6]
			switch what % 5 {
			case 0:
				m.Header.Append(name, text)
			case 1:
				m.Header.Prepend(name, text)
			case 2:
				m.Header.Replace(name, text)
			case 3:
				m.Header.Remove(name)
			case 4:
				at := min(int(value)*int(what)/4, len(body))
				gone := min(int(value)%7, len(body)-at)
				if err := m.Body.Splice(message.Splice{Offset: int64(at), Delete: int64(gone), Insert: []byte(text)}); err != nil {
					t.Fatal(err)
				}
				body = slices.Concat(body[:at], []byte(text), body[at+gone:])
			}
		}
		before, after := untouched(block), untouched(m.Header.Bytes())
		if after != before && after != before+"\n" && after != before+"\r\n" { // the last line may have got an end
			t.Fatalf("the rest of the header was %q, is %q", before, after)
		}
		var out bytes.Buffer
		if n, err := m.WriteTo(&out); err != nil || n != int64(out.Len()) {
			t.Fatal(n, err)
		}
		if want := slices.Concat(m.Header.Bytes(), gap, body); !bytes.Equal(out.Bytes(), want) {
			t.Fatalf("%q, want %q", out.Bytes(), want)
		}
	})
}

// untouched is a header block without the fields that are edited.
func untouched(block []byte) string {
	h := message.ParseHeader(bytes.Clone(block))
	for _, name := range edited {
		h.Remove(name)
	}
	return string(h.Bytes())
}
