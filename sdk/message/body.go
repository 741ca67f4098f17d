package message

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
)

// Splice replaces Delete bytes at Offset by Insert. Offsets are those of the body as
// the splices before it have left it.
type Splice struct {
	Offset, Delete int64
	Insert         []byte
}

// Body is a body of any size: bytes of a file, changed by splices that are kept in
// memory. Its methods read; nothing loads it whole. Reading from several goroutines is
// fine while none splices.
type Body struct {
	file    io.ReaderAt
	offset  int64   // where the body began in the file
	length  int64   // and how long it was there
	pieces  []piece // in order, without gaps, none of them empty
	size    int64
	splices []Splice
}

// piece is a run of the body: of the file, or of what a splice inserted.
type piece struct {
	start int64  // where it lies in the body
	size  int64  // octets
	text  []byte // nil: octets of the file
	at    int64  // then: where they lie in the file
}

func (p piece) end() int64 { return p.start + p.size }

// from is the piece without its first n octets, and upTo its first n only.
func (p piece) from(n int64) piece {
	p.start, p.size, p.at = p.start+n, p.size-n, p.at+n
	if p.text != nil {
		p.text = p.text[n:]
	}
	return p
}

func (p piece) upTo(n int64) piece {
	p.size = n
	if p.text != nil {
		p.text = p.text[:n]
	}
	return p
}

// NewBody makes a body of the length bytes of r from offset on.
func NewBody(r io.ReaderAt, offset, length int64) *Body {
	length = max(length, 0)
	b := &Body{file: r, offset: offset, length: length, size: length}
	if b.size > 0 {
		b.pieces = []piece{{size: b.size, at: offset}}
	}
	return b
}

// Size is the body's length in bytes now.
func (b *Body) Size() int64 { return b.size }

// find returns the index of the piece that holds the octet at off.
func (b *Body) find(off int64) int {
	return sort.Search(len(b.pieces), func(i int) bool { return b.pieces[i].end() > off })
}

// ReadAt reads the body as it is now; Body is an io.ReaderAt.
func (b *Body) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read body: negative offset")
	}
	n := 0
	for i := b.find(off); i < len(b.pieces) && n < len(p); i++ {
		pc := b.pieces[i].from(off + int64(n) - b.pieces[i].start)
		m, err := b.readPiece(p[n:n+int(min(pc.size, int64(len(p)-n)))], pc)
		n += m
		if err != nil {
			return n, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readPiece fills p with the start of the piece.
func (b *Body) readPiece(p []byte, pc piece) (int, error) {
	if pc.text != nil {
		return copy(p, pc.text), nil
	}
	n, err := b.file.ReadAt(p, pc.at)
	if n == len(p) {
		return n, nil
	}
	if err == nil || err == io.EOF { // the file is shorter than NewBody was told
		err = io.ErrUnexpectedEOF
	}
	return n, fmt.Errorf("read body: %w", err)
}

// WriteTo writes the body as it is now; Body is an io.WriterTo.
func (b *Body) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for _, pc := range b.pieces {
		n, err := b.writePiece(w, pc)
		total += n
		if err != nil {
			return total, fmt.Errorf("write body: %w", err)
		}
	}
	return total, nil
}

func (b *Body) writePiece(w io.Writer, pc piece) (int64, error) {
	if pc.text != nil {
		n, err := w.Write(pc.text)
		return int64(n), err
	}
	n, err := io.Copy(w, io.NewSectionReader(b.file, pc.at, pc.size))
	if err == nil && n < pc.size {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Splice changes the body; an offset or length outside it is an error and changes nothing.
func (b *Body) Splice(s Splice) error {
	if s.Offset < 0 || s.Offset > b.size || s.Delete < 0 || s.Delete > b.size-s.Offset {
		return fmt.Errorf("splice body of %d octets: delete %d at %d is outside", b.size, s.Delete, s.Offset)
	}
	s.Insert = slices.Clone(s.Insert)
	first, last := b.find(s.Offset), b.find(s.Offset+s.Delete)
	middle := make([]piece, 0, 3)
	if first < len(b.pieces) && b.pieces[first].start < s.Offset {
		middle = append(middle, b.pieces[first].upTo(s.Offset-b.pieces[first].start))
	}
	if len(s.Insert) > 0 {
		middle = append(middle, piece{start: s.Offset, size: int64(len(s.Insert)), text: s.Insert})
	}
	if last < len(b.pieces) {
		pc := b.pieces[last]
		middle = append(middle, pc.from(s.Offset+s.Delete-pc.start))
		last++
	}
	b.pieces = slices.Replace(b.pieces, first, last, middle...)
	b.size += int64(len(s.Insert)) - s.Delete
	b.restart(first)
	b.splices = append(b.splices, s)
	return nil
}

// restart sets where the pieces from i on lie.
func (b *Body) restart(i int) {
	for ; i < len(b.pieces); i++ {
		b.pieces[i].start = 0
		if i > 0 {
			b.pieces[i].start = b.pieces[i-1].end()
		}
	}
}

// At returns the body as it was after its first n splices.
func (b *Body) At(n int) (*Body, error) {
	if n < 0 || n > len(b.splices) {
		return nil, fmt.Errorf("body after %d splices: there are %d", n, len(b.splices))
	}
	then := NewBody(b.file, b.offset, b.length)
	for _, s := range b.splices[:n] {
		if err := then.Splice(s); err != nil {
			return nil, err
		}
	}
	return then, nil
}

// Splices returns the changes so far. What they insert must not be changed.
func (b *Body) Splices() []Splice { return slices.Clone(b.splices) }
