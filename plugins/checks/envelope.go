package checks

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/mlist/mlist/sdk"
)

// judgeEnvelope asks the rules at RCPT, when there is no message. The same rules are asked in
// the same order as later; whatever a rule says that needs the message ends the questions,
// unless it can only refuse. So a post that is refused here would be rejected or discarded
// there, whatever it is.
func (j *judge) judgeEnvelope(ctx context.Context, v *view) (sdk.Verdict, error) {
	for _, name := range j.config.Rules {
		r := j.rules[name]
		if r.atRCPT == nil || !r.atRCPT(v) {
			if r.refuses {
				continue
			}
			return sdk.Accept, nil
		}
		f, err := r.ask(ctx, v)
		if err != nil {
			return sdk.Verdict{}, fmt.Errorf("rule %s: %w", name, err)
		}
		switch f.effect {
		case pass, allow:
			return sdk.Accept, nil
		case decide:
			if f.verdict.Kind == sdk.KindHold && !slices.Contains(j.config.Reject, name) {
				return sdk.Accept, nil
			}
			return sdk.Reject(f.verdict.Code, cmp.Or(f.told, f.verdict.Reason)), nil
		}
	}
	return sdk.Accept, nil
}

func always(*view) bool { return true }

// envelopeAlone: the list goes by the envelope sender, and by nothing that a message says.
func envelopeAlone(v *view) bool {
	count := v.List.Lines("sender_headers")
	return len(count) == 1 && count[0] == "envelope" && len(v.senders) > 0
}

// envelopeBanned: whoever else the message will name, one of them is banned.
func envelopeBanned(v *view) bool {
	return slices.ContainsFunc(v.Senders, func(s sdk.Sender) bool { return s.Ban != "" })
}

// noMatches: there is nothing to look for in a header.
func noMatches(v *view) bool {
	return len(v.config.HeaderMatches) == 0 && len(v.List.Lines("header_matches")) == 0
}
