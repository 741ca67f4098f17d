package message

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
)

// lookup finds a charset by its name in mail; nil if it is not known. The names are
// read as web browsers read them (iso-8859-1 is windows-1252, gb2312 is GBK), because
// mail programs are as careless.
func lookup(name string) encoding.Encoding {
	name = strings.ToLower(strings.Trim(name, ` "'`))
	switch name {
	case "utf-8", "utf8", "us-ascii", "ascii", "ansi_x3.4-1968", "unknown-8bit":
		return unicode.UTF8 // convert falls back to windows-1252 by itself
	case "hz-gb-2312":
		return simplifiedchinese.HZGB2312
	}
	if e, err := htmlindex.Get(name); err == nil && e != encoding.Replacement {
		return e
	}
	if e, err := ianaindex.MIME.Encoding(name); err == nil {
		return e
	}
	return nil
}

// convert decodes octets; what they cannot mean becomes U+FFFD.
func convert(e encoding.Encoding, octets []byte) string {
	if e == unicode.UTF8 {
		return toUTF8(string(octets))
	}
	text, err := e.NewDecoder().Bytes(octets)
	if err != nil {
		return toUTF8(string(octets))
	}
	return strings.ToValidUTF8(string(text), "\uFFFD")
}

// toUTF8 keeps what is UTF-8 and reads every other octet as windows-1252: what mail
// with raw octets in its header most often means.
func toUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + len(s)/4)
	for s != "" {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			r = charmap.Windows1252.DecodeByte(s[0])
		}
		b.WriteRune(r)
		s = s[n:]
	}
	return b.String()
}
