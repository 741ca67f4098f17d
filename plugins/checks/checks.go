// Package checks decides whether a post may go out: is it in a loop, may its author
// post, is it within the list's limits.
//
// Checks look and give a verdict; they never change a post. What a moderator has
// approved passes all of them.
package checks

import "github.com/mlist/mlist/sdk"

// noteAccepted is the note that stage posting leaves when an action said "accept"
// and not "defer": such a post skips stage limits, as it does in Mailman.
const noteAccepted = "posting.accepted"

// Stages returns loop, posting and limits, in their usual order.
func Stages() []sdk.Stage {
	patterns := newPatterns()
	return []sdk.Stage{
		{
			Name:    "loop",
			Help:    "discards what has been through this list, rejects what travelled too far",
			AtSMTP:  true,
			Handler: &loop{config: LoopConfig{MaxReceived: 30}},
		},
		{
			Name:    "posting",
			Help:    "decides who may post",
			AtSMTP:  true,
			Handler: &posting{patterns: patterns},
		},
		{
			Name:    "limits",
			Help:    "holds what is too big, has too many recipients or does not name the list",
			Body:    true, // its size
			AtSMTP:  true,
			Handler: &limits{patterns: patterns},
		},
	}
}
