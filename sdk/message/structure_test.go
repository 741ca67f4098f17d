package message_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mlist/mlist/sdk/message"
)

// parse splits a whole message and reads its structure.
func parse(t testing.TB, in string) (*message.Header, *message.Body, *message.Part, []message.Defect) {
	t.Helper()
	block, at, err := message.Split(strings.NewReader(in), int64(len(in)))
	if err != nil {
		t.Fatal(err)
	}
	h := message.ParseHeader(block)
	b := message.NewBody(strings.NewReader(in), at, int64(len(in))-at)
	root, defects, err := message.ParseStructure(h, b)
	if err != nil {
		t.Fatal(err)
	}
	return h, b, root, defects
}

// outline writes a part as one line per part: depth, type, encoding, text in short.
func outline(t testing.TB, p *message.Part, b *message.Body, depth int) string {
	text := make([]byte, p.End-p.Start)
	if _, err := b.ReadAt(text, p.Start); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	s := fmt.Sprintf("%s%s %s %s%q", strings.Repeat(" ", depth), p.Type, p.Encoding, p.Disposition, shorten(string(text)))
	if p.Boundary != "" {
		s += fmt.Sprintf(" open=%t close=%t", p.Open >= 0, p.Close >= 0)
	}
	for _, c := range p.Parts {
		s += "\n" + outline(t, c, b, depth+1)
	}
	return s
}

func mailboxes(h *message.Header) (pairs [][2]string) {
	for _, m := range message.ParseMailboxes(h.Get("From")) {
		pairs = append(pairs, [2]string{m.Name, m.Address})
	}
	return pairs
}

func shorten(s string) string {
	if len(s) > 24 {
		return s[:10] + "…" + s[len(s)-10:]
	}
	return s
}

// Each file in testdata is a message, a line of ten =, and what is read out of it.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 8 {
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
			h, b, root, defects := parse(t, in)
			got := fmt.Sprintf("subject: %s\nfrom: %q\nprotected: %t\nheader defects: %q\ndefects: %q\n%s\n", h.Text("Subject"),
				mailboxes(h), root.Protected(b), h.Defects(), defects, outline(t, root, b, 0))
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

