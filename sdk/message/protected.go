package message

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"strings"
)

// maxInline is how much of a text part is searched for inline PGP, in octets.
const maxInline = 1 << 20

// protectedTypes are bytes that may not change: RFC 1847, RFC 3156, RFC 8551, and the
// application/pgp that came before them.
var protectedTypes = map[string]bool{
	"multipart/signed": true, "multipart/encrypted": true,
	"application/pkcs7-mime": true, "application/x-pkcs7-mime": true,
	"application/pgp": true, "application/pgp-encrypted": true,
}

// Protected tells whether the part or anything in it is signed or encrypted
// (multipart/signed, multipart/encrypted, application/pkcs7-mime, inline PGP in text):
// bytes that may not change. Of a text it looks at the first MiB. A body that cannot
// be read counts as protected: what cannot be seen must not be changed.
func (p *Part) Protected(b *Body) bool {
	if protectedTypes[p.Type] || p.isP7M() {
		return true
	}
	for _, child := range p.Parts {
		if child.Protected(b) {
			return true
		}
	}
	return strings.HasPrefix(p.Type, "text/") && p.inlinePGP(b)
}

// isP7M tells S/MIME by its file name, where a gateway has lost the type (RFC 8551 3.10).
func (p *Part) isP7M() bool {
	if p.Type != "application/octet-stream" {
		return false
	}
	_, params := parseMedia("x/"+p.Header.Get("Content-Disposition"), "")
	for _, name := range []string{p.Params["name"], params["filename"]} {
		if strings.HasSuffix(strings.ToLower(name), ".p7m") {
			return true
		}
	}
	return false
}

func (p *Part) inlinePGP(b *Body) bool {
	size := min(p.End-p.Start, maxInline)
	if size <= 0 {
		return false
	}
	raw := func() *checkedReader {
		return &checkedReader{r: io.NewSectionReader(b, p.Start, size)}
	}
	in := raw()
	found := false
	switch p.Encoding {
	case "base64":
		found = findArmor(base64.NewDecoder(base64.StdEncoding, &digits{in}))
	case "quoted-printable":
		found = findArmor(quotedprintable.NewReader(in))
	}
	// The text as it stands too: the decoders stop at the first thing they dislike.
	plain := raw()
	return found || findArmor(plain) || in.failed || plain.failed
}

// checkedReader remembers that reading failed, which the decoders above it hide.
type checkedReader struct {
	r      io.Reader
	failed bool
}

func (c *checkedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil && err != io.EOF {
		c.failed = true
	}
	return n, err
}

// digits passes on only what is of base64's alphabet.
type digits struct{ r io.Reader }

func (d *digits) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	kept := 0
	for _, c := range p[:n] {
		if isAlnum(c) || c == '+' || c == '/' || c == '=' {
			p[kept] = c
			kept++
		}
	}
	return kept, err
}

var armor = [][]byte{
	[]byte("-----BEGIN PGP SIGNED MESSAGE-----"),
	[]byte("-----BEGIN PGP MESSAGE-----"),
}

// findArmor looks for a line that starts with PGP armor, one window at a time.
func findArmor(r io.Reader) bool {
	buf := make([]byte, 1, 16<<10)
	buf[0] = '\n' // so that the first line is one like the others
	for {
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if hasArmor(buf) {
			return true
		}
		if err != nil {
			return false
		}
		const keep = 40 // longer than a line end and an armor line
		buf = buf[:copy(buf[:keep], buf[len(buf)-keep:])]
	}
}

func hasArmor(text []byte) bool {
	for {
		i := bytes.Index(text, []byte("\n-----BEGIN PGP "))
		if i < 0 {
			return false
		}
		text = text[i+1:]
		for _, a := range armor {
			if bytes.HasPrefix(text, a) {
				return true
			}
		}
	}
}
