package message_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mlist/mlist/sdk/message"
)

const sample = "Received: from a by b;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\n" +
	"From: =?iso-8859-1?q?J=FCrgen?= <j@example.org>\r\n" +
	"to : dev@lists.example.org\r\n" +
	"Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\n =?utf-8?b?IGF1cw==?=\r\n" +
	"X-Odd:\tkept  as it   is \r\n" +
	"X-Odd: second\r\n"

func TestReadingAHeader(t *testing.T) {
	h := message.ParseHeader([]byte(sample))
	for name, want := range map[string]string{
		"received": "from a by b;\tMon, 1 Jan 2024 00:00:00 +0000",
		"TO":       "dev@lists.example.org",
		"x-odd":    "kept  as it   is",
		"Cc":       "",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("Get(%s) = %q, want %q", name, got, want)
		}
	}
	if got := h.Text("Subject"); got != "Grüße aus" {
		t.Errorf("Text(Subject) = %q", got)
	}
	if got := h.Values("X-Odd"); !slices.Equal(got, []string{"kept  as it   is", "second"}) {
		t.Errorf("Values = %q", got)
	}
	var names []string
	for f := range h.Fields() {
		names = append(names, f.Name)
	}
	if want := []string{"Received", "From", "to", "Subject", "X-Odd", "X-Odd"}; !slices.Equal(names, want) {
		t.Errorf("Fields = %q, want %q", names, want)
	}
	if d := h.Defects(); len(d) != 0 {
		t.Errorf("Defects = %q", d)
	}
}

func TestEditsChangeOnlyTheirField(t *testing.T) {
	tests := []struct {
		name, in string
		edit     func(h *message.Header)
		want     string
	}{
		{"a new field goes above all others", "A: 1\r\nB: 2\r\n", func(h *message.Header) { h.Prepend("X", "y") }, "X: y\r\nA: 1\r\nB: 2\r\n"},
		{"a new field goes below an mbox line", "From a@b Mon\nA: 1\n", func(h *message.Header) { h.Prepend("X", "y") }, "From a@b Mon\nX: y\nA: 1\n"},
		{"a new field goes below all others", "A: 1\nB: 2\n", func(h *message.Header) { h.Append("X", "y") }, "A: 1\nB: 2\nX: y\n"},
		{"a missing line end is mended before a new field", "A: 1\r\nB: 2", func(h *message.Header) { h.Append("X", "y") }, "A: 1\r\nB: 2\r\nX: y\r\n"},
		{"a replaced field keeps its place and the others go", "A: 1\nB: 2\na:3\nC: 4\n", func(h *message.Header) { h.Replace("A", "new") }, "A: new\nB: 2\nC: 4\n"},
		{"a field that is not there is appended", "A: 1\n", func(h *message.Header) { h.Replace("X", "y") }, "A: 1\nX: y\n"},
		{"all fields of a name are removed", "A: 1\nB: 2\n x\nb : 3\nA: 4\n", func(h *message.Header) { h.Remove("B") }, "A: 1\nA: 4\n"},
		{"a field with an endless name can be removed", strings.Repeat("A", 200) + ": 1\nB: 2\n", func(h *message.Header) { h.Remove(strings.Repeat("a", 200)) }, "B: 2\n"},
		{"lines that are no field stay", "A: 1\nnonsense\nB: 2\n", func(h *message.Header) { h.Remove("A"); h.Append("X", "y") }, "nonsense\nB: 2\nX: y\n"},
		{"an orphan fold does not become a fold of the new field", " orphan\nA: 1\n", func(h *message.Header) { h.Prepend("X", "y") }, " orphan\nX: y\nA: 1\n"},
		{"an empty header takes CRLF", "", func(h *message.Header) { h.Append("X", "y") }, "X: y\r\n"},
		{"a line break in a value makes no new field", "A: 1\n", func(h *message.Header) { h.Append("X", "y\r\nBcc: evil@example.org\n\nbody") }, "A: 1\nX: y  Bcc: evil@example.org  body\n"},
		{"a fold in a value is kept", "A: 1\n", func(h *message.Header) { h.Append("X", "y;\r\n\tz=1") }, "A: 1\nX: y;\n\tz=1\n"},
		{"a fold without text is dropped", "A: 1\n", func(h *message.Header) { h.Append("X", "y\r\n \r\n z\n ") }, "A: 1\nX: y \n z\n"},
		{"a name that is none changes nothing", "A: 1\n", func(h *message.Header) { h.Append("X: y\nBcc", "z"); h.Prepend("", "z"); h.Replace("a b", "z") }, "A: 1\n"},
		{"text that is not ASCII is encoded", "A: 1\n", func(h *message.Header) { h.Replace("Subject", "[dev] Grüße an alle") }, "A: 1\nSubject: [dev] =?utf-8?q?Gr=C3=BC=C3=9Fe?= an alle\n"},
		{"encoded words in a value stay, new text joins them", "A: 1\n", func(h *message.Header) { h.Replace("Subject", "[bü] =?utf-8?q?x?= y") }, "A: 1\nSubject: =?utf-8?b?W2LDvF0g?= =?utf-8?q?x?= y\n"},
		{"a name in an address field is encoded, the address is not", "A: 1\n", func(h *message.Header) { h.Replace("From", "Jürgen <jü@example.org>, b@example.org") }, "A: 1\nFrom: =?utf-8?q?J=C3=BCrgen?= <jü@example.org>, b@example.org\n"},
		{"a long value is folded", "A: 1\n", func(h *message.Header) { h.Append("References", strings.Repeat("<0123456789@example.org> ", 6)) },
			"A: 1\nReferences: <0123456789@example.org> <0123456789@example.org>\n <0123456789@example.org> <0123456789@example.org> <0123456789@example.org>\n <0123456789@example.org>\n"},
		{"octets that are not UTF-8 are read as windows-1252", "A: 1\n", func(h *message.Header) { h.Append("Subject", "caf\xe9") }, "A: 1\nSubject: =?utf-8?q?caf=C3=A9?=\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := message.ParseHeader([]byte(tt.in))
			tt.edit(h)
			if got := string(h.Bytes()); got != tt.want {
				t.Errorf("got\n%q, want\n%q", got, tt.want)
			}
			again := message.ParseHeader([]byte(tt.in))
			if err := again.Apply(h.Ops()); err != nil || !bytes.Equal(again.Bytes(), h.Bytes()) {
				t.Errorf("Apply(Ops()) = %q, %v", again.Bytes(), err)
			}
		})
	}
}

