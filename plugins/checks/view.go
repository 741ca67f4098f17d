package checks

import (
	"slices"
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// view is a post, and what rules find out about it, once for all of them.
type view struct {
	*sdk.Post
	config  *Config
	senders []sdk.Sender // those that count, and have an address
	root    *message.Part
	lines   []string
	read    bool
}

func newView(p *sdk.Post, config *Config) *view {
	v := &view{Post: p, config: config}
	count := p.List.Lines("sender_headers")
	for _, s := range p.Senders {
		// The null envelope sender is nobody.
		if s.Address != "" && (len(count) == 0 || slices.Contains(count, s.Source)) {
			v.senders = append(v.senders, s)
		}
	}
	return v
}

// member is the first of the senders that is a member.
func (v *view) member() (sdk.Sender, sdk.Membership, bool) {
	for _, s := range v.senders {
		if m, ok := membership(s, "member"); ok {
			return s, m, true
		}
	}
	return sdk.Sender{}, sdk.Membership{}, false
}

// sender is the role of the first of the senders that has it: of who may post, member or not.
func (v *view) sender() (sdk.Membership, bool) {
	for _, s := range v.senders {
		if m, ok := membership(s, "sender"); ok {
			return m, true
		}
	}
	return sdk.Membership{}, false
}

// structure is the post's MIME structure.
func (v *view) structure() (*message.Part, error) {
	if v.root == nil {
		body := v.Body
		if body == nil {
			body = message.NewBody(strings.NewReader(""), 0, 0)
		}
		root, _, err := message.ParseStructure(v.Header, body)
		if err != nil {
			return nil, err
		}
		v.root = root
	}
	return v.root, nil
}

// maxText is how much of a text is looked at, as it is encoded: more than a hundred lines of any
// length that people write.
const maxText = 32 << 10

// byteOrderMark is what some programs begin a text with.
const byteOrderMark = "\uFEFF"

// text returns the first lines of the post's first plain text that are not blank.
func (v *view) text() ([]string, error) {
	if v.read {
		return v.lines, nil
	}
	root, err := v.structure()
	if err != nil {
		return nil, err
	}
	v.read = true
	part := firstText(root)
	if part == nil || v.Body == nil {
		return nil, nil
	}
	text, cut, err := part.Text(v.Body, maxText)
	if err != nil {
		return nil, err
	}
	if cut { // what is half a line says something else
		text = text[:strings.LastIndexByte(text, '\n')+1]
	}
	for line := range strings.Lines(strings.TrimPrefix(text, byteOrderMark)) {
		if line = strings.TrimSpace(line); line != "" {
			v.lines = append(v.lines, line)
		}
	}
	return v.lines, nil
}

// firstText is the first part of plain text; nil if there is none.
func firstText(p *message.Part) *message.Part {
	if p.Type == "text/plain" {
		return p
	}
	for _, child := range p.Parts {
		if t := firstText(child); t != nil {
			return t
		}
	}
	return nil
}
