// Package fakemta is an SMTP server for the tests of outbound: it says what a test
// wants it to say, at the step where the test wants it, and records what it took. It
// reads as loosely as the worst of servers, and ends content at every loose form of a
// final dot, so that a sender that lets one through is caught.
package fakemta

import (
	"bufio"
	"bytes"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Replies that are not text.
const (
	Drop = "drop" // close the connection instead
	Hang = "hang" // say nothing more
)

// Message is what was taken with one DATA.
type Message struct {
	From       string // with what followed it in MAIL
	Recipients []string
	Content    string
	Answer     string // the final reply
	Heard      bool   // the client went on after the reply: it has read it
}

// Script says what to answer. A step without an answer gets a good one. Lines end in
// CRLF, which is added at the end; several lines are a reply of several lines.
type Script struct {
	Greeting, EHLO, HELO, StartTLS, Mail, Data, Final, Empty, Rset, Quit string
	Rcpt                                                                 map[string]string // by address
	Finals                                                               map[string]string // Final by the first recipient's address
	MaxRecipients                                                        int               // 452 for more
	NoPipelining                                                         bool
	Extensions                                                           []string // more of them
	MaxErrors                                                            int      // 421 after so many refusals, and hang up
	MaxConns                                                             int      // 421 for more
	Delay                                                                time.Duration
}

// Server is a running fake.
type Server struct {
	Addr string

	ln     net.Listener
	wg     sync.WaitGroup
	mu     sync.Mutex
	script Script
	conns  map[net.Conn]bool
	msgs   []Message
	lines  []string
	opened int
	change chan struct{}
}

// Start listens on addr ("127.0.0.1:0" when empty) until the test ends.
func Start(tb testing.TB, addr string, script Script) *Server {
	tb.Helper()
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{Addr: ln.Addr().String(), ln: ln, script: script, conns: map[net.Conn]bool{}, change: make(chan struct{})}
	s.wg.Go(s.accept)
	tb.Cleanup(s.Stop)
	return s
}

// Stop closes the port and all connections.
func (s *Server) Stop() {
	s.ln.Close()
	s.CloseConns()
	s.wg.Wait()
}

// CloseConns closes the connections that are open, as an MTA does after a while.
func (s *Server) CloseConns() {
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
}

// Set changes the script for what comes.
func (s *Server) Set(script Script) {
	s.mu.Lock()
	s.script = script
	s.mu.Unlock()
}

// Messages returns what was taken so far.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.msgs)
}

// Lines returns the commands so far.
func (s *Server) Lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

// Conns returns how many connections there were, and how many are open.
func (s *Server) Conns() (opened, open int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened, len(s.conns)
}

// Wait waits until ok, which is asked again after every event.
func (s *Server) Wait(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	end := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		ch := s.change
		s.mu.Unlock()
		if ok() {
			return
		}
		select {
		case <-ch:
		case <-end:
			tb.Fatalf("%s: did not happen within 20 s", what)
		}
	}
}

func (s *Server) update(f func()) {
	s.mu.Lock()
	f()
	close(s.change)
	s.change = make(chan struct{})
	s.mu.Unlock()
}

func (s *Server) current() Script {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.script
}

func (s *Server) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.update(func() { s.conns[c] = true; s.opened++ })
		s.wg.Go(func() {
			(&session{s: s, c: c, br: bufio.NewReaderSize(c, 1<<20)}).run()
			c.Close()
			s.update(func() { delete(s.conns, c) })
		})
	}
}

type session struct {
	s      *Server
	c      net.Conn
	br     *bufio.Reader
	out    bytes.Buffer
	msg    Message
	mail   bool
	last   int // 1 + index of the last message
	errors int
}

// answer queues a reply, and tells whether to go on.
func (x *session) answer(reply, good string) bool {
	if reply == "" {
		reply = good
	}
	switch reply {
	case Drop:
		x.flush()
		return false
	case Hang:
		x.flush()
		_, _ = x.br.ReadString(0) // until the connection is closed
		return false
	}
	x.out.WriteString(reply + "\r\n")
	if reply[0] == '4' || reply[0] == '5' {
		x.errors++
	}
	if n := x.s.current().MaxErrors; n > 0 && x.errors > n {
		x.out.WriteString("421 4.7.0 too many errors\r\n")
		x.flush()
		return false
	}
	return true
}

func (x *session) flush() {
	_, _ = x.c.Write(x.out.Bytes())
	x.out.Reset()
}

