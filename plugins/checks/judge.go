package checks

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mlist/mlist/sdk"
)

// rule asks one question about a post. Its name is the code of its verdicts.
type rule struct {
	name string
	help string
	// atRCPT tells whether ask finds out from the envelope alone what it would find out from
	// any message with that envelope; nil is never.
	atRCPT func(v *view) bool
	// personal tells whether what ask finds out at RCPT goes by more than the list and the sender's
	// standing there; nil is never.
	personal func(v *view) bool
	// refuses: it rejects and discards, and nothing else.
	refuses bool
	// ask returns what was found; the zero finding is nothing.
	ask func(ctx context.Context, v *view) (finding, error)
	// always: it is asked even of a post that passes for its author's sake.
	always bool
	// accepted, if not nil, is called when the stage has let the post through, for
	// whatever reason.
	accepted func(ctx context.Context, v *view) (sdk.Verdict, error)
}

// finding is what a rule has to say of a post.
type finding struct {
	effect effect
	// verdict says what is wrong, and with effect decide what is to become of the post.
	verdict sdk.Verdict
	// told is what the author is told instead of the verdict's reason, if that is not for
	// the author.
	told string
	// who is what a post passes for: a word for the note.
	who string
}

// effect is what a finding does.
type effect int

const (
	nothing effect = iota
	mention        // the finding is recorded, and decides nothing
	decide         // the verdict, if no rule before has decided
	pass           // the post is accepted, unless a rule that is always asked decides
	allow          // the post is accepted, and no other rule is asked
)

// decided makes a finding of a verdict.
func decided(v sdk.Verdict) finding { return finding{effect: decide, verdict: v} }

// acts makes a finding of an action, in the words of list settings; one that this
// version does not know holds the post: a moderator can still let it through.
func acts(action, code, reason, who string) finding {
	switch action {
	case "accept":
		return finding{effect: pass, who: who}
	case "defer":
		return finding{effect: mention, verdict: sdk.Verdict{Code: code, Reason: reason}}
	case "reject":
		return decided(sdk.Reject(code, reason))
	case "discard":
		return decided(sdk.Discard(code, reason))
	}
	return decided(sdk.Hold(code, reason))
}

// Config is [plugin.posting], and [plugin.limits].
type Config struct {
	Rules         []string `json:"rules" help:"which are asked, in this order; the first that decides, decides"`
	Reject        []string `json:"reject" help:"those of the rules that reject a post where they would hold or discard it"`
	HeaderMatches []string `json:"header_matches" help:"for rule header-match, of every list, before the list's own: ACTION FIELD: PATTERN"`
	MastheadLines int      `json:"masthead_lines" help:"for rule digest-reply: so many quoted lines of a digest's masthead are too many"`

	used bool // the stage is one of the pipeline's, for it was given a configuration
}

