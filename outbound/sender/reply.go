package sender

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Bounds on what a server may say in one reply.
const (
	maxReplyLine  = 4 << 10 // octets; RFC 5321 4.5.3.1.5 allows 512
	maxReplyLines = 1000
	maxReplyText  = 1 << 10 // octets of text that are kept
)

// Reply is an SMTP reply.
type Reply struct {
	Code     int      // three digits
	Enhanced Enhanced // zero if the server gave none
	Text     string   // one line of UTF-8 without control characters; "" for most positive replies
}

// Enhanced is an enhanced status code: class, subject and detail (RFC 3463).
type Enhanced [3]uint16

func (e Enhanced) String() string { return fmt.Sprintf("%d.%d.%d", e[0], e[1], e[2]) }

// Status is the enhanced code, or one with subject and detail 0 if there is none.
func (r Reply) Status() Enhanced {
	if r.Enhanced != (Enhanced{}) {
		return r.Enhanced
	}
	return Enhanced{uint16(r.Code / 100)}
}

// String is the reply as one line.
func (r Reply) String() string {
	s := fmt.Sprintf("%03d", r.Code)
	if r.Enhanced != (Enhanced{}) {
		s += " " + r.Enhanced.String()
	}
	if r.Text != "" {
		s += " " + r.Text
	}
	return s
}

func (r Reply) positive() bool  { return r.Code/100 == 2 }
func (r Reply) transient() bool { return r.Code/100 == 4 }
func (r Reply) permanent() bool { return r.Code/100 == 5 }

var errReply = errors.New("not an SMTP reply")

// readReply reads one reply. The text of a 2xx reply is kept only if wanted, which
// makes a 250 to RCPT free of allocations. each, if not nil, gets the text of every
// line.
func readReply(br *bufio.Reader, keep bool, each func(text []byte)) (Reply, error) {
	var r Reply
	var text []byte
	for n := 0; ; n++ {
		if n == maxReplyLines {
			return Reply{}, fmt.Errorf("%w: more than %d lines", errReply, maxReplyLines)
		}
		line, err := readLine(br)
		if err != nil {
			return Reply{}, err
		}
		code, more, rest, ok := parseLine(line)
		if !ok || (n > 0 && code != r.Code) {
			return Reply{}, fmt.Errorf("%w: %.80q", errReply, line)
		}
		r.Code = code
		if each != nil {
			each(rest)
		}
		if keep || code >= 300 {
			text = r.addLine(text, rest, n == 0)
		}
		if !more {
			break
		}
	}
	if len(text) > 0 {
		r.Text = cleanText(text)
	}
	return r, nil
}

// acceptances takes positive replies of one line off what has been read already, at most so
// many, and returns how many there were. Nearly all replies to RCPT are such.
func acceptances(br *bufio.Reader, most int) (n int) {
	buf, _ := br.Peek(br.Buffered()) // it is there
	used := 0
	for ; n < most; n++ {
		line := buf[used:]
		end := bytes.IndexByte(line, '\n')
		if end < 4 || end > maxReplyLine || line[0] != '2' || !digit(line[1]) || !digit(line[2]) || line[3] != ' ' {
			break
		}
		used += end + 1
	}
	_, _ = br.Discard(used) // as above
	return n
}

// readLine returns a line without its end. It is valid until the next read.
func readLine(br *bufio.Reader) ([]byte, error) {
	line, err := br.ReadSlice('\n')
	if len(line) > maxReplyLine || errors.Is(err, bufio.ErrBufferFull) {
		return nil, fmt.Errorf("%w: a line longer than %d octets", errReply, maxReplyLine)
	}
	if err != nil {
		if errors.Is(err, io.EOF) && len(line) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}

// parseLine splits a reply line (RFC 5321 4.2). A code without text is fine, whether
// or not the blank is there.
func parseLine(line []byte) (code int, more bool, rest []byte, ok bool) {
	if len(line) < 3 || line[0] < '1' || line[0] > '5' || !digit(line[1]) || !digit(line[2]) {
		return 0, false, nil, false
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, false, nil, true
	}
	switch line[3] {
	case '-':
		more = true
	case ' ', '\t':
	default:
		return 0, false, nil, false
	}
	return code, more, line[4:], true
}

// addLine appends the text of one line, taking off the enhanced code, which RFC 2034
// repeats on each.
func (r *Reply) addLine(text, rest []byte, first bool) []byte {
	if e, after, ok := parseEnhanced(rest); ok && int(e[0]) == r.Code/100 {
		if first {
			r.Enhanced = e
		}
		if e == r.Enhanced {
			rest = after
		}
	}
	rest = bytes.TrimSpace(rest)
	if room := maxReplyText - len(text); len(rest) > room {
		rest = rest[:max(room, 0)]
	}
	if len(text) > 0 && len(rest) > 0 {
		text = append(text, ' ')
	}
	return append(text, rest...)
}

// parseEnhanced reads an enhanced status code at the start of text (RFC 2034 4).
func parseEnhanced(text []byte) (e Enhanced, rest []byte, ok bool) {
	if len(text) < 5 || (text[0] != '2' && text[0] != '4' && text[0] != '5') || text[1] != '.' {
		return e, nil, false
	}
	e[0] = uint16(text[0] - '0')
	i := 2
	for part := 1; part <= 2; part++ {
		start := i
		for i < len(text) && digit(text[i]) && i-start < 3 {
			e[part] = e[part]*10 + uint16(text[i]-'0')
			i++
		}
		if i == start {
			return Enhanced{}, nil, false
		}
		if part == 1 {
			if i == len(text) || text[i] != '.' {
				return Enhanced{}, nil, false
			}
			i++
		}
	}
	if i < len(text) && text[i] != ' ' && text[i] != '\t' {
		return Enhanced{}, nil, false
	}
	return e, text[i:], true
}

// cleanText makes text fit for a log line and a header field.
func cleanText(text []byte) string {
	s := strings.ToValidUTF8(string(text), "?")
	return strings.Map(func(r rune) rune {
		// C0, DEL, C1 and the two line separators of Unicode.
		if r < ' ' || (r >= 0x7f && r < 0xa0) || r == '\u2028' || r == '\u2029' || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
}

func digit(b byte) bool { return b >= '0' && b <= '9' }
