package message

import (
	"errors"
	"fmt"
	"io"
)

// Message is a whole message of any kind: any octets at all are one.
type Message struct {
	Header *Header
	Body   *Body
	// TooLong tells that the header block is over MaxHeader. Then Header is empty, and all
	// of the message is Body.
	TooLong bool
	// BodyAt is where the body starts among the message's octets.
	BodyAt int64
	gap    []byte // the empty line between header and body, as it is
}

// Open reads the header block of a message of so many octets. Its error is one of
// reading, never of what was read.
func Open(r io.ReaderAt, size int64) (*Message, error) {
	block, at, err := Split(r, size)
	m := &Message{BodyAt: at}
	switch {
	case errors.Is(err, ErrHeaderTooLong):
		m.TooLong = true
	case err != nil:
		return nil, err
	default:
		m.gap = make([]byte, at-int64(len(block)))
		if n, err := r.ReadAt(m.gap, int64(len(block))); n < len(m.gap) {
			return nil, fmt.Errorf("read the line after the header: %w", err)
		}
	}
	m.Header, m.Body = ParseHeader(block), NewBody(r, at, size-at)
	return m, nil
}

// WriteTo writes the message as it is now. What nobody has edited is written as it came.
func (m *Message) WriteTo(w io.Writer) (int64, error) {
	head := append(m.Header.Bytes(), m.gap...)
	n, err := w.Write(head)
	if err != nil {
		return int64(n), fmt.Errorf("write header: %w", err)
	}
	rest, err := m.Body.WriteTo(w)
	return int64(n) + rest, err
}
