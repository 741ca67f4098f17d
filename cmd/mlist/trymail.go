package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
)

// mailFile is a copy of a message in a temporary file, where plugins can read its body.
type mailFile struct {
	file *os.File
	size int64
}

// ReadAt, Close, Size and File implement spool.Message.
func (m *mailFile) ReadAt(p []byte, off int64) (int, error) { return m.file.ReadAt(p, off) }

// Close removes the copy.
func (m *mailFile) Close() error {
	return errors.Join(m.file.Close(), os.Remove(m.file.Name()))
}

// Size is in octets.
func (m *mailFile) Size() int64 { return m.size }

// File is where plugins read the body.
func (m *mailFile) File() (*os.File, int64) { return m.file, 0 }

// readMail copies a message, of at most so many octets, with lines that end in CRLF, as
// SMTP would bring it; "-" is standard input.
func (a *app) readMail(path string, most int64) (*mailFile, error) {
	in := a.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("read the message: %w", err)
		}
		defer f.Close()
		in = f
	} else if isTerminal(a.in) {
		fmt.Fprintln(a.err, "Reading the message from the terminal; Ctrl-D ends it.")
	}
	file, err := os.CreateTemp("", "mlist-try-")
	if err != nil {
		return nil, fmt.Errorf("copy the message: %w", err)
	}
	m := &mailFile{file: file}
	if m.size, err = copyMail(file, in, most); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// copyMail copies until the end, or until there is more than SMTP would take.
func copyMail(to io.Writer, from io.Reader, most int64) (size int64, err error) {
	r, w := bufio.NewReader(from), bufio.NewWriter(to)
	for last := byte(0); ; {
		b, err := r.ReadByte()
		switch {
		case errors.Is(err, io.EOF) && size == 0:
			return 0, errors.New("the message is empty")
		case errors.Is(err, io.EOF):
			return size, w.Flush()
		case err != nil:
			return size, fmt.Errorf("read the message: %w", err)
		}
		if b == '\n' && last != '\r' {
			w.WriteByte('\r') // an error stays, and Flush returns it
			size++
		}
		w.WriteByte(b)
		last = b
		if size++; size > most {
			return size, withHint(fmt.Errorf("the message has more than %d octets: it would be refused with 552", most), "lmtpd.max_message_size is the limit.")
		}
	}
}
