package wire

import (
	"fmt"
	"strconv"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/proto"
)

// StateEdit changes one value that a plugin keeps for the list of a post.
type StateEdit struct {
	Plugin string // whose; Apply does not know it
	Kind   StateKind
	Key    string
	Value  []byte // of StateSet
	Delta  int64  // of StateAdd
}

// Submission is a new message, or a new post, and the stage that made it.
type Submission struct {
	sdk.Submission
	Stage string
}

// StateKind says what a StateEdit does; proto.StateEdit documents it.
type StateKind int

// Kinds of state edit.
const (
	StateSet StateKind = iota + 1
	StateAdd
	StateDelete
)

// Limits of what handlers may ask for beside edits.
const (
	maxStateEdits  = 1000    // of a post
	maxStateBytes  = 1 << 20 // of keys and values in one reply
	maxSubmissions = 20      // of a post
	maxCounts      = 100     // of one stage's result
)

// asks is what a reply asks for beside edits of the post, checked.
type asks struct {
	state   []StateEdit
	bytes   int
	submits []Submission
	counts  map[string]int64
}

func (a *asks) addCounts(counts map[string]int64) error {
	if len(counts) > maxCounts {
		return fmt.Errorf("%d counters, at most %d are allowed", len(counts), maxCounts)
	}
	for name, n := range counts {
		if err := words("counter", name, maxCode); err != nil || name == "" {
			return fmt.Errorf("%.100q is no name for a counter", name)
		}
		if a.counts == nil {
			a.counts = map[string]int64{}
		}
		a.counts[name] += n
	}
	return nil
}

func (a *asks) addState(p *Post, edits []*proto.StateEdit) error {
	if n := len(p.State) + len(a.state) + len(edits); n > maxStateEdits {
		return fmt.Errorf("%d changes of state, at most %d are allowed", n, maxStateEdits)
	}
	for i, e := range edits {
		out := stateEdit(e)
		switch out.Kind {
		case StateSet, StateAdd, StateDelete:
		default:
			return fmt.Errorf("change of state %d: %d is not a kind of change", i+1, e.GetKind())
		}
		if err := sdk.CheckStateKey(out.Key); err != nil {
			return fmt.Errorf("change of state %d: %w", i+1, err)
		}
		if len(out.Value) > sdk.MaxStateValue {
			return fmt.Errorf("state %s has %d bytes, at most %d are allowed", out.Key, len(out.Value), sdk.MaxStateValue)
		}
		if a.bytes += len(out.Key) + len(out.Value); a.bytes > maxStateBytes {
			return fmt.Errorf("changes of state of over %d bytes", maxStateBytes)
		}
		a.state = append(a.state, out)
	}
	return nil
}

func (a *asks) addSubmissions(p *Post, stage string, submits []*proto.Submission) error {
	if n := len(p.Submissions) + len(a.submits) + len(submits); n > maxSubmissions {
		return fmt.Errorf("%d submissions, at most %d are allowed", n, maxSubmissions)
	}
	for i, s := range submits {
		out := submission(stage, s)
		if err := out.Check(); err != nil {
			return fmt.Errorf("submission %d: %w", i+1, err)
		}
		a.submits = append(a.submits, out)
	}
	return nil
}

func stateEdit(e *proto.StateEdit) StateEdit {
	return StateEdit{Kind: StateKind(e.GetKind()), Key: e.GetKey(), Value: e.GetValue(), Delta: e.GetDelta()}
}

func submission(stage string, s *proto.Submission) Submission {
	return Submission{Submission: sdk.Submission{To: s.GetTo(), Post: s.GetPost(), Approved: s.GetApproved(), Message: s.GetMessage()}, Stage: stage}
}

// Apply returns what the edit makes of a value, and whether there is one then.
func (e StateEdit) Apply(value []byte) ([]byte, bool) {
	switch e.Kind {
	case StateSet:
		return e.Value, true
	case StateAdd:
		n, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil {
			n = 0 // as if there were none
		}
		return strconv.AppendInt(nil, n+e.Delta, 10), true
	}
	return nil, false
}

// Member is a member as it travels. What is not UTF-8 becomes U+FFFD.
func Member(m sdk.Member) *proto.Member {
	return &proto.Member{Address: text(m.Address), DisplayName: text(m.DisplayName), Membership: membership(m.Membership)}
}

func membership(m sdk.Membership) *proto.Membership {
	return &proto.Membership{Role: m.Role, Action: m.Action, Mode: m.Mode, Status: m.Status,
		NoOwnPosts: m.NoOwnPosts, NoDuplicates: m.NoDuplicates, AcknowledgePosts: m.AcknowledgePosts}
}
