package sink

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strconv"
	"strings"
	"time"
)

// Transaction is a message that was taken, with the recipients that were accepted.
type Transaction struct {
	Conn, Number int64 // of the connection, and of the transaction on it, each from 1
	At           time.Time
	Sender       string // "" is the null reverse-path
	Recipients   []string
	MessageID    string // without its <>; "" if the message has none
	Size         int64  // of the message, dots unstuffed
	Hash         string // of the message: SHA-256 in hex, its first 16 octets
	Body         []byte // the whole message; only with Options.Bodies
	// Confirmed: something came from the client after the final reply was sent, so it was
	// not in flight any more. A client that has not been heard of may send these
	// recipients once more, and is not at fault. (What a client sent ahead, behind the
	// final dot, may confirm too early: such a client is judged too hard.)
	Confirmed bool
}

func (s *session) keep(m *Transaction) {
	s.pending = append(s.pending, m)
	v := s.server
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.opts.Record == Memory {
		v.record = append(v.record, m)
	}
	if v.out != nil {
		v.writeLine(m.line())
	}
}

// confirm is called when something has come from the client since it was answered.
func (s *session) confirm() {
	if len(s.pending) == 0 {
		return
	}
	v := s.server
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, m := range s.pending {
		m.Confirmed = true
	}
	if v.out != nil {
		v.writeLine(fmt.Appendf(nil, "C %d %d\n", s.number, s.taken))
	}
	s.pending = s.pending[:0]
}

func (s *Server) writeLine(line []byte) {
	if _, err := s.out.Write(line); err != nil && s.outErr == nil {
		s.outErr = fmt.Errorf("sink: record: %w", err)
	}
}

// Flush writes out what File has not written yet. It returns the first error of the record.
func (s *Server) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == nil {
		return nil
	}
	return errors.Join(s.outErr, s.out.Flush())
}

// Transactions returns what Memory has kept, in the order in which it was taken.
func (s *Server) Transactions() []Transaction {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Transaction, len(s.record))
	for i, m := range s.record {
		out[i] = *m
	}
	return out
}

// line is the transaction's line in a file. Fields are separated by blanks; what could hold one
// is quoted as in a URL, and an empty one is "-".
func (m *Transaction) line() []byte {
	b := fmt.Appendf(nil, "T %d %d %d %d %s %s %s", m.Conn, m.Number, m.At.UnixNano(), m.Size, m.Hash, escape(m.MessageID), escape(m.Sender))
	for _, r := range m.Recipients {
		b = append(append(b, ' '), escape(r)...)
	}
	return append(b, '\n')
}

func escape(s string) string {
	switch {
	case s == "":
		return "-"
	case s == "-":
		return "%2d"
	case !strings.ContainsFunc(s, isSpecial):
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if isSpecial(rune(s[i])) {
			fmt.Fprintf(&b, "%%%02x", s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func isSpecial(r rune) bool { return r <= ' ' || r == 0x7f || r == '%' }

func unescape(s string) (string, error) {
	if s == "-" {
		return "", nil
	}
	if !strings.Contains(s, "%") {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("field %q: unfinished escape", s)
		}
		c, err := hex.DecodeString(s[i+1 : i+3])
		if err != nil {
			return "", fmt.Errorf("field %q: %w", s, err)
		}
		b.Write(c)
		i += 2
	}
	return b.String(), nil
}

// Read yields the transactions of a file in the order in which they were taken. It reads the
// file twice, and keeps one line and a number a connection in memory. A last line that
// is unfinished, because the sink was killed, is left out. The first error ends it.
func Read(path string) iter.Seq2[Transaction, error] {
	return func(yield func(Transaction, error) bool) {
		confirmed := map[int64]int64{} // the last one of a connection
		err := lines(path, func(kind string, f []string) (bool, error) {
			if kind != "C" {
				return true, nil
			}
			conn, err := strconv.ParseInt(f[0], 10, 64)
			if err != nil {
				return false, err
			}
			confirmed[conn], err = strconv.ParseInt(f[1], 10, 64)
			return true, err
		})
		if err == nil {
			err = lines(path, func(kind string, f []string) (bool, error) {
				if kind != "T" {
					return true, nil
				}
				m, err := parseTransaction(f)
				if err != nil {
					return false, err
				}
				m.Confirmed = m.Number <= confirmed[m.Conn]
				return yield(m, nil), nil
			})
		}
		if err != nil {
			yield(Transaction{}, err)
		}
	}
}

// lines calls f for each line, with its kind and its other fields (2 at least, 7 of a T),
// until it says no.
func lines(path string, f func(kind string, fields []string) (bool, error)) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sink: read record: %w", err)
	}
	defer file.Close()
	r := bufio.NewReaderSize(file, 1<<20)
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("sink: read record: %w", err)
		}
		fields := strings.Split(string(bytes.TrimSuffix(line, []byte("\n"))), " ")
		if len(fields) < 3 || fields[0] == "T" && len(fields) < 8 {
			return fmt.Errorf("sink: read record: line %d of %s is broken", n, path)
		}
		more, err := f(fields[0], fields[1:])
		if err != nil {
			return fmt.Errorf("sink: read record: line %d of %s: %w", n, path, err)
		}
		if !more {
			return nil
		}
	}
}

func parseTransaction(f []string) (m Transaction, err error) {
	var numbers [4]int64
	for i := range numbers {
		if numbers[i], err = strconv.ParseInt(f[i], 10, 64); err != nil {
			return m, err
		}
	}
	m = Transaction{Conn: numbers[0], Number: numbers[1], At: time.Unix(0, numbers[2]), Size: numbers[3], Hash: f[4]}
	if m.MessageID, err = unescape(f[5]); err != nil {
		return m, err
	}
	if m.Sender, err = unescape(f[6]); err != nil {
		return m, err
	}
	m.Recipients = make([]string, len(f)-7)
	for i, r := range f[7:] {
		if m.Recipients[i], err = unescape(r); err != nil {
			return m, err
		}
	}
	return m, nil
}