func (x *session) run() {
	sc := x.s.current()
	if _, open := x.s.Conns(); sc.MaxConns > 0 && open > sc.MaxConns {
		sc.Greeting = "421 4.7.0 too many connections"
	}
	if !x.answer(sc.Greeting, "220 fake.test ESMTP") {
		return
	}
	for {
		if b, _ := x.br.Peek(x.br.Buffered()); bytes.IndexByte(b, '\n') < 0 {
			x.flush()
		}
		line, err := x.br.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		x.s.update(func() {
			x.s.lines = append(x.s.lines, line)
			if x.last > 0 {
				x.s.msgs[x.last-1].Heard = true
			}
		})
		sc := x.s.current()
		if sc.Delay > 0 {
			time.Sleep(sc.Delay)
		}
		if !x.step(sc, line) {
			x.flush()
			return
		}
	}
}

func (x *session) step(sc Script, line string) bool {
	verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
	switch verb {
	case "EHLO":
		ext := append([]string{"fake.test", "8BITMIME", "SIZE 1000000", "ENHANCEDSTATUSCODES"}, sc.Extensions...)
		if !sc.NoPipelining {
			ext = append(ext, "PIPELINING")
		}
		return x.answer(sc.EHLO, "250-"+strings.Join(ext[:len(ext)-1], "\r\n250-")+"\r\n250 "+ext[len(ext)-1])
	case "HELO":
		return x.answer(sc.HELO, "250 fake.test")
	case "STARTTLS":
		return x.answer(sc.StartTLS, "454 4.7.0 not now")
	case "MAIL":
		if x.mail {
			return x.answer("", "503 5.5.1 nested MAIL")
		}
		ok := x.answer(sc.Mail, "250 2.1.0 Ok")
		x.mail = sc.Mail == "" || sc.Mail[0] == '2'
		x.msg = Message{From: strings.TrimPrefix(line, "MAIL FROM:")}
		return ok
	case "RCPT":
		return x.rcpt(sc, strings.TrimSuffix(strings.TrimPrefix(line, "RCPT TO:<"), ">"))
	case "DATA":
		return x.data(sc)
	case "RSET":
		x.mail = false
		return x.answer(sc.Rset, "250 2.0.0 Ok")
	case "QUIT":
		x.answer(sc.Quit, "221 2.0.0 Bye")
		return false
	}
	return x.answer("", "500 5.5.2 what?")
}

func (x *session) rcpt(sc Script, addr string) bool {
	switch reply := sc.Rcpt[addr]; {
	case !x.mail:
		return x.answer("", "503 5.5.1 no MAIL")
	case sc.MaxRecipients > 0 && len(x.msg.Recipients) >= sc.MaxRecipients:
		return x.answer("", "452 4.5.3 too many recipients")
	case reply != "" && reply[0] != '2':
		return x.answer(reply, "")
	}
	x.msg.Recipients = append(x.msg.Recipients, addr)
	return x.answer("", "250 2.1.5 Ok")
}

func (x *session) data(sc Script) bool {
	switch {
	case len(x.msg.Recipients) == 0 && sc.Empty == "":
		return x.answer("", "554 5.5.1 no valid recipients")
	case sc.Data != "":
		return x.answer(sc.Data, "")
	}
	if !x.answer("354 go on", "") {
		return false
	}
	x.flush()
	var b strings.Builder
	for {
		line, err := x.br.ReadString('\n')
		if err != nil {
			return false
		}
		if strings.Contains(strings.TrimSuffix(line, "\r\n"), "\r") || !strings.HasSuffix(line, "\r\n") {
			b.WriteString("[BARE]")
		}
		if strings.TrimRight(line, "\r\n") == "." {
			break
		}
		b.WriteString(strings.TrimPrefix(line, "."))
	}
	x.msg.Content, x.mail = b.String(), false
	final := sc.Final
	if len(x.msg.Recipients) > 0 && sc.Finals[x.msg.Recipients[0]] != "" {
		final = sc.Finals[x.msg.Recipients[0]]
	}
	if len(x.msg.Recipients) == 0 {
		final = sc.Empty
	}
	x.msg.Answer = final
	x.s.update(func() {
		x.s.msgs = append(x.s.msgs, x.msg)
		x.last = len(x.s.msgs)
	})
	return x.answer(final, "250 2.0.0 Ok: queued as 4ABC")
}
