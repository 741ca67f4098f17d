package checks

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"
	"unicode/utf16"

	"golang.org/x/crypto/argon2"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/handlertest"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/password"
)

const sesame = "open<sesame>&1"

var sesameHash = func() string {
	h, err := password.Hash(sesame)
	if err != nil {
		panic(err)
	}
	return h
}()

func withPassword(msg string) handlertest.Case {
	return handlertest.Case{Message: msg, Settings: settings("moderator_password", sesameHash, "default_nonmember_action", "discard", "emergency", "true"),
		Senders: []sdk.Sender{from("stranger@example.net")}, Envelope: sdk.Envelope{Sender: "stranger@example.net"}}
}

func utf16le(text string) []byte {
	var out []byte
	for _, u := range utf16.Encode([]rune(text)) {
		out = append(out, byte(u), byte(u>>8))
	}
	return out
}

func TestThePasswordApproves(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	for _, tt := range []struct{ name, header, body, want, wantBody string }{
		{name: "in the header", header: "Approved: " + sesame + "\r\n", body: "hello\r\n", want: "accept", wantBody: "hello\r\n"},
		{name: "in any of the fields", header: "X-Approve:\r\n " + sesame + "\r\n", body: "hello\r\n", want: "accept", wantBody: "hello\r\n"},
		{name: "encoded", header: "Approved: =?utf-8?b?" + b64([]byte(sesame)) + "?=\r\n", body: "hello\r\n", want: "accept", wantBody: "hello\r\n"},
		{name: "as the first line", body: "Approved: " + sesame + "\r\n\r\nhello\r\n", want: "accept", wantBody: "\r\nhello\r\n"},
		{name: "after blank lines", body: "\r\n \r\nx-approved:" + sesame + "\r\nhello\r\n", want: "accept", wantBody: "\r\n \r\nhello\r\n"},
		{name: "as the only line", body: "Approve: " + sesame, want: "accept", wantBody: ""},
		{name: "in base64", header: "Content-Transfer-Encoding: base64\r\n", body: b64([]byte("Approved: "+sesame+"\r\nhello\r\n")) + "\r\n", want: "accept", wantBody: "aGVsbG8NCg=="},
		{name: "in quoted-printable", header: "Content-Transfer-Encoding: quoted-printable\r\n", body: "Approved: open=3Csesame>&1\r\ncaf=C3=A9\r\n", want: "accept", wantBody: "caf=C3=A9\r\n"},
		{name: "after a byte order mark", header: "Content-Type: text/plain; charset=utf-8\r\n", body: "\ufeffApproved: " + sesame + "\r\nhello\r\n", want: "accept", wantBody: "\ufeffhello\r\n"},
		{name: "after a blank that does not break", header: "Content-Type: text/plain; charset=utf-8\r\n", body: "Approved:\u00a0" + sesame + "\r\nhello\r\n", want: "accept", wantBody: "hello\r\n"},
		{name: "in UTF-16, where it cannot be taken out", header: "Content-Type: text/plain; charset=utf-16le\r\nContent-Transfer-Encoding: base64\r\n", body: b64(utf16le("Approved: " + sesame + "\r\nhello\r\n")), want: "hold password-stays"},
		{name: "too long for a password", body: "Approved: " + strings.Repeat("&", 10_000) + "\r\n", want: "hold emergency"},
		{name: "a wrong one", header: "Approved: guess\r\n", want: "hold emergency"},
		{name: "in the second line", body: "hello\r\nApproved: " + sesame + "\r\n", want: "hold emergency"},
		{name: "quoted", body: "> Approved: " + sesame + "\r\n", want: "hold emergency"},
		{name: "the hash itself", header: "Approved: " + sesameHash + "\r\n", want: "hold emergency"},
		{name: "octets that are no text", body: "Approve:\xff\r\n", want: "hold emergency"},
		{name: "no password at all", header: "Approved:\r\n", want: "hold emergency"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := handlertest.Run(t, stage(t, "posting"), withPassword("From: stranger@example.net\r\n"+tt.header+"\r\n"+tt.body))
			verdict(t, got.Verdict, tt.want)
			if tt.want != "accept" {
				return
			}
			if got.Notes[noteAccepted] != "approved" {
				t.Errorf("notes %v", got.Notes)
			}
			if string(got.Body) != tt.wantBody {
				t.Errorf("body %q, want %q", got.Body, tt.wantBody)
			}
			if bytes.Contains(bytes.ToLower(got.Header.Bytes()), []byte("approve")) {
				t.Errorf("header\n%s", got.Header.Bytes())
			}
		})
	}
}

