package mime

import (
	"bytes"
	"mime/quotedprintable"
	"strings"

	"github.com/mlist/mlist/sdk/message"
)

// Limits of what is changed in one post, below those that mlist sets to all stages.
const (
	maxEdits  = 5000
	maxInsert = 4 << 20 // octets
	maxNotes  = 100     // that stand for parts
)

// edit replaces octets of the original body.
type edit struct {
	from, to int64
	insert   []byte
}

// edits are in order and do not touch each other.
type edits struct{ all []edit }

// replace adds an edit behind all others.
func (e *edits) replace(from, to int64, insert []byte) {
	if n := len(e.all); n > 0 {
		last := &e.all[n-1]
		from = max(from, last.to)
		if to = max(to, from); from == last.to {
			last.to, last.insert = to, append(last.insert, insert...)
			return
		}
	}
	if to > from || len(insert) > 0 {
		e.all = append(e.all, edit{from, max(from, to), insert})
	}
}

// write turns the tree into edits of the body.
func (f *filter) write(root *node) {
	f.top(root, 0, f.post.Body.Size(), nil)
}

// apply makes the edits, those of the header too.
func (f *filter) apply(root *node) error {
	shift := int64(0)
	for _, e := range f.edits.all {
		if err := f.post.Body.Splice(message.Splice{Offset: e.from + shift, Delete: e.to - e.from, Insert: e.insert}); err != nil {
			return err
		}
		shift += int64(len(e.insert)) - (e.to - e.from)
	}
	h := f.post.Header
	changed := adopt(h, root)
	if !changed && len(f.edits.all) == 0 {
		return nil
	}
	h.Append("X-Content-Filtered-By", "mlist")
	if len(f.removed) > 0 {
		f.note("removed", strings.Join(f.removed, "; "))
	}
	return nil
}

// top writes a message: the root, or one within, whose header lies from head on. Its
// text, from start to end, becomes that of what stands for it.
func (f *filter) top(n *node, start, end int64, head *int64) {
	if head != nil {
		h := message.ParseHeader(n.part.Header.Bytes())
		if adopt(h, n) {
			f.edits.replace(*head, start, append(h.Bytes(), f.eol()...))
		}
	}
	e := n.end()
	if e == n && n.text == nil {
		f.inside(n)
		return
	}
	from := min(e.part.Start, end)
	to := max(min(e.part.End, end), from)
	f.edits.replace(start, from, nil)
	if e.text != nil {
		f.edits.replace(from, end, encoded(e.text, f.eol()))
		return
	}
	f.inside(e)
	if e != n {
		if head == nil { // mail ends in a line end; within a part that of the boundary is enough
			to += f.lineEnd(to, end)
		}
		f.edits.replace(to, end, nil)
	}
}

// lineEnd is the length of the line end at off, which stays at the end of a message.
func (f *filter) lineEnd(off, end int64) int64 {
	two := make([]byte, min(2, max(0, end-off)))
	n, _ := f.post.Body.ReadAt(two, off) // what cannot be read is none; writing finds out
	switch two = two[:n]; {
	case bytes.HasPrefix(two, []byte("\n")):
		return 1
	case string(two) == "\r\n":
		return 2
	}
	return 0
}

// inside writes the parts of a node that stays.
func (f *filter) inside(n *node) {
	if n.sealed {
		return
	}
	for i, c := range n.parts {
		p := c.part
		switch {
		case c.top:
			head := p.Head
			f.top(c, p.Start, n.part.End, &head)
		case c.gone && c.note == "":
			f.edits.replace(p.Delimiter, n.after(i), nil)
		case c.gone:
			text := []byte(f.leftNote(c.note) + "\n")
			f.put(p, textHeader(nil, text, f.eol()), text)
		default:
			f.slot(c)
		}
	}
}

// after is where the delimiter line after a part starts, or its multipart ends.
func (n *node) after(i int) int64 {
	switch {
	case i+1 < len(n.parts):
		return n.parts[i+1].part.Delimiter
	case n.part.Close >= 0:
		return n.part.Close
	}
	return n.part.End
}

// slot writes what stands in the place of a part of a multipart.
func (f *filter) slot(n *node) {
	e := n.end()
	if e.text != nil {
		f.put(n.part, textHeader(e.part.Header, e.text, f.eol()), e.text)
		return
	}
	if e == n {
		f.inside(n)
		return
	}
	end := max(n.part.End, n.part.Head)
	from := min(e.part.Head, end)
	f.edits.replace(n.part.Head, from, nil)
	f.inside(e)
	f.edits.replace(max(min(e.part.End, end), from), end, nil)
}

// put replaces a part, header and all.
func (f *filter) put(p *message.Part, header, text []byte) {
	whole := append(header, bytes.TrimSuffix(encoded(text, f.eol()), f.eol())...)
	if p.End < p.Head { // the line end of its delimiter line is also that before the next
		f.edits.replace(p.Head, p.Head, append(whole, f.eol()...))
		return
	}
	f.edits.replace(p.Head, p.End, whole)
}

func (f *filter) eol() []byte { return []byte(f.post.Header.LineEnd()) }

// textHeader is a part's header made one of text/plain: other fields than those of type
// and encoding keep their octets.
func textHeader(h *message.Header, text, eol []byte) []byte {
	var b bytes.Buffer
	if h != nil {
		for f := range h.Fields() {
			switch strings.ToLower(f.Name) {
			case "content-type", "content-transfer-encoding", "content-md5":
			default:
				b.Write(bytes.TrimRight(f.Raw, "\r\n"))
				b.Write(eol)
			}
		}
	}
	b.WriteString("Content-Type: text/plain; charset=utf-8")
	b.Write(eol)
	b.WriteString("Content-Transfer-Encoding: " + encoding(text))
	b.Write(eol)
	b.Write(eol)
	return b.Bytes()
}

// encoding is what text needs, whose lines end in LF.
func encoding(text []byte) string {
	for line := range bytes.Lines(text) {
		if len(line) > 900 {
			return "quoted-printable"
		}
	}
	for _, c := range text {
		if c >= 0x80 || c < ' ' && c != '\n' && c != '\t' {
			return "quoted-printable"
		}
	}
	return "7bit"
}

// encoded is text as encoding says, with the message's line ends.
func encoded(text, eol []byte) []byte {
	if encoding(text) == "7bit" {
		return bytes.ReplaceAll(text, []byte("\n"), eol)
	}
	var b bytes.Buffer
	w := quotedprintable.NewWriter(&b)
	w.Write(text) // a bytes.Buffer takes everything
	w.Close()
	if len(eol) == 1 {
		return bytes.ReplaceAll(b.Bytes(), []byte("\r\n"), eol)
	}
	return b.Bytes()
}
