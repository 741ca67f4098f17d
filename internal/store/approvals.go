package store

import (
	"context"
	"errors"
	"time"
)

// Approval is a one-time password with which a post passes the checks of a list.
type Approval struct {
	ListID  int64
	Hash    string // what sdk/password makes of it: the password itself is nowhere
	Note    string // for people: for what it was made
	Added   time.Time
	Expires time.Time
	Used    time.Time // zero until then
	Entry   string    // of the post that used it
}

// MaxApprovals is how many one-time passwords of one list may be open at once.
const MaxApprovals = 100

// ErrApprovalGone says that a post used a one-time password that has been used, or revoked,
// since the post was judged. The post is as it was: it is to be judged again.
var ErrApprovalGone = errors.New("the one-time password was used or revoked meanwhile")

// Approvals keeps one-time passwords. Post.Approval uses one up.
type Approvals interface {
	// AddApproval adds one; ErrExists if it is there, ErrNotFound if its list is not, an error
	// if MaxApprovals are open at Added.
	AddApproval(ctx context.Context, a Approval) error
	// Approvals returns all that the store still knows of a list, the latest first.
	Approvals(ctx context.Context, listID int64) ([]Approval, error)
	// OpenApprovals are the hashes that a post which came in at a time may use: of those that
	// are neither used nor expired then, and of one that this very entry used. So a post that
	// is run again after a crash is judged as the first time.
	OpenApprovals(ctx context.Context, listID int64, entry string, at time.Time) ([]string, error)
	// RevokeApproval takes an unused one away; ErrNotFound if there is none.
	RevokeApproval(ctx context.Context, listID int64, hash string) error
}
