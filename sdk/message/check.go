package message

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// maxEmbedded is how deep Check goes into messages within messages: each level is read
// once more.
const maxEmbedded = 10

// Check tells what is wrong with the message, by line. It reads the body a few times, a
// window at a time. The error is one of reading.
func (m *Message) Check() ([]Defect, error) {
	c := checker{m: m}
	c.header()
	if err := c.structure(); err != nil {
		return nil, err
	}
	if err := c.body(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(c.found, func(a, b Defect) int { return int(min(max(a.Line-b.Line, -1), 1)) })
	return c.found, nil
}

// checker goes over one message.
type checker struct {
	defects
	m    *Message
	root *Part
	// waiting are defects of which only the offset is known yet.
	waiting []Defect
}

// at notes what is seen at an octet of the body; each kind once.
func (c *checker) at(offset int64, code, format string, args ...any) {
	if c.first(code) {
		c.waiting = append(c.waiting, Defect{Code: code, Text: fmt.Sprintf(format, args...), Offset: offset})
	}
}

// header checks what Header.Defects does not, which is for all that the fields mean.
func (c *checker) header() {
	h := c.m.Header
	switch empty := len(h.parsed) == 0; {
	case c.m.TooLong:
		c.add("header-too-long", 1, "header block longer than 4 MiB: mlist would refuse the message")
		return
	case c.m.Body.Size() == 0 && empty && len(c.m.gap) == 0:
		c.add("empty", 1, "no octet at all")
		return
	case empty && len(c.m.gap) == 0:
		c.add("no-header", 1, "no header: the first line is no field, so all of the message is text")
		return
	case empty:
		c.add("no-header", 1, "no header: the message starts with an empty line")
		return
	case len(c.m.gap) == 0:
		last := bytes.TrimSuffix(h.Bytes(), []byte("\n"))
		c.add("no-empty-line", 1+int64(bytes.Count(last, []byte("\n"))), "no empty line after the header, and so no text")
	}
	for _, d := range h.Defects() {
		if c.first(d.Code) {
			c.found = append(c.found, d)
		}
	}
	c.fields()
	for _, name := range [...]string{"From", "Date", "Message-ID"} {
		if !h.Has(name) {
			c.add("no-"+strings.ToLower(name), 1, "no %s field", name)
		}
	}
	if h.Has("Content-Type") && !h.Has("MIME-Version") {
		c.add("no-mime-version", 1, "no MIME-Version field although there is a Content-Type")
	}
}

// once are fields that a header has no more than once (RFC 5322 3.6, RFC 2045 3).
var once = map[string]bool{
	"from": true, "sender": true, "reply-to": true, "to": true, "cc": true, "bcc": true, "date": true, "subject": true,
	"message-id": true, "in-reply-to": true, "references": true, "mime-version": true, "content-type": true,
	"content-transfer-encoding": true, "content-disposition": true, "content-id": true,
}

func (c *checker) fields() {
	line := int64(1)
	seen := map[string]bool{}
	for i, f := range c.m.Header.parsed {
		name := strings.ToLower(f.name)
		switch {
		case i == 0 && isMboxFrom(f.text) && name == "":
			c.add("mbox-from", line, `an mbox file's "From " line above the header`)
		case seen[name] && once[name]:
			c.add("duplicate-"+name, line, "more than one %s field", f.name)
		case name == "from" && len(ParseMailboxes(f.value()[:min(len(f.value()), maxRead)])) == 0:
			c.add("bad-from", line, "no address in the From field")
		case name == "content-type" && badMedia(f.value()):
			c.add("bad-content-type", line, "a Content-Type field that says nothing usable, read as text/plain")
		}
		if once[name] {
			seen[name] = true
		}
		if name != "" {
			c.words(line, f.value())
		}
		line += int64(strings.Count(f.text, "\n"))
	}
}

// badMedia tells whether parseMedia finds no type in a Content-Type.
func badMedia(value string) bool {
	t, params := parseMedia(value, "text/plain")
	return t == "text/plain" && params == nil && !strings.Contains(strings.ToLower(value), "text/plain")
}

// words looks at a value's encoded words.
func (c *checker) words(line int64, value string) {
	for {
		i := strings.Index(value, "=?")
		if i < 0 {
			return
		}
		value = value[i:]
		w, ok := parseWord(value)
		switch {
		case !ok:
			c.add("bad-encoded-word", line, "what starts like an encoded word (RFC 2047) and is none")
			value = value[2:]
			continue
		case lookup(w.charset) == nil:
			c.add("unknown-charset-in-header", line, "an encoded word in the unknown charset %.40q", w.charset)
		case w.size > maxEncoded:
			c.add("long-encoded-word", line, "an encoded word longer than %d octets", maxEncoded)
		}
		value = value[w.size:]
	}
}

func (c *checker) structure() error {
	root, found, err := ParseStructure(c.m.Header, c.m.Body)
	if err != nil {
		return err
	}
	c.root, c.waiting = root, append(c.waiting, found...)
	return c.part(root, 0)
}

// part checks a part and all in it.
func (c *checker) part(p *Part, embedded int) error {
	for _, child := range p.Parts {
		if err := c.part(child, embedded); err != nil {
			return err
		}
	}
	if p.Head >= 0 && badMedia(p.Header.Get("Content-Type")) && p.Header.Get("Content-Type") != "" {
		c.at(p.Head, "bad-content-type", "a part with a Content-Type that says nothing usable")
	}
	if strings.HasPrefix(p.Type, "multipart/") {
		return nil
	}
	charset := p.Params["charset"]
	switch isText := strings.HasPrefix(p.Type, "text/"); {
	case isText && charset != "" && lookup(charset[:min(len(charset), maxCharset)]) == nil:
		c.at(p.Start, "unknown-charset", "text in the unknown charset %.40q", charset)
	case isText && p.identity() && wide(charset):
		c.at(p.Start, "unencoded-charset", "text in %.40q that is not encoded as base64", charset)
	}
	switch {
	case p.Encoding == "base64" || p.Encoding == "quoted-printable":
		return c.coding(p)
	case !p.identity():
		c.at(p.Start, "unknown-encoding", "the unknown transfer encoding %.40q", p.Encoding)
	case p.IsMessage():
		return c.embedded(p, embedded)
	}
	return nil
}

// wide tells whether the charset's ASCII takes more than an octet.
func wide(charset string) bool {
	charset = strings.ToLower(charset)
	return strings.HasPrefix(charset, "utf-16") || strings.HasPrefix(charset, "utf-32") || strings.HasPrefix(charset, "iso-10646-ucs-")
}

func (c *checker) embedded(p *Part, depth int) error {
	if depth == maxEmbedded {
		c.at(p.Start, "messages-too-deep", "messages within messages deeper than %d, not looked into", maxEmbedded)
		return nil
	}
	root, found, err := ParseEmbedded(c.m.Body, p)
	if err != nil {
		return err
	}
	c.waiting = append(c.waiting, found[:min(len(found), max(0, maxEmbeddedDefects-len(c.waiting)))]...)
	if root == nil {
		return nil
	}
	return c.part(root, depth+1)
}

// maxEmbeddedDefects bounds what is kept of messages within messages.
const maxEmbeddedDefects = 100
