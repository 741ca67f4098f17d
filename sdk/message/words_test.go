package message_test

import (
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/mlist/mlist/sdk/message"
)

func TestDecodeText(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain text", "hello", "hello"},
		{"Q", "=?iso-8859-1?Q?J=FCrgen_M=FCller?=", "Jürgen Müller"},
		{"B in koi8-r", "=?koi8-r?B?8NLJ18XU?=", "Привет"},
		{"ISO-2022-JP", "=?ISO-2022-JP?B?GyRCRnxLXDhsGyhC?= =?ISO-2022-JP?B?GyRCRnxLXDhsGyhC?=", "日本語日本語"},
		{"a character cut in two", "=?utf-8?b?w7?= =?utf-8?b?w=?= =?utf-8?q?=C3?= =?UTF-8?q?=BC?=", "\u00c3ü"},
		{"space between encoded words does not count", "=?utf-8?q?a?= \r\n\t =?utf-8?q?b?= c =?utf-8?q?d?=", "ab c d"},
		{"a language after the charset", "=?utf-8*en?q?a?=", "a"},
		{"an unknown charset stays", "=?x-mars?q?abc?= =?utf-8?q?d?=", "=?x-mars?q?abc?= d"},
		{"an unknown encoding stays", "=?utf-8?x?abc?=", "=?utf-8?x?abc?="},
		{"no end stays", "=?utf-8?q?abc", "=?utf-8?q?abc"},
		{"bad escapes stay", "=?utf-8?q?a=ZZb=4?=", "a=ZZb=4"},
		{"base64 without padding", "=?utf-8?b?YWI?=", "ab"},
		{"spaces within Q", "=?utf-8?q?a b c?=", "a b c"},
		{"within a word", "x=?utf-8?q?a?=y", "xay"},
		{"within quotes", `"=?utf-8?q?a?="`, `"a"`},
		{"raw octets", "caf\xe9 \x80", "café €"},
		{"gb2312", "=?gb2312?B?xOO6ww==?=", "你好"},
		{"a line break in it", "=?utf-8?q?a=0D=0ABcc:_x=00?=", "a  Bcc: x "},
		{"ascii with octets above", "=?us-ascii?q?caf=E9?=", "café"},
		{"starts that lead nowhere", "=?=?=?utf-8?q?a?=", "=?=?a"},
	}
	for _, tt := range tests {
		if got := message.DecodeText(tt.in); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// text draws UTF-8 without control characters.
func text() *rapid.Generator[string] {
	clean := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return -1
			}
			return r
		}, s)
	}
	return rapid.OneOf(rapid.Map(rapid.String(), clean), rapid.StringMatching(`([a-z]{1,9}|[üé日😀]| |=\?|\?=|=\?utf-8\?q\?x\?=|"|\\|,){0,60}`))
}

func TestEncodedTextDecodesToItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := text().Draw(t, "text")
		out := message.EncodeText(in)
		checkEncoded(t, out)
		if got := message.DecodeText(out); got != in {
			t.Fatalf("%q was encoded to %q and decoded to %q", in, out, got)
		}
		var h message.Header
		h.Append("Subject", out)
		if got := message.ParseHeader(h.Bytes()).Text("Subject"); got != strings.Trim(in, " ") {
			t.Fatalf("%q came back from the header %q as %q", in, h.Bytes(), got)
		}
	})
}

func checkEncoded(t *rapid.T, out string) {
	for _, w := range strings.Fields(out) {
		if strings.HasPrefix(w, "=?utf-8?") && len(w) > 75 {
			t.Fatalf("encoded word of %d octets", len(w))
		}
	}
	for i := range len(out) {
		if out[i] >= utf8.RuneSelf || out[i] < ' ' {
			t.Fatalf("octet %x in %q", out[i], out)
		}
	}
}

func TestAMailboxIsReadBackAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := message.Mailbox{Name: strings.TrimSpace(text().Draw(t, "name")), Address: rapid.StringMatching(`[a-z.+ü]{1,9}@[a-zü]{1,9}\.org`).Draw(t, "address")}
		got := message.ParseMailboxes(m.String() + ", other@example.org")
		if len(got) != 2 || got[0] != m || got[1].Address != "other@example.org" {
			t.Fatalf("%+v as %q came back as %+v", m, m.String(), got)
		}
	})
}

