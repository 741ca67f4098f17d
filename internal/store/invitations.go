package store

import (
	"context"
	"iter"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
)

// Invitation asks somebody to join a list. There is at most one for an address on a list; it
// is kept after its answer, so that it can be told who was invited by whom.
type Invitation struct {
	Token       string // whoever has it may answer, once
	ListID      int64
	Address     address.Address
	DisplayName string
	Mode        list.Mode // of the member-to-be
	Language    string    // likewise
	By          string    // who invites
	Text        string    // what they say to it; may be nothing
	Invited     time.Time
	Sent        time.Time // when it was sent last; zero is never
	Times       int       // how often it was sent
	Expires     time.Time
	Answer      InviteAnswer
	Answered    time.Time
}

// Waits tells whether an answer still counts.
func (i *Invitation) Waits(at time.Time) bool { return i.Answer == "" && at.Before(i.Expires) }

// State is what has become of the invitation, in a word: waiting, expired, or the answer.
func (i *Invitation) State(at time.Time) string {
	switch {
	case i.Answer != "":
		return string(i.Answer)
	case i.Waits(at):
		return "waiting"
	}
	return "expired"
}

// InviteAnswer is how an invitation ended; "" is not yet.
type InviteAnswer string

// Answers to invitations.
const (
	InviteAccepted  InviteAnswer = "accepted"
	InviteDeclined  InviteAnswer = "declined"
	InviteWithdrawn InviteAnswer = "withdrawn" // by who looks after the list
)

// InviteOutcome is what became of one who was to be invited.
type InviteOutcome string

// Outcomes of Invite. With the first two, the invitation is to be sent.
const (
	InviteNew      InviteOutcome = "invited"
	InviteAgain    InviteOutcome = "invited_again"
	InviteMember   InviteOutcome = "member"   // who is one needs none
	InviteWaits    InviteOutcome = "waiting"  // it was sent lately, or often enough
	InviteUnwanted InviteOutcome = "declined" // who has declined is not asked again
	InviteFull     InviteOutcome = "full"     // too many invitations wait
	InviteBanned   InviteOutcome = "banned"   // for who asks the store: it knows no bans here
	InviteNotHere  InviteOutcome = "list"     // likewise: it is a list's address
)

// InviteRules bound what one address is sent.
type InviteRules struct {
	Life  time.Duration // of an invitation
	Every time.Duration // between two sendings
	// Declined: also who has declined is invited anew.
	Declined bool
}

// InviteResult is what became of one who was to be invited; Invitation is as it is now.
type InviteResult struct {
	Outcome    InviteOutcome
	Invitation Invitation
}

// MaxInvitations is how many invitations wait on one list; then no more are taken.
const MaxInvitations = 10_000

// Invitations keeps who was asked to join.
type Invitations interface {
	// Invite files invitations (of which address, name, mode, language, by and text matter), all
	// or none, and tells of each what became of it. One that waits keeps its token and is
	// sent again, MaxTold times in all; one that was never sent is sent in any case.
	Invite(ctx context.Context, listID int64, at time.Time, rules InviteRules, in []Invitation) ([]InviteResult, error)
	// SendInvitation counts a sending, the number-th, and returns the invitation; ErrNotFound
	// if none waits under the token, or it was sent so often already.
	SendInvitation(ctx context.Context, step Step, token string, number int) (Invitation, error)
	// AnswerInvitation ends an invitation: who accepts is a member, and needs no moderator.
	// ErrNotFound if none waits under the token (any more).
	AnswerInvitation(ctx context.Context, step Step, token string, accept bool) (RequestResult, error)
	// WithdrawInvitation makes a token serve no more; ErrNotFound if none waits for the address.
	WithdrawInvitation(ctx context.Context, listID int64, addr address.Address, at time.Time) error
	// Invitation finds an invitation by its token, whatever has become of it.
	Invitation(ctx context.Context, listID int64, token string) (Invitation, error)
	// Invitations yields all of a list, the latest first.
	Invitations(ctx context.Context, listID int64) iter.Seq2[Invitation, error]
}

// OutcomeDeclined is that of an invitation which was not accepted.
const OutcomeDeclined Outcome = "declined"
