package message

import (
	"bytes"
	"slices"
	"unicode/utf8"
)

// coding looks for octets that a part's base64 or quoted-printable has not.
func (c *checker) coding(p *Part) error {
	w := window{body: c.m.Body, start: p.Start, end: p.End}
	digits := 0
	for pos := p.Start; pos < p.End; {
		text, err := w.view(pos, 3)
		if err != nil {
			return err
		}
		if p.Encoding == "base64" {
			i, n := badBase64(text)
			if i >= 0 {
				c.at(pos+int64(i), "bad-base64", "an octet that base64 has not")
				return nil
			}
			digits += n
			pos += int64(len(text))
			continue
		}
		i, next := badQuoted(text, pos+int64(len(text)) == p.End)
		if i >= 0 {
			c.at(pos+int64(i), "bad-quoted-printable", `an "=" that quoted-printable has not`)
			return nil
		}
		pos += int64(next)
	}
	if digits%4 != 0 {
		c.at(p.End, "bad-base64", "base64 that is cut off")
	}
	return nil
}

// badBase64 returns where the first octet is that is no base64, or -1 and the digits.
func badBase64(text []byte) (at, digits int) {
	for i, b := range text {
		switch {
		case isAlnum(b) || b == '+' || b == '/' || b == '=':
			digits++
		case b != ' ' && b != '\t' && b != '\r' && b != '\n':
			return i, digits
		}
	}
	return -1, digits
}

// badQuoted returns where the first wrong escape is, or -1 and how much of text was
// good. An escape at the end of text waits for more, unless there is none.
func badQuoted(text []byte, last bool) (at, next int) {
	for i := 0; ; {
		n := bytes.IndexByte(text[i:], '=')
		if n < 0 {
			return -1, len(text)
		}
		i += n
		rest := bytes.TrimLeft(text[i+1:], " \t")
		switch {
		case len(rest) > 0 && (rest[0] == '\n' || rest[0] == '\r'):
		case len(text) > i+2 && unhex(text[i+1]) >= 0 && unhex(text[i+2]) >= 0:
		case len(rest) == 0 && len(text)-i > 1000, len(rest) > 0 && len(text) > i+2:
			return i, 0
		case last:
			if len(rest) == 0 {
				return -1, len(text) // a soft line break at the end
			}
			return i, 0
		default:
			return -1, max(i, 1) // i is over 0: a view is longer than an escape
		}
		i++
	}
}

// body reads the body as lines, and finds out on which lines waiting defects are.
func (c *checker) body() error {
	head := append(c.m.Header.Bytes(), c.m.gap...)
	s := lines{c: c, line: 1 + int64(bytes.Count(head, []byte("\n"))), crlf: c.m.Header.LineEnd() == "\r\n", known: bytes.IndexByte(head, '\n') >= 0,
		seven: c.root.Encoding == "7bit"}
	slices.SortStableFunc(c.waiting, func(a, b Defect) int { return int(min(max(a.Offset-b.Offset, -1), 1)) })
	w := window{body: c.m.Body, end: c.m.Body.Size()}
	for pos := int64(0); pos < w.end; {
		text, err := w.view(pos, 1)
		if err != nil {
			return err
		}
		s.take(text)
		pos += int64(len(text))
	}
	s.finish(w.end)
	return nil
}

// lines reads a body as it comes, in pieces of any size.
type lines struct {
	c      *checker
	pos    int64 // in the body
	line   int64
	length int    // of the line so far
	start  []byte // of the line
	cr     bool   // the last octet was CR
	crlf   bool   // lines end in CRLF
	known  bool   // a line end was seen
	seven  bool   // the body says it is 7-bit
}

// maxBegin is how much of a line is kept to tell what it starts.
const maxBegin = 16

func (s *lines) take(text []byte) {
	for len(text) > 0 {
		n := bytes.IndexByte(text, '\n')
		if n < 0 {
			s.text(text)
			return
		}
		s.text(text[:n])
		s.end()
		text = text[n+1:]
	}
}

// text takes a piece of a line.
func (s *lines) text(p []byte) {
	if len(p) == 0 {
		return
	}
	c := s.c
	if s.cr { // the one before did not end the line
		c.add("cr-in-body", s.line, "CR that ends no line")
	}
	s.cr = p[len(p)-1] == '\r'
	if bytes.IndexByte(p[:len(p)-1], '\r') >= 0 {
		c.add("cr-in-body", s.line, "CR that ends no line")
	}
	if bytes.IndexByte(p, 0) >= 0 {
		c.add("nul-in-body", s.line, "NUL in the body")
	}
	if s.seven && !c.seen["8bit-body"] && bytes.ContainsFunc(p, func(r rune) bool { return r >= utf8.RuneSelf }) {
		c.add("8bit-body", s.line, "8-bit octets in a body that does not say so")
	}
	s.start = append(s.start, p[:min(len(p), maxBegin-len(s.start))]...)
	if s.length += len(p); s.length > maxLine+1 || s.length == maxLine+1 && !s.cr {
		s.long()
	}
	s.pos += int64(len(p))
}

func (s *lines) long() {
	s.c.add("long-line", s.line, "line longer than %d octets", maxLine)
}

// end takes an LF.
func (s *lines) end() {
	if s.known && s.crlf != s.cr {
		s.c.add("mixed-line-ends", s.line, "line ends of both kinds, LF and CRLF")
	}
	if !s.known {
		s.known, s.crlf = true, s.cr
	}
	if uuencoded(s.start) {
		s.c.add("uuencoded", s.line, "a uuencoded file within the text, which no MIME type tells of")
	}
	s.resolve(s.pos)
	s.pos++
	s.line++
	s.length, s.start, s.cr = 0, s.start[:0], false
}

// uuencoded tells whether a line starts a uuencoded file: begin 644 name.
func uuencoded(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("begin "))
	mode, name, named := bytes.Cut(bytes.TrimRight(rest, "\r"), []byte(" "))
	if !ok || !named || len(name) == 0 || len(mode) < 3 || len(mode) > 4 {
		return false
	}
	return len(bytes.Trim(mode, "01234567")) == 0
}

// resolve gives defects up to an octet their line.
func (s *lines) resolve(upTo int64) {
	for c := s.c; len(c.waiting) > 0 && c.waiting[0].Offset <= upTo; c.waiting = c.waiting[1:] {
		d := c.waiting[0]
		d.Line = s.line
		c.found = append(c.found, d)
	}
}

// finish is called at the end of the body.
func (s *lines) finish(size int64) {
	if s.cr {
		s.c.add("cr-in-body", s.line, "CR that ends no line")
	}
	if size > 0 && s.length > 0 {
		s.c.add("no-last-line-end", s.line, "no line end at the end")
	}
	s.resolve(size)
}
