// Package mailfile reads and writes messages in the files of other mail programs: mbox and
// Maildir. Messages of any size stream.
package mailfile

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
)

// window is how much of a line is looked at; longer lines go through in pieces.
const window = 64 << 10

// From is the line above a message in an mbox.
type From struct {
	Sender string
	Time   time.Time
}

// separatorTime is asctime's form, which every reader of mbox knows.
const separatorTime = "Mon Jan _2 15:04:05 2006"

// Mbox writes an mbox in the form mboxrd: lines of a message that read "From ", after any
// number of ">", get one ">" more, so that a reader can take it away again. Lines end in LF.
type Mbox struct{ w *bufio.Writer }

// NewMbox returns an Mbox that writes to w; Flush ends it.
func NewMbox(w io.Writer) *Mbox { return &Mbox{bufio.NewWriterSize(w, window)} }

// Add writes a message.
func (m *Mbox) Add(from From, message io.Reader) error {
	sender := strings.Join(strings.Fields(from.Sender), "-")
	if sender == "" {
		sender = "MAILER-DAEMON"
	}
	fmt.Fprintf(m.w, "From %s %s\n", sender, from.Time.UTC().Format(separatorTime))
	in := bufio.NewReaderSize(message, window)
	start, ended := true, true
	for {
		line, err := in.ReadSlice('\n')
		if start && isQuoted(line) {
			m.w.WriteByte('>')
		}
		if len(line) > 0 {
			start = line[len(line)-1] == '\n'
			ended = start
		}
		if start {
			line = unixLine(line)
		} else if err == bufio.ErrBufferFull && line[len(line)-1] == '\r' {
			in.UnreadByte() // it may belong to the LF that comes
			line = line[:len(line)-1]
		}
		m.w.Write(line)
		if err == io.EOF {
			break
		}
		if err != nil && err != bufio.ErrBufferFull {
			return err
		}
	}
	if !ended {
		m.w.WriteByte('\n')
	}
	_, err := m.w.WriteString("\n")
	return err
}

// Flush writes what is buffered.
func (m *Mbox) Flush() error { return m.w.Flush() }

func unixLine(line []byte) []byte {
	if bytes.HasSuffix(line, []byte("\r\n")) {
		line[len(line)-2] = '\n'
		return line[:len(line)-1]
	}
	return line
}

// isQuoted tells whether a line is one that needs a ">", or has one.
func isQuoted(line []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From "))
}
