package pipeline

import (
	"context"
	"slices"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// people sees to it that who is chosen with several addresses gets one copy: at the address
// that came to be theirs first. They wait until all members have been seen; those are few.
type people struct {
	known  store.Persons
	chosen map[string]copyTo // by person
}

// copyTo is the best address of a person so far.
type copyTo struct {
	addr  string
	place int
}

// people reads who has several addresses, of the lists whose members are chosen, and makes
// what excludes one address of a person exclude all: a post of one's own, or one that names
// them, does so at any.
func (d *Daemon) people(ctx context.Context, c *choice) (*people, error) {
	var ids []int64
	for _, s := range c.sources {
		members := len(s.Filter.Roles) == 0 || slices.Contains(s.Filter.Roles, list.Member)
		if members && !s.Except && !slices.Contains(ids, s.ListID) {
			ids = append(ids, s.ListID)
		}
	}
	known, err := d.store.Persons(ctx, ids)
	if err != nil {
		return nil, storeFailed("look for people with several addresses", err)
	}
	byPerson := map[string]exclusion{}
	for key, x := range c.excludes {
		if p, ok := known[key]; ok {
			all := byPerson[p.ID]
			byPerson[p.ID] = exclusion{all.always || x.always, all.noOwnPosts || x.noOwnPosts, all.noDuplicates || x.noDuplicates}
		}
	}
	if len(byPerson) > 0 {
		for key, p := range known {
			if x, ok := byPerson[p.ID]; ok {
				c.excludes[key] = x
			}
		}
	}
	return &people{known: known, chosen: map[string]copyTo{}}, nil
}

// waits tells whether a recipient is one of several addresses of a person, and keeps it.
func (p *people) waits(r store.Recipient) bool {
	if len(p.known) == 0 {
		return false
	}
	a, err := address.Parse(r.Address)
	if err != nil {
		return false
	}
	whose, ok := p.known[a.Key()]
	if !ok {
		return false
	}
	if best, some := p.chosen[whose.ID]; !some || whose.Place < best.place {
		p.chosen[whose.ID] = copyTo{r.Address, whose.Place}
	}
	return true
}

// first are the addresses at which people get their copies.
func (p *people) first() []string {
	var out []string
	for _, c := range p.chosen {
		out = append(out, c.addr)
	}
	slices.Sort(out)
	return out
}
