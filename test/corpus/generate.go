package corpus

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"mime/quotedprintable"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/encoding/unicode"
)

// generator makes one message.
type generator struct {
	*rand.Rand
	number int
	depth  int
	parts  int
}

// pick returns one of several.
func pick[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

// one tells, once in so many times.
func (g *generator) one(in int) bool { return g.IntN(in) == 0 }

// tongue is text and the charset that it is written in.
type tongue struct {
	charset string
	enc     encoding.Encoding
	text    string
}

var tongues = []tongue{
	{"us-ascii", nil, "The quick brown fox jumps over the lazy dog."},
	{"utf-8", nil, "Zażółć gęślą jaźń, ἄνθρωπος, 日本語, 👩‍👩‍👧 ✉"},
	{"iso-8859-1", charmap.ISO8859_1, "Voix ambiguë d'un cher zéphyr"},
	{"iso-8859-15", charmap.ISO8859_15, "Prix: 10 € à l'œuf"},
	{"windows-1252", charmap.Windows1252, "“Smart” quotes – and € …"},
	{"windows-1251", charmap.Windows1251, "Съешь же ещё этих мягких французских булок"},
	{"koi8-r", charmap.KOI8R, "Широкая электрификация южных губерний"},
	{"iso-2022-jp", japanese.ISO2022JP, "いろはにほへと ちりぬるを"},
	{"shift_jis", japanese.ShiftJIS, "わかよたれそ つねならむ"},
	{"euc-kr", korean.EUCKR, "키스의 고유조건은 입술끼리 만나야 하고"},
	{"gb2312", simplifiedchinese.GBK, "视野无限广，窗外有蓝天"},
	{"big5", traditionalchinese.Big5, "視野無限廣，窗外有藍天"},
	{"utf-16le", unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM), "wide text\r\nof two lines"},
	{"x-unknown-9", nil, "what charset \xe9\xe8 is this"},
	{"", nil, "no charset \xfc at all"},
}

func (t tongue) octets() []byte {
	if t.enc == nil {
		return []byte(t.text)
	}
	b, err := t.enc.NewEncoder().Bytes([]byte(t.text))
	if err != nil {
		panic(err) // the texts above fit their charsets
	}
	return b
}

// message makes a message: a good one mostly, with the odd defect.
func (g *generator) message() []byte {
	var b bytes.Buffer
	if g.one(25) {
		b.WriteString("From ann@example.org Tue Jul  1 10:00:00 2025\n")
	}
	g.trace(&b)
	g.fields(&b)
	g.part(&b, true)
	out := b.Bytes()
	switch {
	case g.one(3): // LF alone
	case g.one(12): // both
		lines := bytes.SplitAfter(out, []byte("\n"))
		out = nil
		for _, l := range lines {
			if g.one(2) {
				l = bytes.ReplaceAll(l, []byte("\n"), []byte("\r\n"))
			}
			out = append(out, l...)
		}
	default:
		out = bytes.ReplaceAll(out, []byte("\n"), []byte("\r\n"))
	}
	return g.damage(out)
}

// damage does what broken programs and transports do.
func (g *generator) damage(out []byte) []byte {
	if len(out) == 0 || !g.one(5) {
		return out
	}
	at := g.IntN(len(out))
	switch g.IntN(6) {
	case 0:
		return out[:at]
	case 1:
		out[at] = 0
	case 2:
		out[at] = '\r'
	case 3:
		out[at] = 0xff
	case 4:
		return append(out[:at:at], append([]byte(strings.Repeat("x", 5000)), out[at:]...)...)
	case 5:
		return append(out[:at:at], out[at+min(len(out)-at, 40):]...)
	}
	return out
}

func (g *generator) trace(b *bytes.Buffer) {
	for range g.IntN(6) {
		fmt.Fprintf(b, "Received: from mx%d.example (mx.example [192.0.2.%d])\n\tby list.example with ESMTPS id %X;\n        Tue, 1 Jul 2025 10:0%d:00 +0200 (CEST)\n", g.IntN(9), g.IntN(255), g.Uint32(), g.IntN(9))
	}
	if g.one(3) {
		fmt.Fprintf(b, "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=x;\n h=from:to:subject; bh=%s;\n b=%s\n", g.base64(32), g.base64(128))
	}
	if g.one(4) {
		fmt.Fprintf(b, "X-%s: %s\n", pick(g, "Odd", "Very-Long-"+strings.Repeat("N", 80), "Mailer"), pick(g, "1", "", "  two  spaces ", strings.Repeat("long ", 300), "\xe9\xe8"))
	}
}

