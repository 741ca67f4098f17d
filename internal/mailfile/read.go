package mailfile

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"time"
)

// ErrNoMbox says that a file does not begin as an mbox does.
var ErrNoMbox = errors.New(`it is no mbox: its first line is not "From SENDER DATE"`)

// Reader reads an mbox: Next goes to a message, Read reads it, as it was before it was quoted.
//
// A message begins with a line "From " that has a date, at the start or after an empty line:
// many an mbox has lines "From " that its writer has not quoted, and those have no date.
type Reader struct {
	in      *bufio.Reader
	line    []byte // what is left of the piece at hand
	held    []byte // an empty line: part of the message only if no other message follows
	from    From
	next    bool // the line that begins the next message has been read
	start   bool // the next piece starts a line
	blank   bool // the line before it is empty
	started bool
	err     error
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader {
	return &Reader{in: bufio.NewReaderSize(r, window), start: true, blank: true}
}

// Next goes to the next message; io.EOF if there is none.
func (r *Reader) Next() (From, error) {
	if !r.started {
		return r.first()
	}
	if _, err := io.Copy(io.Discard, messageOf{r}); err != nil {
		return From{}, err
	}
	if !r.next {
		return From{}, io.EOF
	}
	r.next = false
	return r.from, nil
}

// messageOf hides everything but Read, so that io.Copy needs no more.
type messageOf struct{ r *Reader }

func (m messageOf) Read(p []byte) (int, error) { return m.r.Read(p) }

func (r *Reader) first() (From, error) {
	for {
		piece, err := r.in.ReadSlice('\n')
		if err == io.EOF && len(piece) == 0 {
			return From{}, io.EOF
		}
		if err != nil && err != io.EOF {
			if err == bufio.ErrBufferFull {
				err = ErrNoMbox
			}
			return From{}, err
		}
		if len(bytes.TrimSpace(piece)) == 0 {
			continue
		}
		from, ok := separator(piece)
		if !ok {
			return From{}, ErrNoMbox
		}
		r.started, r.blank = true, false
		return from, nil
	}
}

// Read implements io.Reader for the message at hand.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.line) == 0 {
		if r.next || !r.started {
			return 0, io.EOF
		}
		if r.err != nil {
			return 0, r.err
		}
		r.fill()
	}
	n := copy(p, r.line)
	r.line = r.line[n:]
	return n, nil
}

// fill gets the next piece of the message, or finds its end.
func (r *Reader) fill() {
	piece, err := r.in.ReadSlice('\n')
	if err != nil && err != bufio.ErrBufferFull {
		r.err = err
	}
	starts, whole := r.start, bytes.HasSuffix(piece, []byte("\n"))
	r.start = whole
	if len(piece) == 0 {
		return // the empty line that is held ended the last message
	}
	if starts && r.blank {
		if from, ok := separator(piece); ok {
			r.from, r.next, r.held, r.blank = from, true, nil, false
			return
		}
	}
	if starts && isQuoted(piece) && piece[0] == '>' {
		piece = piece[1:]
	}
	empty := starts && whole && len(bytes.TrimRight(piece, "\r\n")) == 0
	out := r.held
	r.held = nil
	if r.blank = empty; empty {
		r.held = slices.Clone(piece)
	} else {
		out = append(out, piece...)
	}
	r.line = out
}

var weekdays = []string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}

// zones are the places of asctime's year and of what some programs write before or after it.
var zones = []string{"Jan _2 15:04:05 2006", "Jan _2 15:04 2006", "Jan _2 15:04:05 MST 2006", "Jan _2 15:04:05 -0700 2006",
	"Jan _2 15:04:05 2006 -0700", "Jan _2 15:04:05 2006 MST", "Jan _2 15:04 MST 2006"}

// maxSeparator is how long a line above a message may be, in octets.
const maxSeparator = 1000

// separator reads the line above a message. The sender may hold spaces, as in "ann at x.test".
func separator(line []byte) (From, bool) {
	if len(line) > maxSeparator || !bytes.HasPrefix(line, []byte("From ")) {
		return From{}, false
	}
	fields := strings.Fields(string(line[len("From "):]))
	for i, f := range fields {
		if i == 0 || !slices.Contains(weekdays, strings.TrimSuffix(f, ",")) {
			continue
		}
		date := strings.Join(fields[i+1:], " ")
		for _, layout := range zones {
			if t, err := time.Parse(layout, date); err == nil {
				return From{strings.Join(fields[:i], " "), t.UTC()}, true
			}
		}
	}
	return From{}, false
}

// WithCRLF is a message as it is on its way: with CRLF where a line ends in LF, as it does in files.
func WithCRLF(r io.Reader) io.Reader { return &crlfReader{in: bufio.NewReaderSize(r, window)} }

type crlfReader struct {
	in   *bufio.Reader
	last byte
	held bool // an LF is to follow
}

func (c *crlfReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if c.held {
			p[n], c.held, c.last = '\n', false, '\n'
			n++
			continue
		}
		if n > 0 && c.in.Buffered() == 0 {
			return n, nil
		}
		b, err := c.in.ReadByte()
		if err != nil {
			if n > 0 {
				return n, nil // the error comes again
			}
			return 0, err
		}
		if b == '\n' && c.last != '\r' {
			b, c.held = '\r', true
		}
		p[n], c.last = b, b
		n++
	}
	return n, nil
}
