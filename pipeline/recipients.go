package pipeline

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk"
)

// choose runs the recipient rules and yields every address that one of them selects
// or adds and none excludes, each once. Members stream: memory does not grow with the
// lists.
func (d *Daemon) choose(ctx context.Context, listID int64, rules []sdk.Rule, yield func(addr string) error) error {
	c, err := d.choice(ctx, listID, rules)
	if err != nil {
		return err
	}
	people, err := d.people(ctx, c)
	if err != nil {
		return err
	}
	for some, err := range d.store.Recipients(ctx, c.sources...) {
		if err != nil {
			return storeFailed("read the recipients", err)
		}
		for _, r := range some {
			if c.excluded(r) || people.waits(r) {
				continue
			}
			if err := yield(r.Address); err != nil {
				return err
			}
		}
	}
	for _, addr := range people.first() {
		if err := yield(addr); err != nil {
			return err
		}
	}
	for batch := range slices.Chunk(c.adds, lookupBatch) {
		seen, err := d.selected(ctx, c.sources, batch)
		if err != nil {
			return err
		}
		for _, a := range batch {
			if c.excludes[a.Key()].always || seen[a.Key()] {
				continue
			}
			if err := yield(a.String()); err != nil {
				return err
			}
		}
	}
	return nil
}

// choice is the rules in the form in which they are applied.
type choice struct {
	sources  []store.Source
	adds     []address.Address
	excludes map[string]exclusion // by address key
	anyone   bool                 // some exclusion does not depend on a flag
}

// exclusion says when an address is left out.
type exclusion struct{ always, noOwnPosts, noDuplicates bool }

func (d *Daemon) choice(ctx context.Context, listID int64, rules []sdk.Rule) (*choice, error) {
	c := &choice{excludes: map[string]exclusion{}}
	added := map[string]bool{}
	for _, r := range rules {
		switch r.Kind {
		case sdk.RuleSelect:
			ids := []int64{listID}
			if len(r.Lists) > 0 {
				var err error
				if ids, err = d.included(ctx, listID, r); err != nil {
					return nil, err
				}
			}
			c.addSources(ids, r, false)
		case sdk.RuleAdd:
			for _, a := range parseAll(r.Addresses) {
				if !added[a.Key()] {
					added[a.Key()] = true
					c.adds = append(c.adds, a)
				}
			}
		case sdk.RuleExclude:
			if len(r.Lists) > 0 {
				ids, err := d.siblings(ctx, r)
				if err != nil {
					return nil, err
				}
				c.addSources(ids, r, true)
				continue
			}
			c.exclude(r)
		}
	}
	if n := c.walks(); n > store.MaxSources {
		return nil, permanentError{fmt.Errorf("the recipient rules choose %d roles of lists, at most %d are allowed", n, store.MaxSources)}
	}
	return c, nil
}

func (c *choice) addSources(ids []int64, r sdk.Rule, except bool) {
	f := store.Filter{Roles: words[list.Role](r.Roles), Modes: words[list.Mode](r.Modes), Statuses: words[list.Status](r.Statuses), Topics: r.Topics}
	for _, id := range ids {
		c.sources = append(c.sources, store.Source{ListID: id, Filter: f, Except: except})
	}
}

// walks counts as the store does.
func (c *choice) walks() int {
	n := 0
	for _, s := range c.sources {
		if n += len(s.Filter.Roles); len(s.Filter.Roles) == 0 {
			n += len(list.Roles)
		}
	}
	return n
}

func (c *choice) exclude(r sdk.Rule) {
	for _, a := range parseAll(r.Addresses) {
		x := c.excludes[a.Key()]
		switch r.Flag {
		case "no_own_posts":
			x.noOwnPosts = true
		case "no_duplicates":
			x.noDuplicates = true
		default:
			x.always = true
			c.anyone = true
		}
		c.excludes[a.Key()] = x
	}
}

func words[T ~string](in []string) []T {
	out := make([]T, len(in))
	for i, w := range in {
		out[i] = T(w)
	}
	return out
}

// parseAll reads addresses out of a header, where junk is no reason to stop.
func parseAll(texts []string) []address.Address {
	var out []address.Address
	for _, t := range texts {
		if a, err := address.Parse(t); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// excluded tells whether r is left out. The common case, a member with no wishes and
// no exclusion of everybody, costs no look-up.
func (c *choice) excluded(r store.Recipient) bool {
	if len(c.excludes) == 0 || !(c.anyone || r.NoOwnPosts || r.NoDuplicates) {
		return false
	}
	a, err := address.Parse(r.Address)
	if err != nil {
		return false
	}
	x := c.excludes[a.Key()]
	return x.always || x.noOwnPosts && r.NoOwnPosts || x.noDuplicates && r.NoDuplicates
}

// lookupBatch is how many addresses one query asks for.
const lookupBatch = 100

// selected tells which of the addresses have been chosen by a source, or taken away.
func (d *Daemon) selected(ctx context.Context, sources []store.Source, addrs []address.Address) (map[string]bool, error) {
	seen := map[string]bool{}
	byList := map[int64][]store.Filter{}
	for _, s := range sources {
		byList[s.ListID] = append(byList[s.ListID], s.Filter)
	}
	for id, filters := range byList {
		memberships, err := d.store.Memberships(ctx, id, addrs)
		if err != nil {
			return nil, storeFailed("look recipients up", err)
		}
		for _, m := range memberships {
			if slices.ContainsFunc(filters, func(f store.Filter) bool { return matches(f, m) }) {
				seen[m.Address.Key()] = true
			}
		}
	}
	return seen, nil
}

// matches is what the store does for a stream of recipients.
func matches(f store.Filter, m list.Membership) bool {
	return (len(f.Roles) == 0 || slices.Contains(f.Roles, m.Role)) &&
		(len(f.Modes) == 0 || slices.Contains(f.Modes, m.Mode)) &&
		(len(f.Statuses) == 0 || slices.Contains(f.Statuses, m.Status)) &&
		(len(f.Topics) == 0 || m.Topics == "" || slices.ContainsFunc(f.Topics, func(topic string) bool {
			return topic == "" && m.Nonmatching || topic != "" && slices.Contains(strings.Split(m.Topics, "\n"), topic)
		}))
}
