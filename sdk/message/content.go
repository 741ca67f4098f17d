package message

import (
	"bytes"
	"fmt"
	"strings"
)

// Content reads what a part holds, decoded from base64 or quoted-printable as well as it
// can be: what these have not is skipped or kept. Of a part of more than limit octets, as
// it is encoded, it reads only so much, and says so.
func (p *Part) Content(b *Body, limit int64) (content []byte, cut bool, err error) {
	size := min(max(p.End-p.Start, 0), limit)
	cut = size < p.End-p.Start
	content = make([]byte, size)
	if n, err := b.ReadAt(content, p.Start); int64(n) < size && err != nil {
		return nil, false, fmt.Errorf("read part at %d: %w", p.Start, err)
	}
	switch p.Encoding {
	case "base64":
		text := string(content)
		content = content[:0]
		for piece := range strings.SplitSeq(text, "=") { // some programs join what is padded
			content = appendBase64(content, piece)
		}
	case "quoted-printable":
		content = appendQuotedPrintable(make([]byte, 0, len(content)), content)
	}
	return content, cut, nil
}

// Text is Content in UTF-8. Octets without a charset, or in one that is not known, are
// read as UTF-8, and what is not that as windows-1252.
func (p *Part) Text(b *Body, limit int64) (text string, cut bool, err error) {
	content, cut, err := p.Content(b, limit)
	if err != nil {
		return "", false, err
	}
	return toText(p.Params["charset"], content), cut, nil
}

// appendQuotedPrintable decodes RFC 2045 6.7; an escape that is none stays as it is.
func appendQuotedPrintable(dst, text []byte) []byte {
	for line := range bytes.Lines(text) {
		body := bytes.TrimRight(line, " \t\r\n") // white space at the end was added on the way
		end := ""
		if i := bytes.IndexByte(line, '\n'); i > 0 && line[i-1] == '\r' {
			end = "\r\n"
		} else if i >= 0 {
			end = "\n"
		}
		if soft, ok := bytes.CutSuffix(body, []byte("=")); ok {
			body, end = soft, ""
		}
		for i := 0; i < len(body); i++ {
			c := body[i]
			if c == '=' && i+2 < len(body) {
				if hi, lo := unhex(body[i+1]), unhex(body[i+2]); hi >= 0 && lo >= 0 {
					c, i = byte(hi<<4|lo), i+2
				}
			}
			dst = append(dst, c)
		}
		dst = append(dst, end...)
	}
	return dst
}
