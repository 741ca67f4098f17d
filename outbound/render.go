package outbound

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/mailauth"
	"github.com/mlist/mlist/sdk/message"
)

// renderer makes the content of each copy: the constant pieces of what was prepared, with
// something of the recipient's between them. Nothing is parsed for it but, where copies are
// signed, the header block.
type renderer struct {
	base   io.ReaderAt
	size   int64
	slots  []spool.Slot
	keys   []*mailauth.Key
	at     time.Time          // of signing
	bodyAt int64              // where the body begins
	hash   []byte             // of the body, if it is the same in all copies
	begun  *mailauth.BodyHash // else of the body up to where copies begin to differ
	buf    []byte
	same   signed // if the header is the same, too
	inHead int    // how many of the slots are in the header block
}

// signed are the signatures of a copy, and where they go: above all fields, but below a
// line of mbox, in which nothing is to be filled in.
type signed struct {
	fields string
	at     int64
}

// maxHead bounds the header block that is read to be signed.
const maxHead = 1 << 20

// newRenderer makes a renderer of a chunk's content. A content larger than inMemory is read
// for each copy again.
func newRenderer(c *spool.Chunk, base io.ReaderAt, size int64, keys []*mailauth.Key) (*renderer, error) {
	r := &renderer{base: base, size: size, slots: c.Slots, keys: keys, at: c.Created}
	if n := len(c.Slots); n > 0 && c.Slots[n-1].Offset+c.Slots[n-1].Length > size {
		return nil, fmt.Errorf("a placeholder at %d of %d octets", c.Slots[n-1].Offset, size)
	}
	if size <= inMemory && len(c.Recipients) > 1 {
		b := make([]byte, size)
		if n, err := base.ReadAt(b, 0); int64(n) < size {
			return nil, fmt.Errorf("read %d of %d octets: %w", n, size, err)
		}
		r.base = bytes.NewReader(b)
	}
	if len(keys) == 0 {
		return r, nil
	}
	return r, r.prepareToSign()
}

// prepareToSign finds the body, and hashes it if that needs to be done only once.
func (r *renderer) prepareToSign() (err error) {
	if _, r.bodyAt, err = message.Split(r.base, r.size); err != nil {
		return err
	}
	if r.bodyAt > maxHead {
		return fmt.Errorf("a header block of %d octets", r.bodyAt)
	}
	for _, s := range r.slots {
		if s.Offset < r.bodyAt {
			r.inHead++
		}
	}
	plain := &copyContent{r: r}
	plain.build(signed{})
	r.begun = mailauth.NewBodyHash()
	if r.inHead == len(r.slots) {
		if r.hash, err = r.hashBody(plain); err != nil {
			return err
		}
	} else if err := r.write(r.begun, plain, r.bodyAt, r.slots[r.inHead].Offset); err != nil {
		return err
	}
	if len(r.slots) == 0 {
		r.same, err = r.sign(plain)
	}
	return err
}

// member is what the slots of one copy are filled from.
type member struct{ address, name, returnPath, token string }

// copy makes the content of one member's copy.
func (r *renderer) copy(m member) (*copyContent, error) {
	c := &copyContent{r: r}
	if len(r.slots) == 0 {
		c.build(r.same)
		return c, nil
	}
	c.values = make([]string, len(r.slots))
	for i, s := range r.slots {
		var err error
		if c.values[i], err = fill(s, m); err != nil {
			return nil, err
		}
	}
	c.build(signed{})
	if len(r.keys) > 0 {
		signatures, err := r.sign(c)
		if err != nil {
			return nil, err
		}
		c.build(signatures)
	}
	return c, nil
}

// sign makes the signatures of a copy.
func (r *renderer) sign(c *copyContent) (signed, error) {
	head, _, err := message.Split(c, c.Size())
	if err != nil {
		return signed{}, err
	}
	h := message.ParseHeader(head)
	hash := r.hash
	if hash == nil {
		if hash, err = r.hashBody(c); err != nil {
			return signed{}, err
		}
	}
	for _, k := range r.keys {
		v, err := k.Sign(h, hash, r.at)
		if err != nil {
			return signed{}, err
		}
		h.Prepend("DKIM-Signature", v)
	}
	var fields []byte
	n := 0
	for f := range h.Fields() {
		if n++; n > len(r.keys) {
			break
		}
		fields = append(fields, f.Raw...)
	}
	return signed{string(fields), int64(bytes.Index(h.Bytes(), fields))}, nil
}

// hashBody hashes the body of a copy as it is sent.
func (r *renderer) hashBody(c *copyContent) ([]byte, error) {
	h, err := r.begun.Clone()
	if err != nil {
		return nil, err
	}
	from := c.offset(r.bodyAt)
	if r.inHead < len(r.slots) {
		from = c.offset(r.slots[r.inHead].Offset)
	}
	if err := r.write(h, c, from, c.Size()); err != nil {
		return nil, err
	}
	return h.Sum(), nil
}

