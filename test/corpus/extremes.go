package corpus

import (
	"fmt"
	"iter"
	"strings"
)

const (
	start = "From: ann@example.org\r\nTo: dev@lists.example.org\r\nDate: Tue, 1 Jul 2025 10:00:00 +0200\r\nMessage-ID: <1@example.org>\r\nSubject: x\r\n"
	mime  = start + "MIME-Version: 1.0\r\nContent-Type: "
	mixed = mime + "multipart/mixed; boundary=b\r\n\r\n"
)

func times(n int, s string) string { return strings.Repeat(s, n) }

func counted(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// Extremes yields messages that are as bad as can be in one way each. All of them have a
// header block of less than 256 KB.
func Extremes() iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for _, e := range extremes {
			if !yield(Message{e.name, []byte(e.text())}) {
				return
			}
		}
	}
}

var extremes = []struct {
	name string
	text func() string
}{
	{"nothing", func() string { return "" }},
	{"one line end", func() string { return "\n" }},
	{"one CR", func() string { return "\r" }},
	{"one NUL", func() string { return "\x00" }},
	{"one letter", func() string { return "x" }},
	{"one colon", func() string { return ":" }},
	{"a name and a colon", func() string { return "A:" }},
	{"only a header", func() string { return start }},
	{"only a header, cut off", func() string { return start[:len(start)-2] }},
	{"only a header of multipart", func() string { return mixed }},
	{"only text", func() string { return "Hello all,\r\n\r\nthis is no header.\r\n" }},
	{"an empty line and text", func() string { return "\r\nFrom: nobody\r\n\r\ntext\r\n" }},
	{"a fold first", func() string { return " folded: x\r\n" + start + "\r\ntext\r\n" }},
	{"an mbox line", func() string { return "From ann@example.org Tue Jul  1 10:00:00 2025\r\n" + start + "\r\ntext\r\n" }},
	{"an mbox line and nothing", func() string { return "From ann@example.org Tue Jul  1 10:00:00 2025\r\n" }},
	{"an mbox line, quoted", func() string { return ">From ann\r\n" + start + "\r\n>From text\r\nFrom x\r\n" }},
	{"lines that end in CR", func() string { return strings.ReplaceAll(start+"\r\ntext\r\n", "\r\n", "\r") }},
	{"lines that end in CR CR LF", func() string { return strings.ReplaceAll(start+"\r\ntext\r\n", "\r\n", "\r\r\n") }},
	{"lines that end in LF CR", func() string { return strings.ReplaceAll(start+"\r\ntext\r\n", "\r\n", "\n\r") }},
	{"NULs everywhere", func() string { return strings.ReplaceAll(start+"\r\ntext\r\n", "e", "\x00") }},
	{"8 bits everywhere", func() string { return strings.ReplaceAll(start+"\r\ntext\r\n", "e", "\xe9") }},
	{"UTF-16", func() string { return "F\x00r\x00o\x00m\x00:\x00 \x00a\x00\r\x00\n\x00\r\x00\n\x00x\x00" }},
	{"UTF-16 with a BOM", func() string { return "\xff\xfe" + "F\x00r\x00o\x00m\x00:\x00 \x00a\x00\r\x00\n\x00" }},
	{"a BOM before the header", func() string { return "\xef\xbb\xbf" + start + "\r\ntext\r\n" }},
	{"a body of UTF-16", func() string { return mime + "text/plain; charset=utf-16\r\n\r\nh\x00i\x00\r\x00\n\x00" }},
	{"10,000 header fields of one name", func() string { return start + times(10000, "Received: from x by y\r\n") + "\r\ntext\r\n" }},
	{"10,000 header fields of many names", func() string { return start + counted(10000, "X-%d: x\r\n") + "\r\ntext\r\n" }},
	{"10,000 fields of content", func() string { return mime + "text/plain\r\n" + counted(10000, "Content-X%d: x\r\n") + "\r\ntext\r\n" }},
	{"60,000 header fields", func() string { return start + times(60000, "A:\r\n") + "\r\ntext\r\n" }},
	{"1,000 subjects", func() string {
		return times(1000, "Subject: Re: [dev] =?utf-8?q?=C3=A9?=\r\n") + start + "\r\ntext\r\n"
	}},
	{"1,000 fields of another list", func() string { return counted(1000, "List-X%d: x\r\n") + start + "\r\ntext\r\n" }},
	{"a header line of 200 KB", func() string { return start + "X-Long: " + times(200<<10, "x") + "\r\n\r\ntext\r\n" }},
	{"a subject of 200 KB", func() string {
		return strings.Replace(start, "Subject: x", "Subject: "+times(200<<10, "x"), 1) + "\r\ntext\r\n"
	}},
	{"a subject of 200 KB in raw UTF-8", func() string {
		return strings.Replace(start, "Subject: x", "Subject: "+times(100<<10, "é"), 1) + "\r\ntext\r\n"
	}},
	{"a subject of 200 KB of raw octets", func() string {
		return strings.Replace(start, "Subject: x", "Subject: "+times(200<<10, "\x80"), 1) + "\r\ntext\r\n"
	}},
	{"a From of 200 KB of raw octets", func() string {
		return strings.Replace(start, "From: ", "From: "+times(200<<10, "\x80")+" ", 1) + "\r\ntext\r\n"
	}},
	{"a Reply-To of 200 KB of raw octets", func() string {
		return start + "Reply-To: " + times(200<<10, "\x80") + " <ann@example.org>\r\n\r\ntext\r\n"
	}},
	{"a Cc of 200 KB of raw octets", func() string { return start + "Cc: " + times(200<<10, "\x80") + " <ann@example.org>\r\n\r\ntext\r\n" }},
	{"a Content-Type of 200 KB", func() string {
		return mime + "text/plain; charset=utf-8; name=\"" + times(200<<10, "x") + "\"\r\n\r\ntext\r\n"
	}},
	{"a multipart's type of 200 KB", func() string {
		return mime + "multipart/mixed; boundary=b; name=\"" + times(200<<10, "x") + "\"\r\n\r\n--b\r\n\r\ntext\r\n--b--\r\n"
	}},
	{"a Message-ID of 200 KB", func() string { return strings.Replace(start, "<1@", "<"+times(200<<10, "1")+"@", 1) + "\r\ntext\r\n" }},
	{"a subject of 5,000 encoded words", func() string {
		return strings.Replace(start, "Subject: x", "Subject:"+times(5000, " =?utf-8?q?Re:_=C3=A9?=\r\n"), 1) + "\r\ntext\r\n"
	}},
	{"a subject of 20,000 replies", func() string {
		return strings.Replace(start, "Subject: x", "Subject: "+times(20000, "Re: [dev] "), 1) + "\r\ntext\r\n"
	}},
	{"10,000 addresses", func() string {
		return strings.Replace(start, "To: ", "To: "+counted(10000, "u%d@x.example,\r\n "), 1) + "\r\ntext\r\n"
	}},
	{"a From of 10,000 addresses", func() string {
		return strings.Replace(start, "From: ", "From: "+counted(10000, "u%d@x.example,\r\n "), 1) + "\r\ntext\r\n"
	}},
	{"a From of 200 KB of quotes", func() string {
		return strings.Replace(start, "From: ", "From: "+times(100<<10, "\"("), 1) + "\r\ntext\r\n"
	}},
	{"a Reply-To of 10,000 addresses", func() string {
		return start + "Reply-To: " + counted(10000, "u%d@x.example,\r\n ") + "z@x.example\r\n\r\ntext\r\n"
	}},
	{"1,000 nested multiparts", func() string {
		return start + counted(1000, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%[1]d\r\n") + "\r\ntext\r\n"
	}},
	{"1,000 nested messages", func() string {
		return start + times(1000, "Content-Type: message/rfc822\r\n\r\n") + "Subject: x\r\n\r\ntext\r\n"
	}},
	{"20,000 parts", func() string { return mixed + times(20000, "--b\r\n\r\nx\r\n") + "--b--\r\n" }},
	{"6,000 empty alternatives", func() string {
		return mime + "multipart/alternative; boundary=b\r\n\r\n" + times(6000, "--b\r\n\r\n\r\n") + "--b--\r\n"
	}},
	{"20,000 delimiters", func() string { return mixed + times(20000, "--b\r\n") }},
	{"20,000 delimiters that are none", func() string { return mixed + times(20000, "--bb\r\n--c\r\n") + "--b--\r\n" }},
	{"a line of two megabytes", func() string { return start + "\r\n" + times(2<<20, "x") + "\r\n" }},
	{"a line of two megabytes in multipart", func() string { return mixed + "--b\r\n\r\n" + times(2<<20, "-") + "\r\n--b--\r\n" }},
	{"a delimiter of a megabyte", func() string { return mixed + "--b" + times(1<<20, " ") + "\r\n\r\nx\r\n--b--\r\n" }},
	{"binary", func() string {
		return mime + "application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n" + counted(256, "%c\r\n\x00\xff")
	}},
	{"binary in multipart", func() string {
		return mixed + "--b\r\nContent-Transfer-Encoding: binary\r\n\r\n" + counted(300, "%c--b-\n\x00\r\xff") + "\r\n--b--\r\n"
	}},
	{"uuencode", func() string {
		return start + "\r\nbegin 644 a.exe\r\n" + times(100, "M"+times(60, "a")+"\r\n") + "`\r\nend\r\n"
	}},
	{"a boundary that is the start of another", func() string {
		return mixed + "--b\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n\r\nx\r\n--bb--\r\n--b--\r\n"
	}},
	{"a boundary used twice", func() string {
		return mixed + "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n--b--\r\n"
	}},
	{"a boundary that ends", func() string { return mime + "multipart/mixed; boundary=\"b--\"\r\n\r\n--b--\r\n\r\nx\r\n--b----\r\n" }},
	{"an empty boundary", func() string { return mime + "multipart/mixed; boundary=\"\"\r\n\r\n--\r\n\r\nx\r\n----\r\n" }},
	{"a boundary of 2,000 octets", func() string {
		return mime + "multipart/mixed; boundary=\"" + times(2000, "b") + "\"\r\n\r\n--" + times(2000, "b") + "\r\n\r\nx\r\n"
	}},
	{"a boundary in pieces", func() string {
		return mime + "multipart/mixed; boundary*0=b; boundary*1=\"c\"\r\n\r\n--bc\r\n\r\nx\r\n--bc--\r\n"
	}},
	{"10,000 parameters", func() string {
		return mime + "multipart/mixed" + counted(10000, ";\r\n p%d=x") + "; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n"
	}},
	{"100,000 semicolons", func() string {
		return mime + "multipart/mixed" + times(100000, ";") + " boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n"
	}},
	{"a comment that never ends", func() string { return mime + "text/plain " + times(100000, "(") + "\r\n\r\nx\r\n" }},
	{"two types", func() string {
		return mime + "text/plain\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n"
	}},
	{"base64 of junk", func() string {
		return mime + "text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" + times(5000, "!?=\r\n")
	}},
	{"quoted-printable of junk", func() string {
		return mime + "text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + times(5000, "=zz=\r\n==")
	}},
	{"HTML that never ends", func() string {
		return mime + "text/html; charset=utf-8\r\n\r\n" + times(20000, "<div><blockquote><a href=\"")
	}},
	{"text in base64 without an end", func() string {
		return mime + "text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8"
	}},
	{"ISO-2022-JP that stays shifted", func() string { return mime + "text/plain; charset=iso-2022-jp\r\n\r\n\x1b$B$3\r\n" }},
	{"a partial message", func() string {
		return mime + "message/partial; id=x; number=1; total=2\r\n\r\nSubject: x\r\n\r\ntext\r\n"
	}},
	{"passwords and receipts", func() string { return start + "Approved: x\r\nReturn-Receipt-To: a@b\r\nBcc: c@d\r\n\r\ntext\r\n" }},
	{"a bounce", func() string {
		return strings.Replace(mime, "Subject", "Auto-Submitted: auto-replied\r\nSubject", 1) + "multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\n--b--\r\n"
	}},
}
