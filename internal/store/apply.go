package store

import (
	"context"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
)

// ListSpec is how a list is to be. What is nil stays as it is.
type ListSpec struct {
	Address  address.Address
	Style    *string
	State    *list.State
	Why      *string
	Settings map[string]string // in text form: all that the list sets itself, over its style
	Aliases  *[]address.Address
	// Roles are who is to have a role, such as owner; a role that is not there stays as it is.
	Roles map[list.Role][]list.Membership
}

// ListDiff is in what a list is not as its ListSpec.
type ListDiff struct {
	Address address.Address
	Created bool // it is not there
	Changes []Change
}

// Change is one thing that becomes another.
type Change struct {
	What     string // "style", "state", the name of a setting, "alias", or a role
	Old, New string // of an alias, or an address with a role, one of them is ""
}

// Applier makes lists as they are to be.
type Applier interface {
	// SetStyles has lists follow these styles from now on, as this handle on the store sees
	// them. It fails, and changes nothing, if a list has one that is not there.
	SetStyles(ctx context.Context, styles *list.Styles) error
	// SetSite gives the site an address of its own with this local part, in each domain that
	// has lists, as this handle resolves addresses; "" is none. No list gets that name then; one that has
	// it already comes before the site.
	SetSite(local string)
	// Site returns what SetSite was told; "" at first.
	Site() string
	// ApplyLists makes the lists as specs say, in one transaction, those that are not there
	// included, and tells what it has changed; with dry it changes nothing and tells the
	// same. Lists that specs do not name stay as they are.
	ApplyLists(ctx context.Context, specs []ListSpec, dry bool) ([]ListDiff, error)
}
