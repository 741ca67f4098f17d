package wire

import (
	"errors"
	"fmt"
	"time"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/proto"
)

// Apply checks a reply to a request for stages of a plugin with such needs, and makes its
// edits to the post; of one at SMTP time, notes alone. An error, which is a *StageError where one stage is to blame, leaves
// the post as it was.
func Apply(p *Post, needs Needs, stages []string, reply *proto.HandleReply) ([]Result, error) {
	if reply.GetUnknownRevision() {
		return nil, errors.New("it does not know settings that were in the request")
	}
	results, err := verdicts(stages, reply.GetResults())
	if err != nil {
		return nil, err
	}
	e, err := gather(p, needs, reply.GetResults())
	if err != nil {
		return nil, err
	}
	if p.AtSMTP { // the edits are for the message that may come
		e = &edits{notes: e.notes}
	}
	// The header goes first: it is the only one that can still refuse, and does so whole.
	kept, err := e.edit(p)
	if err != nil {
		return nil, blame(reply.GetResults(), err)
	}
	for _, s := range e.splices {
		if err := p.Body.Splice(s); err != nil {
			return nil, fmt.Errorf("splice at %d: %w", s.Offset, err) // gather saw to it that this cannot be
		}
	}
	p.Rules = append(p.Rules, e.rules...)
	p.State = append(p.State, e.asks.state...)
	p.Submissions = append(p.Submissions, e.asks.submits...)
	p.Kept = kept
	p.Counts = e.asks.counts
	if len(e.notes) > 0 && p.Notes == nil {
		p.Notes = map[string]string{}
	}
	for k, v := range e.notes {
		p.Notes[k] = v
	}
	return results, nil
}

// verdicts reads who decided what: one result for each stage in order, up to the
// first that does not accept.
func verdicts(stages []string, replies []*proto.StageResult) ([]Result, error) {
	if len(replies) > len(stages) {
		return nil, fmt.Errorf("%d results for %d stages", len(replies), len(stages))
	}
	var results []Result
	for i, r := range replies {
		if r.GetStage() != stages[i] {
			return nil, &StageError{stages[i], fmt.Errorf("the result is that of stage %.100q", r.GetStage())}
		}
		v, err := verdict(r.GetVerdict())
		if err != nil {
			return nil, &StageError{stages[i], err}
		}
		took := time.Duration(min(max(r.GetDurationMicros(), 0), int64(24*time.Hour/time.Microsecond))) * time.Microsecond
		results = append(results, Result{Stage: stages[i], Verdict: v, Took: took, reply: r})
		if v.Kind != sdk.KindAccept {
			if len(replies) > i+1 {
				return nil, &StageError{stages[i+1], fmt.Errorf("it ran although stage %s said %s", stages[i], v.Kind)}
			}
			return results, nil
		}
	}
	if len(replies) < len(stages) {
		return nil, &StageError{stages[len(replies)], errors.New("no result")}
	}
	return results, nil
}

func verdict(v *proto.Verdict) (sdk.Verdict, error) {
	kinds := map[proto.Verdict_Kind]sdk.Kind{proto.Verdict_ACCEPT: sdk.KindAccept, proto.Verdict_HOLD: sdk.KindHold,
		proto.Verdict_REJECT: sdk.KindReject, proto.Verdict_DISCARD: sdk.KindDiscard}
	kind, ok := kinds[v.GetKind()]
	if !ok {
		return sdk.Verdict{}, fmt.Errorf("%d is not a kind of verdict", v.GetKind())
	}
	if err := words("code", v.GetCode(), maxCode); err != nil {
		return sdk.Verdict{}, err
	}
	if err := words("reason", v.GetReason(), maxReason); err != nil {
		return sdk.Verdict{}, err
	}
	return sdk.Verdict{Kind: kind, Code: v.GetCode(), Reason: v.GetReason()}, nil
}

// blame finds the stage whose header operations are refused.
func blame(replies []*proto.StageResult, err error) error {
	for _, r := range replies {
		if e := new(message.Header).Apply(ops(r)); e != nil {
			return &StageError{r.GetStage(), e}
		}
	}
	return err
}
