package message

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// maxLine is the longest line RFC 5322 allows, in octets without the line end.
const maxLine = 998

// Defect is something that is wrong with a message. What has it is read as well as it can
// be, and keeps its bytes.
type Defect struct {
	Code   string // a word for programs, such as "nul-in-header"
	Text   string // a sentence for people, without its full stop
	Line   int64  // where it is first seen, from 1; 0 if not known
	Offset int64  // in the body, for what ParseStructure found
}

// String says where and what.
func (d Defect) String() string {
	if d.Line > 0 {
		return fmt.Sprintf("line %d: %s", d.Line, d.Text)
	}
	return fmt.Sprintf("octet %d: %s", d.Offset, d.Text)
}

// Defects tells what is wrong with the block as it was parsed: lines that are no
// field, 8-bit characters, NULs, overlong lines. Each kind is told once, with the line
// where it is first seen.
func (h *Header) Defects() []Defect {
	var d defects
	line := int64(1)
	for i, f := range h.parsed {
		if f.name == "" && !(i == 0 && isMboxFrom(f.text)) {
			if i == MaxFields {
				d.add("too-many-fields", line, "more than %d header fields", MaxFields)
			} else {
				d.add("no-field", line, "no header field")
			}
		}
		for text := range bytes.Lines(f.raw) {
			d.line(line, text)
			line++
		}
	}
	if len(h.parsed) > 0 && !bytes.HasSuffix(h.parsed[len(h.parsed)-1].raw, []byte("\n")) {
		d.add("no-line-end", line-1, "no line end")
	}
	return d.found
}

// defects collects each kind once, where it is first seen.
type defects struct {
	found []Defect
	seen  map[string]bool
}

// first tells whether a kind was not seen before.
func (d *defects) first(code string) bool {
	if d.seen[code] {
		return false
	}
	if d.seen == nil {
		d.seen = make(map[string]bool)
	}
	d.seen[code] = true
	return true
}

func (d *defects) add(code string, line int64, format string, args ...any) {
	if !d.first(code) {
		return
	}
	d.found = append(d.found, Defect{Code: code, Text: fmt.Sprintf(format, args...), Line: line})
}

func (d *defects) line(n int64, text []byte) {
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if len(text) > maxLine {
		d.add("long-header-line", n, "header line longer than %d octets", maxLine)
	}
	var nul, cr, high bool
	for _, c := range text {
		nul, cr, high = nul || c == 0, cr || c == '\r', high || c >= utf8.RuneSelf
	}
	if nul {
		d.add("nul-in-header", n, "NUL in the header")
	}
	if cr {
		d.add("cr-in-header", n, "CR that ends no line in the header")
	}
	if high {
		d.add("8bit-header", n, "8-bit characters in the header")
	}
	if len(text) == 0 {
		d.add("empty-line", n, "empty line in the header")
	}
}
