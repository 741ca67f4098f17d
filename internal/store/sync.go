package store

import (
	"context"
	"iter"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
)

// SyncKind is what SyncMembers does with who is named.
type SyncKind int

// Kinds of Sync.
const (
	SyncAll    SyncKind = iota // exactly those have the role
	SyncAdd                    // those have it, and who has it keeps it; each may name another role than the Sync's
	SyncRemove                 // those lose it
)

// SyncChange is what becomes of an address, or would.
type SyncChange string

// Changes. The others are told of who is named in SyncAdd and SyncRemove and needs none.
const (
	SyncAdded    SyncChange = "added"
	SyncRemoved  SyncChange = "removed"
	SyncExisting SyncChange = "existing" // of SyncAdd
	SyncMissing  SyncChange = "missing"  // of SyncRemove
)

// Sync is how SyncMembers works.
type Sync struct {
	Kind SyncKind
	Role list.Role
	// Dry: nothing is changed, and all the rest is the same.
	Dry bool
	// MaxRemoved is which share of those who have the role may lose it, from 0 to 1: if more
	// would, nothing is changed at all.
	MaxRemoved float64
	// AlwaysRemoved is how many may, however many have it.
	AlwaysRemoved int64
	By, Why       string // for the members' history
}

// SyncResult is what SyncMembers has done, or would do.
type SyncResult struct {
	Before, Added, Removed, Unchanged int64 // with SyncAdd, Unchanged is of those that are named
	Missing                           int64 // of SyncRemove: who is named, and has not the role
	Twice                             int64 // addresses that came more than once
	Refused                           bool  // more than MaxRemoved would go: nothing was changed
}

// Syncer makes a list's members those of elsewhere.
type Syncer interface {
	// SyncMembers has exactly those addresses have a role that members yields, in one
	// transaction: who is new is added as members has it, who is not among them loses the
	// role, and who is there stays as they are; or it adds or removes those alone. An error of
	// members changes nothing. progress, if not nil, is told how many have been read; row, if
	// not nil, of each change, those who go first, when all is done.
	SyncMembers(ctx context.Context, listID int64, how Sync, members iter.Seq2[list.Membership, error], progress func(read int64), row func(a address.Address, change SyncChange) error) (SyncResult, error)
}
