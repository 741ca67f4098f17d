package store

import (
	"context"
	"iter"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
)

// MaxAliases is how many other addresses one list may have.
const MaxAliases = 50

// DeletedList is a list that can be had back.
type DeletedList struct {
	Address address.Address
	Until   time.Time // then its rows go
}

// Lives is what happens to a list between its creation and its end.
type Lives interface {
	// SetState changes whether a list takes posts; why is for those who post.
	SetState(ctx context.Context, addr address.Address, s list.State, why string) (*list.List, error)
	// RenameList gives a list another address, in one transaction. The old one becomes an
	// alias of it, and so all that goes to it or to its role addresses goes on working:
	// members, archive, numbers and settings are the same list's. ErrExists as CreateList.
	RenameList(ctx context.Context, from, to address.Address) (*list.List, error)
	// AddAlias gives a list one more address under which it is found. ErrExists as
	// CreateList; one that the list has already is no error.
	AddAlias(ctx context.Context, addr, alias address.Address) error
	// RemoveAlias takes an alias away; ErrNotFound if it is none.
	RemoveAlias(ctx context.Context, alias address.Address) error
	// Aliases are the other addresses of a list, in the order of their keys.
	Aliases(ctx context.Context, listID int64) ([]address.Address, error)
	// BuryList is DeleteList with a way back: until that time RestoreList can undo it, and
	// then Prune removes the rows. The address is free meanwhile.
	BuryList(ctx context.Context, addr address.Address, until time.Time) error
	// RestoreList brings a list back that BuryList buried, the last one with this address.
	// ErrNotFound if there is none (any more), ErrExists if the address is taken.
	RestoreList(ctx context.Context, addr address.Address) (*list.List, error)
	// DeletedLists yields those that RestoreList could bring back.
	DeletedLists(ctx context.Context) iter.Seq2[DeletedList, error]
}
