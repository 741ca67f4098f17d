// Package list is the domain model: lists, their members and their settings.
// It is pure: no clock, no network, no files.
package list

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mlist/mlist/internal/address"
)

// List is one mailing list.
type List struct {
	ID       int64 // the store's own number of it; never shown
	Address  address.Address
	Settings Settings
	// Revision names the settings as a store read them: with the same one they are the same. Who changes
	// them empties it.
	Revision string
	Created  time.Time

	Style string // that it follows in what it does not set itself; "" is DefaultStyle

	State      State
	StateWhy   string    // one line, for those who post
	StateSince time.Time // zero: it was always Open
}

// maxLocal leaves room for the longest suffix, -unsubscribe, in a local part of 64.
const maxLocal = address.MaxLocal - len("-unsubscribe")

// maxDomain leaves room for a local part of 64 in an address of 254: bounces come back to such.
const maxDomain = address.MaxAddress - 1 - address.MaxLocal

// Bounds of include_lists: of lists within lists, and of all that one post reaches. A post
// that finds more goes no further.
const (
	MaxIncludeDepth = 10
	MaxIncluded     = 50
)

// CheckAddress refuses an address whose role addresses would not work: the name may not
// hold a '+', which separates a detail, nor what needs quotes or leads elsewhere as a file's
// name, nor be too long.
func CheckAddress(a address.Address) error {
	switch {
	case a.Local == "" || a.Domain == "":
		return fmt.Errorf("list address %q: want local@domain", a)
	case strings.Contains(a.Local, "+"):
		return fmt.Errorf("list address %s: a list's name may not have a +, which stands before a detail, as in -bounces+…", a)
	case strings.HasPrefix(a.String(), `"`):
		return fmt.Errorf("list address %s: a list's name may not need quotes", a)
	case strings.ContainsAny(a.Local+a.Domain, `/\`), strings.HasPrefix(a.Local, "."), strings.HasPrefix(a.Local, "-"):
		return fmt.Errorf("list address %s: a list's name may not have a slash, nor begin with a dot or a dash: files are named after lists", a)
	case strings.ContainsAny(a.Local, "!%#*|$?^`{}"):
		return fmt.Errorf("list address %s: a list's name may have none of !%%#*|$?^`{}, which mail systems, their tables and shells take for something else", a)
	case strings.HasPrefix(a.Local, "~"):
		return fmt.Errorf("list address %s: a list's name may not begin with ~, which stands before a list's number", a)
	case len(a.Local) > maxLocal:
		return fmt.Errorf("list address %s: a list's name may have %d octets at most", a, maxLocal)
	case len(a.Domain) > maxDomain:
		return fmt.Errorf("list address %s: a list's domain may have %d octets at most", a, maxDomain)
	}
	return nil
}

// Name is the list's name for people: its display_name, or else its local part.
func (l *List) Name() string {
	if l.Settings.DisplayName != "" {
		return l.Settings.DisplayName
	}
	return l.Address.Local
}

// TokenAddress is the address of one of the list's roles that a token comes back to. It has
// the list's number where the list's name leaves no room for the token.
func (l *List) TokenAddress(role address.Role, token string) address.Address {
	a := address.Sub(l.Address, role)
	if len(a.Local)+len("+")+len(token) > address.MaxLocal {
		a = address.Sub(address.Numbered(l.ID, l.Address.Domain), role)
	}
	a.Local += "+" + token
	return a
}

// Role is what an address is to a list. One address may have several.
type Role string

// Roles of an address on a list.
const (
	Member    Role = "member"
	Owner     Role = "owner"
	Moderator Role = "moderator"
	Nonmember Role = "nonmember"
	Sender    Role = "sender" // who may post, and receives nothing
)

// Receiver is a word for a member whose posts are rejected: who receives, and may not post.
const Receiver Role = "receiver"

// Roles are all roles, for help texts and checks.
var Roles = []Role{Member, Owner, Moderator, Nonmember, Sender}

// Mode is how a member receives posts.
type Mode string

// Delivery modes.
const (
	Regular         Mode = "regular"
	PlaintextDigest Mode = "plaintext_digests"
	MIMEDigest      Mode = "mime_digests"
	SummaryDigest   Mode = "summary_digests"
)

// Modes are all delivery modes.
var Modes = []Mode{Regular, PlaintextDigest, MIMEDigest, SummaryDigest}

// Status says whether delivery to a member is on, or who turned it off.
type Status string

// Delivery statuses, in Mailman's words.
const (
	Enabled     Status = "enabled"
	ByUser      Status = "by_user"
	ByBounces   Status = "by_bounces"
	ByModerator Status = "by_moderator"
)

// Statuses are all delivery statuses.
var Statuses = []Status{Enabled, ByUser, ByBounces, ByModerator}

// Action is what happens to a post because of who sent it.
type Action string

// Actions. Defer means that the other checks decide; the empty Action of a
// membership means the list's default for its role.
const (
	Defer   Action = "defer"
	Accept  Action = "accept"
	Hold    Action = "hold"
	Reject  Action = "reject"
	Discard Action = "discard"
)

// Actions are all actions.
var Actions = []Action{Defer, Accept, Hold, Reject, Discard}

// Personalize says what each member's copy has of its own.
type Personalize string

// Ways to personalise.
const (
	PersonalizeNone       Personalize = "none"
	PersonalizeIndividual Personalize = "individual" // what handlers put there
	PersonalizeFull       Personalize = "full"       // To, too
)

// Membership is one role of one address on one list.
type Membership struct {
	Address     address.Address
	DisplayName string
	Role        Role
	Mode        Mode   // "" on input means Regular
	Status      Status // "" on input means Enabled
	// Until is when delivery that is off ByUser is on again; zero is when the user says so.
	Until  time.Time
	Action Action // "" means the list's default for the role
	// NoOwnPosts: the member does not get back what they sent.
	NoOwnPosts bool
	// NoDuplicates: no copy from the list where the post names the member in To or Cc.
	NoDuplicates bool
	// AcknowledgePosts: the member is told of each of their posts that it was received.
	AcknowledgePosts bool
	// Topics are the names of the list's topics whose posts the member wants, a line
	// each; "" is every post. Nonmatching: those, and the posts that match no topic.
	Topics      string
	Nonmatching bool
	// Language is that in which the member is written to; "" is the list's.
	Language string
	Added    time.Time
}

// Standing is a role in which an address acts on a list: its own, one that it has in the
// list's domain, or one of another address of the same person.
type Standing struct {
	Membership                 // Address is whose it is
	Of         address.Address // who was asked for
	Domain     bool            // it is the role of the domain
}

// Arrival is what there is to know of a post before it comes: the list that it is for, and what
// its envelope sender is there, all as of one instant.
type Arrival struct {
	List      *List
	Standings []Standing // of the sender
	Ban       *Ban       // that holds the sender off the list; nil if none does
	OneTime   []string   // hashes of the passwords with which one post may pass
}

// Language is that of the sender, if a member has one; "" if it is not known.
func (a Arrival) Language() string { return LanguageOf(a.Standings) }

// LanguageOf is the language of the first member among them who has one.
func LanguageOf(standings []Standing) string {
	for _, m := range standings {
		if m.Role == Member && m.Language != "" {
			return m.Language
		}
	}
	return ""
}

// Validate reports the first field that has no meaning, and fills in defaults.
func (m *Membership) Validate() error {
	if m.Role == "" {
		m.Role = Member
	}
	if m.Role == Receiver {
		if m.Action != "" && !slices.Contains([]Action{Reject, Discard, Hold}, m.Action) {
			return fmt.Errorf("member %s: the action %s is none of a receiver, who may not post", m.Address, m.Action)
		}
		m.Role, m.Action = Member, cmp.Or(m.Action, Reject)
	}
	if m.Mode == "" {
		m.Mode = Regular
	}
	if m.Status == "" {
		m.Status = Enabled
	}
	switch {
	case m.Address.Local == "" || m.Address.Domain == "":
		return fmt.Errorf("member %q: want local@domain", m.Address)
	case !slices.Contains(Roles, m.Role):
		return badWord("role", m.Role, Roles)
	case !slices.Contains(Modes, m.Mode):
		return badWord("delivery mode", m.Mode, Modes)
	case !slices.Contains(Statuses, m.Status):
		return badWord("delivery status", m.Status, Statuses)
	case m.Action != "" && !slices.Contains(Actions, m.Action):
		return badWord("action", m.Action, Actions)
	case m.Nonmatching && m.Topics == "":
		return fmt.Errorf("member %s: posts that match no topic go to everybody who has chosen no topics", m.Address)
	case !m.Until.IsZero() && m.Status != ByUser:
		return fmt.Errorf("member %s: an end is for the delivery status %s alone", m.Address, ByUser)
	case m.Language != "" && CheckLanguage(m.Language) != nil:
		return fmt.Errorf("member %s: %w", m.Address, CheckLanguage(m.Language))
	case !validTopics(m.Topics):
		return fmt.Errorf("member %s: topics %q: want names of topics, a line each", m.Address, m.Topics)
	case strings.ContainsFunc(m.DisplayName, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("member %s: control character in the display name", m.Address)
	case !utf8.ValidString(m.DisplayName):
		return fmt.Errorf("member %s: the display name is not UTF-8", m.Address)
	}
	return nil
}

func badWord[T ~string](what string, got T, want []T) error {
	words := make([]string, len(want))
	for i, w := range want {
		words[i] = string(w)
	}
	return fmt.Errorf("%s %q: want one of %s", what, string(got), strings.Join(words, ", "))
}
