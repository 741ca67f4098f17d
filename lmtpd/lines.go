package lmtpd

import "bytes"

const (
	// maxCommandLine: RFC 5321 4.5.3.1.4 asks for 512 octets, its extensions for some
	// hundred more. It must not be under the 4096 that the library reads at once: those
	// may hold the start of a message, sent ahead, behind DATA.
	maxCommandLine = 8 << 10
	// maxDataLine is far over RFC 5321's 1000 (Postfix passes longer lines on when told
	// so), and only bounds what others must hold of one line.
	maxDataLine = 16 << 20
)

// lineCheck reads a stream of octets as lines that must end in CRLF: a CR without LF,
// or an LF without CR, is an error, wherever it stands. Servers that disagree on
// what ends a line disagree on what ends a message, and then what one of them takes for
// text another takes for the next message ("SMTP smuggling").
type lineCheck struct {
	limit  int
	length int  // of the line so far
	cr     bool // the last octet was CR
}

// check tells how many octets of p are good, whether a line ended in them, and what is
// wrong with the next octet.
func (l *lineCheck) check(p []byte) (good int, newline bool, err error) {
	for good < len(p) {
		rest := p[good:]
		if l.cr {
			if rest[0] != '\n' {
				return good, newline, errBareNewline
			}
			l.cr, l.length, newline = false, 0, true
			good++
			continue
		}
		end := bytes.IndexByte(rest, '\n')
		bare := end >= 0
		if !bare {
			end = len(rest)
		}
		if cr := bytes.IndexByte(rest[:end], '\r'); cr >= 0 {
			end, bare = cr, false
		}
		if l.length += end; l.length > l.limit {
			return good, newline, errLongLine
		}
		if bare {
			return good + end, newline, errBareNewline
		}
		good += end
		if good < len(p) {
			l.cr = true
			good++
		}
	}
	return good, newline, nil
}
