package message

import (
	"bytes"
	"io"
)

// window reads a body forward from start to end, windowSize octets at a time.
type window struct {
	body       io.ReaderAt
	start, end int64
	buf        []byte
	at         int64 // where buf lies in the body
}

// view returns what is at hand from pos on: at least want octets, unless the body ends
// before. What it returns is good until the next call.
func (w *window) view(pos int64, want int) ([]byte, error) {
	if pos >= w.end {
		return nil, nil
	}
	have := w.at + int64(len(w.buf))
	if pos >= w.at && (pos+int64(want) <= have || have == w.end && pos < have) {
		return w.buf[pos-w.at:], nil
	}
	if w.buf == nil {
		w.buf = make([]byte, min(windowSize, w.end-w.start))
	}
	w.buf = w.buf[:min(int64(cap(w.buf)), w.end-pos)]
	n, err := w.body.ReadAt(w.buf, pos)
	w.buf, w.at = w.buf[:n], pos
	if err != nil && err != io.EOF {
		return nil, err
	}
	return w.buf, nil
}

// lineEnd returns where the line after the one at pos starts.
func (w *window) lineEnd(pos int64) (int64, error) {
	for {
		text, err := w.view(pos, 1)
		if err != nil || len(text) == 0 {
			return pos, err
		}
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			return pos + int64(i) + 1, nil
		}
		pos += int64(len(text))
	}
}

// delimiter is a line that starts with -- and a boundary.
type delimiter struct {
	level  int   // of the multipart on the stack; -1: there is no more delimiter
	close  bool  // it ends the multipart
	before int64 // where the line end before it starts, which belongs to it
	line   int64 // where the line starts
	after  int64 // where the next line starts
}

// next finds the first delimiter from pos, the start of a line, on.
func (w *walker) next(pos int64) (delimiter, error) {
	if d, err := w.delimiterAt(pos); err != nil || d.level >= 0 {
		return d, err
	}
	for {
		text, err := w.view(pos, 4)
		if err != nil || len(text) < 4 {
			return delimiter{level: -1}, err
		}
		i := bytes.Index(text, []byte("\n--"))
		if i < 0 {
			pos += int64(len(text)) - 2
			continue
		}
		pos += int64(i) + 1
		if d, err := w.delimiterAt(pos); err != nil || d.level >= 0 {
			return d, err
		}
	}
}

// delimiterAt reads the line that starts at pos.
func (w *walker) delimiterAt(pos int64) (delimiter, error) {
	d := delimiter{level: -1, line: pos}
	text, err := w.view(pos, lookAhead)
	if err != nil {
		return d, err
	}
	level, closes, size := w.match(text)
	if level < 0 {
		return d, nil
	}
	d.level, d.close, d.after = level, closes, pos+int64(size)
	d.before, err = w.lineEndBefore(pos)
	return d, err
}

// lineEndBefore returns where the line end before the line at pos starts.
func (w *walker) lineEndBefore(pos int64) (int64, error) {
	if pos < w.start+2 {
		return w.start, nil // there is no more than an LF
	}
	var two [2]byte
	if at := pos - 2 - w.at; at >= 0 && at+2 <= int64(len(w.buf)) {
		copy(two[:], w.buf[at:])
	} else if _, err := w.body.ReadAt(two[:], pos-2); err != nil {
		return 0, err
	}
	if two[0] == '\r' {
		return pos - 2, nil
	}
	return pos - 1, nil
}

// match tells which open multipart's delimiter line text starts with, the innermost
// first; level -1 is none. Nothing but white space may follow the boundary.
func (w *walker) match(text []byte) (level int, closes bool, size int) {
	if !bytes.HasPrefix(text, []byte("--")) {
		return -1, false, 0
	}
	text = text[:min(len(text), lookAhead)]
	size = bytes.IndexByte(text, '\n') + 1
	if size == 0 {
		if len(text) == lookAhead {
			return -1, false, 0 // no delimiter is that long
		}
		size = len(text)
	}
	line := bytes.TrimRight(text[2:size], " \t\r\n")
	for level = len(w.stack) - 1; level >= 0; level-- {
		b := w.stack[level].Boundary
		if len(line) < len(b) || string(line[:len(b)]) != b {
			continue
		}
		if rest := line[len(b):]; len(rest) == 0 || string(rest) == "--" {
			return level, len(rest) > 0, size
		}
	}
	return -1, false, 0
}
