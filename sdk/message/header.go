// Package message edits a mail message as a header block and a body: never
// re-serialised, so that bytes nobody edits stay as they came.
//
// mlist and its plugins both use it: the plugin edits, the edits travel as [Op]s and
// [Splice]s, and mlist applies them to its own copy. Reading never fails on bad
// input: what is wrong is kept as it is and told in Defects.
package message

import (
	"iter"
	"slices"
	"strings"
)

// Limits against hostile input.
const (
	MaxHeader = 4 << 20 // octets of a header block
	MaxFields = 50_000
	MaxDepth  = 32     // of nested MIME parts
	MaxParts  = 10_000 // MIME parts of a message
)

// Header is a header block: its fields in order, with their bytes.
// The zero Header is empty and ready for use.
type Header struct {
	fields []field // never changed in place: Fields may be running over it
	parsed []field // what ParseHeader found
	eol    string  // "" is not known yet
	ops    []Op
}

// field is one field, or a run of bytes that is none: then name is "".
type field struct {
	name string
	raw  []byte
	text string // raw as a string; names and values are slices of it
}

// Field is one header field with all its folds.
type Field struct {
	Name string // as written
	Raw  []byte // all its bytes, name and line ends included
}

// OpKind says what an Op does.
type OpKind int

// Kinds of header operations; proto.HeaderOp documents them.
const (
	Prepend OpKind = iota + 1
	Append
	Replace
	Remove
)

// Op is a change to a header block.
type Op struct {
	Kind        OpKind
	Name, Value string
	Nth         int // of Remove: which one of that name, from 1; 0 is every one
}

// ParseHeader reads a header block, up to and without the empty line that ends it.
// Lines may end in CRLF or LF; new fields follow the block's own use. It keeps block.
// What lies beyond MaxFields is kept as one piece that is no field.
func ParseHeader(block []byte) *Header {
	text := string(block)
	h := &Header{fields: make([]field, 0, 8+strings.Count(text[:min(len(text), 8192)], "\n")/2)}
	for pos := 0; pos < len(block); {
		end := fieldEnd(text, pos)
		if len(h.fields) == MaxFields {
			end = len(block)
		}
		f := field{raw: block[pos:end:end], text: text[pos:end]}
		if len(h.fields) < MaxFields {
			f.name = fieldName(f.text)
		}
		h.fields = append(h.fields, f)
		pos = end
	}
	if i := strings.IndexByte(text, '\n'); i > 0 && text[i-1] == '\r' {
		h.eol = "\r\n"
	} else if i >= 0 {
		h.eol = "\n"
	}
	h.parsed = h.fields
	return h
}

// fieldEnd finds the end of the line at pos and of the folds that follow it.
func fieldEnd(text string, pos int) int {
	for {
		i := strings.IndexByte(text[pos:], '\n')
		if i < 0 {
			return len(text)
		}
		pos += i + 1
		if pos == len(text) || text[pos] != ' ' && text[pos] != '\t' {
			return pos
		}
	}
}

// fieldName returns the name of the field that text starts with, or "" if that is none.
// RFC 5322 4.5 lets old mail have white space before the colon.
func fieldName(text string) string {
	n := 0
	for n < len(text) && isFtext(text[n]) {
		n++
	}
	i := n
	for i < len(text) && (text[i] == ' ' || text[i] == '\t') {
		i++
	}
	if i == len(text) || text[i] != ':' {
		return ""
	}
	return text[:n]
}

// isFtext is RFC 5322 3.6.8's ftext.
func isFtext(c byte) bool { return c > ' ' && c < 0x7f && c != ':' }

// value returns the field's value: unfolded and trimmed.
func (f field) value() string { return unfold(f.text[strings.IndexByte(f.text, ':')+1:]) }

// unfold takes the line breaks out and trims. A CR that ends no line becomes a space,
// so that a value never holds a line break of any kind.
func unfold(s string) string {
	s = strings.Trim(s, " \t\r\n")
	if strings.IndexByte(s, '\n') < 0 && strings.IndexByte(s, '\r') < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\n', s[i] == '\r' && s[i+1] == '\n': // trimmed: s does not end in CR
		case s[i] == '\r':
			b.WriteByte(' ')
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func (f field) is(name string) bool {
	return len(f.name) == len(name) && name != "" && strings.EqualFold(f.name, name)
}

// Fields yields the fields in order. Lines that are no field are left out.
func (h *Header) Fields() iter.Seq[Field] {
	fields := h.fields
	return func(yield func(Field) bool) {
		for _, f := range fields {
			if f.name != "" && !yield(Field{Name: f.name, Raw: f.raw}) {
				return
			}
		}
	}
}

// Has tells whether there is a field of that name; case does not matter.
func (h *Header) Has(name string) bool {
	return slices.ContainsFunc(h.fields, func(f field) bool { return f.is(name) })
}

// Get returns the first such field's value, unfolded and trimmed; "" if there is none.
func (h *Header) Get(name string) string {
	for _, f := range h.fields {
		if f.is(name) {
			return f.value()
		}
	}
	return ""
}

// Values returns the values of all such fields.
func (h *Header) Values(name string) []string {
	var values []string
	for _, f := range h.fields {
		if f.is(name) {
			values = append(values, f.value())
		}
	}
	return values
}

// Text is Get with RFC 2047 encoded words decoded to UTF-8.
func (h *Header) Text(name string) string { return DecodeText(h.Get(name)) }

// LineEnd returns what ends the block's lines: CRLF or LF. CRLF if it has no line.
func (h *Header) LineEnd() string {
	if h.eol == "" {
		return "\r\n"
	}
	return h.eol
}

// Bytes returns the block, without the empty line.
func (h *Header) Bytes() []byte {
	size := 0
	for _, f := range h.fields {
		size += len(f.raw)
	}
	block := make([]byte, 0, size)
	for _, f := range h.fields {
		block = append(block, f.raw...)
	}
	return block
}
