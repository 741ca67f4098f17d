package headers

import (
	"strings"
	"testing"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

func TestSubject(t *testing.T) {
	tests := []struct {
		name, in, want string // decoded; want "" for: not a byte changes
		prefix, list   string // prefix "[%(display_name)s] " if empty
	}{
		{name: "a new thread", in: "topic", want: "[Dev] topic"},
		{name: "a reply", in: "Re: topic", want: "Re: [Dev] topic"},
		{name: "a reply that has it", in: "Re:  [Dev]  topic"},
		{name: "a new thread that has it", in: "[Dev] topic"},
		{name: "it stands in other case", in: "RE: [dev] topic"},
		{name: "it stands before the tag", in: "[Dev] Re: topic", want: "Re: [Dev] topic"},
		{name: "it stands twice", in: "[Dev] Re: [Dev] topic", want: "Re: [Dev] topic"},
		{name: "replies to replies become one", in: "Re: AW: SV: [Dev] Re: topic", want: "Re: [Dev] topic"},
		{name: "one foreign tag stays", in: "AW: [Dev] topic"},
		{name: "one foreign tag without the prefix", in: "Antw: topic", want: "Antw: [Dev] topic"},
		{name: "counted replies", in: "Re[2]: topic", want: "Re[2]: [Dev] topic"},
		{name: "counted in other ways", in: "Re(3): Re^4: Re*2: topic", want: "Re: [Dev] topic"},
		{name: "a forward", in: "Fwd: topic", want: "Fwd: [Dev] topic"},
		{name: "a reply to a forward", in: "Re: Fwd: topic", want: "Re: Fwd: [Dev] topic"},
		{name: "replies around a forward", in: "Re: Re: Fwd: Re: topic", want: "Re: Fwd: Re: [Dev] topic"},
		{name: "a French reply", in: "Re : topic", want: "Re : [Dev] topic"},
		{name: "a Chinese reply", in: "回复：话题", want: "回复： [Dev] 话题"},
		{name: "a Hungarian reply", in: "VÁ: téma", want: "VÁ: [Dev] téma"},
		{name: "a reply to a reply in other languages", in: "RIF: Odp: YNT: 答复: 회신: topic", want: "Re: [Dev] topic"},
		{name: "a forward in Japanese", in: "転送: topic", want: "転送: [Dev] topic"},
		{name: "a reply in Hebrew", in: "השב: topic", want: "השב: [Dev] topic"},
		{name: "another list's prefix", in: "[All] Re: topic", want: "[Dev] [All] Re: topic"},
		{name: "a word that is no tag", in: "R: a language", want: "[Dev] R: a language"},
		{name: "a tag without a colon", in: "Re topic", want: "[Dev] Re topic"},
		{name: "a longer word", in: "Reply: topic", want: "[Dev] Reply: topic"},
		{name: "the prefix within the text", in: "topic (was: [Dev] other)", want: "[Dev] topic (was: [Dev] other)"},
		{name: "no subject", in: "", want: "[Dev] (no subject)"},
		{name: "white space", in: "   ", want: "[Dev] (no subject)"},
		{name: "only a tag", in: "Re:", want: "Re: [Dev] (no subject)"},
		{name: "only the prefix", in: "[Dev]", want: "[Dev] (no subject)"},
		{name: "an empty prefix", in: "Re: AW:  topic", prefix: " "},
		{name: "a number", in: "topic", prefix: "[Dev %d]", want: "[Dev 42] topic"},
		{name: "a padded number", in: "topic", prefix: "[%(list_name)s %05d]", want: "[dev 00042] topic"},
		{name: "an old number gives way", in: "Re: [Dev 41] topic", prefix: "[Dev %d] ", want: "Re: [Dev 42] topic"},
		{name: "an old number without a space", in: "Re: [Dev41]topic", prefix: "[Dev %d] ", want: "Re: [Dev 42] topic"},
		{name: "a prefix that is only a number", in: "2001 nights", prefix: "%d:", want: "42: 2001 nights"},
		{name: "a prefix that is only a number, again", in: "42: 2001 nights", prefix: "%d:"},
		{name: "a prefix that is only a number, within a word", in: "42nd street", prefix: "%d", want: "42 42nd street"},
		{name: "a percent sign and an unknown name", in: "topic", prefix: "100%% %(moon)s", want: "100% %(moon)s topic"},
		{name: "a huge width", in: "topic", prefix: "[Dev %999d]", want: "[Dev 00000000000000000042] topic"},
		{name: "a prefix that begins a word", in: "Development", prefix: "Dev", want: "Dev Development"},
		{name: "a prefix that is a word", in: "dev: topic", prefix: "Dev:"},
		{name: "a prefix without brackets, again", in: "Re: Dev topic", prefix: "Dev"},
		{name: "utf-8 in Q", in: "=?utf-8?Q?Caf=C3=A9?=", want: "[Dev] Café"},
		{name: "utf-8 in B, with the tag within", in: "=?UTF-8?B?UmU6IENhZsOp?=", want: "Re: [Dev] Café"},
		{name: "the prefix within an encoded word", in: "=?utf-8?Q?Re:_[Dev]_Caf=C3=A9?="},
		{name: "prefix and tag the wrong way round within an encoded word", in: "=?utf-8?Q?[Dev]_Re:_Caf=C3=A9?=", want: "Re: [Dev] Café"},
		{name: "ISO-2022-JP", in: "Re: =?ISO-2022-JP?B?GyRCRnxLXDhsGyhC?=", want: "Re: [Dev] 日本語"},
		{name: "ISO-2022-JP with the prefix", in: "Re: [Dev] =?ISO-2022-JP?B?GyRCRnxLXDhsGyhC?="},
		{name: "koi8-r, folded", in: "=?koi8-r?B?8NLJ18XU?=\n =?koi8-r?B?LCDNydI=?=", want: "[Dev] Привет, мир"},
		{name: "raw 8-bit", in: "Caf\xe9", want: "[Dev] Café"},
		{name: "raw utf-8", in: "Re: Café", want: "Re: [Dev] Café"},
		{name: "a charset nobody knows", in: "Re: =?x-moon?Q?abc?=", want: "Re: [Dev] =?x-moon?Q?abc?="},
		{name: "a name in UTF-8 before an encoded word", in: "=?utf-8?Q?Caf=C3=A9?=", prefix: "[Dév]", want: "[Dév] Café"},
		{name: "a name in UTF-8 before plain text", in: "Re: topic", prefix: "[Dév]", want: "Re: [Dév] topic"},
		{name: "an encoded word of nothing", in: "=?utf-8?B??=", want: "[Dev] (no subject)"},
		{name: "control characters", in: "\x00 \x7f", want: "[Dev] (no subject)"},
		{name: "an encoded word within an encoded word is text", in: "=?utf-8?q?Re:_=3D=3Futf-8=3Fq=3FRe:=3F=3D?=", want: "Re: [Dev] =?utf-8?q?Re:?="},
		{name: "encoded words that touch, after a name in UTF-8", in: "=?utf-8?Q?a?==?utf-8?Q?b?=", prefix: "[Dév] ", want: "[Dév] ab"},
		{name: "encoded words that touch, after a name in Japanese", in: "=?utf-8?Q?a?==?utf-8?Q?b?=", prefix: "日本 ", want: "日本 ab"},
		{name: "an encoded word that touches text, after a name in UTF-8", in: "=?utf-8?B??=a", prefix: "[Dév] ", want: "[Dév] a"},
		{name: "an encoded word that touches text, after a name in Japanese", in: "Re: =?utf-8?B??=a", prefix: "日本 ", want: "Re: 日本 a"},
		{name: "an encoded word that touches text", in: "=?utf-8?Q?a?=b", want: "[Dev] ab"},
		{name: "a prefix that reads as an encoded word", in: "topic", prefix: "=?utf-8?q?x?=", want: "=?utf-8?q?x?= topic"},
		{name: "a name in UTF-8 is found again", in: "Re: =?utf-8?q?=5BD=C3=A9v=5D?= topic", prefix: "[Dév]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			prefix := tt.prefix
			if prefix == "" {
				prefix = "[%(display_name)s] "
			}
			header := "From: ann@example.org\nSubject: " + tt.in + "\nX-odd :  a\n\tb\n"
			set := settings("subject_prefix", prefix)
			got := run(t, "subject", header, tt.list, set)
			if tt.want == "" {
				equal(t, got, header)
				return
			}
			h := message.ParseHeader([]byte(got))
			if text := h.Text("Subject"); text != tt.want {
				t.Errorf("subject %q, want %q", text, tt.want)
			}
			for i := range len(got) {
				if got[i] >= 0x80 {
					t.Fatalf("8-bit subject: %q", got)
				}
			}
			if !strings.HasPrefix(got, "From: ann@example.org\r\nSubject: ") || !strings.HasSuffix(got, "\r\nX-odd :  a\r\n\tb\r\n") {
				t.Errorf("other fields changed:\n%s", got)
			}
			if again := run(t, "subject", strings.ReplaceAll(got, "\r\n", "\n"), tt.list, set); again != got {
				t.Errorf("a second time gives\n%s\nafter\n%s", again, got)
			}
		})
	}
}