func TestANewFieldIsNeverBelowAnEmptyLine(t *testing.T) {
	for in, want := range map[string]string{"A: 1\n\r": "A: 1\n\r\r\nB: 2\n", "A: 1\r": "A: 1\r\r\nB: 2\r\n", "A: 1": "A: 1\r\nB: 2\r\n"} {
		h := message.ParseHeader([]byte(in))
		h.Append("B", "2")
		if string(h.Bytes()) != want {
			t.Errorf("%q becomes %q", in, h.Bytes())
		}
	}
}

func TestApplyRefusesAllIfOneIsBad(t *testing.T) {
	for name, op := range map[string]message.Op{
		"no name":              {Kind: message.Append, Value: "x"},
		"a colon in the name":  {Kind: message.Append, Name: "a:b", Value: "x"},
		"a space in the name":  {Kind: message.Remove, Name: "a b"},
		"8 bit in the name":    {Kind: message.Remove, Name: "ä"},
		"a name without end":   {Kind: message.Append, Name: strings.Repeat("a", 2000)},
		"a line break":         {Kind: message.Replace, Name: "A", Value: "x\nB: y"},
		"a line break at last": {Kind: message.Replace, Name: "A", Value: "x\r\n"},
		"a CR":                 {Kind: message.Prepend, Name: "A", Value: "x\r y"},
		"a NUL":                {Kind: message.Append, Name: "A", Value: "x\x00"},
		"no kind":              {Name: "A", Value: "x"},
		"an unknown kind":      {Kind: 5, Name: "A", Value: "x"},
	} {
		h := message.ParseHeader([]byte("A: 1\n"))
		err := h.Apply([]message.Op{{Kind: message.Append, Name: "Good", Value: "x"}, op})
		if err == nil || string(h.Bytes()) != "A: 1\n" || len(h.Ops()) != 0 {
			t.Errorf("%s: error %v, header %q", name, err, h.Bytes())
		}
	}
}

func TestFieldsMayBeEditedWhileTheyAreRead(t *testing.T) {
	h := message.ParseHeader([]byte("A: 1\nB: 2\nC: 3\n"))
	var seen []string
	for f := range h.Fields() {
		seen = append(seen, string(f.Raw))
		h.Remove(f.Name)
		h.Prepend("X-"+f.Name, "y")
	}
	if want := []string{"A: 1\n", "B: 2\n", "C: 3\n"}; !slices.Equal(seen, want) {
		t.Errorf("saw %q", seen)
	}
}

