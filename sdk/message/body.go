package message

import "io"

// Splice replaces Delete bytes at Offset by Insert. Offsets are those of the body as
// the splices before it have left it.
type Splice struct {
	Offset, Delete int64
	Insert         []byte
}

// Body is a body of any size: bytes of a file, changed by splices that are kept in
// memory. Its methods read; nothing loads it whole.
type Body struct{ impl bodyImpl }

type bodyImpl struct{}

// NewBody makes a body of the length bytes of r from offset on.
func NewBody(r io.ReaderAt, offset, length int64) *Body { panic("TODO") }

// Size is the body's length in bytes now.
func (b *Body) Size() int64 { panic("TODO") }

// ReadAt reads the body as it is now; Body is an io.ReaderAt.
func (b *Body) ReadAt(p []byte, off int64) (int, error) { panic("TODO") }

// WriteTo writes the body as it is now; Body is an io.WriterTo.
func (b *Body) WriteTo(w io.Writer) (int64, error) { panic("TODO") }

// Splice changes the body; an offset or length outside it is an error and changes nothing.
func (b *Body) Splice(s Splice) error { panic("TODO") }

// Splices returns the changes so far.
func (b *Body) Splices() []Splice { panic("TODO") }