func (g *generator) fields(b *bytes.Buffer) {
	t := pick(g, tongues...)
	lines := []string{
		"From: " + pick(g, "Ann <ann@example.org>", "ann@example.org (Ann)", "\"O'Neil, \\\"Ann\\\"\" <ann@example.org>", g.word(t)+" <ann@example.org>", "\"Ann via x\" < ann@example.org >", "ann@example.org, ben@example.org"),
		"To: " + pick(g, "dev@lists.example.org", "Dev <dev@lists.example.org>,\n ben@example.org", "undisclosed-recipients:;, dev@lists.example.org", "<dev@lists.example.org>, "+g.word(t)+" <c@d.example>"),
		"Subject: " + pick(g, "hello", "Re: [dev] hello", g.word(t), "Re: "+g.word(t)+"\n "+g.word(t), "", "=?utf-8?q?broken", strings.Repeat("very long ", 120), t.text, " \n\t", "[dev] AW: Re: "+g.word(t)),
	}
	if !g.one(10) {
		lines = append(lines, fmt.Sprintf("Message-ID: <%d.%d@example.org>", g.number, g.IntN(1000)))
	}
	if !g.one(10) {
		lines = append(lines, "Date: "+pick(g, "Tue, 1 Jul 2025 10:00:00 +0200", "1 Jul 25 10:00 GMT", "yesterday"))
	}
	for _, odd := range []string{"Reply-To: ben@example.org", "List-Id: other <other.example.net>", "Sender: ann@example.org", "Bcc: eve@example.org", "MIME-Version: 1.0 (odd)", "In-Reply-To: <x@y>",
		"References: <a@b>\n\t<c@d>", "junk line", "X-Empty:", "Subject : twice", "Content-Language: de", "Precedence: list", "Cc: dev@lists.example.org", "X-8bit: \xe4\xf6\xfc"} {
		if g.one(9) {
			lines = append(lines, odd)
		}
	}
	g.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	for _, l := range lines {
		b.WriteString(l + "\n")
	}
}

// word is the text as RFC 2047 has it, or nearly.
func (g *generator) word(t tongue) string {
	charset := t.charset
	if charset == "" {
		charset = "unknown-8bit"
	}
	if g.one(4) {
		return "=?" + strings.ToUpper(charset) + "*en?b?" + strings.TrimRight(base64.StdEncoding.EncodeToString(t.octets()), "=") + "?="
	}
	if g.one(2) {
		return "=?" + charset + "?B?" + base64.StdEncoding.EncodeToString(t.octets()) + "?="
	}
	var q strings.Builder
	for _, c := range t.octets() {
		fmt.Fprintf(&q, "=%02X", c)
	}
	return "=?" + charset + "?q?" + q.String() + "?="
}

func (g *generator) base64(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.IntN(256))
	}
	return base64.StdEncoding.EncodeToString(b)
}

// part writes the fields of a content, an empty line, and the content.
func (g *generator) part(b *bytes.Buffer, root bool) {
	g.parts++
	g.depth++
	defer func() { g.depth-- }()
	if root && !g.one(4) {
		b.WriteString("MIME-Version: 1.0\n")
	}
	switch n := g.IntN(20); {
	case g.depth > 6 || g.parts > 30 || n < 8:
		g.text(b)
	case n < 13:
		g.multipart(b)
	case n < 14:
		g.signed(b)
	case n < 15:
		b.WriteString("Content-Type: message/rfc822\n\nSubject: within\n")
		g.part(b, true)
	case n < 16 && root: // nothing is said
		fmt.Fprintf(b, "\n%s\n", pick(g, tongues...).octets())
	case n < 17:
		fmt.Fprintf(b, "\n-----BEGIN PGP %s-----\nHash: SHA256\n\n%s\n", pick(g, "SIGNED MESSAGE", "MESSAGE"), g.base64(60))
	default:
		g.attachment(b)
	}
}