// A one-time password is named to who commits the post, which uses it up.
func TestAOneTimePasswordApproves(t *testing.T) {
	once, other := password.NewOnce(), password.NewOnce()
	hash := password.HashOnce(once)
	for _, tt := range []struct{ name, header, body, want, note, wantBody string }{
		{"in the header", "Approved: " + once + "\r\n", "hello\r\n", "accept", hash, "hello\r\n"},
		{"as the first line, as a telephone writes it", "", "Approved: " + strings.ToUpper(once[:1]) + once[1:] + " \r\nhello\r\n", "accept", hash, "hello\r\n"},
		{"without its hyphens", "X-Approved: " + strings.ReplaceAll(once, "-", "") + "\r\n", "hello\r\n", "accept", hash, "hello\r\n"},
		{"the moderators' own", "Approved: " + sesame + "\r\n", "hello\r\n", "accept", "", "hello\r\n"},
		{"that of another list, or used already", "Approved: " + other + "\r\n", "hello\r\n", "hold emergency", "", ""},
		{"its hash", "Approved: " + hash + "\r\n", "hello\r\n", "hold emergency", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := withPassword("From: stranger@example.net\r\n" + tt.header + "\r\n" + tt.body)
			c.Settings[sdk.OneTimePasswords] = password.HashOnce(password.NewOnce()) + "\n" + hash
			got := handlertest.Run(t, stage(t, "posting"), c)
			verdict(t, got.Verdict, tt.want)
			if got.Notes["approved.once"] != tt.note {
				t.Errorf("note %q, want %q", got.Notes["approved.once"], tt.note)
			}
			if tt.want == "accept" && (string(got.Body) != tt.wantBody || bytes.Contains(bytes.ToLower(got.Message), []byte("approved"))) {
				t.Errorf("the post goes on as\n%s", got.Message)
			}
		})
	}
	c := withPassword("From: stranger@example.net\r\nApproved: " + once + "\r\n\r\nhello\r\n")
	c.Settings["moderator_password"], c.Settings[sdk.OneTimePasswords] = "", hash
	if got := handlertest.Run(t, stage(t, "posting"), c); got.Verdict != sdk.Accept {
		t.Errorf("on a list without a password: %+v", got.Verdict)
	}
}

