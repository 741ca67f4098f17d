package store

import (
	"context"
	"iter"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
)

// ListRole is a role of an address on some list.
type ListRole struct {
	ListID int64
	List   address.Address
	Role   list.Role
	// Merged: the new address had the role there already, and the old one's has gone.
	Merged bool
}

// Mover finds an address on all lists, and gives what it is there to another one.
type Mover interface {
	// RolesOf yields what an address is, by list.
	RolesOf(ctx context.Context, addr address.Address) iter.Seq2[ListRole, error]
	// MoveAddress gives every role of an address to another one, on all lists but those of
	// except, in one transaction, with all that the member has chosen. Of an address that has
	// the role itself, its own choices stay. Its links and its roles in domains go with it, also if it is
	// on no list. by and why go into the members' history.
	MoveAddress(ctx context.Context, from, to address.Address, except []int64, by, why string) ([]ListRole, error)
}