func texts(defects []message.Defect) string {
	texts := make([]string, len(defects))
	for i, d := range defects {
		texts[i] = d.String()
	}
	return strings.Join(texts, ",")
}

func TestDefects(t *testing.T) {
	for in, want := range map[string]string{
		"A: 1\nnonsense\nmore\n": "line 2: no header field",
		"A: 1\nB: \xe9\n":        "line 2: 8-bit characters in the header",
		"A: 1\x00\n":             "line 1: NUL in the header",
		"A: 1\rb\n":              "line 1: CR that ends no line in the header",
		"A: 1":                   "line 1: no line end",
		"A: 1\n\nB: 2\n":         "line 2: no header field,line 2: empty line in the header",
		"A: 1\n " + strings.Repeat("x", 998) + "\n": "line 2: header line longer than 998 octets",
		"From a@b\nA: 1\n":                          "",
		strings.Repeat("A: 1\n", 50_005):            "line 50001: more than 50000 header fields",
	} {
		h := message.ParseHeader([]byte(in))
		if got := texts(h.Defects()); got != want {
			t.Errorf("%.40q: %q, want %q", in, got, want)
		}
		if string(h.Bytes()) != in {
			t.Errorf("%.40q: bytes changed", in)
		}
	}
}

// block draws something like a header, with all that goes wrong in them.
func block() *rapid.Generator[string] {
	piece := rapid.SampledFrom([]string{"A: 1\r\n", "B: 2\n", "b : 3\n", " fold\n", "\tfold\r\n", "junk\n", "\n", "\r\n", "Subject: =?utf-8?q?x?=\r\n",
		"From x y\n", "C:\xff\n", "\r", "\x00", ":", "a", " "})
	return rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(t, "pieces"), "") })
}

func TestAnUneditedHeaderIsItsInput(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.OneOf(block(), rapid.String()).Draw(t, "in")
		h := message.ParseHeader([]byte(in))
		if got := string(h.Bytes()); got != in {
			t.Fatalf("%q became %q", in, got)
		}
	})
}

func TestAnyEditLeavesOtherFieldsAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := block().Draw(t, "in")
		h := message.ParseHeader([]byte(in))
		name := rapid.SampledFrom([]string{"A", "b", "Subject", "X-New", "From", "To"}).Draw(t, "name")
		value := rapid.OneOf(rapid.String(), rapid.StringMatching(`([a-zé]{1,9}|\r?\n| |=\?utf-8\?q\?x\?=|\r){0,40}`)).Draw(t, "value")
		before := others(h, name)
		count := fields(h)
		var gone, added int
		switch kind := rapid.IntRange(1, 4).Draw(t, "kind"); message.OpKind(kind) {
		case message.Prepend:
			h.Prepend(name, value)
			added = 1
		case message.Append:
			h.Append(name, value)
			added = 1
		case message.Replace:
			gone, added = len(h.Values(name)), 1
			h.Replace(name, value)
		case message.Remove:
			gone = h.Remove(name)
		}
		if after := others(h, name); strings.TrimRight(before, "\r\n") != strings.TrimRight(after, "\r\n") {
			t.Fatalf("others were %q, are %q", before, after)
		}
		// Read back, the block has exactly the fields it should have.
		back := message.ParseHeader(h.Bytes())
		if got := fields(back); got != count-gone+added {
			t.Fatalf("%q has %d fields, want %d", h.Bytes(), got, count-gone+added)
		}
		again := message.ParseHeader([]byte(in))
		if err := again.Apply(h.Ops()); err != nil || !bytes.Equal(again.Bytes(), h.Bytes()) {
			t.Fatalf("replayed: %q, %v; want %q", again.Bytes(), err, h.Bytes())
		}
	})
}

// others are the bytes of all fields but those of that name.
func others(h *message.Header, name string) string {
	var b strings.Builder
	for f := range h.Fields() {
		if !strings.EqualFold(f.Name, name) {
			b.Write(f.Raw)
		}
	}
	return b.String()
}

func fields(h *message.Header) int {
	n := 0
	for range h.Fields() {
		n++
	}
	return n
}

