package wire

import (
	"maps"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// Edits are what one stage asked for; Apply has made them already.
type Edits struct {
	Ops     []message.Op
	Splices []message.Splice
	Rules   []sdk.Rule
	Notes   map[string]string
	// Beside edits: changes of state, new messages and posts, what to keep the post for.
	State       []StateEdit
	Submissions []Submission
	Keep        []sdk.Use
}

// Edits returns what the stage asked for, for people who want to see it. Of one that did
// not accept, only the notes count.
func (r Result) Edits() Edits {
	e := Edits{Notes: maps.Clone(r.reply.GetNotes())}
	if r.Verdict.Kind != sdk.KindAccept {
		return e
	}
	e.Ops = ops(r.reply)
	for _, s := range r.reply.GetSplices() {
		e.Splices = append(e.Splices, message.Splice{Offset: s.GetOffset(), Delete: s.GetDelete(), Insert: s.GetInsert()})
	}
	for _, rule := range r.reply.GetRules() {
		if rule, err := checkRule(rule); err == nil { // Apply has checked them all
			e.Rules = append(e.Rules, rule)
		}
	}
	for _, s := range r.reply.GetStateEdits() {
		e.State = append(e.State, stateEdit(s))
	}
	for _, s := range r.reply.GetSubmissions() {
		e.Submissions = append(e.Submissions, submission(r.Stage, s))
	}
	for _, use := range r.reply.GetKeep() {
		e.Keep = append(e.Keep, sdk.Use(use))
	}
	return e
}
