package decorate

import (
	"bytes"
	"errors"
	"io"
	"mime/quotedprintable"
)

// tailSize is how much of the start and end of a text is looked at: any line that
// matters is shorter.
const tailSize = 2048

// joinPlain is for text that stands there as it is.
func (e *editor) joinPlain(charset string) error {
	first, last, tail, err := e.ends()
	if err != nil {
		return err
	}
	before := e.write(charset, e.before, first)
	after := e.write(charset, e.after, last)
	if len(after) > 0 {
		after = append([]byte(e.gap(tail, last)), after...)
	}
	if e.root.Encoding == "7bit" && !(isASCII(before) && isASCII(after)) {
		e.post.Header.Replace("Content-Transfer-Encoding", "8bit")
		if !e.post.Header.Has("MIME-Version") {
			e.post.Header.Append("MIME-Version", "1.0")
		}
	}
	return e.around(before, after)
}

// joinQuoted is for quoted-printable: what is added is encoded by itself.
func (e *editor) joinQuoted(charset string) error {
	first, last, tail, err := e.ends()
	if err != nil {
		return err
	}
	before := e.quotedPrintable(charset, e.write(charset, e.before, first), first)
	after := e.quotedPrintable(charset, e.write(charset, e.after, last), last)
	if len(after) > 0 {
		decoded, open := quotedTail(tail)
		gap := e.gap(decoded, last)
		if open {
			gap = last + gap
		}
		after = append([]byte(gap), after...)
	}
	return e.around(before, after)
}

// quotedTail decodes the last line of quoted-printable text, with the line end if it
// has one that counts. It is open if it ends in a soft line break that lacks its line
// end, as cut off text does.
func quotedTail(tail []byte) (decoded []byte, open bool) {
	for line := range bytes.Lines(tail) {
		if bytes.HasSuffix(decoded, []byte("\n")) {
			decoded = nil
		}
		hard := bytes.HasSuffix(line, []byte("\n"))
		line = bytes.TrimRight(line, " \t\r\n") // RFC 2045 6.7 (3): white space at the end is not text
		line, soft := bytes.CutSuffix(line, []byte("="))
		decoded = append(decoded, decodeQuoted(line)...)
		if hard && !soft {
			decoded = append(decoded, '\n')
		}
		open = soft && !hard
	}
	return decoded, open
}

// decodeQuoted decodes as far as the line is right.
func decodeQuoted(line []byte) []byte {
	text, _ := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(line)))
	return text
}

// around splices octets before and after the body.
func (e *editor) around(before, after []byte) error {
	if len(after) > 0 {
		if err := e.splice(e.post.Body.Size(), 0, after); err != nil {
			return err
		}
	}
	if len(before) > 0 {
		return e.splice(0, 0, before)
	}
	return nil
}

// read reads up to tailSize octets at off.
func (e *editor) read(off int64) ([]byte, error) {
	text := make([]byte, min(tailSize, e.post.Body.Size()-off))
	if n, err := e.post.Body.ReadAt(text, off); err != nil && (!errors.Is(err, io.EOF) || n < len(text)) {
		return nil, err
	}
	return text, nil
}

// ends returns the first and the last line end of the body, and its last octets. A
// body without any takes the header's.
func (e *editor) ends() (first, last string, tail []byte, err error) {
	head, err := e.read(0)
	if err != nil {
		return "", "", nil, err
	}
	tail, err = e.read(max(0, e.post.Body.Size()-tailSize))
	if err != nil {
		return "", "", nil, err
	}
	first = lineEnd(head, bytes.IndexByte(head, '\n'), e.post.Header.LineEnd())
	return first, lineEnd(tail, bytes.LastIndexByte(tail, '\n'), first), tail, nil
}

// lineEnd tells which line end the LF at i belongs to.
func lineEnd(text []byte, i int, otherwise string) string {
	switch {
	case i < 0:
		return otherwise
	case i > 0 && text[i-1] == '\r':
		return "\r\n"
	}
	return "\n"
}

// lineEndAt returns the end of the line that starts at off.
func (e *editor) lineEndAt(off int64) (string, error) {
	line, err := e.read(off)
	if err != nil {
		return "", err
	}
	return lineEnd(line, bytes.IndexByte(line, '\n'), e.post.Header.LineEnd()), nil
}
