package decorate

import (
	"encoding/base64"
	"errors"
	"io"
	"strings"
)

// base64Line is how long lines of base64 are, in octets (RFC 2045 6.8).
const base64Line = 76

// joinBase64 is for base64: the footer goes on where the last group of four digits
// ends, or takes its place if it is padded. Base64 that decoders do not agree on is
// left alone: false.
func (e *editor) joinBase64(charset string) (bool, error) {
	scan, err := e.scanBase64()
	if err != nil || scan.bad {
		return false, err
	}
	_, eol, tail, err := e.ends()
	if err != nil {
		return false, err
	}
	text, rest := scan.tail()
	textEOL := lineEnd(text, strings.LastIndexByte(string(text), '\n'), "\r\n")
	if e.after != "" {
		after := append(rest, e.gap(text, textEOL)...)
		after = append(after, e.write(charset, e.after, textEOL)...)
		if err := e.appendBase64(scan, tail, after, eol); err != nil {
			return false, err
		}
	}
	if e.before != "" {
		before := e.pad(e.write(charset, e.before, textEOL), textEOL)
		return true, e.splice(0, 0, wrapBase64(before, 0, eol))
	}
	return true, nil
}

// appendBase64 writes octets in place of the last group if it is not full, else as new
// lines at the end.
func (e *editor) appendBase64(s base64Scan, tail, octets []byte, eol string) error {
	if s.digits%4 == 0 {
		text := wrapBase64(octets, 0, eol)
		if len(tail) > 0 && tail[len(tail)-1] != '\n' {
			text = append([]byte(eol), text...)
		}
		return e.splice(e.post.Body.Size(), 0, text)
	}
	text := wrapBase64(octets, int(min(s.group-s.line, base64Line)), eol)
	if len(tail) > 0 && tail[len(tail)-1] == '\n' {
		text = text[:len(text)-len(eol)] // the line has its end
	}
	return e.splice(s.group, s.end-s.group, text)
}

// pad makes the octets' number one that base64 needs no padding for: with spaces at
// the end of the last line, or with empty lines where spaces would mean something.
func (e *editor) pad(octets []byte, eol string) []byte {
	for len(octets)%3 != 0 {
		if e.flowed() {
			octets = append(octets, eol...)
			continue
		}
		n := len(octets) - len(eol)
		octets = append(octets[:n:n], " "+eol...)
	}
	return octets
}

// wrapBase64 encodes in lines, the first of which has column octets already.
func wrapBase64(octets []byte, column int, eol string) []byte {
	digits := base64.StdEncoding.EncodeToString(octets)
	var text []byte
	for digits != "" {
		n := min((base64Line-column)/4*4, len(digits))
		text = append(append(text, digits[:n]...), eol...)
		digits, column = digits[n:], 0
	}
	return text
}

// base64Scan is what going over base64 finds out.
type base64Scan struct {
	digits int64 // without padding
	pads   int
	group  int64  // where the last group of four starts
	line   int64  // where the line starts that it starts in
	end    int64  // where the last digit or padding ends
	last   []byte // the last digits, from the start of a group
	bad    bool
}

// scanBase64 goes over the body, which only this tells where its groups start.
func (e *editor) scanBase64() (base64Scan, error) {
	var s base64Scan
	var lineStart int64
	buf := make([]byte, 16<<10)
	size := e.post.Body.Size()
	for off := int64(0); off < size && !s.bad; {
		n, err := e.post.Body.ReadAt(buf[:min(int64(len(buf)), size-off)], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return s, err
		}
		for i, c := range buf[:n] {
			if c == '\n' {
				lineStart = off + int64(i) + 1
				continue
			}
			s.octet(c, off+int64(i), lineStart)
		}
		off += int64(n)
	}
	s.bad = s.bad || s.digits%4 == 1
	return s, nil
}

func (s *base64Scan) octet(c byte, at, lineStart int64) {
	switch {
	case c == '=':
		s.pads++
		s.bad = s.bad || s.digits%4 < 2 || s.digits%4+int64(s.pads) > 4
		s.end = at + 1
	case c == ' ' || c == '\t' || c == '\r':
	case s.pads > 0 || !isDigit(c):
		s.bad = true
	default:
		if s.digits%4 == 0 {
			s.group, s.line = at, lineStart
			if len(s.last) == 2*tailSize {
				s.last = s.last[:copy(s.last, s.last[tailSize:])]
			}
		}
		s.digits++
		s.last = append(s.last, c)
		s.end = at + 1
	}
}

func isDigit(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/'
}

// tail returns the end of the text, and those octets of it that stand in a group that
// is not full.
func (s *base64Scan) tail() (text, rest []byte) {
	text, _ = base64.RawStdEncoding.AppendDecode(nil, s.last) // octet let nothing else in
	n := max(int(s.digits%4)-1, 0)
	return text, append(rest, text[len(text)-n:]...)
}
