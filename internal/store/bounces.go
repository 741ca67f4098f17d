package store

import (
	"context"
	"iter"
	"time"

	"github.com/mlist/mlist/internal/address"
)

// BounceEvent is one refusal of one member's mail.
type BounceEvent struct {
	ListID    int64
	Recipient address.Address
	Entry     string // the bounce entry's id: the same entry and recipient count once
	At        time.Time
	Status    string // RFC 3463, such as 5.1.1
	Hard      bool   // permanent, and the recipient's own: not a refusal of the post itself
	Text      string // what the far end said
	Class     string // bounce.Class
	Post      string // what names the post; "" if the bounce does not say
	Blameless bool   // the far end did not like the post, or who sent it
	// Points are what it counts at most. Once it is filed: what it did count.
	Points float64
	// Proven: nobody else could have written the bounce.
	Proven bool
}

// BounceRules are how a list counts bounces. The zero value counts nothing.
type BounceRules struct {
	Process    bool
	Threshold  float64       // at which score delivery ends
	StaleAfter time.Duration // without a bounce: the score starts again
	Probe      bool          // ask with a probe before delivery is disabled
	ProbeWait  time.Duration // a probe that has not come back then has arrived
	Warnings   int           // to a member whose delivery is disabled, before it is removed
	WarnEvery  time.Duration
	// BlameAbove is the percentage of members of whom a post may be refused for its own
	// sake; above it, the post counts against nobody. 0 is no limit.
	BlameAbove int
	// TellIncrement makes a task of every score that rises.
	TellIncrement bool
}

// BlameLeast is how many refusals it takes to blame a post, however small the list.
const BlameLeast = 5

// BouncePhase is how far it has come with a member.
type BouncePhase int

// Phases of a member that bounces.
const (
	BounceCounting BouncePhase = iota // the score is below the threshold
	BounceProbed                      // a probe is on its way
	BounceDisabled                    // delivery is disabled, and the member is warned
)

// BounceState is the score of a member. The zero value is that of one that never bounced.
type BounceState struct {
	Address  address.Address
	Score    float64
	Last     time.Time // of the last bounce that counted
	Unproven bool      // some of the score is from bounces that anybody could have written
	Phase    BouncePhase
	Warnings int       // sent since delivery was disabled
	Token    string    // of the probe, or to enable delivery again
	Due      time.Time // when the next step comes; zero is never
}

// BounceTask is something that people are to be told because of bounces. It was decided
// in the transaction that counted the bounce, and stays until it is done.
type BounceTask struct {
	ID      int64
	ListID  int64
	List    address.Address
	Kind    string // one of the Task constants
	Address address.Address
	At      time.Time
	Token   string
	Reason  string
	Score   float64
	Number  int // of the warning; of refusals
}

// Kinds of task.
const (
	TaskProbe     = "probe"     // send the member a probe, with Token
	TaskDisabled  = "disabled"  // tell the owners
	TaskWarning   = "warning"   // warn the member, with Token to enable delivery again
	TaskRemoved   = "removed"   // tell the owners
	TaskIncrement = "increment" // tell the owners
	TaskBlamed    = "blamed"    // tell the owners that a post was refused: Reason names it
)

// Complaint is a member's word that the list's mail is unwanted (RFC 5965).
type Complaint struct {
	Address address.Address
	Why     string // type and who passed it on
	Then    ComplaintAction
}

// ComplaintAction is what follows from a complaint.
type ComplaintAction string

// What may follow, beside that it is written down.
const (
	ComplaintRecord      ComplaintAction = ""
	ComplaintDisable     ComplaintAction = "disable"
	ComplaintUnsubscribe ComplaintAction = "unsubscribe"
)

// HistoryEvent is a change of a member's delivery.
type HistoryEvent struct {
	At   time.Time
	What string // "score", "probe", "enabled", "disabled", "removed", ...
	By   string // who did it; "bounces" if mlist did
	Why  string
}

// DueBounce is a member for whom the next step has come.
type DueBounce struct {
	ListID  int64
	List    address.Address
	Address address.Address
}

// Bounces counts what comes back from members, and draws the consequences. Each method is
// one transaction; what it decides that people are to be told waits as a BounceTask.
type Bounces interface {
	// RecordBounces files the events of a bounce, all of one list, and moves the scores: at
	// most one rise a member a day (UTC), and none while delivery is disabled anyway or a
	// probe is on its way. Events that are filed change nothing, nor does one that says the
	// same of the same post and member; those of lists that are gone are dropped.
	RecordBounces(ctx context.Context, rules BounceRules, events []BounceEvent) error
	// ProbeBounced disables the delivery of the member whose probe has this token, which
	// ends with that. false if no probe has it (any more).
	ProbeBounced(ctx context.Context, rules BounceRules, listID int64, token string, at time.Time, why string) (bool, error)
	// EnableByToken enables the delivery of the member of the list whose warning had this
	// token; ErrNotFound if there is none (any more). A second run of the step finds the same
	// member again.
	EnableByToken(ctx context.Context, step Step, token string) (address.Address, error)
	// RecordComplaint writes into a member's history that it does not want the list's mail, and
	// does what is to follow: once a step. OutcomeUnchanged if it is no member.
	RecordComplaint(ctx context.Context, step Step, c Complaint) (Outcome, error)
	// ResetBounces sets a member's score to nothing, and enables delivery if it was bounces
	// that disabled it. ErrNotFound if there is no such member.
	ResetBounces(ctx context.Context, listID int64, addr address.Address, at time.Time, by, why string) error
	// DueBounces yields those for whom the next step has come.
	DueBounces(ctx context.Context, now time.Time) iter.Seq2[DueBounce, error]
	// AdvanceBounce takes the next step: a probe that did not come back resets the score; a
	// member whose delivery is disabled is warned once more, or removed.
	AdvanceBounce(ctx context.Context, rules BounceRules, listID int64, addr address.Address, now time.Time) error
	// BounceTasks yields what people are to be told, in the order in which it was decided.
	BounceTasks(ctx context.Context) iter.Seq2[BounceTask, error]
	// DoneBounceTask forgets a task.
	DoneBounceTask(ctx context.Context, id int64) error

	// BounceEvents yields the events of a list, newest first.
	BounceEvents(ctx context.Context, listID int64) iter.Seq2[BounceEvent, error]
	// MemberBounces is BounceEvents of one member, the newest limit of them.
	MemberBounces(ctx context.Context, listID int64, addr address.Address, limit int) ([]BounceEvent, error)
	// BounceStates yields the members of a list who have a score, by address.
	BounceStates(ctx context.Context, listID int64) iter.Seq2[BounceState, error]
	// BounceState returns one member's.
	BounceState(ctx context.Context, listID int64, addr address.Address) (BounceState, error)
	// MemberHistory returns the newest changes of a member's delivery, oldest first.
	MemberHistory(ctx context.Context, listID int64, addr address.Address, limit int) ([]HistoryEvent, error)
	// PruneBounces forgets events and history from before t.
	PruneBounces(ctx context.Context, t time.Time) error
}