func TestSubjectKeepsTheCharset(t *testing.T) {
	got := run(t, "subject", "Subject: Re: =?ISO-2022-JP?B?GyRCRnxLXDhsGyhC?=\n", "", usual)
	equal(t, got, "Subject: Re: [Dev] =?ISO-2022-JP?B?GyRCRnxLXDhsGyhC?=\n")
}

func TestSubjectIsAddedWhereThereIsNone(t *testing.T) {
	equal(t, run(t, "subject", "From: ann@example.org\n", "", usual), "From: ann@example.org\nSubject: [Dev] (no subject)\n")
}

func TestSubjectWithoutAPrefixIsNotAdded(t *testing.T) {
	equal(t, run(t, "subject", "From: ann@example.org\n", "", settings("subject_prefix", "")), "From: ann@example.org\n")
}

func TestSubjectTwiceBecomesOne(t *testing.T) {
	equal(t, run(t, "subject", "Subject: a\nFrom: x\nSubject: b\n", "", usual), "Subject: [Dev] a\nFrom: x\n")
}

func TestSubjectOfAMegabyteKeepsItsBytes(t *testing.T) {
	in := "Subject: " + strings.Repeat("Re: [Dev] ", 90_000) + "x\n"
	equal(t, run(t, "subject", in, "", usual), in)
}

