package digest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"mime/quotedprintable"
	"slices"
	"strconv"
	"strings"

	"github.com/mlist/mlist/sdk/message"
)

// mime makes the digest a multipart/mixed: masthead, contents, the posts, footer.
func (d *digest) mime() error {
	outer, kind := d.boundary(), d.Header.Get("Content-Type")
	var start, end bytes.Buffer
	for _, part := range []struct{ what, text string }{{d.name, d.masthead()}, {d.count(), d.contents()}} {
		start.WriteString("--" + outer + "\r\n")
		start.Write(textPart(part.what, part.text))
	}
	fmt.Fprintf(&start, "--%s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: 8bit\r\n\r\n", outer, kind)
	if footer := d.footer(); footer != "" {
		end.WriteString("\r\n--" + outer + "\r\n")
		end.Write(bytes.TrimSuffix(textPart(d.say("digest_footer_title"), footer), []byte("\r\n")))
	}
	end.WriteString("\r\n--" + outer + "--\r\n")

	// From the end to the start, so that offsets hold.
	if err := d.splice(d.Body.Size(), 0, end.Bytes()); err != nil {
		return err
	}
	room := maxFields
	for i := len(d.posts) - 1; i >= 0; i-- {
		if err := d.trim(i, &room); err != nil {
			return err
		}
	}
	d.Header.Replace("Content-Type", `multipart/mixed; boundary="`+outer+`"`)
	return d.splice(0, 0, start.Bytes())
}

func (d *digest) count() string {
	if len(d.posts) == 1 {
		return d.say("digest_topics_one")
	}
	return d.say("digest_topics_number", "number", strconv.Itoa(len(d.posts)))
}

// maxFields is how many octets of header fields all posts together may keep, and
// maxPostFields one; what lets a body be read is kept beyond that. mlist takes 8 MiB of
// insertions.
const (
	maxFields     = 6 << 20
	maxPostFields = 8 << 10
)

// trim leaves of a post's header block the fields that readers need, octet for octet, and
// its number.
func (d *digest) trim(i int, room *int) error {
	p := d.posts[i]
	if p.block == 0 {
		return nil // nothing that could be read as a header block
	}
	eol := p.header.LineEnd()
	var kept []byte
	if d.keeps("Message") {
		kept = append(kept, fmt.Sprintf("Message: %d%s", i+1, eol)...)
	}
	for f := range p.header.Fields() {
		if !isMIME(f.Name) && (strings.EqualFold(f.Name, "Message") || !d.keeps(f.Name) || len(kept)+len(f.Raw) > maxPostFields) || len(f.Raw) > *room-len(kept) {
			continue
		}
		kept = append(kept, f.Raw...)
		if !bytes.HasSuffix(kept, []byte("\n")) {
			kept = append(kept, eol...)
		}
	}
	*room -= len(kept)
	return d.splice(p.part.Start, p.block, kept)
}

// isMIME tells whether a field is one that lets a body be read.
func isMIME(name string) bool {
	name = strings.ToLower(name)
	return name == "mime-version" || strings.HasPrefix(name, "content-")
}

// keeps tells whether MIME digests show a field.
func (d *digest) keeps(name string) bool {
	return isMIME(name) || slices.ContainsFunc(d.config.MIMEHeaders, func(k string) bool { return strings.EqualFold(k, name) })
}

func (d *digest) splice(at, del int64, insert []byte) error {
	return d.Body.Splice(message.Splice{Offset: at, Delete: del, Insert: insert})
}

// boundary is one that no author could foresee: that of the posts, which is random, makes it.
// A second run makes the same.
func (d *digest) boundary() string {
	sum := sha256.Sum256([]byte("around\x00" + d.Header.Get("Content-Type")))
	return "mlist-" + hex.EncodeToString(sum[:18])
}

// textPart is a part with its header, after the delimiter line, up to the next.
func textPart(description, text string) []byte {
	kind, coding, octets := encodeText(text)
	h := message.ParseHeader(nil)
	h.Append("Content-Type", kind)
	h.Append("MIME-Version", "1.0")
	h.Append("Content-Transfer-Encoding", coding)
	h.Append("Content-Description", message.EncodeText(description))
	return slices.Concat(h.Bytes(), []byte("\r\n"), octets, []byte("\r\n"))
}

// maxPlainLine is the longest line that goes unencoded, in octets; RFC 5322 allows 998.
const maxPlainLine = 900

// encodeText writes text that has LF for a body, in the plainest way that holds it.
func encodeText(text string) (kind, coding string, octets []byte) {
	kind, coding = "text/plain; charset=us-ascii", "7bit"
	long := false
	for line := range strings.SplitSeq(text, "\n") {
		long = long || len(line) > maxPlainLine
	}
	for i := range len(text) {
		if text[i] >= 0x80 {
			kind, coding = "text/plain; charset=utf-8", "8bit"
			break
		}
	}
	octets = []byte(strings.ReplaceAll(text, "\n", "\r\n"))
	if !long {
		return kind, coding, octets
	}
	var b bytes.Buffer
	w := quotedprintable.NewWriter(&b)
	w.Write(octets) // a bytes.Buffer takes everything
	w.Close()
	return kind, "quoted-printable", b.Bytes()
}
