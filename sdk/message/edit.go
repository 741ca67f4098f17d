package message

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxName is the longest name of a new field, in octets: it must fit on a line of 78
// with its colon and a space.
const maxName = 76

// Prepend puts a new field above all others. Values that are not ASCII are encoded by
// RFC 2047 as unstructured text (use EncodePhrase and Mailbox.String for addresses);
// long values are folded. A line break in value is kept only before white space.
//
// Where Apply returns an error, Prepend, Append and Replace mend: control characters
// become spaces, and a name that is none changes nothing. In a field of addresses a
// value that is not ASCII is read by ParseMailboxes and written by Mailbox.String.
// An mbox "From " line stays above all fields.
func (h *Header) Prepend(name, value string) { h.edit(Op{Kind: Prepend, Name: name, Value: value}) }

// Append puts a new field below all others.
func (h *Header) Append(name, value string) { h.edit(Op{Kind: Append, Name: name, Value: value}) }

// Replace gives the first field of that name the value and takes the others away;
// it appends the field if there is none.
func (h *Header) Replace(name, value string) { h.edit(Op{Kind: Replace, Name: name, Value: value}) }

// Remove takes every field of that name away and returns how many there were.
func (h *Header) Remove(name string) int { return h.edit(Op{Kind: Remove, Name: name}) }

// RemoveNth takes one field away: of those of that name the n-th from the top, from 1. It
// tells whether there was one.
func (h *Header) RemoveNth(name string, n int) bool {
	return n > 0 && h.edit(Op{Kind: Remove, Name: name, Nth: n}) > 0
}

// Ops returns the changes made so far, through the methods above and Apply.
func (h *Header) Ops() []Op { return slices.Clone(h.ops) }

// Apply makes the changes, or none of them and an error that names the bad one: no
// name or one with characters outside RFC 5322's, a value with control characters.
func (h *Header) Apply(ops []Op) error {
	for i, op := range ops {
		if err := op.check(); err != nil {
			return fmt.Errorf("header operation %d on %.80q: %w", i+1, op.Name, err)
		}
	}
	for _, op := range ops {
		h.edit(op)
	}
	return nil
}

// edit makes one change, writes it down and returns how many fields it took away. What
// is written down has its value cleaned already, so that Apply takes it.
func (h *Header) edit(op Op) int {
	if op.checkName() != nil {
		return 0
	}
	op.Value = cleanValue(op.Value)
	if op.Kind != Remove {
		op.Nth = 0
	}
	removed := 0
	switch op.Kind {
	case Prepend:
		h.insert(h.top(), h.newField(op))
	case Append:
		h.append(h.newField(op))
	case Replace:
		removed = h.replace(h.newField(op))
	case Remove:
		op.Value = ""
		if op.Nth == 0 {
			removed = h.remove(op.Name, 0)
		} else {
			removed = h.removeNth(op.Name, op.Nth)
		}
		if removed == 0 {
			return 0
		}
	default:
		return 0
	}
	h.ops = append(h.ops, op)
	return removed
}

func (h *Header) newField(op Op) field {
	text := render(op.Name, op.Value, h.LineEnd())
	return field{name: text[:len(op.Name)], raw: []byte(text), text: text}
}

// top is where Prepend inserts: below an mbox "From " line, and below a line that
// would become a fold of the new field.
func (h *Header) top() int {
	if len(h.fields) == 0 || h.fields[0].name != "" {
		return 0
	}
	first := h.fields[0].text
	if isMboxFrom(first) || first[0] == ' ' || first[0] == '\t' {
		return 1
	}
	return 0
}

func isMboxFrom(line string) bool {
	return strings.HasPrefix(line, "From ") || strings.HasPrefix(line, ">From ")
}

func (h *Header) append(f field) { h.insert(len(h.fields), f) }

// insert puts f at i. A line above it that has no end yet gets one.
func (h *Header) insert(i int, f field) {
	fields := make([]field, 0, len(h.fields)+4)
	fields = append(fields, h.fields[:i]...)
	if i > 0 && !strings.HasSuffix(fields[i-1].text, "\n") {
		end := h.LineEnd()
		if strings.HasSuffix(fields[i-1].text, "\r") {
			end = "\r\n" // with an LF, a CR alone would become an empty line
		}
		fields[i-1].text += end
		fields[i-1].raw = []byte(fields[i-1].text)
	}
	fields = append(fields, f)
	h.fields = append(fields, h.fields[i:]...)
}

func (h *Header) replace(f field) int {
	i := slices.IndexFunc(h.fields, func(old field) bool { return old.is(f.name) })
	if i < 0 {
		h.append(f)
		return 0
	}
	h.fields = slices.Clone(h.fields)
	h.fields[i] = f
	return 1 + h.remove(f.name, i+1)
}

// remove takes away the fields of that name from index i on.
func (h *Header) remove(name string, i int) int {
	if !slices.ContainsFunc(h.fields[i:], func(f field) bool { return f.is(name) }) {
		return 0
	}
	kept := slices.Clone(h.fields[:i])
	for _, f := range h.fields[i:] {
		if !f.is(name) {
			kept = append(kept, f)
		}
	}
	removed := len(h.fields) - len(kept)
	h.fields = kept
	return removed
}

func (h *Header) removeNth(name string, n int) int {
	for i, f := range h.fields {
		if !f.is(name) {
			continue
		}
		if n--; n == 0 {
			h.fields = slices.Delete(slices.Clone(h.fields), i, i+1)
			return 1
		}
	}
	return 0
}

func (op Op) check() error {
	if op.Kind < Prepend || op.Kind > Remove {
		return fmt.Errorf("unknown kind %d", op.Kind)
	}
	if err := op.checkName(); err != nil {
		return err
	}
	if op.Nth < 0 {
		return fmt.Errorf("field number %d", op.Nth)
	}
	if op.Kind != Remove {
		return checkValue(op.Value)
	}
	return nil
}

func (op Op) checkName() error {
	name := op.Name
	if name == "" {
		return errors.New("no field name")
	}
	if len(name) > maxName && op.Kind != Remove { // what came in may be longer
		return fmt.Errorf("field name longer than %d octets", maxName)
	}
	for i := range len(name) {
		if !isFtext(name[i]) {
			return fmt.Errorf("character %q in the field name", name[i])
		}
	}
	return nil
}

// checkValue allows line breaks only as folds: before white space.
func checkValue(value string) error {
	for i := 0; i < len(value); i++ {
		c := value[i]
		if isFold(value[i:]) {
			i += foldLen(value[i:]) - 1
			continue
		}
		if c == 0x7f || c < ' ' && c != '\t' {
			return fmt.Errorf("control character %q in the value", c)
		}
	}
	return nil
}