// write hashes some octets of a copy.
func (r *renderer) write(h *mailauth.BodyHash, c *copyContent, from, to int64) error {
	if r.buf == nil {
		r.buf = make([]byte, 32<<10)
	}
	for from < to {
		b := r.buf[:min(to-from, int64(len(r.buf)))]
		n, err := c.ReadAt(b, from)
		if n < len(b) {
			return fmt.Errorf("hash the body: %w", err)
		}
		h.Write(b)
		from += int64(n)
	}
	return nil
}

// cut is a piece of a copy: octets of the base, or text.
type cut struct {
	at     int64 // where it begins in the copy
	length int64
	from   int64 // in the base; -1 is text
	text   string
}

// copyContent is a copy, as an io.ReaderAt.
type copyContent struct {
	r      *renderer
	values []string // beside the slots; nil leaves the placeholders in
	cuts   []cut
	above  int64 // how many octets the signatures are
	size   int64
}

// build puts the pieces in order.
func (c *copyContent) build(above signed) {
	c.cuts, c.size, c.above = c.cuts[:0], 0, int64(len(above.fields))
	c.add(cut{from: 0, length: above.at})
	c.add(cut{from: -1, text: above.fields, length: c.above})
	pos := above.at
	for i, v := range c.values {
		s := c.r.slots[i]
		c.add(cut{from: pos, length: s.Offset - pos})
		c.add(cut{from: -1, text: v, length: int64(len(v))})
		pos = s.Offset + s.Length
	}
	c.add(cut{from: pos, length: c.r.size - pos})
}

func (c *copyContent) add(p cut) {
	if p.length > 0 {
		p.at = c.size
		c.size += p.length
		c.cuts = append(c.cuts, p)
	}
}

// Size is how many octets the copy has.
func (c *copyContent) Size() int64 { return c.size }

// offset tells where in the copy an octet of the base stands that is outside all slots.
func (c *copyContent) offset(base int64) int64 {
	at := c.above + base
	for i, v := range c.values {
		if s := c.r.slots[i]; s.Offset < base {
			at += int64(len(v)) - s.Length
		}
	}
	return at
}

// ReadAt implements io.ReaderAt.
func (c *copyContent) ReadAt(b []byte, off int64) (n int, err error) {
	i, found := slices.BinarySearchFunc(c.cuts, off, func(p cut, off int64) int {
		switch {
		case off < p.at:
			return 1
		case off >= p.at+p.length:
			return -1
		}
		return 0
	})
	if !found {
		return 0, io.EOF
	}
	for ; i < len(c.cuts) && n < len(b); i++ {
		p := c.cuts[i]
		skip := off + int64(n) - p.at
		if p.from < 0 {
			n += copy(b[n:], p.text[skip:])
			continue
		}
		want := min(int64(len(b)-n), p.length-skip)
		got, err := c.r.base.ReadAt(b[n:n+int(want)], p.from+skip)
		n += got
		if int64(got) < want {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// unsubscribeField is the field of a slot that has a token of one-click unsubscription.
const unsubscribeField = "unsubscribe_token"

// fill returns the text for one slot.
func fill(s spool.Slot, m member) (string, error) {
	var v string
	switch s.Field {
	case "address":
		v = m.address
	case "name":
		v = m.name
	case "name_or_address":
		if v = m.name; v == "" {
			v = m.address
		}
	case "return_path":
		v = m.returnPath
	case unsubscribeField:
		v = m.token
	default:
		return "", fmt.Errorf("a placeholder for %q, which this mlist does not know", s.Field)
	}
	encode := encodings[s.Encoding]
	if encode == nil {
		return "", fmt.Errorf("a placeholder in encoding %q, which this mlist does not know", s.Encoding)
	}
	return encode(oneLine(v)), nil
}

// oneLine makes what would end a line a space.
func oneLine(s string) string {
	if !strings.ContainsFunc(s, control) && len(s) < 1<<10 {
		return s
	}
	s = strings.Map(func(r rune) rune {
		if control(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) >= 1<<10 {
		s = strings.ToValidUTF8(s[:1<<10], "")
	}
	return s
}

func control(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == '\ufffd'
}

// encodings are how a value may be written.
var encodings = map[string]func(string) string{
	"ascii":    toASCII,
	"utf8":     func(s string) string { return s },
	"qp":       quoted,
	"qp-ascii": func(s string) string { return quoted(toASCII(s)) },
	"url":      percent,
	"html":     references,
	"word":     message.EncodePhrase,
}

func toASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 0x80 {
			return '?'
		}
		return r
	}, s)
}

const hexDigits = "0123456789ABCDEF"

// quoted is quoted-printable without line breaks: octets that are not themselves there.
func quoted(s string) string { return escape(s, '=', func(c byte) bool { return c == '=' || c > '~' }) }

func percent(s string) string {
	return escape(s, '%', func(c byte) bool {
		return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' && c != '.' && c != '_' && c != '~'
	})
}

func escape(s string, mark byte, special func(byte) bool) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; special(c) {
			b.WriteByte(mark)
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func references(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r >= 0x80 || strings.ContainsRune(`<>&"'`, r) {
			fmt.Fprintf(&b, "&#%d;", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// eightBit tells whether a copy may have octets that the content has not.
func (r *renderer) eightBit() bool {
	return slices.ContainsFunc(r.slots, func(s spool.Slot) bool { return s.Encoding == "utf8" })
}
