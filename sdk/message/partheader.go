package message

import "bytes"

// part reads the header of the part that starts after d.
func (w *walker) part(m *Part, d delimiter) (int64, error) {
	pos := d.after
	size, start, err := w.header(pos)
	if err != nil {
		return 0, err
	}
	block := make([]byte, size)
	if size > 0 {
		if _, err := w.body.ReadAt(block, pos); err != nil {
			return 0, err
		}
	}
	w.headers -= int(size)
	otherwise := "text/plain"
	if m.Type == "multipart/digest" { // RFC 2046 5.1.5
		otherwise = "message/rfc822"
	}
	p := w.newPart(ParseHeader(block), start, otherwise)
	p.Delimiter, p.Head = d.line, pos
	m.Parts = append(m.Parts, p)
	w.open(p)
	return start, nil
}

// header returns the size of the part header at pos, and where the part's body starts.
// The rules are Split's; a delimiter ends a header too.
func (w *walker) header(pos int64) (size, start int64, err error) {
	limit := int64(min(maxPartHeader, w.headers))
	for line := pos; ; {
		text, err := w.view(line, lookAhead)
		if err != nil {
			return 0, 0, err
		}
		if n := emptyLine(text); n > 0 {
			return line - pos, line + n, nil
		}
		if level, _, _ := w.match(text); level >= 0 || len(text) == 0 {
			return line - pos, line, nil
		}
		if line == pos && fieldName(string(text[:min(len(text), lookAhead)])) == "" {
			w.defect("part-without-header", pos, "part without a header")
			return 0, pos, nil
		}
		next, err := w.lineEnd(line)
		if err != nil {
			return 0, 0, err
		}
		if next-pos > limit {
			w.defect("part-header-too-long", pos, "part with too long a header")
			return line - pos, line, nil
		}
		line = next
	}
}

func emptyLine(text []byte) int64 {
	switch {
	case bytes.HasPrefix(text, []byte("\n")):
		return 1
	case bytes.HasPrefix(text, []byte("\r\n")):
		return 2
	}
	return 0
}
