package message

import (
	"errors"
	"io"
)

// IsMessage tells whether the part is a message of its own that can be read where it
// stands: ParseEmbedded does.
func (p *Part) IsMessage() bool {
	return (p.Type == "message/rfc822" || p.Type == "message/global") && p.identity()
}

// identity tells whether the part's octets are its content.
func (p *Part) identity() bool {
	return p.Encoding == "7bit" || p.Encoding == "8bit" || p.Encoding == "binary"
}

// ParseEmbedded reads the message that a part is. Offsets are those of the same body: the
// header of root starts at its Head, and its text at its Start. The root is nil if the
// header is over MaxHeader.
func ParseEmbedded(b *Body, p *Part) (root *Part, defects []Defect, err error) {
	block, at, err := Split(io.NewSectionReader(b, p.Start, p.End-p.Start), p.End-p.Start)
	if errors.Is(err, ErrHeaderTooLong) {
		return nil, []Defect{{Code: "header-too-long", Text: "header of a message within longer than 4 MiB", Offset: p.Start}}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	root, defects, err = parseStructure(ParseHeader(block), b, p.Start+at, p.End)
	root.Head = p.Start
	return root, defects, err
}
