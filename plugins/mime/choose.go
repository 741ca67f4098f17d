package mime

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/mlist/mlist/sdk/message"
)

// refuses tells why the rules do not want a part, as a sentence; "" if they do.
func (f *filter) refuses(n *node) string {
	if n.part.Type == "multipart/signed" || isSignature(n.part) {
		r := f.rules
		r.passTypes, r.passExtensions = nil, nil // a list that wants text does not mind that it is signed
		return r.refuse(n.part)
	}
	return f.refuse(n.part)
}

// choose marks what is to be taken out of n. A multipart of which nothing is left goes
// too; so does a message within.
func (f *filter) choose(n *node) {
	if n.sealed {
		f.hit(f.refusedWithin(n))
		return
	}
	left := 0
	for _, c := range n.parts {
		if why := f.refuses(c); why != "" && !c.sealed {
			f.take(c, why)
		} else {
			f.choose(c)
		}
		if !c.gone {
			left++
		}
	}
	if len(n.parts) > 0 && left == 0 {
		n.gone = true
	}
}

// take takes a part out, unless that would take something signed or encrypted along.
func (f *filter) take(n *node, why string) {
	if n.holds {
		f.hit(why)
		return
	}
	n.gone = true
}

// refusedWithin tells why the rules do not want a sealed part or something in it.
func (f *filter) refusedWithin(n *node) string {
	if why := f.refuses(n); why != "" {
		return why
	}
	if n.part.Type == "multipart/encrypted" {
		return "" // its parts say nothing of what is in it
	}
	for _, c := range n.parts {
		if why := f.refusedWithin(c); why != "" {
			return why
		}
	}
	return ""
}

func (f *filter) hit(why string) {
	if f.sealedHit == "" {
		f.sealedHit = why
	}
}

// shape collapses alternatives, puts single parts in their multipart's place, and makes
// HTML text. What it decides is only written down in the tree.
func (f *filter) shape(n *node) error {
	f.notes(n)
	if f.collapse {
		if err := f.alternatives(n); err != nil {
			return err
		}
	}
	f.recast(n)
	withoutEmptyText(n)
	if f.convert {
		return f.plain(n)
	}
	return nil
}

// notes writes down what is taken out, and has a line of text stand there if the list
// wants that. Not among alternatives, of which people see one.
func (f *filter) notes(n *node) {
	for _, c := range n.parts {
		if !c.gone {
			f.notes(c)
			continue
		}
		what := describe(c.part)
		f.removed = append(f.removed, what)
		if f.leaveNote && len(f.removed) <= maxNotes && strings.HasPrefix(n.part.Type, "multipart/") && n.part.Type != "multipart/alternative" {
			c.note = what
		}
	}
}

// leftNote is the line that stands for a part that was described so.
func (f *filter) leftNote(what string) string {
	l := f.post.List
	words := cmp.Or(l.Text("attachment_removed"), "[The list has taken an attachment out: %(file)s]")
	return strings.TrimSpace(l.Fill(words, func(name string) (string, bool) { return what, name == "file" }))
}

// describe is a part in a few words: image/png "cat.png", 12 KB.
func describe(p *message.Part) string {
	s := plainType(p.Type)
	if names := p.FileNames(); len(names) > 0 {
		s += fmt.Sprintf(" %q", shorten(names[0], 80))
	}
	size := max(p.End-p.Start, 0)
	if p.Encoding == "base64" {
		size = size * 3 / 4
	}
	if size < 1024 {
		return s + fmt.Sprintf(", %d octets", size)
	}
	return s + fmt.Sprintf(", %d KB", (size+1023)/1024)
}

func shorten(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most-1]) + "…"
}

// live are the parts of n that are not taken out; one with a note counts, because a part
// with it stands there.
func (n *node) live() []*node {
	var out []*node
	for _, c := range n.parts {
		if !c.gone || c.note != "" {
			out = append(out, c)
		}
	}
	return out
}

// alternatives has the first alternative that is not empty stand for all of them.
func (f *filter) alternatives(n *node) error {
	if n.sealed || n.gone {
		return nil
	}
	live := n.live()
	for _, c := range live {
		if err := f.alternatives(c); err != nil {
			return err
		}
	}
	if n.part.Type != "multipart/alternative" || n.holds || len(live) == 0 {
		return nil
	}
	n.within = live[0]
	for _, c := range live {
		blank, err := f.blank(c)
		if err != nil {
			return err
		}
		if !blank {
			n.within = c
			break
		}
	}
	return nil
}

// blank tells whether people would see nothing of a part.
func (f *filter) blank(n *node) (bool, error) {
	if n.isContainer() {
		for _, c := range n.live() {
			if blank, err := f.blank(c); err != nil || !blank {
				return false, err
			}
		}
		return true, nil
	}
	text, cut, err := n.part.Content(f.post.Body, 64<<10)
	return err == nil && !cut && len(strings.TrimSpace(string(text))) == 0, err
}

// recast has the only part of a multipart stand for it.
func (f *filter) recast(n *node) {
	if n.sealed || n.gone {
		return
	}
	live := n.live()
	if n.within == nil && len(live) == 1 && n.mayRecast() && !live[0].sealed && live[0].note == "" {
		n.within = live[0]
	}
	for _, c := range live {
		f.recast(c)
	}
}

// mayRecast tells which multiparts are nothing but what is in them. The parts of a digest
// are messages without saying so.
func (n *node) mayRecast() bool {
	return strings.HasPrefix(n.part.Type, "multipart/") && n.part.Type != "multipart/digest"
}

// withoutEmptyText: a post of an empty text and one attachment becomes the attachment.
func withoutEmptyText(n *node) {
	n = n.end()
	live := n.live()
	if n.within != nil || n.holds || len(live) != 2 || !n.mayRecast() || live[0].isContainer() || live[0].note != "" || live[1].note != "" {
		return
	}
	if p := live[0].part; p.Start >= p.End && strings.HasPrefix(p.Type, "text/") {
		n.within = live[1]
	}
}

// end is the node that in the end stands where n was. One that has a header of its own,
// which stays, can take over only what can be said there.
func (n *node) end() *node {
	end := n
	for c := n.within; c != nil; c = c.within {
		if !n.top || adoptable(c.part.Header) {
			end = c
		}
	}
	return end
}