// Validate refuses rules that there are not, and patterns that are none.
func (c *Config) Validate() error {
	known := rulesOf(newPatterns())
	seen := map[string]bool{}
	for _, name := range c.Rules {
		if _, ok := known[name]; !ok {
			return fmt.Errorf("rules: there is no rule %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		if seen[name] {
			return fmt.Errorf("rules: %s is there twice", name)
		}
		seen[name] = true
	}
	for _, name := range c.Reject {
		if !seen[name] {
			return fmt.Errorf("reject: %q is not one of rules", name)
		}
	}
	for _, line := range c.HeaderMatches {
		if _, err := parseMatch(line); err != nil {
			return fmt.Errorf("header_matches: %w", err)
		}
	}
	if c.MastheadLines < 1 {
		return fmt.Errorf("masthead_lines %d: want 1 or more", c.MastheadLines)
	}
	c.used = true
	return nil
}

// judge is a stage that asks rules.
type judge struct {
	stage    string
	rules    map[string]*rule
	patterns *patterns
	config   Config
	// then is a later stage, which a post does not come to that this one holds.
	then *judge
}

// Config implements sdk.Configurer.
func (j *judge) Config() any { return &j.config }

// Handle implements sdk.Handler.
func (j *judge) Handle(ctx context.Context, p *sdk.Post) (sdk.Verdict, error) {
	v := newView(p, &j.config)
	if p.AtRCPT {
		return j.judgeEnvelope(ctx, v)
	}
	verdict, err := j.judge(ctx, v)
	if err == nil && verdict.Kind == sdk.KindHold {
		err = j.addLater(ctx, p, &verdict)
	}
	if err != nil || verdict.Kind != sdk.KindAccept {
		return verdict, err
	}
	// Whatever rules are asked: who writes the password does not know which.
	if verdict, err := stripPassword(ctx, v); err != nil || verdict.Kind != sdk.KindAccept {
		return verdict, err
	}
	for _, name := range j.config.Rules {
		if r := j.rules[name]; r.accepted != nil {
			if verdict, err := r.accepted(ctx, v); err != nil || verdict.Kind != sdk.KindAccept {
				return verdict, err
			}
		}
	}
	return sdk.Accept, nil
}

// addLater adds to a hold what the later stage finds: once a moderator has let the post through,
// nobody asks any more. While the sender waits a hold refuses nothing, whatever it says.
func (j *judge) addLater(ctx context.Context, p *sdk.Post, held *sdk.Verdict) error {
	if j.then == nil || !j.then.config.used || p.AtSMTP {
		return nil
	}
	also, err := j.then.judge(ctx, newView(p, &j.then.config))
	if also.Kind == sdk.KindHold {
		held.Reason += " " + also.Reason
	}
	return err
}

// judge asks the rules.
func (j *judge) judge(ctx context.Context, v *view) (sdk.Verdict, error) {
	if v.Approved || v.Notes[noteAccepted] == whoApproved {
		return sdk.Accept, nil
	}
	passes, who := v.Notes[noteAccepted] != "", ""
	var verdict sdk.Verdict
	var hits []sdk.Verdict
ask:
	for _, name := range j.config.Rules {
		r := j.rules[name]
		if passes && !r.always {
			continue
		}
		f, err := r.ask(ctx, v)
		if err != nil {
			return verdict, fmt.Errorf("rule %s: %w", name, err)
		}
		switch f.effect {
		case mention:
			hits = append(hits, f.verdict)
		case pass, allow:
			if verdict.Kind != "" {
				continue // it is held, and the moderator decides
			}
			passes, who = true, f.who
			if f.effect == allow {
				break ask
			}
		case decide:
			if slices.Contains(j.config.Reject, name) {
				f.verdict.Kind = sdk.KindReject
			}
			hits = append(hits, f.verdict)
			if verdict.Kind == "" {
				verdict = f.verdict
				if verdict.Kind == sdk.KindReject {
					verdict.Reason = cmp.Or(f.told, verdict.Reason)
				}
			}
			if verdict.Kind != sdk.KindHold {
				break ask
			}
		}
	}
	if verdict.Kind == "" && who != "" {
		j.note(v, noteAccepted, who)
	}
	return j.sum(v, verdict, hits), nil
}

// sum records everything that was found, and makes one verdict of it: of a post that is
// held, with the sentences of all.
func (j *judge) sum(v *view, verdict sdk.Verdict, hits []sdk.Verdict) sdk.Verdict {
	if len(hits) == 0 {
		return sdk.Accept
	}
	var lines, reasons []string
	for _, h := range hits {
		lines = append(lines, h.Code+": "+strings.Join(strings.Fields(h.Reason), " "))
		if h.Kind == sdk.KindHold {
			reasons = append(reasons, h.Reason)
		}
	}
	j.note(v, j.stage+".hits", strings.Join(lines, "\n"))
	switch verdict.Kind {
	case "":
		return sdk.Accept
	case sdk.KindHold:
		verdict.Reason = strings.Join(reasons, " ")
	}
	return verdict
}

func (j *judge) note(v *view, name, text string) {
	if v.Notes == nil {
		v.Notes = map[string]string{}
	}
	v.Notes[name] = text
}
