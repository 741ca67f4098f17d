package store

import (
	"context"
	"iter"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
)

// DomainRole is what an address is to all lists of a domain.
type DomainRole struct {
	Domain      string
	Role        list.Role // Owner, Moderator or Sender
	Address     address.Address
	DisplayName string
	Added       time.Time
}

// MaxAddresses is how many addresses one person can have.
const MaxAddresses = 10

// Persons are addresses of people who have several, by Key.
type Persons map[string]Person

// Person is whose an address is.
type Person struct {
	ID    string
	Place int // of the address among the person's, by when they came
}

// People keeps whose addresses belong together, and who looks after domains.
type People interface {
	// Standings returns every role in which each of the addresses acts on the list.
	Standings(ctx context.Context, listID int64, addrs []address.Address) ([]list.Standing, error)
	// LinkAddress makes both addresses one person's, with all that are linked to either. Of two
	// that are new, one comes before other. ErrTooMany if that were too many.
	LinkAddress(ctx context.Context, one, other address.Address, at time.Time) error
	// UnlinkAddress makes an address one of its own; ErrNotFound if it is.
	UnlinkAddress(ctx context.Context, addr address.Address) error
	// LinkedAddresses returns the other addresses of the one's person, as they came.
	LinkedAddresses(ctx context.Context, addr address.Address) ([]address.Address, error)
	// Persons returns all addresses of people who have several, and are a member of one of
	// the lists with one of them.
	Persons(ctx context.Context, listIDs []int64) (Persons, error)

	// AddDomainRole gives an address a role on all lists of a domain, also of those to come;
	// ErrExists if it has it, ErrNotFound if the domain has never had a list.
	AddDomainRole(ctx context.Context, r DomainRole) error
	// RemoveDomainRole takes it away; ErrNotFound if there is none.
	RemoveDomainRole(ctx context.Context, domain string, role list.Role, addr address.Address) error
	// DomainRoles yields them by domain, role and address; of all domains if domain is "".
	DomainRoles(ctx context.Context, domain string) iter.Seq2[DomainRole, error]
}
