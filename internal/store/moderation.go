package store

import (
	"context"
	"iter"
	"time"

	"github.com/mlist/mlist/internal/address"
)

// Verdict is what becomes of what waited for a moderator.
type Verdict string

// Verdicts.
const (
	VerdictAccept  Verdict = "accept"
	VerdictReject  Verdict = "reject"
	VerdictDiscard Verdict = "discard"
)

// Done is the word for a verdict that was given: "accepted".
func (v Verdict) Done() string {
	return map[Verdict]string{VerdictAccept: "accepted", VerdictReject: "rejected", VerdictDiscard: "discarded"}[v]
}

// HeldPost is what the store knows of a post that waits for a moderator; its bytes are in
// the spool, and as long as they are held there, it waits.
type HeldPost struct {
	ListID int64
	Entry  string // the spool's id of it
	Handle string // what moderators call it: HandleLen characters of base32, made by FileHeld
	// Sender is whom accepting from now on, or banning, is about; zero if the post does not
	// say who sent it.
	Sender address.Address
	Author string // the field From, for people
	// Subject, Reason and Code are for people, too. Reason is everything that was found,
	// a line each.
	Subject, Reason, Code string
	Size                  int64
	Held                  time.Time
	Told                  time.Time // when moderators were first told; zero: not yet
	Reminded              bool

	// Verdict is "" while it waits. With one, it was decided, and the spool is yet to do it.
	Verdict Verdict
	Why     string // of the verdict
}

// HandleLen is the length of a handle.
const HandleLen = 6

// HeldFilter chooses held posts; an empty field means any.
type HeldFilter struct {
	Sender address.Address
	After  time.Time // held later
	Until  time.Time // held then or before
	// Untold: of which moderators were not told; Unreminded: of which they were not reminded.
	Untold, Unreminded bool
	Limit              int
}

// HeldDecision is what somebody decides about a held post.
type HeldDecision struct {
	Verdict Verdict
	By, Why string
	// AcceptSender: the sender is not moderated any more. A member, or else the nonmember
	// that the sender becomes, gets the action "defer".
	AcceptSender bool
	// ClearFirst does so for a member who has no action of their own: their first posts wait
	// no longer.
	ClearFirst bool
	Ban        bool // the sender, from the list
}

// Decision is what was decided, by whom and why.
type Decision struct {
	ID      int64
	ListID  int64
	At      time.Time
	Kind    DecisionKind
	Ref     string // the handle of a post, the token of a request
	Entry   string // of a post
	Step    string // the entry that led to it; "" if none did
	Address address.Address
	Subject string // of a post; of a request, what was wanted
	Verdict Verdict
	Also    string // what else was done, such as "ban"
	By, Why string
}

// DecisionKind says what was decided about.
type DecisionKind string

// Kinds of decision.
const (
	AboutPost    DecisionKind = "post"
	AboutRequest DecisionKind = "request"
)

// Words of Decision.Also.
const (
	AlsoAcceptSender = "accept-sender"
	AlsoClearFirst   = "clear-first-posts"
	AlsoBan          = "ban"
)

// Moderated is a list on which something waits for a moderator.
type Moderated struct {
	ListID int64
	List   address.Address
}

// Telling is what moderators of a list were told of lately.
type Telling struct {
	Summary time.Time // when they were last told of all that waits
	Hour    time.Time // the hour that Notices counts
	Notices int
}

// Told is what moderators have just been told.
type Told struct {
	Telling
	Entries []string  // of posts, each by a notice of its own
	Until   time.Time // not zero: all that was held until then
	Remind  time.Time // not zero: reminded of all that was held until then
	// RemindRequests: not zero: reminded of all requests from until then.
	RemindRequests time.Time
}

// Moderation keeps what waits for moderators, and what they decided. Each method is one
// transaction.
type Moderation interface {
	// FileHeld files a post that is held; again, it waits again, with the new reason. It
	// returns the post as it is now. ErrNotFound if there is no such list.
	FileHeld(ctx context.Context, p HeldPost) (HeldPost, error)
	// Held yields the posts of a list that wait, the oldest first.
	Held(ctx context.Context, listID int64, f HeldFilter) iter.Seq2[HeldPost, error]
	// CountHeld counts them.
	CountHeld(ctx context.Context, listID int64, f HeldFilter) (int64, error)
	// HeldPost returns the post of an entry, or if that is "" of a handle; one that was
	// decided, too, until it is Settled. ErrNotFound if there is none.
	HeldPost(ctx context.Context, listID int64, entry, handle string) (HeldPost, error)
	// DecideHeld decides about the post of an entry, with all that belongs to it, if it waits.
	// first is true if that was done, now or by an earlier run of the same step; else d is
	// what was decided before. ErrNotFound if neither is known of it; ErrNoSender if it has no
	// sender to accept or ban.
	DecideHeld(ctx context.Context, step Step, entry string, h HeldDecision) (d Decision, first bool, err error)
	// UnsettledHeld yields the posts, of all lists, that were decided before t.
	UnsettledHeld(ctx context.Context, t time.Time) iter.Seq2[HeldPost, error]
	// SettleHeld forgets a post that was decided, when the spool has done it.
	SettleHeld(ctx context.Context, listID int64, entry string) error
	// ForgetHeld forgets a post whose bytes are gone.
	ForgetHeld(ctx context.Context, listID int64, entry string) error

	// Moderated yields the lists on which a post, or a request for a moderator, waits.
	Moderated(ctx context.Context) iter.Seq2[Moderated, error]
	// Telling returns what moderators were told of lately.
	Telling(ctx context.Context, listID int64) (Telling, error)
	// TellHeld records that moderators have been told.
	TellHeld(ctx context.Context, listID int64, at time.Time, t Told) error

	// Decisions yields what was decided on a list about one kind of thing, the newest first.
	Decisions(ctx context.Context, listID int64, kind DecisionKind) iter.Seq2[Decision, error]
	// DecisionOf returns the last decision about what a Ref names; ErrNotFound if there is none.
	DecisionOf(ctx context.Context, listID int64, kind DecisionKind, ref string) (Decision, error)
	// DecisionsOfStep counts the decisions that an entry has led to, by verdict.
	DecisionsOfStep(ctx context.Context, listID int64, entry string) (map[Verdict]int, error)
	// PruneDecisions forgets decisions from before t.
	PruneDecisions(ctx context.Context, t time.Time) error
}