func TestParseMailboxes(t *testing.T) {
	type box = message.Mailbox
	tests := []struct {
		name, in string
		want     []box
	}{
		{"an address", "ann@example.org", []box{{"", "ann@example.org"}}},
		{"a name", "Ann B. <ann@example.org>", []box{{"Ann B.", "ann@example.org"}}},
		{"a quoted name with a comma", `"B, \"Ann\"" <ann@example.org>, bob@example.org`, []box{{`B, "Ann"`, "ann@example.org"}, {"", "bob@example.org"}}},
		{"an encoded name", "=?utf-8?q?J=C3=BCrgen?= =?utf-8?q?_M=2E?= <j@example.org>", []box{{"Jürgen M.", "j@example.org"}}},
		{"an encoded name with a raw comma", "=?utf-8?q?M,_J?= <j@example.org>", []box{{"M, J", "j@example.org"}}},
		{"an old comment as name", "ann@example.org (Ann (the \\) first))", []box{{"Ann (the ) first)", "ann@example.org"}}},
		{"a group", "friends: ann@example.org, Bob <bob@example.org>; carl@example.org", []box{{"", "ann@example.org"}, {"Bob", "bob@example.org"}, {"", "carl@example.org"}}},
		{"an empty group", "undisclosed-recipients:;", nil},
		{"an address as name", `"boss@example.com" <eve@example.org>`, []box{{"boss@example.com", "eve@example.org"}}},
		{"a bare address as name", `boss@example.com <eve@example.org>`, []box{{"boss@example.com", "eve@example.org"}}},
		{"a quoted local part", `"a b"@example.org, <"c>,d"@example.org>`, []box{{"", `"a b"@example.org`}, {"", `"c>,d"@example.org`}}},
		{"a source route", "<@a.example,@b.example:ann@example.org>", []box{{"", "ann@example.org"}}},
		{"an address literal", "ann@[IPv6:2001:db8::1], <bob@[192.0.2.1]>", []box{{"", "ann@[IPv6:2001:db8::1]"}, {"", "bob@[192.0.2.1]"}}},
		{"spaces around the at sign", "ann @ example.org", []box{{"", "ann@example.org"}}},
		{"spaces within the brackets", "Ann < ann@example.org >", []box{{"Ann", "ann@example.org"}}},
		{"mailto in the brackets", "<mailto:ann@example.org>", []box{{"", "ann@example.org"}}},
		{"UTF-8", "Jürgen <jü@exämple.org>", []box{{"Jürgen", "jü@exämple.org"}}},
		{"no closing bracket", "Ann <ann@example.org", []box{{"Ann", "ann@example.org"}}},
		{"no closing quote", `"Ann <ann@example.org>`, []box{{"Ann", "ann@example.org"}}},
		{"no closing parenthesis", `ann@example.org (Ann`, []box{{"", "ann@example.org"}}},
		{"two brackets", "<ann@example.org> <bob@example.org>", []box{{"", "ann@example.org"}, {"", "bob@example.org"}}},
		{"no separator", "ann@example.org bob@example.org", []box{{"", "ann@example.org"}, {"", "bob@example.org"}}},
		{"nothing that is an address", "Ann, <>, @, a@, @b, <root>, \x00@x", nil},
		{"nothing", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := message.ParseMailboxes(tt.in)
			if len(got) != len(tt.want) {
				t.Fatalf("got %+v, want %+v", got, tt.want)
			}
			for i := range got {
				if got[i] != tt.want[i] {
					t.Errorf("got %+v, want %+v", got[i], tt.want[i])
				}
			}
		})
	}
}

// Hostile input must cost what any input of its size costs: this takes a second, and
// would take minutes if one of the loops were quadratic.
// Sixteen times as much text takes sixteen times the work, or thereabouts: what goes over
// its input again and again takes 256 times. Processor time is counted, which does not
// depend on what else the machine does; where even the larger text costs next to none,
// there is nothing to compare.
func TestHostileInputIsLinear(t *testing.T) {
	const small, large = 16 << 10, 256 << 10
	pieces := []string{`"`, `""`, `("`, "(", "()", "<", "<>", ">", "=?", "=?a?q?", "=?utf-8?q?ü?=", "=?utf-8?q?a?= ", "a@b,", "@", "a@", `\`, `"\`, `<"`, "a@[", ":", "a ", "ü ", "=?utf-8?b?",
		"=?utf-8?q?a?= ü ", "\r", "\r\n ", ";a=\"", ";a=", "<a@b> ", ";a*0*=", ";a*1=x", ";name=a b", "'", "%", "=", "==", "\x80", "=?utf-8?q?=?=", ",", ";", "<@", "\n", "\nA:", "[", "=?" + "x"}
	for _, piece := range pieces {
		var took [2]time.Duration
		for i, size := range []int{small, large} {
			in := strings.Repeat(piece, size/len(piece))
			begun := processorTime(t)
			readAndWrite(in)
			took[i] = processorTime(t) - begun
		}
		if took[1] > 300*time.Millisecond && took[1] > 100*took[0] {
			t.Errorf("%q: %v, then %v for sixteen times as much", piece, took[0], took[1])
		}
	}
}

// readAndWrite has all that reads or writes text do so.
func readAndWrite(in string) {
	message.ParseMailboxes(in)
	message.ParseMailboxes("<" + in)
	message.EncodePhrase(message.DecodeText(in))
	message.EncodeText(in)
	h := message.ParseHeader([]byte("Content-Type: multipart/mixed" + in + "\nContent-Disposition: attachment" + in + "\n"))
	h.Replace("Subject", in)
	h.Replace("From", in)
	h.Defects()
	b := newBody(in)
	if root, _, err := message.ParseStructure(h, b); err == nil {
		root.FileNames()
		root.Encoding = "quoted-printable"
		root.Text(b, b.Size())
		root.Encoding = "base64"
		root.Text(b, b.Size())
	}
}

// processorTime is what this process has used.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func FuzzDecodeText(f *testing.F) {
	for _, s := range []string{"=?utf-8?q?a?=", "=?iso-2022-jp?b?GyRC?=", "=?utf-8?b?w7?= =?utf-8?b?w=?=", "\xff", "=?x*y?B?====?="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		out := message.DecodeText(in)
		if !utf8.ValidString(out) || strings.ContainsAny(out, "\r\n\x00") {
			t.Fatalf("%q", out)
		}
		clean := message.DecodeText(message.EncodeText(out))
		if clean != out {
			t.Fatalf("%q came back as %q", out, clean)
		}
	})
}

func FuzzParseMailboxes(f *testing.F) {
	for _, s := range []string{`"a" <b@c>, d@e (f)`, "g:a@b;", "<@a:b@c>", `"a`, "=?utf-8?q?a,?= <b@c>", "a @ b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		for _, m := range message.ParseMailboxes(in) {
			if at := strings.IndexByte(m.Address, '@'); at < 0 || strings.ContainsAny(m.Name+m.Address, "\r\n\x00") {
				t.Fatalf("%+v", m)
			}
		}
	})
}
