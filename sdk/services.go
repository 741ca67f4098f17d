package sdk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/proto"
)

// Capabilities: what mlist does for a plugin beyond handing it posts. A plugin needs
// those that its stages ask for.
const (
	CapMembers = "members"   // Post.Members
	CapState   = "state"     // Post.State
	CapSubmit  = "submit"    // Post.Submit
	CapSMTP    = "smtp-time" // Stage.AtSMTP
	CapKeep    = "keep"      // Post.Keep, Stage.Digests

	CapPersonal = "personal" // Post.Personal

	// CapRevisions is that settings travel once. A plugin that is built on this package makes
	// use of it by itself.
	CapRevisions = "revisions"
)

// Capabilities are all that this version knows.
var Capabilities = []string{CapMembers, CapState, CapSubmit, CapSMTP, CapKeep, CapPersonal, CapRevisions}

// MemberFilter chooses members; an empty field means any. The words are those of
// proto.MembersRequest.
type MemberFilter struct{ Roles, Modes, Statuses []string }

// Member is one role of one address on the list.
type Member struct {
	Address     string // as the member spelled it
	DisplayName string
	Membership
}

// Submission is a new message that a handler sends, or a new post that it makes.
type Submission struct {
	// To is an address, or empty for the list's owners and moderators. It is empty for a
	// post.
	To string
	// Post makes it a post to the list itself, which goes through all stages but the one that
	// submits it (unless that has Stage.OwnPosts set). A post may so lead to another, three
	// deep at most; what would be deeper is dropped, with a warning in the log.
	Post bool
	// Approved lets a post through as a moderator does. Without it, whoever is named in its
	// From must be allowed to post.
	Approved bool
	// Message is header block, empty line and body. Date, Message-ID and Auto-Submitted
	// are added where they are missing.
	Message []byte
}

// Check refuses a submission that mlist would not send.
func (s Submission) Check() error {
	switch {
	case s.Post && s.To != "":
		return fmt.Errorf("a post goes to the list, and not to %.100q", s.To)
	case s.Approved && !s.Post:
		return errors.New("only a post can be approved")
	case s.To != "" && !message.IsAddress(s.To):
		return fmt.Errorf("%.100q is no address", s.To)
	case len(s.Message) > MaxSubmission:
		return fmt.Errorf("the message has %d bytes, at most %d are allowed", len(s.Message), MaxSubmission)
	}
	block, _, err := message.Split(bytes.NewReader(s.Message), int64(len(s.Message)))
	if err != nil {
		return err
	}
	if len(block) == 0 {
		return errors.New("the message has no header block")
	}
	for _, c := range block {
		if c >= 0x80 || c == 0 {
			return errors.New("the message's header block is not ASCII (RFC 2047 says how to write other text)")
		}
	}
	return nil
}

// Limits of what a handler may keep and send.
const (
	MaxStateKey   = 128      // bytes of a key
	MaxStateValue = 64 << 10 // bytes of a value
	MaxSubmission = 1 << 20  // bytes of a submitted message
)

// CheckStateKey refuses what is no key.
func CheckStateKey(key string) error {
	if key == "" || len(key) > MaxStateKey || !utf8.ValidString(key) || strings.ContainsFunc(key, unicode.IsControl) {
		return fmt.Errorf("%.200q is no key: want 1 to %d octets of UTF-8 without control characters", key, MaxStateKey)
	}
	return nil
}

// services is what one stage asks of mlist while it is at one post.
type services struct {
	host  proto.HostClient // nil: nobody to ask
	call  string
	needs []string
	stage string
	mark  string // of placeholders; "" if all copies are the same

	mu      sync.Mutex
	earlier []*proto.StateEdit // of this plugin's stages before, in the same call
	edits   []*proto.StateEdit
	submits []*proto.Submission
	counts  map[string]int64
	keep    []string
	general bool // Post.ByStanding
	reading bool
}

// errNobody says that a Post was not handed over by mlist or handlertest.
var errNobody = errors.New("there is no mlist to ask")

// may tells whether the stage declared a need, and mlist is there to fill it.
func (s *services) may(capability, field string) error {
	if s == nil {
		return errNobody
	}
	for _, n := range s.needs {
		if n == capability {
			if s.host == nil && capability != CapSubmit && capability != CapKeep && capability != CapPersonal {
				return errNobody
			}
			return nil
		}
	}
	return fmt.Errorf("stage %s has not declared that it needs this: set %s in its sdk.Stage", s.stage, field)
}

