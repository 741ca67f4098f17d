package sink

import "bytes"

var endOfData = []byte("\r\n.\r\n")

// maxHeader is how much of a message is looked at for its Message-ID.
const maxHeader = 64 << 10

// receive reads a message up to its final dot.
func (s *session) receive() bool {
	s.beginMessage()
	begun := true // at the start of the message, which counts as the start of a line
	for {
		unread := s.buf[s.start:s.end]
		if begun && len(unread) >= 3 {
			if bytes.HasPrefix(unread, endOfData[2:]) {
				s.start += 3
				return true
			}
			if unread[0] == '.' {
				unread = unread[1:]
				s.start++
			}
			begun = false
		}
		if !begun {
			if i := bytes.Index(unread, endOfData); i >= 0 {
				s.text(unread[:i+2])
				s.start += i + len(endOfData)
				return true
			}
			// What could be the start of the end stays in the buffer.
			if n := len(unread) - len(endOfData) + 1; n > 0 {
				n = cutAt(unread, n)
				s.text(unread[:n])
				s.start += n
			}
		}
		if !s.fill() {
			return false
		}
	}
}

// cutAt moves n back so that CRLF and dot are not cut apart.
func cutAt(p []byte, n int) int {
	for back := 0; back < 2 && n > 0; back++ {
		if bytes.HasPrefix(p[n-1:], []byte("\r\n.")) || n > 1 && bytes.HasPrefix(p[n-2:], []byte("\r\n.")) {
			n--
			continue
		}
		break
	}
	return n
}

// text counts a piece of the message, with stuffed dots taken out. No piece ends
// within CRLF and dot.
func (s *session) text(p []byte) {
	if !s.recording() {
		s.size += int64(len(p) - bytes.Count(p, []byte("\r\n.")))
		return
	}
	for {
		i := bytes.Index(p, []byte("\r\n."))
		if i < 0 {
			s.piece(p)
			return
		}
		s.piece(p[:i+2])
		p = p[i+3:]
	}
}

func (s *session) piece(p []byte) {
	s.size += int64(len(p))
	s.sum.Write(p)
	if s.server.opts.Bodies {
		s.body = append(s.body, p...)
	}
	if room := maxHeader - len(s.header); room > 0 {
		s.header = append(s.header, p[:min(room, len(p))]...)
	}
}

// messageID finds the first Message-ID field in the header block, without its brackets.
func messageID(head []byte) string {
	if i := bytes.Index(head, []byte("\r\n\r\n")); i >= 0 {
		head = head[:i]
	}
	const name = "message-id:"
	for len(head) > 0 {
		line, rest, _ := bytes.Cut(head, []byte("\r\n"))
		if len(line) >= len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			value := line[len(name):]
			for len(rest) > 0 && (rest[0] == ' ' || rest[0] == '\t') {
				line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
				value = append(bytes.Clone(value), line...)
			}
			return string(bytes.Trim(value, " \t<>"))
		}
		head = rest
	}
	return ""
}
