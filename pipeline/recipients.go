package pipeline

import (
	"context"
	"fmt"
	"slices"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk"
)

// choose runs the recipient rules and yields every address that one of them selects
// or adds and none excludes, each once. Members stream: memory does not grow with the
// list.
func (d *Daemon) choose(ctx context.Context, listID int64, rules []sdk.Rule, yield func(addr string) error) error {
	c := newChoice(rules)
	for i, f := range c.selects {
		if err := d.stream(ctx, listID, c, i, f, yield); err != nil {
			return err
		}
	}
	for start := 0; start < len(c.adds); start += lookupBatch {
		batch := c.adds[start:min(start+lookupBatch, len(c.adds))]
		seen, err := d.selected(ctx, listID, c.selects, batch)
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
	selects  []store.Filter
	adds     []address.Address
	excludes map[string]exclusion // by address key
	anyone   bool                 // some exclusion does not depend on a flag
}

// exclusion says when an address is left out.
type exclusion struct{ always, noOwnPosts, noDuplicates bool }

func newChoice(rules []sdk.Rule) *choice {
	c := &choice{excludes: map[string]exclusion{}}
	added := map[string]bool{}
	for _, r := range rules {
		switch r.Kind {
		case sdk.RuleSelect:
			roles := words[list.Role](r.Roles)
			if len(roles) == 0 {
				roles = list.Roles
			}
			// One role at a time, an address comes at most once.
			for _, role := range roles {
				c.selects = append(c.selects, store.Filter{
					Roles:    []list.Role{role},
					Modes:    words[list.Mode](r.Modes),
					Statuses: words[list.Status](r.Statuses),
				})
			}
		case sdk.RuleAdd:
			for _, a := range parseAll(r.Addresses) {
				if !added[a.Key()] {
					added[a.Key()] = true
					c.adds = append(c.adds, a)
				}
			}
		case sdk.RuleExclude:
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
	}
	return c
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

// stream yields the recipients of the i-th selection that no selection before it had.
func (d *Daemon) stream(ctx context.Context, listID int64, c *choice, i int, f store.Filter, yield func(string) error) error {
	var batch []address.Address
	flush := func() error {
		seen, err := d.selected(ctx, listID, c.selects[:i], batch)
		if err != nil {
			return err
		}
		for _, a := range batch {
			if seen[a.Key()] {
				continue
			}
			if err := yield(a.String()); err != nil {
				return err
			}
		}
		batch = batch[:0]
		return nil
	}
	for r, err := range d.store.Recipients(ctx, listID, f) {
		if err != nil {
			return storeFailed("read the recipients", err)
		}
		if c.excluded(r) {
			continue
		}
		if i == 0 { // nothing to compare with: the text goes on as it is
			if err := yield(r.Address); err != nil {
				return err
			}
			continue
		}
		a, err := address.Parse(r.Address)
		if err != nil {
			return fmt.Errorf("recipient: %w", err)
		}
		if batch = append(batch, a); len(batch) == lookupBatch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// selected tells which of the addresses one of the selections chooses.
func (d *Daemon) selected(ctx context.Context, listID int64, selects []store.Filter, addrs []address.Address) (map[string]bool, error) {
	seen := map[string]bool{}
	if len(selects) == 0 || len(addrs) == 0 {
		return seen, nil
	}
	memberships, err := d.store.Memberships(ctx, listID, addrs)
	if err != nil {
		return nil, storeFailed("look recipients up", err)
	}
	for _, m := range memberships {
		for _, f := range selects {
			if matches(f, m) {
				seen[m.Address.Key()] = true
			}
		}
	}
	return seen, nil
}

func matches(f store.Filter, m list.Membership) bool {
	return (len(f.Roles) == 0 || slices.Contains(f.Roles, m.Role)) &&
		(len(f.Modes) == 0 || slices.Contains(f.Modes, m.Mode)) &&
		(len(f.Statuses) == 0 || slices.Contains(f.Statuses, m.Status))
}