// Members yields the members of the list that the filter chooses, by role, domain and
// local part, as mlist reads them from its store: a list of any size takes little
// memory. An error ends it. A stage that calls it has Stage.Members set. Within the loop,
// Members cannot be called again; and another post may wait for the end of it.
func (p *Post) Members(ctx context.Context, f MemberFilter) iter.Seq2[Member, error] {
	return func(yield func(Member, error) bool) {
		s := p.services
		if err := s.may(CapMembers, "Members"); err != nil {
			yield(Member{}, fmt.Errorf("members: %w", err))
			return
		}
		if !s.read() {
			yield(Member{}, errors.New("members: they are being read already"))
			return
		}
		defer s.readDone()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := s.host.Members(ctx, &proto.MembersRequest{Call: s.call, Roles: f.Roles, Modes: f.Modes, Statuses: f.Statuses})
		if err != nil {
			yield(Member{}, hostError(ctx, "members", err))
			return
		}
		for {
			piece, err := stream.Recv()
			if isEnd(err) {
				return
			}
			if err != nil {
				yield(Member{}, hostError(ctx, "members", err))
				return
			}
			for _, m := range piece.GetMembers() {
				if !yield(readMember(m), nil) {
					return
				}
			}
		}
	}
}

func (s *services) read() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reading {
		return false
	}
	s.reading = true
	return true
}

func (s *services) readDone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = false
}

// Submit sends a new message, or makes a new post to the list, when the post goes out: with
// it, or not at all, and once, however often the post is tried. A stage that calls it has
// Stage.Submit set.
func (p *Post) Submit(m Submission) error {
	s := p.services
	if err := s.may(CapSubmit, "Submit"); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	if err := m.Check(); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.submits = append(s.submits, &proto.Submission{To: m.To, Post: m.Post, Approved: m.Approved, Message: bytes.Clone(m.Message)})
	return nil
}

// Count adds n to a counter of the plugin, which mlist shows. The name has up to 64
// letters, digits and any of "-_."; another is not counted. What is counted in a Handle
// that returns an error is lost.
func (p *Post) Count(name string, n int64) {
	if p.services == nil || !isCounter(name) {
		return
	}
	s := p.services
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts == nil {
		s.counts = map[string]int64{}
	}
	s.counts[name] += n
}

// isCounter tells whether mlist takes a counter's name.
func isCounter(name string) bool {
	return name != "" && len(name) <= 64 &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == ""
}

// Log returns a logger whose records come to mlist's log with the post's entry and list.
func (p *Post) Log() *slog.Logger {
	log := slog.Default().With("entry", p.Entry, "list", p.List.Address)
	if p.services != nil && p.services.stage != "" {
		log = log.With("stage", p.services.stage)
	}
	return log
}

// State is the plugin's own memory about the list: values by key. What is changed is
// committed together with the post, when all stages have accepted it, and once, however
// often the post is tried; with any other verdict it is forgotten. Posts of one list come
// one after the other, so that nothing changes under a handler's feet. A stage that uses
// it has Stage.State set.
type State struct{ s *services }

// State returns the plugin's memory about the list.
func (p *Post) State() State { return State{p.services} }

// Get returns the value of a key, and whether there is one.
func (st State) Get(ctx context.Context, key string) (value string, ok bool, err error) {
	if err := st.check(key); err != nil {
		return "", false, fmt.Errorf("state: %w", err)
	}
	reply, err := st.s.host.GetState(ctx, &proto.GetStateRequest{Call: st.s.call, Key: key})
	if err != nil {
		return "", false, hostError(ctx, "state "+key, err)
	}
	value, ok = string(reply.GetValue()), reply.GetFound()
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	for _, edits := range [][]*proto.StateEdit{st.s.earlier, st.s.edits} {
		for _, e := range edits {
			if e.GetKey() == key {
				value, ok = applyEdit(value, e)
			}
		}
	}
	return value, ok, nil
}

// Int is Get of a number: what Add adds to. No value, and one that is no number, is 0.
func (st State) Int(ctx context.Context, key string) (int64, error) {
	value, _, err := st.Get(ctx, key)
	if err != nil {
		return 0, err
	}
	return number(value), nil
}

// Set gives a key its value.
func (st State) Set(key, value string) error {
	if len(value) > MaxStateValue {
		return fmt.Errorf("state %s: the value has %d bytes, at most %d are allowed", key, len(value), MaxStateValue)
	}
	return st.edit(&proto.StateEdit{Kind: proto.StateEdit_SET, Key: key, Value: []byte(value)})
}

// Add adds n to a key's number.
func (st State) Add(key string, n int64) error {
	return st.edit(&proto.StateEdit{Kind: proto.StateEdit_ADD, Key: key, Delta: n})
}

// Delete takes a key away.
func (st State) Delete(key string) error {
	return st.edit(&proto.StateEdit{Kind: proto.StateEdit_DELETE, Key: key})
}

func (st State) edit(e *proto.StateEdit) error {
	if err := st.check(e.GetKey()); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	st.s.edits = append(st.s.edits, e)
	return nil
}

func (st State) check(key string) error {
	if err := st.s.may(CapState, "State"); err != nil {
		return err
	}
	return CheckStateKey(key)
}

// applyEdit is what mlist makes of a value.
func applyEdit(value string, e *proto.StateEdit) (string, bool) {
	switch e.GetKind() {
	case proto.StateEdit_SET:
		return string(e.GetValue()), true
	case proto.StateEdit_ADD:
		return strconv.FormatInt(number(value)+e.GetDelta(), 10), true
	}
	return "", false
}

func number(value string) int64 {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
