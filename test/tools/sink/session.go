package sink

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"
)

// bufferSize is also the longest command line.
const bufferSize = 64 << 10

// session reads commands straight out of one buffer and answers them in batches: what
// came in one read is answered by one write.
type session struct {
	server *Server
	conn   net.Conn
	rnd    *rand.Rand
	buf    []byte // start to end is unread
	start  int
	end    int
	out    []byte
	over   bool // no more commands

	number  int64          // of the connection
	taken   int64          // transactions on it
	pending []*Transaction // taken, and not confirmed
	mail    bool
	sender  string
	rcpts   []string // if recorded
	count   int

	size   int64
	sum    hash.Hash
	body   []byte
	header []byte // the start of the message, for its Message-ID
}

func newSession(s *Server, c net.Conn, number int64) *session {
	return &session{
		server: s, conn: c, number: number, buf: make([]byte, bufferSize),
		rnd: rand.New(rand.NewPCG(s.faults.Load().Seed, uint64(number))),
	}
}

func (s *session) recording() bool { return s.server.opts.Record != Count }

func (s *session) say(line string) { s.out = append(append(s.out, line...), '\r', '\n') }

// flush sends the replies of a batch.
func (s *session) flush() bool {
	if len(s.out) == 0 {
		return true
	}
	if d := s.server.faults.Load().Delay; d > 0 {
		time.Sleep(d) // a slow server is what was asked for
	}
	_, err := s.conn.Write(s.out)
	s.out = s.out[:0]
	return err == nil
}

// fill reads more, after it has answered what came before.
func (s *session) fill() bool {
	if !s.flush() {
		return false
	}
	if s.start > 0 {
		copy(s.buf, s.buf[s.start:s.end])
		s.start, s.end = 0, s.end-s.start
	}
	if s.end == len(s.buf) {
		return false // a line without end
	}
	n, err := s.conn.Read(s.buf[s.end:])
	s.end += n
	if n > 0 {
		s.confirm()
	}
	return n > 0 || err == nil
}

func (s *session) run() {
	if s.fails(s.server.faults.Load().Greeting421) {
		s.say("421 4.3.2 fault: not now")
		s.flush()
		return
	}
	s.say("220 sink.test ESMTP")
	for !s.over {
		i := bytes.IndexByte(s.buf[s.start:s.end], '\n')
		if i < 0 {
			if !s.fill() {
				return
			}
			continue
		}
		line := bytes.TrimSuffix(s.buf[s.start:s.start+i], []byte("\r"))
		s.start += i + 1
		if !s.command(line) {
			return
		}
	}
	s.flush()
}

// command does one command; false cuts the connection.
func (s *session) command(line []byte) bool {
	if len(line) < 4 {
		s.say("500 5.5.2 what?")
		return true
	}
	switch verb := [4]byte{line[0] &^ 0x20, line[1] &^ 0x20, line[2] &^ 0x20, line[3] &^ 0x20}; string(verb[:]) {
	case "RCPT":
		return s.rcpt(line)
	case "MAIL":
		if s.mail {
			s.say("503 5.5.1 nested MAIL")
			return true
		}
		if s.fails(s.server.faults.Load().Mail4xx) {
			s.refuse("451 4.3.0 fault: try again")
			return true
		}
		s.mail, s.sender = true, path(line)
		s.say("250 2.1.0 ok")
	case "DATA":
		return s.data()
	case "EHLO", "LHLO":
		s.reset()
		s.say("250-sink.test")
		s.say("250-PIPELINING")
		s.say("250-8BITMIME")
		s.say("250-SMTPUTF8")
		if s.server.opts.XVERP {
			s.say("250-XVERP")
		}
		s.say("250-ENHANCEDSTATUSCODES")
		s.say("250 SIZE " + strconv.FormatInt(s.server.opts.Size, 10))
	case "HELO":
		s.reset()
		s.say("250 sink.test")
	case "RSET":
		s.reset()
		s.say("250 2.0.0 ok")
	case "NOOP":
		s.say("250 2.0.0 ok")
	case "QUIT":
		s.say("221 2.0.0 bye")
		s.over = true
	default:
		s.say("502 5.5.1 no such command")
	}
	return true
}

// path is what stands between the angle brackets. Quoted local parts may hold a '>'.
func path(line []byte) string {
	i := bytes.IndexByte(line, '<')
	if i < 0 {
		return ""
	}
	line = line[i+1:]
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == '>' && !quoted:
			return string(line[:i])
		}
	}
	return string(line)
}

func (s *session) rcpt(line []byte) bool {
	f := s.server.faults.Load()
	switch {
	case !s.mail:
		s.say("503 5.5.1 MAIL first")
	case s.fails(f.DropAtRcpt):
		return false
	case s.server.opts.MaxRecipients > 0 && s.count >= s.server.opts.MaxRecipients:
		s.refuse("452 4.5.3 too many recipients")
	case len(s.server.refuse) > 0 && s.server.refuse[path(line)]:
		s.refuse("550 5.1.1 no such user")
	case s.fails(f.Rcpt4xx):
		s.refuse("451 4.3.0 fault: try again")
	default:
		s.count++
		if s.recording() {
			s.rcpts = append(s.rcpts, path(line))
		}
		s.out = append(s.out, "250 2.1.5 ok\r\n"...)
	}
	return true
}

func (s *session) refuse(text string) {
	s.server.n.refused.Add(1)
	s.say(text)
}

func (s *session) reset() {
	s.mail, s.sender, s.rcpts, s.count = false, "", nil, 0
}

func (s *session) data() bool {
	f := s.server.faults.Load()
	if s.count == 0 {
		s.say("554 5.5.1 no valid recipients")
		return true
	}
	s.say("354 go ahead")
	if s.fails(f.DropInData) {
		s.fill() // some of the message
		return false
	}
	if !s.receive() {
		return false
	}
	switch {
	case s.size > s.server.opts.Size:
		s.refuse("552 5.3.4 too large")
	case s.fails(f.Data4xx):
		s.refuse("451 4.3.0 fault: try again")
	default:
		return s.take(f)
	}
	s.reset()
	return true
}

// take counts and keeps the message, then replies.
func (s *session) take(f *Faults) bool {
	s.taken++
	now, n := time.Now(), &s.server.n
	if s.recording() {
		s.keep(&Transaction{
			Conn: s.number, Number: s.taken, At: now, Sender: s.sender, Recipients: s.rcpts,
			MessageID: messageID(s.header), Size: s.size, Hash: hex.EncodeToString(s.sum.Sum(nil)[:16]), Body: s.body,
		})
	}
	n.first.CompareAndSwap(0, now.UnixNano())
	n.last.Store(now.UnixNano())
	n.transactions.Add(1)
	n.bytes.Add(s.size)
	if w := s.server.opts.Watch; w != "" && strings.HasPrefix(s.sender, w) {
		n.watched.Add(int64(s.count))
	}
	if n.recipients.Add(int64(s.count)) >= n.target.Load() {
		defer s.server.wake()
	}
	if s.fails(f.DropBeforeEnd) {
		s.flush() // what was answered before the dot goes out; the reply to it does not
		return false
	}
	s.say("250 2.0.0 taken")
	s.reset()
	return true
}

func (s *session) beginMessage() {
	s.size, s.body, s.header = 0, nil, s.header[:0]
	if s.recording() {
		if s.sum == nil {
			s.sum = sha256.New()
		}
		s.sum.Reset()
	}
}