func TestSubjectOfManyTags(t *testing.T) {
	equal(t, run(t, "subject", "Subject: "+strings.Repeat("Re: [Dev] ", 1600)+"x\n", "", usual), "Subject: Re: [Dev] x\n")
}

// FuzzSubject: whatever a subject holds, the stage leaves its own result alone.
func FuzzSubject(f *testing.F) {
	for _, s := range []string{"topic", "Re: [Dev] topic", "=?utf-8?Q?Re:_[Dev]_Caf=C3=A9?=", "回复：话题", "Re[2]: [Dev 7] x", "=?koi8-r?B?8NLJ18XU?=",
		"[Dev] =?x?Q?a?= é", "=?utf-8?q?=3D=3Futf-8=3Fq=3FRe:=3F=3D?=", "\xff:Re", "=?utf-8?q?Re:?= =?utf-8?q?_x?=", "\x00", "=?utf8?B??=", "=?*000?Q?0?=0",
		"=?utf-8?Q?a?==?utf-8?Q?b?=", "Re: =?utf-8?B??=a", "=?us-ascii?q??= é =?utf-8?q?=20?="} {
		for i := range len(templates) {
			f.Add(s, i)
		}
	}
	f.Fuzz(func(t *testing.T, value string, template int) {
		l := sdk.List{Address: "dev@lists.example.org", Settings: map[string]string{
			"subject_prefix": templates[uint(template)%uint(len(templates))], "display_name": "Dev"}}
		first := handle(t, l, []byte("Subject: "+strings.NewReplacer("\r", " ", "\n", " ").Replace(value)+"\r\n"))
		second := handle(t, l, first)
		if string(first) != string(second) {
			t.Fatalf("%q becomes %q, and that %q", value, first, second)
		}
		if n := len(message.ParseHeader(first).Values("Subject")); n != 1 {
			t.Fatalf("%q becomes %d fields: %q", value, n, first)
		}
	})
}

var templates = []string{"[%(display_name)s] ", "Dév %d", "[%(list_name)s:%05d]", "dev", "日本 ", "[Dév] ", "%d:", "=?utf-8?q?x?="}

func handle(t *testing.T, l sdk.List, header []byte) []byte {
	h := message.ParseHeader(header)
	v, err := subject{}.Handle(t.Context(), &sdk.Post{Number: 7, List: l, Header: h})
	if err != nil || v != sdk.Accept {
		t.Fatalf("verdict %v, error %v", v, err)
	}
	return h.Bytes()
}
