package message

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// ErrHeaderTooLong says that a header block is over MaxHeader.
var ErrHeaderTooLong = errors.New("header block longer than 4 MiB")

// Split finds the end of a message's header block: block is without the empty line
// (but with the line end of its last field), body is the offset of the body. A block
// over MaxHeader is an error, ErrHeaderTooLong. A message that starts with a line that
// is no field has no header, except for an mbox "From " line above fields; one without
// an empty line has no body. It reads little beyond the block.
func Split(r io.ReaderAt, size int64) (block []byte, body int64, err error) {
	limit := min(max(size, 0), MaxHeader+2) // the empty line may lie beyond a full block
	var text []byte
	for line := 0; ; {
		if text, err = readMore(r, text, limit); err != nil {
			return nil, 0, fmt.Errorf("read header block: %w", err)
		}
		whole := int64(len(text)) == limit
		var end, next int
		if end, next, line = findEmpty(text, line); next > 0 {
			if end > MaxHeader {
				return nil, 0, ErrHeaderTooLong
			}
			return splitAt(text, end, next)
		}
		if whole {
			break
		}
		if !startsHeader(text) && bytes.Count(text, []byte("\n")) > 2 {
			return []byte{}, 0, nil
		}
	}
	if !startsHeader(text) {
		return []byte{}, 0, nil
	}
	if int64(len(text)) < size || len(text) > MaxHeader {
		return nil, 0, ErrHeaderTooLong
	}
	return text, int64(len(text)), nil
}

func splitAt(text []byte, end, next int) ([]byte, int64, error) {
	if end > 0 && !startsHeader(text) {
		return []byte{}, 0, nil
	}
	return text[:end:end], int64(next), nil
}

// readMore reads on from the end of text: 4 KB first, then three times what there is.
func readMore(r io.ReaderAt, text []byte, limit int64) ([]byte, error) {
	have := int64(len(text))
	want := min(limit, max(4096, 4*have))
	grown := make([]byte, want)
	copy(grown, text)
	n, err := r.ReadAt(grown[have:], have)
	if int64(n) == want-have {
		return grown, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return nil, err
}

// findEmpty looks for an empty line from the line that starts at pos on. It returns
// where the empty line starts and ends, or next == 0 and the start of the last line
// to go on from.
func findEmpty(text []byte, pos int) (end, next, last int) {
	for pos < len(text) {
		rest := text[pos:]
		switch {
		case rest[0] == '\n':
			return pos, pos + 1, pos
		case rest[0] == '\r' && len(rest) > 1 && rest[1] == '\n':
			return pos, pos + 2, pos
		}
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			break
		}
		pos += i + 1
	}
	return 0, 0, pos
}

// startsHeader tells whether the first line is a field, or an mbox line above one.
func startsHeader(text []byte) bool {
	if isMboxFrom(string(text[:min(len(text), 6)])) {
		i := bytes.IndexByte(text, '\n')
		if i < 0 {
			return false
		}
		text = text[i+1:]
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return fieldName(string(line)) != ""
}
