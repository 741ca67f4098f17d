package list

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mlist/mlist/internal/address"
)

// State is what a list takes at present.
type State string

// States of a list. The empty State means Open.
const (
	Open   State = "open"
	Frozen State = "frozen" // no posts; people join and leave as ever
	Closed State = "closed" // no posts, and nobody joins by mail; its archive stays
)

// States are all states.
var States = []State{Open, Frozen, Closed}

// Grace is for how long a deleted list can be had back, unless it is deleted for good.
const Grace = 30 * 24 * time.Hour

// maxWhy bounds the reason of a state: it goes into one line of SMTP.
const maxWhy = 300

// CheckWhy takes the reason of a state: a line, or nothing.
func CheckWhy(why string) error {
	switch {
	case len(why) > maxWhy:
		return fmt.Errorf("reason: want %d octets at most", maxWhy)
	case !utf8.ValidString(why) || strings.ContainsFunc(why, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("reason %q: want one line of text", why)
	}
	return nil
}

// Refusal is what somebody is told who posts to a list in this state: a code for the log,
// and a sentence. Both are "" of a list that takes posts. Nothing in a post changes it,
// so that whoever knows the recipient can refuse.
func (s State) Refusal(name, why string) (code, reason string) {
	switch s {
	case Frozen:
		code, reason = string(Frozen), name+" takes no posts at present."
	case Closed:
		code, reason = string(Closed), name+" is closed and takes no posts any more."
	default:
		return "", ""
	}
	if why != "" {
		reason += " " + why
	}
	return code, reason
}

// AutoApproved tells whether an address joins without a moderator.
func (s *Settings) AutoApproved(a address.Address) bool {
	return slices.ContainsFunc(s.SubscribeAutoApproval, func(line string) bool {
		if !strings.HasPrefix(line, "^") {
			named, err := address.Parse(line)
			return err == nil && named.Key() == a.Key()
		}
		pattern, err := regexp.Compile("(?i)^(?:" + line + ")") // the group makes ^ count for every alternative
		return err == nil && pattern.MatchString(a.String())
	})
}

// Refusal is that of the list's state.
func (l *List) Refusal() (code, reason string) {
	return l.State.Refusal(l.Address.String(), l.StateWhy)
}