// everyText decodes all texts of a message.
func everyText(t *testing.T, msg []byte) string {
	t.Helper()
	m, err := message.Open(bytes.NewReader(msg), int64(len(msg)))
	if err != nil {
		t.Fatal(err)
	}
	root, _, err := message.ParseStructure(m.Header, m.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	var walk func(p *message.Part)
	walk = func(p *message.Part) {
		for _, c := range p.Parts {
			walk(c)
		}
		var r io.Reader = io.NewSectionReader(m.Body, p.Start, p.End-p.Start)
		switch p.Encoding {
		case "base64":
			r = base64.NewDecoder(base64.StdEncoding, r)
		case "quoted-printable":
			r = quotedprintable.NewReader(r)
		}
		text, _ := io.ReadAll(r)
		out.Write(text)
	}
	walk(root)
	return out.String()
}

func TestThePasswordGoesOutNowhere(t *testing.T) {
	qp := func(text string) string {
		var b bytes.Buffer
		w := quotedprintable.NewWriter(&b)
		io.WriteString(w, text)
		w.Close()
		return b.String()
	}
	alternative := func(plain, coding, other string) string {
		return "From: stranger@example.net\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\nApproved: kept\r\n--b\r\n\r\n" + plain +
			"\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: " + coding + "\r\n\r\n" + other + "\r\n--b--\r\n"
	}
	plain := "Approved: " + sesame + "\r\n\r\nhello\r\n"
	page := "<p><b>Approved:</b>&nbsp;open&lt;sesame&gt;&amp;1<br>\r\n</p><p>hello é</p>"
	for _, tt := range []struct{ name, msg string }{
		{"HTML as it is", alternative(plain, "8bit", page)},
		{"HTML in quoted-printable", alternative(plain, "quoted-printable", qp(page))},
		{"HTML in base64", alternative(plain, "base64", base64.StdEncoding.EncodeToString([]byte(page)))},
		{"without its name", alternative(plain, "8bit", "<p>open&lt;sesame&gt;&amp;1 hello é</p>")},
		{"with tags in it", alternative(plain, "8bit", "<p>Approved: <b>open&lt;</b>ses<wbr>ame&gt;&amp;1</p><p>hello é</p>")},
		{"with characters by number", alternative(plain, "8bit", "<p>Approved: &#111;pen&#60;&#x73;esame&#x3E;&#038;1</p><p>hello é</p>")},
		{"in two lines of source", alternative(plain, "8bit", "<p>Approved:\r\n  open&lt;sesame>&amp;1</p><p>hello é</p>")},
		{"twice in one text", alternative(plain+"Approved: "+sesame+"\r\n", "8bit", "<p>hello é</p>")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := handlertest.Run(t, stage(t, "posting"), withPassword(tt.msg))
			verdict(t, got.Verdict, "accept")
			text := everyText(t, got.Message)
			if strings.Contains(text, "sesame") || !strings.Contains(text, "hello é") || !strings.Contains(text, "Approved: kept") {
				t.Errorf("it goes out as\n%s", got.Message)
			}
		})
	}
}

// Programs write quotes and blanks of HTML in several ways.
func TestWhatHTMLMakesOfAPassword(t *testing.T) {
	for _, tt := range []struct{ password, page string }{
		{`say "friend" & enter`, `say "friend" &amp; enter`}, {`say "friend" & enter`, `say &quot;friend&quot;&nbsp;&amp;&#160;enter`},
		{`say "friend" & enter`, "say &#34;friend&#x22;\r\n  &#38; enter"}, {"l'été", "l&#39;&#233;t&#xE9;"}, {"l'été", "l&apos;été"},
	} {
		f := newForm(htmlPattern(tt.password))
		if got := f.named.ReplaceAllString("<p>Approved: <i>"+tt.page+"</i></p>", ""); got != "<p></i></p>" {
			t.Errorf("%q leaves of %q: %s", tt.password, tt.page, got)
		}
	}
}

// A site that does not ask rule approved lets nothing pass for a password, and lets none out.
func TestAPasswordThatNobodyAsksFor(t *testing.T) {
	c := handlertest.Case{Message: "From: ann@example.org\r\nApproved: " + sesame + "\r\n\r\nApproved: " + sesame + "\r\nhello\r\n",
		Settings: settings("moderator_password", sesameHash), Config: map[string]any{"rules": []string{"nonmember"}}, Senders: []sdk.Sender{from("ann@example.org", role("member", ""))}}
	got := handlertest.Run(t, stage(t, "posting"), c)
	verdict(t, got.Verdict, "accept")
	if strings.Contains(string(got.Message), "sesame") {
		t.Errorf("it goes out as\n%s", got.Message)
	}
}

func TestAMistypedPasswordGoesOutNowhere(t *testing.T) {
	c := withPassword("From: ann@example.org\r\nApproved: opne\r\n\r\nX-Approve: opne\r\nhello\r\n")
	c.Settings = settings("moderator_password", sesameHash)
	c.Senders = []sdk.Sender{from("ann@example.org", role("member", ""))}
	got := handlertest.Run(t, stage(t, "posting"), c)
	verdict(t, got.Verdict, "accept")
	if strings.Contains(string(got.Message), "opne") {
		t.Errorf("it goes out as\n%s", got.Message)
	}
	c.Approved = true // by a moderator, after it was held
	if got := handlertest.Run(t, stage(t, "posting"), c); strings.Contains(string(got.Message), "opne") {
		t.Errorf("approved, it goes out as\n%s", got.Message)
	}
}