func TestStructure(t *testing.T) {
	mixed := "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
	tests := []struct{ name, in, want, defects string }{
		{"no type is plain text", "A: 1\n\nhi", `text/plain 7bit "hi"`, ""},
		{"a type that is none is plain text", "Content-Type: text\n\nhi", `text/plain 7bit "hi"`, ""},
		{"comments and bad parameters are read past", "Content-Type: (a) TEXT (b) / (c) html (d) ; x; charset = utf-8 ; y=\"\nContent-Transfer-Encoding: BASE64 (e)\nContent-Disposition: Attachment; filename=x\n\nhi", `text/html base64 attachment"hi"`, ""},
		{"two parts", mixed + "pre\r\n--b\r\n\r\none\r\n--b\r\nContent-Type: image/png\r\n\r\ntwo\r\n\r\n--b--\r\nepilogue", "multipart/mixed 7bit \"pre\\r\\n--b\\r\\n…\\r\\nepilogue\" open=true close=true\n text/plain 7bit \"one\"\n image/png 7bit \"two\\r\\n\"", ""},
		{"LF ends lines too", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--", "multipart/mixed 7bit \"--b\\n\\none\\n--b--\" open=true close=true\n text/plain 7bit \"one\"", ""},
		{"a boundary that starts like another", mixed + "--b\n\none\n--bb\n--b-\n--b--x\n-- b\n --b\n--b \t\n\ntwo\n--b-- \n", "multipart/mixed 7bit \"--b\\n\\none\\n-…wo\\n--b-- \\n\" open=true close=true\n text/plain 7bit \"one\\n--bb\\n-…\\n-- b\\n --b\"\n text/plain 7bit \"two\"", ""},
		{"no close delimiter", mixed + "--b\n\none", "multipart/mixed 7bit \"--b\\n\\none\" open=true close=false\n text/plain 7bit \"one\"", "octet 0: multipart without a close delimiter"},
		{"the boundary is the last thing", mixed + "--b\n\none\n--b", "multipart/mixed 7bit \"--b\\n\\none\\n--b\" open=true close=false\n text/plain 7bit \"one\"\n text/plain 7bit \"\"", "octet 0: multipart without a close delimiter"},
		{"no delimiter", mixed + "one", "multipart/mixed 7bit \"one\" open=false close=false", "octet 0: multipart without a line that is its boundary"},
		{"an empty body", mixed, "multipart/mixed 7bit \"\" open=false close=false", "octet 0: multipart without a line that is its boundary"},
		{"no boundary", "Content-Type: multipart/mixed\n\none", `multipart/mixed 7bit "one"`, "octet 0: multipart that names no boundary"},
		{"parts without bodies", mixed + "--b\n--b\nContent-Type: a/b\n--b\n\n--b--", "multipart/mixed 7bit \"--b\\n--b\\nCo…--b\\n\\n--b--\" open=true close=true\n text/plain 7bit \"\"\n a/b 7bit \"\"\n text/plain 7bit \"\"", ""},
		{"a part without a header", mixed + "--b\nno header here\n\nmore\n--b--", "multipart/mixed 7bit \"--b\\nno hea…more\\n--b--\" open=true close=true\n text/plain 7bit \"no header here\\n\\nmore\"", "octet 4: part without a header"},
		{"an outer boundary ends inner ones", mixed + "--b\nContent-Type: multipart/alternative; boundary=c\n\n--c\n\none\n--b\n\n--c\n--b--", "multipart/mixed 7bit \"--b\\nConten…\\n--c\\n--b--\" open=true close=true\n multipart/alternative 7bit \"--c\\n\\none\" open=true close=false\n  text/plain 7bit \"one\"\n text/plain 7bit \"--c\"", "octet 53: multipart without a close delimiter"},
		{"a closed multipart does not open again", mixed + "--b\nContent-Type: multipart/alternative; boundary=c\n\n--c\n\none\n--c--\n--c\n\ntwo\n--b--", "multipart/mixed 7bit \"--b\\nConten…\\ntwo\\n--b--\" open=true close=true\n multipart/alternative 7bit \"--c\\n\\none\\n--c--\\n--c\\n\\ntwo\" open=true close=true\n  text/plain 7bit \"one\"", ""},
		{"an inner boundary that is the outer one and more", mixed + "--b\nContent-Type: multipart/alternative; boundary=b--\n\n--b--\n\none\n--b----\n--b--", "multipart/mixed 7bit \"--b\\nConten…----\\n--b--\" open=true close=true\n multipart/alternative 7bit \"--b--\\n\\none\\n--b----\" open=true close=true\n  text/plain 7bit \"one\"", ""},
		{"a message within is a leaf", mixed + "--b\nContent-Type: message/rfc822\n\nContent-Type: multipart/signed; boundary=c\n\n--c\n\nx\n--c--\n--b--", "multipart/mixed 7bit \"--b\\nConten…-c--\\n--b--\" open=true close=true\n message/rfc822 7bit \"Content-Ty…c\\n\\nx\\n--c--\"", ""},
		{"the parts of a digest are messages", "Content-Type: multipart/digest; boundary=b\n\n--b\n\nA: 1\n--b--", "multipart/digest 7bit \"--b\\n\\nA: 1\\n--b--\" open=true close=true\n message/rfc822 7bit \"A: 1\"", ""},
		{"a boundary in quotes with a space at its end", "Content-Type: multipart/mixed; boundary=\"a=(b) \"\n\n--a=(b)\n\none\n--a=(b)--", "multipart/mixed 7bit \"--a=(b)\\n\\none\\n--a=(b)--\" open=true close=true\n text/plain 7bit \"one\"", ""},
		{"a multipart in base64", "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\n--b--", "multipart/mixed base64 \"--b--\" open=false close=true", `octet 0: multipart encoded as "base64"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, b, root, defects := parse(t, tt.in)
			if got := outline(t, root, b, 0); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			if got := texts(defects); got != tt.defects {
				t.Errorf("defects %q, want %q", got, tt.defects)
			}
		})
	}
}

// Whatever lies where the 64 KB windows meet, the parts are the same.
func TestDelimitersAcrossWindows(t *testing.T) {
	for _, eol := range []string{"\n", "\r\n"} {
		for shift := range 40 {
			one := strings.Repeat("x", 64<<10-30+shift)
			two := strings.Repeat("-y\n-", 16<<10) + strings.Repeat("z", shift)
			in := "Content-Type: multipart/mixed; boundary=b" + eol + eol + "--b" + eol + "A: " + strings.Repeat("h", 1000) + eol + eol + one + eol + "--b" + eol + eol + two + eol + "--b--" + eol
			_, b, root, defects := parse(t, in)
			if len(root.Parts) != 2 || len(defects) > 0 {
				t.Fatalf("shift %d: %d parts, %q", shift, len(root.Parts), defects)
			}
			for i, want := range []string{one, two} {
				got := make([]byte, root.Parts[i].End-root.Parts[i].Start)
				if _, err := b.ReadAt(got, root.Parts[i].Start); err != nil || string(got) != want {
					t.Fatalf("shift %d: part %d is wrong, %v", shift, i, err)
				}
			}
		}
	}
}

func TestStructureIsBounded(t *testing.T) {
	many := "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\n", 20_000) + "--b--\n"
	_, b, root, defects := parse(t, many)
	if len(root.Parts) != message.MaxParts-1 || root.Close != b.Size()-6 || len(defects) != 1 {
		t.Errorf("%d parts, close at %d, %q", len(root.Parts), root.Close, defects)
	}
	deep := ""
	for i := range 100 {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i)
	}
	_, _, root, _ = parse(t, deep)
	depth := 0
	for p := root; len(p.Parts) > 0; p = p.Parts[0] {
		depth++
	}
	if depth != message.MaxDepth {
		t.Errorf("depth %d", depth)
	}
	headers := "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n"+strings.Repeat("A: "+strings.Repeat("x", 90)+"\n", 1000)+"\n", 200) + "--b--\n"
	_, _, root, _ = parse(t, headers)
	kept := 0
	for _, p := range root.Parts {
		kept += len(p.Header.Bytes())
	}
	if kept > 1<<20 || root.Close < 0 {
		t.Errorf("kept %d octets of headers, close at %d", kept, root.Close)
	}
}

// pattern is a file of any size that takes no memory.
type pattern struct{ head, repeat, tail string }

func (p pattern) body(n int64) *message.Body {
	b := message.NewBody(p, 0, n)
	for _, s := range []message.Splice{{Insert: []byte(p.head)}, {Offset: int64(len(p.head)) + n, Insert: []byte(p.tail)}} {
		if err := b.Splice(s); err != nil {
			panic(err)
		}
	}
	return b
}

func (p pattern) ReadAt(buf []byte, off int64) (int, error) {
	for n := 0; n < len(buf); {
		n += copy(buf[n:], p.repeat[(off+int64(n))%int64(len(p.repeat)):])
	}
	return len(buf), nil
}

func TestALargeBodyCostsNoMemoryAndLinearTime(t *testing.T) {
	h := message.ParseHeader([]byte("Content-Type: multipart/mixed; boundary=b\n"))
	for _, repeat := range []string{strings.Repeat("QUJD", 19) + "\r\n", "\n--", "\n--b-", "-", "\n", "\n--bb\n"} {
		p := pattern{"--b\n\nhi\n--b\nContent-Type: text/x-log\n\n", repeat, "\n--b--\n"}
		b := p.body(40 << 20 / int64(len(repeat)) * int64(len(repeat)))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		root, defects, err := message.ParseStructure(h, b)
		d := time.Since(start)
		if err != nil || len(defects) > 0 || len(root.Parts) != 2 || root.Close != b.Size()-6 || root.Protected(b) {
			t.Fatalf("%q: %+v, %q, %v", repeat, root, defects, err)
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 512<<10 {
			t.Errorf("%.10q: allocated %d octets", repeat, used)
		}
		t.Logf("%.10q: 40 MiB in %v", repeat, d)
	}
}

func TestProtected(t *testing.T) {
	pgp := "-----BEGIN PGP SIGNED MESSAGE-----\nHash: x\n"
	tests := []struct {
		name, in string
		want     bool
	}{
		{"plain text", "A: 1\n\nhello", false},
		{"signed", "Content-Type: multipart/signed; boundary=b\n\n--b\n\nx\n--b--", true},
		{"encrypted", "Content-Type: Multipart/Encrypted; boundary=b\n\n", true},
		{"S/MIME", "Content-Type: application/pkcs7-mime; smime-type=signed-data\n\nx", true},
		{"old S/MIME", "Content-Type: application/x-pkcs7-mime\n\nx", true},
		{"S/MIME by its name", "Content-Type: application/octet-stream; name=smime.P7M\n\nx", true},
		{"S/MIME by its file name", "Content-Type: application/octet-stream\nContent-Disposition: attachment; filename=\"smime.p7m\"\n\nx", true},
		{"another file", "Content-Type: application/octet-stream; name=x.zip\n\nx", false},
		{"signed within", "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/signed; boundary=b\n\n--b\n\nx\n--b--\n--a--", true},
		{"inline PGP", "A: 1\n\nhi\n\n" + pgp, true},
		{"inline encrypted PGP at the start", "A: 1\n\n-----BEGIN PGP MESSAGE-----\r\n", true},
		{"quoted PGP", "A: 1\n\n> " + pgp, false},
		{"a public key", "A: 1\n\n-----BEGIN PGP PUBLIC KEY BLOCK-----\n", false},
		{"inline PGP in a part", "Content-Type: multipart/mixed; boundary=a\n\n--a\n\n" + pgp + "\n--a--", true},
		{"inline PGP in base64", "Content-Transfer-Encoding: base64\n\nLS0tLS1CRUdJTiBQR1Ag\nU0lHTkVEIE1FU1NBR0Ut\nLS0tLQo=", true},
		{"inline PGP in quoted-printable", "Content-Transfer-Encoding: quoted-printable\n\nhi\n=2D----BEGIN PGP SIG=\nNED MESSAGE-----", true},
		{"inline PGP after bad quoted-printable", "Content-Transfer-Encoding: quoted-printable\n\n=zz\n" + pgp, true},
		{"inline PGP where windows meet", "A: 1\n\n" + strings.Repeat("x", 16<<10-20) + "\n" + pgp, true},
		{"PGP in something that is no text", "Content-Type: application/octet-stream\n\n" + pgp, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, b, root, _ := parse(t, tt.in)
			if got := root.Protected(b); got != tt.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

var errDisk = errors.New("disk on fire")

type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errDisk }

func TestAnErrorOfReadingIsTold(t *testing.T) {
	b := message.NewBody(broken{}, 0, 100)
	root, _, err := message.ParseStructure(message.ParseHeader([]byte("Content-Type: multipart/mixed; boundary=b\n")), b)
	if !errors.Is(err, errDisk) || root == nil {
		t.Errorf("root %v, error %v", root, err)
	}
	plain, _, err := message.ParseStructure(&message.Header{}, b)
	if err != nil || !plain.Protected(b) {
		t.Errorf("a body that cannot be read is not protected; %v", err)
	}
}

// nested fails if a part does not lie within its parent and after its sibling.
func nested(t interface{ Fatalf(string, ...any) }, p *message.Part, from, to int64) {
	if p.Start < from || p.End < p.Start || p.End > to {
		t.Fatalf("part %d to %d outside %d to %d", p.Start, p.End, from, to)
	}
	for _, c := range p.Parts {
		nested(t, c, from, p.End)
		from = c.End
	}
}

func TestPartsNest(t *testing.T) {
	piece := rapid.SampledFrom([]string{"--a", "--b", "--a--", "--b--", "\n", "\r\n", "\n\n", "x", "-", " ", "A: 1\n", "Content-Type: multipart/mixed; boundary=b\n", "Content-Type: multipart/digest; boundary=a\r\n"})
	rapid.Check(t, func(t *rapid.T) {
		in := strings.Join(rapid.SliceOfN(piece, 0, 40).Draw(t, "body"), "")
		h := message.ParseHeader([]byte("Content-Type: multipart/mixed; boundary=a\n"))
		root, _, err := message.ParseStructure(h, newBody(in))
		if err != nil || root.Start != 0 || root.End != int64(len(in)) {
			t.Fatalf("root %d to %d, %v", root.Start, root.End, err)
		}
		nested(t, root, 0, int64(len(in)))
	})
}

func FuzzParseStructure(f *testing.F) {
	f.Add("multipart/mixed; boundary=a", "--a\n\nx\n--a\nContent-Type: multipart/signed; boundary=b\n\n--b\n\n--b--\n--a--\n")
	f.Add("multipart/digest; boundary=\"a b\"", "--a b\r\n\r\n--a b--")
	f.Add("text/plain; charset*0=\"utf\"; charset*1=-8", "x")
	f.Fuzz(func(t *testing.T, media, in string) {
		var h message.Header
		h.Append("Content-Type", media)
		b := newBody(in)
		root, _, err := message.ParseStructure(&h, b)
		if err != nil {
			t.Fatal(err)
		}
		nested(t, root, 0, b.Size())
		root.Protected(b)
	})
}
