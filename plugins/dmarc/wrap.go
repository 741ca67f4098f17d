package dmarc

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// outer tells whether a field belongs to the message around the post: what threads and
// filters go by, traces of the way here, and the list's own.
func outer(name string) bool {
	switch name {
	case "date", "subject", "to", "cc", "message-id", "in-reply-to", "references", "reply-to",
		"from", "x-original-from", "sender", "precedence", "x-beenthere", "auto-submitted", "archived-at",
		"received", "authentication-results", "mime-version":
		return true
	}
	return strings.HasPrefix(name, "list-") || strings.HasPrefix(name, "arc-")
}

// own are the fields of a list's, which the post inside has no use for.
func own(name string) bool {
	switch name {
	case "sender", "precedence", "x-beenthere", "archived-at", "received", "authentication-results":
		return true
	}
	return strings.HasPrefix(name, "list-") || strings.HasPrefix(name, "arc-")
}

// maxMoved is how many different fields a wrapped post may have: each costs an operation.
const maxMoved = 500

// wrap makes the post a part of a message from the list. The post's own octets stay what they
// are. false: it cannot be done, for the header is too damaged to be taken out.
func wrap(p *sdk.Post) (bool, error) {
	h := p.Header
	inner, moved, ok := insides(h)
	if !ok {
		return false, nil
	}
	encoding, err := encodingOf(p, inner)
	if err != nil {
		return false, fmt.Errorf("wrap %s: %w", p.Entry, err)
	}
	eol := h.LineEnd()
	inner = append(inner, eol...)
	munge(p)
	for _, name := range moved {
		h.Remove(name)
	}
	h.Replace("MIME-Version", "1.0")
	text := strings.TrimSpace(p.List.Fill(p.List.String("dmarc_wrapped_message_text"), nil))
	if text == "" {
		h.Append("Content-Type", "message/rfc822")
		h.Append("Content-Disposition", "inline")
		h.Append("Content-Transfer-Encoding", encoding)
		return true, splice(p, 0, inner)
	}
	boundary := boundaryOf(p)
	h.Append("Content-Type", `multipart/mixed; boundary="`+boundary+`"`)
	h.Append("Content-Transfer-Encoding", widest(encoding, encodingOfText(text)))
	end := eol + "--" + boundary + "--" + eol
	if err := splice(p, p.Body.Size(), []byte(end)); err != nil {
		return false, err
	}
	lines := []string{
		"--" + boundary, `Content-Type: text/plain; charset="utf-8"`, "Content-Disposition: inline", "Content-Transfer-Encoding: " + encodingOfText(text), "",
	}
	lines = append(lines, strings.Split(strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\r\n", "\n"), "\n")...)
	lines = append(lines, "--"+boundary, "Content-Type: message/rfc822", "Content-Disposition: inline", "Content-Transfer-Encoding: "+encoding, "", "")
	return true, splice(p, 0, append([]byte(strings.Join(lines, eol)), inner...))
}

func splice(p *sdk.Post, at int64, insert []byte) error {
	if err := p.Body.Splice(message.Splice{Offset: at, Insert: insert}); err != nil {
		return fmt.Errorf("wrap %s: %w", p.Entry, err)
	}
	return nil
}

// insides is the header block of the post inside, and the names of the fields that are only
// there.
func insides(h *message.Header) (block []byte, moved []string, ok bool) {
	seen := map[string]bool{}
	octets := 0
	for f := range h.Fields() {
		octets += len(f.Raw)
		name := strings.ToLower(f.Name)
		if !own(name) {
			block = append(block, f.Raw...)
		}
		if !outer(name) && !seen[name] {
			seen[name] = true
			moved = append(moved, f.Name)
		}
	}
	if len(block) > 0 && !bytes.HasSuffix(block, []byte("\n")) {
		block = append(block, h.LineEnd()...)
	}
	// Lines that are no field cannot be taken out of the message around.
	return block, moved, octets == len(h.Bytes()) && len(moved) <= maxMoved
}

// encodingOf is how the post travels inside another message: RFC 2046 5.2.1 allows no other
// encoding than what it has already.
func encodingOf(p *sdk.Post, block []byte) (string, error) {
	scan := &scanner{}
	_, _ = scan.Write(block)
	if _, err := p.Body.WriteTo(scan); err != nil {
		return "", err
	}
	if scan.eight {
		return "8bit", nil
	}
	return "7bit", nil
}

// scanner looks for octets over 127.
type scanner struct{ eight bool }

// Write implements io.Writer.
func (s *scanner) Write(p []byte) (int, error) {
	for _, c := range p {
		if c >= 0x80 {
			s.eight = true
			break
		}
	}
	return len(p), nil
}

func encodingOfText(text string) string {
	scan := &scanner{}
	_, _ = scan.Write([]byte(text))
	if scan.eight {
		return "8bit"
	}
	return "7bit"
}

func widest(a, b string) string {
	if a == "8bit" || b == "8bit" {
		return "8bit"
	}
	return "7bit"
}

// boundaryOf is the same each time the post is run, and nothing that its author could know.
func boundaryOf(p *sdk.Post) string {
	sum := sha256.Sum256([]byte(p.Entry + " " + p.List.Address))
	return "=_" + hex.EncodeToString(sum[:12])
}
