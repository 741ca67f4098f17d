package mime

import (
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// maxMessages is how deep messages within messages are looked into.
const maxMessages = 10

// filter works on one post.
type filter struct {
	post *sdk.Post
	rules
	collapse, convert, leaveNote bool
	action, signedAction         string

	unseen    string   // why not all of the message could be looked into
	sealedHit string   // why something signed or encrypted should have been touched
	removed   []string // what was taken out, for the note
	room      int      // octets that may still be inserted
	edits     edits
}

// node is a part, and what becomes of it.
type node struct {
	part  *message.Part
	parts []*node // of a multipart; the one root of a message within
	// sealed: the part is signed or encrypted. No octet in it changes.
	sealed bool
	holds  bool // it is sealed, or something in it is
	gone   bool // it is taken out
	note   string
	text   []byte // what an HTML part becomes; nil: it stays
	within *node  // what takes its place: one of its parts; nil: itself
	top    bool   // it has a message's header, which stays: the root, or that of a message within
}

func newFilter(p *sdk.Post) *filter {
	return &filter{
		post:  p,
		rules: newRules(p.List), collapse: p.List.Bool("collapse_alternatives"),
		convert: p.List.Bool("convert_html_to_plaintext"), leaveNote: p.List.Bool("filter_leaves_note"),
		action: p.List.String("filter_action"), signedAction: p.List.String("filter_signed_action"),
		room: maxInsert,
	}
}

// read makes the tree.
func (f *filter) read() (*node, error) {
	root, defects, err := message.ParseStructure(f.post.Header, f.post.Body)
	if err != nil {
		return nil, err
	}
	f.unread(defects)
	n, err := f.node(root, 0)
	if err == nil {
		n.top = true
	}
	return n, err
}

// blind are defects of a message that hide parts of it.
var blind = map[string]bool{"too-many-parts": true, "nested-too-deep": true, "header-too-long": true, "part-header-too-long": true, "impossible-boundary": true}

func (f *filter) unread(defects []message.Defect) {
	for _, d := range defects {
		if blind[d.Code] && f.unseen == "" {
			f.unseen = d.Text
		}
	}
}

func (f *filter) node(p *message.Part, depth int) (*node, error) {
	n := &node{part: p, sealed: sealedType(p)}
	switch {
	case p.IsMessage():
		if err := f.message(n, depth); err != nil {
			return nil, err
		}
	case len(p.Parts) == 0:
		n.sealed = n.sealed || p.Protected(f.post.Body)
	}
	for _, child := range p.Parts {
		c, err := f.node(child, depth)
		if err != nil {
			return nil, err
		}
		n.parts = append(n.parts, c)
	}
	n.holds = n.sealed
	for _, c := range n.parts {
		n.holds = n.holds || c.holds
	}
	return n, nil
}

// message adds the root of a message within.
func (f *filter) message(n *node, depth int) error {
	if depth == maxMessages {
		f.unread([]message.Defect{{Code: "nested-too-deep", Text: "messages within messages nested too deep"}})
		return nil
	}
	root, defects, err := message.ParseEmbedded(f.post.Body, n.part)
	if err != nil {
		return err
	}
	f.unread(defects)
	if root == nil {
		return nil
	}
	c, err := f.node(root, depth+1)
	if err != nil {
		return err
	}
	c.top = true
	n.parts = []*node{c}
	return nil
}

// sealedType tells whether a multipart is signed or encrypted as a whole.
func sealedType(p *message.Part) bool {
	return p.Type == "multipart/signed" || p.Type == "multipart/encrypted"
}

// isSignature tells what is no content but the proof of one.
func isSignature(p *message.Part) bool {
	switch p.Type {
	case "application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature":
		return true
	}
	return false
}

// isContainer tells what has no content of its own.
func (n *node) isContainer() bool {
	return strings.HasPrefix(n.part.Type, "multipart/") || len(n.parts) > 0
}
