// Package message edits a mail message as a header block and a body: never
// re-serialised, so that bytes nobody edits stay as they came.
//
// mlist and its plugins both use it: the plugin edits, the edits travel as [Op]s and
// [Splice]s, and mlist applies them to its own copy. Reading never fails on bad
// input: what is wrong is kept as it is and told in Defects.
package message

import "iter"

// Limits against hostile input.
const (
	MaxHeader = 1 << 20 // octets of a header block
	MaxFields = 10_000
	MaxDepth  = 32     // of nested MIME parts
	MaxParts  = 10_000 // MIME parts of a message
)

// Header is a header block: its fields in order, with their bytes.
// The zero Header is empty and ready for use.
type Header struct{ impl headerImpl }

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
}

// ParseHeader reads a header block, up to and without the empty line that ends it.
// Lines may end in CRLF or LF; new fields follow the block's own use. It keeps block.
func ParseHeader(block []byte) *Header { panic("TODO") }

// Defects tells what is wrong with the block: lines that are no field, 8-bit
// characters, NULs, overlong lines.
func (h *Header) Defects() []string { panic("TODO") }

// Fields yields the fields in order.
func (h *Header) Fields() iter.Seq[Field] { panic("TODO") }

// Has tells whether there is a field of that name; case does not matter.
func (h *Header) Has(name string) bool { panic("TODO") }

// Get returns the first such field's value, unfolded and trimmed; "" if there is none.
func (h *Header) Get(name string) string { panic("TODO") }

// Values returns the values of all such fields.
func (h *Header) Values(name string) []string { panic("TODO") }

// Text is Get with RFC 2047 encoded words decoded to UTF-8.
func (h *Header) Text(name string) string { panic("TODO") }

// Prepend puts a new field above all others. Values that are not ASCII are encoded by
// RFC 2047 as unstructured text (use EncodePhrase and Mailbox.String for addresses);
// long values are folded. A line break in value is kept only before white space.
func (h *Header) Prepend(name, value string) { panic("TODO") }

// Append puts a new field below all others.
func (h *Header) Append(name, value string) { panic("TODO") }

// Replace gives the first field of that name the value and takes the others away;
// it appends the field if there is none.
func (h *Header) Replace(name, value string) { panic("TODO") }

// Remove takes every field of that name away and returns how many there were.
func (h *Header) Remove(name string) int { panic("TODO") }

// Ops returns the changes made so far, through the methods above and Apply.
func (h *Header) Ops() []Op { panic("TODO") }

// Apply makes the changes, or none of them and an error that names the bad one: no
// name or one with characters outside RFC 5322's, a value with control characters.
func (h *Header) Apply(ops []Op) error { panic("TODO") }

// Bytes returns the block, without the empty line.
func (h *Header) Bytes() []byte { panic("TODO") }
