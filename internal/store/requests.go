package store

import (
	"context"
	"iter"
	"reflect"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
)

// Want is what a request is for.
type Want string

// What somebody may want of a list.
const (
	WantJoin   Want = "join"
	WantLeave  Want = "leave"
	WantChange Want = "change" // how a member receives posts
	WantMove   Want = "move"   // all that the address is, on all lists, is to be another address's
	WantLink   Want = "link"   // another address is to count as the same person's, on all lists
	WantUnlink Want = "unlink" // it is not to, any more
	WantInvite Want = "invite" // an owner or moderator invites others
)

// Free tells whether it is for whoever has the address, a member or not.
func (w Want) Free() bool { return w == WantInvite || w == WantLink || w == WantUnlink }

// Phase says for whom a request waits.
type Phase int

// Phases of a request. Each has a token of its own, which is good for nothing else.
const (
	PhaseConfirm  Phase = iota + 1 // whoever reads the address's mail is to confirm
	PhaseModerate                  // a moderator is to decide
	PhaseMove                      // whoever reads the new address's mail is to confirm
)

// Request is a wish that waits. There is at most one for what an address wants of a list.
type Request struct {
	Token       string // whoever has it may answer
	ListID      int64
	Want        Want
	Address     address.Address
	DisplayName string      // of one who joins
	Mode        list.Mode   // of one who joins; "" in a change leaves it alone
	Status      list.Status // likewise
	Language    string      // likewise
	More        More
	Phase       Phase
	Moderate    bool // after the confirmation a moderator decides
	Created     time.Time
	Expires     time.Time
	Reminded    bool // moderators were reminded of it
}

// More is what requests of some kinds want beside.
type More struct {
	// Of a change: preferences, and with Status when it ends. Other fields are not for it.
	Until                                 *time.Time `json:",omitempty"`
	NoOwnPosts, NoDuplicates, Acknowledge *bool      `json:",omitempty"`
	Topics                                *string    `json:",omitempty"`
	// Of a move: the new address; of a link the other one.
	To *address.Address `json:",omitempty"`
	// Of an invitation: who is invited, at most MaxInvited.
	Invite []address.Address `json:",omitempty"`
	// Of a move that is done: how many lists it was on.
	Lists int `json:",omitempty"`
}

// IsZero tells whether there is nothing more.
func (m More) IsZero() bool { return reflect.ValueOf(m).IsZero() }

// MaxInvited is how many one request invites.
const MaxInvited = 20

// Bounds of requests.
const (
	// MaxTold is how often the token of one request is sent, however often it is made.
	MaxTold = 3
	// MaxRequests is how many wait on one list; then no more are taken.
	MaxRequests = 10_000
)

// Outcome is what became of a request.
type Outcome string

// Outcomes of a step.
const (
	OutcomeDone      Outcome = "done"
	OutcomeUnchanged Outcome = "unchanged" // it was so before: a member joins, somebody else leaves
	OutcomeConfirm   Outcome = "confirm"   // it waits for the address
	OutcomeModerate  Outcome = "moderate"  // it waits for a moderator
	OutcomeRefused   Outcome = "refused"   // by a moderator
	OutcomeFull      Outcome = "full"      // too many requests wait
)

// RequestResult is what a step has led to.
type RequestResult struct {
	Outcome Outcome
	Request Request // as it is now, or was at last
	// Tell: whoever it waits for is to be sent the token.
	Tell bool
}

// Step names what is done because of an entry, so that a second run of it changes nothing
// and has the same result. Entry "" is nobody who comes twice.
type Step struct {
	ListID int64
	Entry  string
	Number int // of what is done because of the entry
	At     time.Time
}

// RequestRules are what it takes until a request is done. The zero value is that it is
// done at once.
type RequestRules struct {
	Confirm, Moderate         bool
	ConfirmLife, ModerateLife time.Duration
}

// Answer is what somebody says to a request.
type Answer struct {
	Token  string
	Phase  Phase // in which the token is good
	Refuse bool
	// Final: no moderator is asked any more after a confirmation.
	Final bool
	// Except are lists on which a move changes nothing.
	Except []int64
	// Late: what has expired can be answered still. That is for who ends what has.
	Late bool
	// Life is that of a request which now waits for a moderator.
	Life    time.Duration
	By, Why string // for the member's history
	// Verdict is a moderator's, and Reason what they said, for the log of decisions; "" where
	// the address confirms.
	Verdict Verdict
	Reason  string
}

// Requests keeps what people want of lists, until it is done or has expired. Each method
// is one transaction.
type Requests interface {
	// AskFor files a request (of which Token, Phase and times do not matter), or does what
	// it wants at once. One that waits already stays as it is; it may be told again.
	AskFor(ctx context.Context, step Step, r Request, rules RequestRules) (RequestResult, error)
	// AnswerRequest takes the request's next step, and with the last does what it wants.
	// ErrNotFound if none waits under this token in this phase (any more).
	AnswerRequest(ctx context.Context, step Step, a Answer) (RequestResult, error)
	// Request returns the request that waits under a token; ErrNotFound if there is none
	// (any more).
	Request(ctx context.Context, listID int64, token string, at time.Time) (Request, error)
	// Requests yields those that wait on a list, oldest first.
	Requests(ctx context.Context, listID int64, at time.Time) iter.Seq2[Request, error]
}
