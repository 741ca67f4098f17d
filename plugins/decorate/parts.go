package decorate

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"mime/quotedprintable"
	"slices"
	"strings"

	"github.com/mlist/mlist/sdk/message"
)

// maxPlainLine is the longest line that goes unencoded, in octets; RFC 5322 allows 998.
const maxPlainLine = 900

// part is a body part with text, from its delimiter line to the line end before the
// next one.
func (e *editor) part(boundary, text, eol string) []byte {
	charset, coding := "us-ascii", "7bit"
	if !isASCII(text) {
		charset, coding = "utf-8", "quoted-printable"
	}
	for line := range strings.SplitSeq(text, "\n") {
		if len(line) > maxPlainLine {
			coding = "quoted-printable"
		}
	}
	body := []byte(strings.ReplaceAll(text, "\n", eol))
	if coding == "quoted-printable" {
		body = e.quotedPrintable(charset, body, eol)
	}
	var b bytes.Buffer
	for _, line := range []string{
		"--" + boundary,
		`Content-Type: text/plain; charset="` + charset + `"`,
		"Content-Transfer-Encoding: " + coding,
		"Content-Disposition: inline",
		"",
	} {
		b.WriteString(line + eol)
	}
	b.Write(body)
	b.WriteString(eol)
	return b.Bytes()
}

// quotedPrintable encodes octets whose lines end in eol.
func (e *editor) quotedPrintable(charset string, octets []byte, eol string) []byte {
	var b bytes.Buffer
	w := quotedprintable.NewWriter(&b)
	w.Write(octets) // a bytes.Buffer takes everything
	w.Close()
	text := b.Bytes()
	for _, f := range e.own {
		text = f.quote(charset, text)
	}
	if eol == "\n" {
		return bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	}
	return text
}

// addParts puts a part before the first and one after the last part of a
// multipart/mixed. A close delimiter that is missing is added.
func (e *editor) addParts() (skipped string, err error) {
	root, body := e.root, e.post.Body
	if root.Encoding != "7bit" && root.Encoding != "8bit" && root.Encoding != "binary" {
		return "encoded multipart", nil
	}
	if root.Open < 0 && root.Close < 0 {
		return "no boundary", nil
	}
	eol, err := e.lineEndAt(max(root.Open, root.Close))
	if err != nil {
		return "", err
	}
	if e.after != "" {
		insert, at := e.part(root.Boundary, e.after, eol), root.Close
		if at < 0 {
			at = body.Size()
			insert = append([]byte(eol), insert...)
			insert = append(insert, "--"+root.Boundary+"--"+eol...)
		}
		if err := e.splice(at, 0, insert); err != nil {
			return "", err
		}
	}
	if e.before != "" {
		at := root.Open
		if at < 0 {
			at = root.Close
		}
		return "", e.splice(at, 0, e.part(root.Boundary, e.before, eol))
	}
	return "", nil
}

// wrap makes the message a multipart/mixed with what it was as one of its parts: the
// fields that describe the content move there, octet for octet.
func (e *editor) wrap() (skipped string, err error) {
	h, body := e.post.Header, e.post.Body
	names := contentFields(h)
	if len(names) > maxContent {
		return "too many fields of content", nil
	}
	eol := h.LineEnd()
	boundary := e.boundary()
	coding := e.root.Encoding
	start := bytes.NewBuffer(nil)
	if e.before != "" {
		start.Write(e.part(boundary, e.before, eol))
	}
	start.WriteString("--" + boundary + eol)
	start.Write(e.moveFields(names, eol))
	start.WriteString(eol)
	end := []byte(eol)
	if e.after != "" {
		end = append(end, e.part(boundary, e.after, eol)...)
	}
	end = append(end, "--"+boundary+"--"+eol...)

	if !h.Has("MIME-Version") {
		h.Append("MIME-Version", "1.0")
	}
	h.Append("Content-Type", `multipart/mixed; boundary="`+boundary+`"`)
	if coding == "8bit" || coding == "binary" { // RFC 2045 6.4
		h.Append("Content-Transfer-Encoding", coding)
	}
	if err := e.splice(body.Size(), 0, end); err != nil {
		return "", err
	}
	return "", e.splice(0, 0, start.Bytes())
}

// maxContent is how many different fields may describe the content: each costs an operation.
const maxContent = 100

// contentFields are the names of the fields that describe the content, in lower case.
// Content-Length is no such field (it is an mbox's).
func contentFields(h *message.Header) map[string]bool {
	names := map[string]bool{}
	for f := range h.Fields() {
		if name := strings.ToLower(f.Name); strings.HasPrefix(name, "content-") && name != "content-length" {
			names[name] = true
		}
	}
	return names
}

// moveFields takes the fields of these names out of the header and returns their octets.
func (e *editor) moveFields(names map[string]bool, eol string) []byte {
	var moved []byte
	for f := range e.post.Header.Fields() {
		if !names[strings.ToLower(f.Name)] {
			continue
		}
		moved = append(moved, f.Raw...)
		if !bytes.HasSuffix(f.Raw, []byte("\n")) {
			moved = append(moved, eol...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		e.post.Header.Remove(name)
	}
	return moved
}

// boundary is one that no author can foresee, and the same when the stage runs again.
func (e *editor) boundary() string {
	sum := sha256.Sum256([]byte("footer\x00" + e.post.List.Address + "\x00" + e.post.Entry))
	return "mlist-" + hex.EncodeToString(sum[:16])
}
