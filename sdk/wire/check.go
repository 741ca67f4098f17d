package wire

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/proto"
)

// Limits of what the stages may do to one post. They are far above what mail needs,
// and low enough that a mad plugin cannot fill mlist's memory.
const (
	maxCode    = 64
	maxReason  = 4096
	maxOps     = 1000              // of one reply
	maxFields  = message.MaxHeader // bytes of header fields in one reply
	maxSplices = 10_000            // of a post, over all stages
	maxInsert  = 8 << 20           // bytes of them; less than sdk.MaxMessage, as they travel to later stages
	maxRules   = 1000              // of a post
	maxAddress = 320               // bytes
	maxLists   = 100               // of one rule
	maxTopics  = 200               // of one rule
	maxNotes   = 200               // of a post
	maxNote    = 16 << 10          // bytes of one note
)

// edits is what a reply asks for, checked.
type edits struct {
	ops     []message.Op
	splices []message.Splice
	rules   []sdk.Rule
	notes   map[string]string
	keeps   []keep
	asks    asks
}

func gather(p *Post, needs Needs, replies []*proto.StageResult) (*edits, error) {
	e := &edits{notes: map[string]string{}}
	b := newBodySize(p.Body)
	for _, r := range replies {
		if err := e.add(p, needs, b, r); err != nil {
			return nil, &StageError{r.GetStage(), err}
		}
	}
	size := len(p.Header.Bytes())
	for _, op := range e.ops {
		size += len(op.Name) + len(op.Value)
	}
	if len(e.ops) > 0 && size > message.MaxHeader {
		return nil, fmt.Errorf("the header would have %d bytes, at most %d are allowed", size, message.MaxHeader)
	}
	return e, nil
}

func (e *edits) add(p *Post, needs Needs, b *bodySize, r *proto.StageResult) error {
	if err := e.addNotes(p, r.GetNotes()); err != nil {
		return err
	}
	if err := e.asks.addCounts(r.GetCounts()); err != nil {
		return err
	}
	if r.GetVerdict().GetKind() != proto.Verdict_ACCEPT {
		return nil // the edits of a stage that stops the post have no use
	}
	if err := e.asks.addState(p, r.GetStateEdits()); err != nil {
		return err
	}
	if err := e.asks.addSubmissions(p, r.GetStage(), r.GetSubmissions()); err != nil {
		return err
	}
	if err := needs.allow(r); err != nil {
		return err
	}
	e.ops = append(e.ops, ops(r)...)
	if err := checkOps(e.ops); err != nil {
		return err
	}
	for i, s := range r.GetSplices() {
		if err := b.splice(s); err != nil {
			return fmt.Errorf("splice %d: %w", i+1, err)
		}
		e.splices = append(e.splices, message.Splice{Offset: s.GetOffset(), Delete: s.GetDelete(), Insert: s.GetInsert()})
	}
	for i, r := range r.GetRules() {
		rule, err := checkRule(r)
		if err != nil {
			return fmt.Errorf("recipient rule %d: %w", i+1, err)
		}
		e.rules = append(e.rules, rule)
	}
	if n := len(p.Rules) + len(e.rules); n > maxRules {
		return fmt.Errorf("%d recipient rules, at most %d are allowed", n, maxRules)
	}
	return e.addKeep(b, r.GetKeep())
}

func ops(r *proto.StageResult) []message.Op {
	out := make([]message.Op, len(r.GetHeaderOps()))
	for i, op := range r.GetHeaderOps() {
		out[i] = message.Op{Kind: message.OpKind(op.GetKind()), Name: op.GetName(), Value: op.GetValue(), Nth: int(op.GetNth())}
	}
	return out
}

// checkOps bounds operations; message.Header.Apply knows which are valid.
func checkOps(ops []message.Op) error {
	if len(ops) > maxOps {
		return fmt.Errorf("%d header operations, at most %d are allowed", len(ops), maxOps)
	}
	size := 0
	for _, op := range ops {
		size += len(op.Name) + len(op.Value)
	}
	if size > maxFields {
		return fmt.Errorf("%d bytes of header fields, at most %d are allowed", size, maxFields)
	}
	return nil
}

// bodySize follows what splices would do to a body, without doing it.
type bodySize struct {
	size     int64
	insert   int64
	count    int
	haveBody bool
}