func TestNewFieldsKeepTheLimitsOfALine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"Subject", "To", "X", strings.Repeat("N", 76)}).Draw(t, "name")
		word := rapid.OneOf(rapid.StringMatching(`[a-zöü日<>@",]{1,60}`), rapid.StringOfN(rapid.RuneFrom([]rune("ab@ü")), 800, 1200, -1))
		value := strings.Join(rapid.SliceOfN(word, 1, 20).Draw(t, "words"), rapid.SampledFrom([]string{" ", "\r\n ", strings.Repeat(" ", 700)}).Draw(t, "space"))
		var h message.Header
		h.Append(name, value)
		for line := range bytes.Lines(h.Bytes()) {
			line = bytes.TrimSuffix(line, []byte("\r\n"))
			if len(line) > 998 {
				t.Fatalf("line of %d octets: %.100q", len(line), line)
			}
			if len(bytes.TrimSpace(line)) == 0 {
				t.Fatalf("empty line in %q", h.Bytes())
			}
			for _, w := range bytes.Fields(line) {
				if bytes.HasPrefix(w, []byte("=?utf-8?")) && bytes.HasSuffix(w, []byte("?=")) && len(w) > 75 {
					t.Fatalf("encoded word of %d octets: %q", len(w), w)
				}
			}
		}
	})
}

func FuzzParseHeader(f *testing.F) {
	for _, s := range []string{sample, "", "\n", "From x\nA: 1\n", "A: 1\n\n b", ": x\n", "A: =?x?q?y?=\n", " x\n", strings.Repeat("A:\n", 100)} {
		f.Add([]byte(s), "X", "y\r\n z")
	}
	f.Fuzz(func(t *testing.T, block []byte, name, value string) {
		h := message.ParseHeader(bytes.Clone(block))
		if !bytes.Equal(h.Bytes(), block) {
			t.Fatal("changed without an edit")
		}
		h.Defects()
		n := fields(h)
		h.Append(name, value)
		h.Prepend("X-A", value)
		if got := fields(message.ParseHeader(h.Bytes())); n < message.MaxFields-2 && got != n+len(h.Ops()) {
			t.Fatalf("%d fields and %d new ones make %d: %q", n, len(h.Ops()), got, h.Bytes())
		}
		again := message.ParseHeader(bytes.Clone(block))
		if err := again.Apply(h.Ops()); err != nil || !bytes.Equal(again.Bytes(), h.Bytes()) {
			t.Fatalf("replayed: %q, %v", again.Bytes(), err)
		}
		for f := range h.Fields() {
			if v := h.Text(f.Name); strings.ContainsAny(v, "\r\n") {
				t.Fatalf("line break in %q", v)
			}
		}
	})
}

func BenchmarkADozenEdits(b *testing.B) {
	block := []byte(sample + sample + sample)
	b.ReportAllocs()
	for b.Loop() {
		h := message.ParseHeader(block)
		h.Text("Subject")
		message.ParseMailboxes(h.Get("From"))
		h.Replace("Subject", "[dev] "+h.Get("Subject"))
		h.Replace("Sender", "dev-bounces@lists.example.org")
		h.Remove("X-Odd")
		h.Remove("Reply-To")
		for _, name := range []string{"List-Id", "List-Help", "List-Post", "List-Subscribe", "List-Unsubscribe", "List-Owner", "Precedence", "X-Loop"} {
			h.Append(name, "<mailto:dev-request@lists.example.org?subject=help>")
		}
		h.Bytes()
	}
}

func TestRemoveNth(t *testing.T) {
	const block = "A: 1\r\nB: 2\r\na: 3\r\n fold\r\nA: 4\r\n"
	for _, tt := range []struct {
		n    int
		want string // "" is no change
	}{{1, "B: 2\r\na: 3\r\n fold\r\nA: 4\r\n"}, {2, "A: 1\r\nB: 2\r\nA: 4\r\n"}, {3, "A: 1\r\nB: 2\r\na: 3\r\n fold\r\n"}, {4, ""}, {0, ""}, {-1, ""}} {
		h := message.ParseHeader([]byte(block))
		removed := h.RemoveNth("A", tt.n)
		want := tt.want
		if want == "" {
			want = block
		}
		if removed != (tt.want != "") || string(h.Bytes()) != want {
			t.Errorf("number %d: removed %t, left %q", tt.n, removed, h.Bytes())
		}
		again := message.ParseHeader([]byte(block))
		if err := again.Apply(h.Ops()); err != nil || string(again.Bytes()) != want {
			t.Errorf("number %d: its operations leave %q, %v", tt.n, again.Bytes(), err)
		}
	}
	if err := new(message.Header).Apply([]message.Op{{Kind: message.Remove, Name: "A", Nth: -1}}); err == nil {
		t.Error("a negative number was taken")
	}
}
