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
	verdict, personal, err := j.askEnvelope(ctx, v)
	if err == nil && !personal {
		v.ByStanding()
	}
	return verdict, err
}

// askEnvelope tells beside the verdict whether it is this sender's own.
func (j *judge) askEnvelope(ctx context.Context, v *view) (verdict sdk.Verdict, personal bool, err error) {
	for _, name := range j.config.Rules {
		r := j.rules[name]
		if r.atRCPT == nil || !r.atRCPT(v) {
			if r.refuses {
				continue
			}
			return sdk.Accept, personal, nil
		}
		personal = personal || r.personal != nil && r.personal(v)
		f, err := r.ask(ctx, v)
		if err != nil {
			return sdk.Verdict{}, personal, fmt.Errorf("rule %s: %w", name, err)
		}
		switch f.effect {
		case pass, allow:
			return sdk.Accept, personal, nil
		case decide:
			if f.verdict.Kind == sdk.KindHold && !slices.Contains(j.config.Reject, name) {
				return sdk.Accept, personal, nil
			}
			return sdk.Reject(f.verdict.Code, cmp.Or(f.told, f.verdict.Reason)), personal, nil
		}
	}
	return sdk.Accept, personal, nil
}

func always(*view) bool { return true }

// counts tells whether posts are counted, each sender's of its own.
func counts(settings ...string) func(v *view) bool {
	return func(v *view) bool {
		return slices.ContainsFunc(settings, func(name string) bool { return v.List.Int(name) != 0 })
	}
}

// envelopeAlone: the list goes by the envelope sender, and by nothing that a message says.
func envelopeAlone(v *view) bool {
	count := v.List.Lines("sender_headers")
	return len(count) == 1 && count[0] == "envelope" && len(v.senders) > 0
}

// envelopeBanned: whoever else the message will name, one of them is banned.
func envelopeBanned(v *view) bool {
	return slices.ContainsFunc(v.Senders, func(s sdk.Sender) bool { return s.Ban != "" })
}

// someNamed: the list says of some nonmembers who they are.
func someNamed(v *view) bool {
	return slices.ContainsFunc(theseNonmembers, func(t these) bool { return v.List.String(t.setting) != "" })
}

// noMatches: there is nothing to look for in a header.
func noMatches(v *view) bool {
	return len(v.config.HeaderMatches) == 0 && len(v.List.Lines("header_matches")) == 0
}
