package wire

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// keep is a stage's wish that the post be kept, after so many operations on the header of
// this reply, and so many splices of the body.
type keep struct {
	uses         []sdk.Use
	ops, splices int
}

func (e *edits) addKeep(b *bodySize, uses []string) error {
	if len(uses) == 0 {
		return nil
	}
	if !b.haveBody {
		return fmt.Errorf("there is no body to keep")
	}
	k := keep{ops: len(e.ops), splices: b.count}
	for _, u := range uses {
		use := sdk.Use(u)
		if !slices.Contains(sdk.Uses, use) {
			return fmt.Errorf("%.100q is nothing that posts are kept for", u)
		}
		k.uses = append(k.uses, use)
	}
	e.keeps = append(e.keeps, k)
	return nil
}

// edit makes the operations on the post's header, or none, and returns what is kept then,
// what was kept before included.
func (e *edits) edit(p *Post) ([]Kept, error) {
	if len(e.keeps) == 0 {
		return p.Kept, p.Header.Apply(e.ops)
	}
	if err := new(message.Header).Apply(e.ops); err != nil {
		return nil, err // an operation that is refused is so of any header
	}
	kept, done := slices.Clone(p.Kept), 0
	for _, k := range e.keeps {
		if err := p.Header.Apply(e.ops[done:k.ops]); err != nil {
			return nil, err
		}
		done = k.ops
		kept = keepFor(kept, Kept{For: k.uses, Header: p.Header.Bytes(), Splices: k.splices})
	}
	return kept, p.Header.Apply(e.ops[done:])
}

// keepFor adds k: to what is kept in the same form, if anything is. Each use has one form,
// that which was asked for first.
func keepFor(kept []Kept, k Kept) []Kept {
	k.For = slices.DeleteFunc(k.For, func(use sdk.Use) bool {
		return slices.ContainsFunc(kept, func(old Kept) bool { return slices.Contains(old.For, use) })
	})
	if len(k.For) == 0 {
		return kept
	}
	for i, old := range kept {
		if old.Splices == k.Splices && bytes.Equal(old.Header, k.Header) {
			kept[i].For = slices.Concat(old.For, k.For)
			return kept
		}
	}
	return append(kept, k)
}

// Message returns what is kept of a post with this body.
func (k Kept) Message(b *message.Body) (*message.Header, *message.Body, error) {
	then, err := b.At(k.Splices)
	return message.ParseHeader(k.Header), then, err
}
