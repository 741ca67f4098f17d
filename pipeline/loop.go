package pipeline

import (
	"strings"

	"github.com/mlist/mlist/internal/address"
)

// loopField marks what mlist sends to owners, with the owner address of the list. An
// owner may be a list: that list itself, or one whose owner is this list.
const loopField = "X-Loop"

// maxNoticeHops is after how many lists that each hold the other's notice nobody is told
// any more. The posts still wait, where the moderators can see them.
const maxNoticeHops = 5

// wasHere tells whether the message was sent to the owners of this list before.
func (p *post) wasHere() bool {
	ours := p.speaker().String()
	for _, mark := range p.header.Values(loopField) {
		if strings.EqualFold(strings.TrimSpace(mark), ours) {
			return true
		}
	}
	return false
}

// noticeCameBack tells whether the message is a notice that was on its way to owners, who
// must not be told of it by another.
func (p *post) noticeCameBack() bool {
	return p.wasHere() || len(p.header.Values(loopField)) >= maxNoticeHops
}

// loopMarks are the marks of the message, for a notice about it to pass on. Strangers
// write such fields too: only what is an address counts.
func (p *post) loopMarks() []string {
	var out []string
	for _, mark := range p.header.Values(loopField) {
		if a, err := address.Parse(strings.TrimSpace(mark)); err == nil && len(out) < maxNoticeHops {
			out = append(out, a.String())
		}
	}
	return out
}
