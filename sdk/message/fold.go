package message

import (
	"strings"
	"unicode/utf8"
)

// Lengths of lines, in octets without the line end (RFC 5322 2.1.1: 78 where it can
// be, 998 always). A word over maxWord is encoded, because an encoded text can be
// folded anywhere; white space over maxSpace is cut. A name, white space and a word
// together then stay below 998.
const (
	foldAt   = 78
	maxWord  = 850
	maxSpace = 64
)

// foldLen is the length of the line break that s starts with; 0 if it starts with none.
func foldLen(s string) int {
	switch {
	case strings.HasPrefix(s, "\r\n"):
		return 2
	case strings.HasPrefix(s, "\n"), strings.HasPrefix(s, "\r"):
		return 1
	}
	return 0
}

// isFold tells whether s starts with a line break (CRLF or LF) and white space.
func isFold(s string) bool {
	n := foldLen(s)
	return n > 0 && s[n-1] == '\n' && n < len(s) && (s[n] == ' ' || s[n] == '\t')
}

// cleanValue makes any string a value that Apply takes: UTF-8, no control characters,
// line breaks as CRLF and only before white space, no line of nothing but white space.
func cleanValue(value string) string {
	if isPlain(value) {
		return strings.Trim(value, " \t")
	}
	value = toUTF8(value)
	lines := make([]string, 0, 4)
	start := 0
	for i := 0; i < len(value); i++ {
		if isFold(value[i:]) {
			lines = append(lines, spaceControls(value[start:i]))
			i += foldLen(value[i:]) - 1
			start = i + 1
		}
	}
	lines = append(lines, spaceControls(value[start:]))
	var b strings.Builder
	for i, line := range lines {
		if i > 0 && b.Len() > 0 && strings.Trim(line, " \t") != "" {
			b.WriteString("\r\n")
		}
		b.WriteString(line)
	}
	return strings.Trim(b.String(), " \t\r\n")
}

// spaceControls puts a space for every control character but the tab.
func spaceControls(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// isPlain tells whether s is printable ASCII, spaces and tabs.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return true
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// addressFields hold addresses: encoding them as plain text would spoil them.
var addressFields = map[string]bool{
	"from": true, "sender": true, "reply-to": true, "to": true, "cc": true, "bcc": true,
	"resent-from": true, "resent-sender": true, "resent-to": true, "resent-cc": true,
	"resent-bcc": true, "mail-followup-to": true, "mail-reply-to": true,
	"disposition-notification-to": true, "errors-to": true,
}

// render writes a field: encoded where its cleaned value is not ASCII, and folded.
func render(name, value, eol string) string {
	if !isASCII(value) {
		value = encodeValue(name, unfold(value))
	}
	var b strings.Builder
	b.Grow(len(name) + len(value) + 2 + 2*len(eol) + len(value)/30)
	b.WriteString(name)
	b.WriteString(": ")
	f := folder{out: &b, eol: eol, col: len(name) + 2}
	first := true
	for line := range strings.SplitSeq(value, "\r\n") {
		if !first {
			f.newLine()
		}
		f.line(line)
		first = false
	}
	b.WriteString(eol)
	return b.String()
}

func encodeValue(name, value string) string {
	if addressFields[strings.ToLower(name)] {
		if boxes := ParseMailboxes(value); len(boxes) > 0 {
			texts := make([]string, len(boxes))
			for i, m := range boxes {
				texts[i] = m.String()
			}
			return strings.Join(texts, ", ")
		}
	}
	return encodeText(value, len(name)+2, true)
}

// folder writes words and breaks the line before white space when the next word would
// go beyond foldAt.
type folder struct {
	out   *strings.Builder
	eol   string
	col   int
	begun bool // the line has a word
}

func (f *folder) newLine() {
	f.out.WriteString(f.eol)
	f.col, f.begun = 0, false
}

func (f *folder) line(line string) {
	for line != "" {
		space := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
		line = line[len(space):]
		n := strings.IndexAny(line, " \t")
		if n < 0 {
			n = len(line)
		}
		word := line[:n]
		line = line[n:]
		if len(word) > maxWord {
			f.long(space, word)
			continue
		}
		f.word(space, word)
	}
}

func (f *folder) word(space, word string) {
	space = space[:min(len(space), maxSpace)]
	if f.begun && space != "" && f.col+len(space)+len(word) > foldAt {
		f.newLine()
	}
	f.out.WriteString(space)
	f.out.WriteString(word)
	f.col += len(space) + len(word)
	f.begun = true
}

// long writes a word that no line can hold as encoded words.
func (f *folder) long(space, word string) {
	for w := range strings.SplitSeq(encodeRun(word, 40), " ") {
		f.word(space, w)
		space = " "
	}
}
