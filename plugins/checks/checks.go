// Package checks decides whether a post may go out: is it in a loop, may its author
// post, is it within the list's limits.
//
// Each question is a rule, with a name that is also the code of its verdict. Stage
// posting asks who may post, stage limits what may be posted; both ask rules in an
// order that can be configured, and the first one that decides, decides. After a hold
// the others are asked all the same, those of limits after one in posting, too, so that a
// moderator sees everything that is wrong with a post at once.
//
// Checks look and give a verdict; they change nothing, except that a moderators'
// password never goes out. What a moderator has approved passes all of them.
package checks

import (
	"slices"

	"github.com/mlist/mlist/sdk"
)

// noteAccepted is the note that stage posting leaves when a rule lets the post pass
// everything: an action that says "accept" and not "defer", or the moderators'
// password. Such a post skips stage limits, as it does in Mailman.
const noteAccepted = "posting.accepted"

// The default orders are those of Mailman's default-posting-chain.
var (
	postingRules = []string{"no-sender", "approved", "emergency", "banned", "forged-list", "dmarc-fail", "member-moderated", "header-match", "nonmember", "first-posts", "rate",
		"null-sender", "auto-reply"}
	limitsRules = []string{"bad-from", "administrivia", "implicit-dest", "too-many-recipients", "too-big", "no-subject", "suspicious-header"}
)

// Stages returns loop, posting and limits, in their usual order.
func Stages() []sdk.Stage {
	patterns := newPatterns()
	rules := rulesOf(patterns)
	limits := &judge{stage: "limits", rules: rules, patterns: patterns, config: Config{Rules: slices.Clone(limitsRules), Reject: []string{},
		HeaderMatches: []string{}, MastheadLines: defaultMasthead}}
	return []sdk.Stage{
		{
			Name:    "loop",
			Help:    "discards what has been through this list, rejects what travelled too far",
			AtSMTP:  true,
			AtRCPT:  true,
			Handler: &loop{config: LoopConfig{MaxReceived: 30}},
		},
		{
			Name: "posting",
			Help: "decides who may post",
			// The body: a password can be its first line.
			Body: true, State: true, AtSMTP: true, AtRCPT: true,
			Handler: &judge{stage: "posting", rules: rules, patterns: patterns, then: limits, config: Config{Rules: slices.Clone(postingRules), Reject: []string{},
				HeaderMatches: []string{}, MastheadLines: defaultMasthead}},
		},
		{
			Name: "limits",
			Help: "holds what is too big, has too many recipients or does not name the list",
			Body: true, State: true, AtSMTP: true,
			Handler: limits,
		},
	}
}
