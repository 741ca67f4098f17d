package message

import (
	"encoding/base64"
	"strings"

	"golang.org/x/text/encoding"
)

// maxCharset is the longest charset name that is looked at, in octets.
const maxCharset = 64

// encodedWord is an RFC 2047 encoded word taken apart.
type encodedWord struct {
	charset string
	base64  bool
	text    string
	size    int // octets of the whole word
}

// parseWord reads the encoded word that s starts with. It never looks beyond the
// fourth question mark, so a search over a text stays linear.
func parseWord(s string) (encodedWord, bool) {
	var w encodedWord
	if !strings.HasPrefix(s, "=?") {
		return w, false
	}
	charset, _, ok := strings.Cut(s[2:min(len(s), 3+maxCharset)], "?")
	if !ok || charset == "" {
		return w, false
	}
	rest := s[3+len(charset):]
	if len(rest) < 2 || rest[1] != '?' {
		return w, false
	}
	switch rest[0] {
	case 'b', 'B':
		w.base64 = true
	case 'q', 'Q':
	default:
		return w, false
	}
	n := strings.IndexByte(rest[2:], '?')
	if n < 0 || 3+n >= len(rest) || rest[3+n] != '=' {
		return w, false
	}
	w.charset, _, _ = strings.Cut(charset, "*") // RFC 2231 section 5: a language may follow
	w.text = rest[2 : 2+n]
	w.size = 3 + len(charset) + 4 + n
	return w, true
}

func isEncodedWord(s string) bool {
	w, ok := parseWord(s)
	return ok && w.size == len(s)
}

// DecodeText decodes RFC 2047 encoded words, in any charset known, to UTF-8; words it
// cannot decode stay as they are. Encoded words count wherever they stand, also within
// quotes or next to other text, as common mail programs write them. Octets that are
// not UTF-8 are read as windows-1252; control characters become spaces.
func DecodeText(value string) string {
	if isPlain(value) && !strings.Contains(value, "=?") {
		return value
	}
	var d decoder
	gap, pos := 0, 0 // gap: where the text after the last encoded word starts
	for {
		i := strings.Index(value[pos:], "=?")
		if i < 0 {
			break
		}
		i += pos
		w, ok := parseWord(value[i:])
		e := d.find(w.charset)
		if !ok || e == nil {
			pos = i + 2
			continue
		}
		d.plain(value[gap:i], true)
		d.word(w, e)
		gap, pos = i+w.size, i+w.size
	}
	d.plain(value[gap:], false)
	d.flush()
	return spaceControls(d.out.String())
}

// decoder joins the octets of neighbouring encoded words of one charset before it
// converts them: many programs cut characters in two.
type decoder struct {
	out     strings.Builder
	charset string
	from    encoding.Encoding // charset's; nil is none yet
	octets  []byte
	words   bool // the last thing written was an encoded word
}

func (d *decoder) find(charset string) encoding.Encoding {
	if d.from != nil && charset == d.charset {
		return d.from
	}
	return lookup(charset)
}

// plain writes text that is no encoded word. White space between two encoded words
// does not count (RFC 2047 section 6.2).
func (d *decoder) plain(text string, wordFollows bool) {
	if text == "" || d.words && wordFollows && strings.Trim(text, " \t\r\n") == "" {
		return
	}
	d.flush()
	d.out.WriteString(toUTF8(text))
	d.words = false
}

func (d *decoder) word(w encodedWord, from encoding.Encoding) {
	// A word in ISO-2022 starts in ASCII whatever the one before ended in.
	if !strings.EqualFold(w.charset, d.charset) || strings.HasPrefix(strings.ToLower(w.charset), "iso-2022") {
		d.flush()
	}
	d.charset, d.from, d.words = w.charset, from, true
	if w.base64 {
		d.octets = appendBase64(d.octets, w.text)
	} else {
		d.octets = appendQ(d.octets, w.text)
	}
}

func (d *decoder) flush() {
	if len(d.octets) > 0 {
		d.out.WriteString(convert(d.from, d.octets))
	}
	d.octets = d.octets[:0]
}

// appendBase64 decodes with or without padding, and skips what is not of the alphabet.
func appendBase64(dst []byte, text string) []byte {
	digits := make([]byte, 0, len(text))
	for i := range len(text) {
		if c := text[i]; isAlnum(c) || c == '+' || c == '/' {
			digits = append(digits, c)
		}
	}
	if len(digits)%4 == 1 {
		digits = digits[:len(digits)-1]
	}
	dst, _ = base64.RawStdEncoding.AppendDecode(dst, digits) // nothing left to be wrong
	return dst
}

// appendQ decodes the Q encoding; an escape that is none stays as it is.
func appendQ(dst []byte, text string) []byte {
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '_' {
			c = ' '
		} else if c == '=' && i+2 < len(text) {
			hi, lo := unhex(text[i+1]), unhex(text[i+2])
			if hi >= 0 && lo >= 0 {
				c, i = byte(hi<<4|lo), i+2
			}
		}
		dst = append(dst, c)
	}
	return dst
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
