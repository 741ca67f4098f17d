package store

import (
	"context"
	"iter"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
)

// Sync is how SyncMembers works.
type Sync struct {
	Role list.Role
	// Dry: nothing is changed, and all the rest is the same.
	Dry bool
	// MaxRemoved is which share of those who have the role may lose it, from 0 to 1: if more
	// would, nothing is changed at all.
	MaxRemoved float64
	By, Why    string // for the members' history
}

// SyncResult is what SyncMembers has done, or would do.
type SyncResult struct {
	Before, Added, Removed, Unchanged int64
	Twice                             int64 // addresses that came more than once
	Refused                           bool  // more than MaxRemoved would go: nothing was changed
}

// Syncer makes a list's members those of elsewhere.
type Syncer interface {
	// SyncMembers has exactly those addresses have a role that members yields, in one
	// transaction: who is new is added as members has it, who is not among them loses the
	// role, and who is there stays as they are. An error of members changes nothing.
	// progress, if not nil, is told how many have been read; row, if not nil, of each change,
	// those who go first, when all is done.
	SyncMembers(ctx context.Context, listID int64, how Sync, members iter.Seq2[list.Membership, error], progress func(read int64), row func(a address.Address, added bool) error) (SyncResult, error)
}
