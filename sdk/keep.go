package sdk

import (
	"fmt"
	"slices"
)

// Use is what mlist keeps a post for.
type Use string

// Uses of a kept post.
const (
	KeepArchive Use = "archive" // for good
	KeepDigest  Use = "digest"  // until the list's next digest has gone out; only if somebody reads digests
)

// Uses are all that this version knows.
var Uses = []Use{KeepArchive, KeepDigest}

// FlagDigest is the envelope flag of a digest: a message that mlist made of many posts. Only
// stages that have Stage.Digests set see one.
const FlagDigest = "digest"

// Keep asks mlist to keep the post as it stands when Handle returns, with the edits of this
// stage and those before it, whatever later stages do. It is kept if it is accepted, once. A
// stage that calls it has Stage.Keep set.
func (p *Post) Keep(use Use) error {
	s := p.services
	if s == nil {
		return nil // nobody keeps what is only a test
	}
	if err := s.may(CapKeep, "Keep"); err != nil {
		return fmt.Errorf("keep: %w", err)
	}
	if !slices.Contains(Uses, use) {
		return fmt.Errorf("keep: %q is nothing that mlist keeps posts for", string(use))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.keep, string(use)) {
		s.keep = append(s.keep, string(use))
	}
	return nil
}

// IsDigest tells whether the post is a digest, which mlist made of many posts.
func (p *Post) IsDigest() bool { return slices.Contains(p.Envelope.Flags, FlagDigest) }
