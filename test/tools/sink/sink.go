// Package sink is a recording SMTP server for tests and measurements: it accepts mail
// as fast as a client can send it, counts recipients, keeps a record of what it took if
// asked, and fails on purpose, by seed.
//
// It is the last word on what was delivered, so it says exactly what it knows: a
// transaction is recorded before its final reply is sent, and Transaction.Confirmed
// tells whether the client has been heard of since.
//
//	s, err := sink.Listen("127.0.0.1:0", sink.Options{Record: sink.Memory})
//	defer s.Close()
//	... let something send to s.Addr() ...
//	err = s.Wait(ctx, 30) // recipients
//	for _, tx := range s.Transactions() { ... }
package sink

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Mode says what is kept of each transaction.
type Mode int

// Count keeps numbers only. Memory keeps transactions in memory, File appends them to
// the file at Options.Path, which Read reads.
const (
	Count Mode = iota
	Memory
	File
)

// Options of a sink. The zero Options count and never fail.
type Options struct {
	Record Mode
	Path   string // for File
	Bodies bool   // keep whole messages; for Memory
	// Refuse are recipients that always get 550 5.1.1.
	Refuse []string
	// MaxRecipients of a transaction: more get 452 4.5.3. 0 is no limit.
	MaxRecipients int
	// Size is the limit to announce and keep, in octets; 0 is 1 GiB.
	Size int64
	// XVERP is announced. (The record has the envelope sender as it came.)
	XVERP bool
	// Watch counts recipients of mail whose envelope sender begins so, in Stats.Watched.
	Watch  string
	Faults Faults
}

// Stats are numbers since the start, or Reset.
type Stats struct {
	Connections  int64     `json:"connections"`
	Open         int64     `json:"open"`         // connections now
	Transactions int64     `json:"transactions"` // taken
	Recipients   int64     `json:"recipients"`   // of those
	Watched      int64     `json:"watched"`      // of them: see Options.Watch
	Bytes        int64     `json:"bytes"`        // of those
	Refused      int64     `json:"refused"`      // 4xx and 5xx to MAIL, RCPT and DATA
	Faults       int64     `json:"faults"`       // things that failed on purpose, by chance
	First        time.Time `json:"first"`        // when the first mail was taken
	Last         time.Time `json:"last"`
}

// Server is a running sink. Its methods may be called from any goroutine.
type Server struct {
	listener net.Listener
	opts     Options
	faults   atomic.Pointer[Faults]
	refuse   map[string]bool
	running  sync.WaitGroup
	n        counters

	mu      sync.Mutex
	closed  bool
	conns   map[net.Conn]struct{}
	waiters []waiter
	record  []*Transaction
	file    *os.File
	out     *bufio.Writer
	outErr  error
}

type counters struct {
	connections, open, transactions, recipients, watched, bytes, refused, faults, first, last, target atomic.Int64
}

type waiter struct {
	recipients int64
	reached    chan struct{}
}

const noTarget = int64(^uint64(0) >> 1)

// Listen starts a sink on "HOST:PORT", "tcp:HOST:PORT" or "unix:PATH".
func Listen(addr string, opts Options) (*Server, error) {
	network := "tcp"
	if rest, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", rest
	}
	addr = strings.TrimPrefix(addr, "tcp:")
	if opts.Size == 0 {
		opts.Size = 1 << 30
	}
	s := &Server{opts: opts, conns: map[net.Conn]struct{}{}, refuse: map[string]bool{}}
	for _, r := range opts.Refuse {
		s.refuse[r] = true
	}
	s.SetFaults(opts.Faults)
	s.n.target.Store(noTarget)
	if opts.Record == File {
		f, err := os.OpenFile(opts.Path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return nil, fmt.Errorf("sink: record: %w", err)
		}
		s.file, s.out = f, bufio.NewWriterSize(f, 1<<20)
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		if s.file != nil {
			s.file.Close()
		}
		return nil, fmt.Errorf("sink: %w", err)
	}
	s.listener = l
	s.running.Add(1)
	go s.accept()
	return s, nil
}

// Addr is where the sink listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

func (s *Server) accept() {
	defer s.running.Done()
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return // closed
		}
		s.mu.Lock()
		if s.closed {
			c.Close()
		} else {
			s.conns[c] = struct{}{}
			s.n.open.Add(1)
			s.running.Add(1)
			go s.serve(c, s.n.connections.Add(1))
		}
		s.mu.Unlock()
	}
}

func (s *Server) serve(c net.Conn, number int64) {
	defer s.running.Done()
	newSession(s, c, number).run()
	c.Close()
	s.n.open.Add(-1)
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// Stats returns the numbers now.
func (s *Server) Stats() Stats {
	out := Stats{
		Connections: s.n.connections.Load(), Open: s.n.open.Load(), Transactions: s.n.transactions.Load(), Recipients: s.n.recipients.Load(),
		Watched: s.n.watched.Load(), Bytes: s.n.bytes.Load(), Refused: s.n.refused.Load(), Faults: s.n.faults.Load(),
	}
	if t := s.n.first.Load(); t != 0 {
		out.First, out.Last = time.Unix(0, t), time.Unix(0, s.n.last.Load())
	}
	return out
}

// Reset sets the numbers to none and forgets what Memory has kept. It is for between two
// runs: not while transactions are open.
func (s *Server) Reset() {
	for _, n := range []*atomic.Int64{&s.n.transactions, &s.n.recipients, &s.n.watched, &s.n.bytes, &s.n.refused, &s.n.faults, &s.n.first, &s.n.last} {
		n.Store(0)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record = nil
}

// Wait waits until that many recipients were taken in all.
func (s *Server) Wait(ctx context.Context, recipients int64) error {
	s.mu.Lock()
	w := waiter{recipients, make(chan struct{})}
	s.waiters = append(s.waiters, w)
	s.mu.Unlock()
	s.wake()
	select {
	case <-w.reached:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("sink: %d of %d recipients: %w", s.n.recipients.Load(), recipients, ctx.Err())
	}
}

// wake tells waiters whose number is reached, and keeps the lowest of the others in
// target, so that taking mail costs no lock.
func (s *Server) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		now, target, rest := s.n.recipients.Load(), noTarget, s.waiters[:0]
		for _, w := range s.waiters {
			if w.recipients <= now {
				close(w.reached)
				continue
			}
			rest, target = append(rest, w), min(target, w.recipients)
		}
		s.waiters = rest
		s.n.target.Store(target)
		if s.n.recipients.Load() < target { // else some came in between
			return
		}
	}
}

// Close ends every connection and writes out the record.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	err := s.listener.Close()
	s.running.Wait()
	err = errors.Join(err, s.Flush())
	if s.file != nil {
		err = errors.Join(err, s.file.Close())
	}
	return err
}