func TestASignedPasswordDoesNotGoOut(t *testing.T) {
	signed := "From: stranger@example.net\r\nContent-Type: multipart/signed; boundary=b; protocol=\"application/pgp-signature\"\r\n\r\n" +
		"--b\r\n\r\nApproved: " + sesame + "\r\nhello\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--b--\r\n"
	c := withPassword(signed)
	got := handlertest.Run(t, stage(t, "posting"), c)
	verdict(t, got.Verdict, "hold password-stays")
	c.Approved = true
	verdict(t, handlertest.Run(t, stage(t, "posting"), c).Verdict, "reject password-stays")
	c.Approved, c.Message = false, strings.Replace(signed, "Approved: "+sesame, "Hello", 1)
	c.Message = "Approved: " + sesame + "\r\n" + c.Message
	got = handlertest.Run(t, stage(t, "posting"), c)
	verdict(t, got.Verdict, "accept")
	if _, body, _ := strings.Cut(c.Message, "\r\n\r\n"); string(got.Body) != body {
		t.Errorf("the signed body has become\n%s", got.Body)
	}
}

func TestWithoutAPasswordALineIsALine(t *testing.T) {
	c := handlertest.Case{Message: "From: ann@example.org\r\n\r\nApproved: the plan of May\r\n", Settings: usual,
		Senders: []sdk.Sender{from("ann@example.org", role("member", ""))}, Envelope: sdk.Envelope{Sender: "ann@example.org"}}
	got := handlertest.Run(t, stage(t, "posting"), c)
	verdict(t, got.Verdict, "accept")
	if string(got.Message) != c.Message {
		t.Errorf("it has become\n%s", got.Message)
	}
}

// FuzzPassword: whatever a post looks like, its right password does not go out where a
// reader of its parts finds it, and nothing fails.
func FuzzPassword(f *testing.F) {
	f.Add("Content-Type: multipart/alternative; boundary=b", "--b\r\n\r\nApproved: swordfish\r\n--b\r\nContent-Type: text/html\r\n\r\n<i>Approved</i>: swordfish\r\n--b--")
	f.Add("Content-Transfer-Encoding: base64", "QXBwcm92ZWQ6IHN3b3JkZmlzaA==")
	f.Add("Content-Transfer-Encoding: quoted-printable", "Approved: sword=\r\nfish\r\n=")
	f.Add("0", "Approve:\xff")
	f.Add("Content-Type: text/html", "\nX-Approved: swordfish")
	// A cheap hash: it is not the hash that is tried here.
	salt, b64 := []byte("12345678"), base64.RawStdEncoding.EncodeToString
	h := "$argon2id$v=19$m=8,t=1,p=1$" + b64(salt) + "$" + b64(argon2.IDKey([]byte("swordfish"), salt, 1, 8, 1, 16))
	f.Fuzz(func(t *testing.T, header, body string) {
		c := handlertest.Case{Message: "Approved: swordfish\r\n" + header + "\r\n\r\n" + body, Settings: settings("moderator_password", h), Senders: []sdk.Sender{from("x@y.example")},
			Envelope: sdk.Envelope{Sender: "x@y.example"}}
		got, err := handlertest.Try(t, stage(t, "posting"), c)
		if err != nil {
			t.Fatalf("%v\n%s", err, c.Message)
		}
		if got.Verdict.Kind != sdk.KindAccept && got.Verdict.Kind != sdk.KindHold {
			t.Fatalf("%+v\n%s", got.Verdict, c.Message)
		}
		if got.Verdict.Kind == sdk.KindHold {
			return // it does not go out
		}
		out := newView(&sdk.Post{List: sdk.List{Settings: c.Settings}, Header: got.Header, Body: message.NewBody(bytes.NewReader(got.Body), 0, int64(len(got.Body)))}, &Config{})
		if fields, line, err := out.passwords(); err != nil || len(fields) > 0 || line == "swordfish" {
			t.Fatalf("%q, %q, %v still in\n%s", fields, line, err, got.Message)
		}
	})
}