func (g *generator) text(b *bytes.Buffer) {
	t := pick(g, tongues...)
	kind, text := "plain", t.octets()
	if g.one(4) {
		kind = "html"
		text = append([]byte("<html><p>"), append(text, "</p><ul><li><a href=\"https://x.example/\">x</a></ul>"...)...)
	}
	for range g.IntN(3) {
		text = append(text, '\n')
		text = append(text, t.octets()...)
	}
	if g.one(8) {
		text = append(text, strings.Repeat(" long line", 400)...)
	}
	fmt.Fprintf(b, "Content-Type: %s/%s", pick(g, "text", "TEXT", "Text "), kind)
	if t.charset != "" {
		fmt.Fprintf(b, "%s charset%s%q", pick(g, ";", ";\n\t", " ; x=y;"), pick(g, "=", " = "), t.charset)
	}
	b.WriteString(pick(g, "", "; format=flowed; delsp=yes", "; name*=utf-8''%E2%82%AC.txt") + "\n")
	g.encode(b, text)
}

func (g *generator) encode(b *bytes.Buffer, text []byte) {
	switch pick(g, 0, 1, 2, 3, 4) {
	case 0:
		b.WriteString("Content-Transfer-Encoding: base64\n\n")
		s := base64.StdEncoding.EncodeToString(text)
		for len(s) > 76 {
			b.WriteString(s[:76] + "\n")
			s = s[76:]
		}
		b.WriteString(s + "\n")
	case 1:
		b.WriteString("Content-Transfer-Encoding: quoted-printable\n\n")
		w := quotedprintable.NewWriter(b)
		w.Write(text)
		w.Close()
		out := bytes.ReplaceAll(b.Bytes(), []byte("\r\n"), []byte("\n"))
		b.Reset()
		b.Write(out)
		b.WriteString("\n")
	case 2:
		fmt.Fprintf(b, "Content-Transfer-Encoding: 8bit\n\n%s\n", text)
	case 3:
		fmt.Fprintf(b, "Content-Transfer-Encoding: %s\n\n%s\n", pick(g, "x-uuencode", "7-bit", "8bit;", "binary"), text)
	default:
		fmt.Fprintf(b, "\n%s\n", text)
	}
}

func (g *generator) attachment(b *bytes.Buffer) {
	name := pick(g, "cat.png", "a.exe", "report.pdf", "=?utf-8?q?caf=C3=A9.doc?=", "smime.p7m", "no extension")
	fmt.Fprintf(b, "Content-Type: %s; name=%q\nContent-Disposition: attachment;\n filename=%q\nContent-Transfer-Encoding: base64\n\n", pick(g, "image/png", "application/octet-stream", "application/pdf", "application/pkcs7-mime", "x"), name, name)
	for range 1 + g.IntN(20) {
		b.WriteString(g.base64(57) + "\n")
	}
}

func (g *generator) multipart(b *bytes.Buffer) {
	boundary := fmt.Sprintf("%s%d", pick(g, "b", "=_Part ", "----=_Next", "b'()+_,-./:=?"), g.parts)
	if g.one(12) {
		boundary = "b1" // perhaps that of one around it, or the start of it
	}
	fmt.Fprintf(b, "Content-Type: multipart/%s;%sboundary=\"%s\"\n", pick(g, "mixed", "mixed", "alternative", "related", "digest", "report", "odd"), pick(g, " ", "\n ", "\n\ttype=x; "), boundary)
	if g.one(6) {
		fmt.Fprintf(b, "Content-Transfer-Encoding: %s\n", pick(g, "8bit", "base64", "7bit"))
	}
	b.WriteString("\n" + pick(g, "", "This is a multi-part message in MIME format.\n", "\n"))
	for range g.IntN(5) {
		fmt.Fprintf(b, "--%s%s\n", boundary, pick(g, "", "", "", " ", "\t"))
		if g.one(12) {
			b.WriteString(pick(g, "no header here\n", "", "\n"))
			continue
		}
		g.part(b, false)
	}
	if !g.one(8) {
		fmt.Fprintf(b, "--%s--\n%s", boundary, pick(g, "", "", "epilogue\n"))
	}
}

func (g *generator) signed(b *bytes.Buffer) {
	kind, signature := pick(g, "signed", "encrypted"), pick(g, "pgp-signature", "pkcs7-signature")
	fmt.Fprintf(b, "Content-Type: multipart/%s; micalg=sha-256; protocol=\"application/%s\"; boundary=s%d\n\n", kind, signature, g.parts)
	n := g.parts
	fmt.Fprintf(b, "--s%d\n", n)
	g.part(b, false)
	fmt.Fprintf(b, "--s%d\nContent-Type: application/%s; name=\"signature.asc\"\n\n%s\n\n--s%d--\n", n, signature, g.base64(90), n)
}
