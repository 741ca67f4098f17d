package message

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// maxLine is the longest line RFC 5322 allows, in octets without the line end.
const maxLine = 998

// Defects tells what is wrong with the block as it was parsed: lines that are no
// field, 8-bit characters, NULs, overlong lines. Each kind is told once, with the line
// where it is first seen.
func (h *Header) Defects() []string {
	var d defects
	line := 1
	for i, f := range h.parsed {
		if f.name == "" && !(i == 0 && isMboxFrom(f.text)) {
			if i == MaxFields {
				d.add(line, "more than %d fields", MaxFields)
			} else {
				d.add(line, "no header field")
			}
		}
		for text := range bytes.Lines(f.raw) {
			d.line(line, text)
			line++
		}
	}
	if len(h.parsed) > 0 && !bytes.HasSuffix(h.parsed[len(h.parsed)-1].raw, []byte("\n")) {
		d.add(line-1, "no line end")
	}
	return d.texts
}

// defects collects each kind once.
type defects struct {
	texts []string
	seen  map[string]bool
}

func (d *defects) add(line int, format string, args ...any) {
	if d.seen[format] {
		return
	}
	if d.seen == nil {
		d.seen = make(map[string]bool)
	}
	d.seen[format] = true
	d.texts = append(d.texts, fmt.Sprintf("line %d: ", line)+fmt.Sprintf(format, args...))
}

func (d *defects) line(n int, text []byte) {
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if len(text) > maxLine {
		d.add(n, "longer than %d octets", maxLine)
	}
	for _, c := range text {
		switch {
		case c == 0:
			d.add(n, "NUL")
		case c == '\r':
			d.add(n, "CR that ends no line")
		case c >= utf8.RuneSelf:
			d.add(n, "8-bit characters")
		}
	}
	if len(text) == 0 {
		d.add(n, "empty line")
	}
}
