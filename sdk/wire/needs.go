package wire

import (
	"fmt"
	"slices"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/proto"
)

// Needs is what a plugin has said that it needs, by stage: "body" is a stage's own, a
// capability its plugin's. A reply may ask for nothing else: an administrator who is shown
// the needs can rely on them.
type Needs map[string][]string

// NeedsOf reads what a plugin says of itself.
func NeedsOf(d *proto.DescribeReply) Needs {
	n := Needs{}
	for _, s := range d.GetStages() {
		n[s.GetName()] = slices.Concat(s.GetNeeds(), d.GetNeeds())
	}
	return n
}

// Has tells whether a stage has said so.
func (n Needs) Has(stage, need string) bool { return slices.Contains(n[stage], need) }

// allow refuses a result that asks for what was not declared.
func (n Needs) allow(r *proto.StageResult) error {
	for _, a := range []struct {
		need, what string
		asked      int
	}{
		{needBody, "changes the body", len(r.GetSplices())},
		{sdk.CapState, "changes state", len(r.GetStateEdits())},
		{sdk.CapSubmit, "submits a message", len(r.GetSubmissions())},
		{sdk.CapKeep, "has the post kept", len(r.GetKeep())},
	} {
		if a.asked > 0 && !n.Has(r.GetStage(), a.need) {
			return fmt.Errorf("it %s, and has not declared that it needs %q", a.what, a.need)
		}
	}
	return nil
}

// needBody is what a stage needs that is shown the body; the rest of the words are
// capabilities, in package sdk.
const needBody = "body"
