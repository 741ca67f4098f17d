package mailauth

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"strings"
)

// Canon is a canonicalization algorithm (RFC 6376 3.4).
type Canon bool

// Canonicalizations.
const (
	Simple  Canon = false
	Relaxed Canon = true
)

func (c Canon) String() string {
	if c == Relaxed {
		return "relaxed"
	}
	return "simple"
}

// header returns a field, as it stands in a message, in canonical form with its line end.
func (c Canon) header(raw string) string {
	if c == Relaxed {
		return relaxedField(raw)
	}
	raw = strings.TrimSuffix(strings.TrimSuffix(raw, "\n"), "\r")
	if strings.IndexByte(raw, '\n') < 0 {
		return raw + "\r\n"
	}
	return strings.ReplaceAll(strings.ReplaceAll(raw, "\r\n", "\n"), "\n", "\r\n") + "\r\n"
}

// relaxedField: name in lower case, unfolded, white space reduced to single spaces, none
// around the colon and at the end.
func relaxedField(raw string) string {
	name, value, _ := strings.Cut(raw, ":")
	var b strings.Builder
	b.Grow(len(raw) + 2)
	b.WriteString(strings.ToLower(strings.TrimRight(name, " \t\r\n")))
	b.WriteByte(':')
	space := false
	for i, begun := 0, false; i < len(value); i++ {
		switch ch := value[i]; {
		case ch == ' ' || ch == '\t':
			space = true
		case ch == '\n', ch == '\r' && i+1 < len(value) && value[i+1] == '\n':
			// RFC 6376 3.4.2: the line break goes, the white space after it stays.
		default:
			if space && begun {
				b.WriteByte(' ')
			}
			space, begun = false, true
			b.WriteByte(ch)
		}
	}
	b.WriteString("\r\n")
	return b.String()
}

// BodyHash computes the hash of a body in canonical form while it is written to it. Sum
// ends it.
type BodyHash struct {
	canon Canon
	hash  hash.Hash
	limit int64 // octets of canonical body still to be hashed; -1 is all
	total int64 // octets of canonical body so far
	buf   []byte

	sent    bool  // a CR that ends no line is a space, as outbound sends it
	breaks  int64 // line ends not written yet: those at the end of the body do not count
	space   bool  // relaxed: white space not written yet
	cr      bool  // the last octet was a CR
	written bool
}

// NewBodyHash returns the hash that signing needs, SHA-256 in relaxed form, of a body as
// mlist sends it: LF becomes CRLF, and a CR that ends no line a space.
func NewBodyHash() *BodyHash {
	b := newBodyHash(Relaxed, sha256.New(), -1)
	b.sent = true
	return b
}

func newBodyHash(c Canon, h hash.Hash, limit int64) *BodyHash {
	return &BodyHash{canon: c, hash: h, limit: limit, buf: make([]byte, 0, 4096)}
}

func newHash(sha1Hash bool) hash.Hash {
	if sha1Hash {
		return sha1.New()
	}
	return sha256.New()
}

// Write implements io.Writer; it never fails.
func (b *BodyHash) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if b.cr {
			b.cr = false
			if p[0] == '\n' {
				b.lineEnd()
				p = p[1:]
				continue
			}
			b.loneCR()
		}
		i := bytes.IndexByte(p, '\n')
		line := p
		if i >= 0 {
			line = p[:i]
		}
		if len(line) > 0 && line[len(line)-1] == '\r' {
			// Before the LF it is part of the line end; at the end of p, who knows.
			line = line[:len(line)-1]
			b.cr = i < 0
		}
		if len(line) > 0 {
			b.line(line)
		}
		if i < 0 {
			break
		}
		b.lineEnd()
		p = p[i+1:]
	}
	return n, nil
}

var (
	crOnly = []byte{'\r'}
	crlf   = []byte("\r\n")
	blank  = []byte{' '}
)

func (b *BodyHash) lineEnd() {
	b.breaks++
	b.space = false
}

func (b *BodyHash) loneCR() {
	if b.sent {
		b.text(blank)
	} else {
		b.text(crOnly)
	}
}

// line takes octets that may hold CRs that end no line.
func (b *BodyHash) line(p []byte) {
	for b.sent {
		i := bytes.IndexByte(p, '\r')
		if i < 0 {
			break
		}
		b.text(p[:i])
		b.text(blank)
		p = p[i+1:]
	}
	b.text(p)
}

// text takes octets of a line, none of which ends it.
func (b *BodyHash) text(p []byte) {
	if b.canon == Simple {
		b.emit(p)
		return
	}
	for len(p) > 0 {
		i := canonical(p)
		if i > 0 {
			if b.space {
				b.emit(blank)
				b.space = false
			}
			b.emit(p[:i])
		}
		if i == len(p) {
			return
		}
		b.space = true
		for i < len(p) && (p[i] == ' ' || p[i] == '\t') {
			i++
		}
		p = p[i:]
	}
}

// canonical is how much of a line's text is relaxed already: words with single spaces between.
func canonical(p []byte) int {
	for i := 0; i < len(p); i++ {
		switch {
		case p[i] > ' ':
		case p[i] == '\t', p[i] == ' ' && (i == 0 || i+1 == len(p) || p[i+1] == ' ' || p[i+1] == '\t'):
			return i
		}
	}
	return len(p)
}

// emit writes text, and the line ends before it.
func (b *BodyHash) emit(p []byte) {
	if len(p) == 0 {
		return
	}
	for ; b.breaks > 0; b.breaks-- {
		b.put(crlf)
	}
	b.written = true
	b.put(p)
}

func (b *BodyHash) put(p []byte) {
	b.total += int64(len(p))
	if b.limit >= 0 {
		p = p[:min(int64(len(p)), b.limit)]
		b.limit -= int64(len(p))
	}
	if len(b.buf)+len(p) > cap(b.buf) {
		b.hash.Write(b.buf)
		b.buf = b.buf[:0]
		if len(p) >= cap(b.buf) {
			b.hash.Write(p)
			return
		}
	}
	b.buf = append(b.buf, p...)
}

// Clone returns a hash that goes on from what was written so far, for bodies that begin alike.
func (b *BodyHash) Clone() (*BodyHash, error) {
	from, ok := b.hash.(hash.Cloner)
	if !ok {
		return nil, fmt.Errorf("a hash of %T cannot be cloned", b.hash)
	}
	h, err := from.Clone()
	if err != nil {
		return nil, fmt.Errorf("clone a hash: %w", err)
	}
	c := *b
	c.hash = h
	c.buf = append(make([]byte, 0, cap(b.buf)), b.buf...)
	return &c, nil
}

// Sum ends the body and returns its hash. Nothing can be written after it.
func (b *BodyHash) Sum() []byte {
	if b.cr {
		b.cr = false
		b.loneCR()
	}
	// RFC 6376 3.4.3 and 3.4.4: a body ends with one line end; an empty one is a line end
	// when simple, and nothing when relaxed.
	if b.written || b.canon == Simple {
		b.put(crlf)
	}
	b.breaks = 0
	b.hash.Write(b.buf)
	b.buf = b.buf[:0]
	return b.hash.Sum(nil)
}

// copyBody reads the body once for all hashes.
func copyBody(body io.Reader, hashes []*BodyHash) error {
	if len(hashes) == 0 || body == nil {
		return nil
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		for _, h := range hashes {
			h.Write(buf[:n])
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