func newBodySize(b *message.Body) *bodySize {
	if b == nil {
		return &bodySize{}
	}
	s := &bodySize{size: b.Size(), haveBody: true}
	for _, sp := range b.Splices() {
		s.count++
		s.insert += int64(len(sp.Insert))
	}
	return s
}

func (b *bodySize) splice(s *proto.Splice) error {
	off, del := s.GetOffset(), s.GetDelete()
	switch {
	case !b.haveBody:
		return fmt.Errorf("there is no body")
	case off < 0 || off > b.size || del < 0 || del > b.size-off:
		return fmt.Errorf("%d bytes at %d are not within the body's %d", del, off, b.size)
	}
	b.count++
	b.insert += int64(len(s.GetInsert()))
	b.size += int64(len(s.GetInsert())) - del
	if b.count > maxSplices || b.insert > maxInsert {
		return fmt.Errorf("the post has %d splices with %d bytes, at most %d with %d are allowed", b.count, b.insert, maxSplices, maxInsert)
	}
	return nil
}

func checkRule(r *proto.RecipientRule) (sdk.Rule, error) {
	rule := sdk.Rule{Kind: sdk.RuleKind(r.GetKind()), Roles: r.GetRoles(), Modes: r.GetModes(), Statuses: r.GetStatuses(),
		Addresses: r.GetAddresses(), Flag: r.GetFlag(), Topics: r.GetTopics(), Lists: r.GetLists(), Authors: r.GetAuthors()}
	switch rule.Kind {
	case sdk.RuleSelect, sdk.RuleAdd, sdk.RuleExclude:
	default:
		return rule, fmt.Errorf("%d is not a kind of rule", rule.Kind)
	}
	switch rule.Flag {
	case "", "no_own_posts", "no_duplicates":
	default:
		return rule, fmt.Errorf("unknown flag %.100q", rule.Flag)
	}
	for _, list := range [][]string{rule.Roles, rule.Modes, rule.Statuses} {
		for _, word := range list {
			if err := words("word", word, maxCode); err != nil || word == "" {
				return rule, fmt.Errorf("%.100q is no role, mode or status", word)
			}
		}
	}
	if len(rule.Lists) > maxLists {
		return rule, fmt.Errorf("%d lists, at most %d are allowed", len(rule.Lists), maxLists)
	}
	if rule.Kind == sdk.RuleExclude && len(rule.Lists) > 0 && rule.Flag != "" {
		return rule, fmt.Errorf("flag %s with lists", rule.Flag)
	}
	if len(rule.Topics) > maxTopics {
		return rule, fmt.Errorf("%d topics, at most %d are allowed", len(rule.Topics), maxTopics)
	}
	for _, topic := range rule.Topics {
		if err := words("topic", topic, maxCode); err != nil {
			return rule, err
		}
	}
	for _, a := range slices.Concat(rule.Addresses, rule.Lists, rule.Authors) {
		at := strings.LastIndexByte(a, '@')
		if at <= 0 || at == len(a)-1 || len(a) > maxAddress || strings.ContainsFunc(a, unicode.IsControl) {
			return rule, fmt.Errorf("%.100q is no address", a)
		}
	}
	return rule, nil
}

func (e *edits) addNotes(p *Post, notes map[string]string) error {
	for k, v := range notes {
		if err := words("note's name", k, maxCode); err != nil || k == "" {
			return fmt.Errorf("%.100q is no name for a note", k)
		}
		if len(v) > maxNote {
			return fmt.Errorf("note %s has %d bytes, at most %d are allowed", k, len(v), maxNote)
		}
		e.notes[k] = v
	}
	n := len(e.notes)
	for k := range p.Notes {
		if _, again := e.notes[k]; !again {
			n++
		}
	}
	if n > maxNotes && len(notes) > 0 {
		return fmt.Errorf("the post has %d notes, at most %d are allowed", n, maxNotes)
	}
	return nil
}

// words checks a short text that people and logs will see.
func words(what, text string, limit int) error {
	if len(text) > limit {
		return fmt.Errorf("the %s has %d bytes, at most %d are allowed", what, len(text), limit)
	}
	for _, r := range text {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return fmt.Errorf("the %s has the control character %U", what, r)
		}
	}
	return nil
}
