package pipeline

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk"
)

// included finds the lists of a rule and those that they include, each once, nearest
// first; the list of the post is none of them. The settings may make a circle, or name
// what is gone: that a list was changed must not stop another one's post.
func (d *Daemon) included(ctx context.Context, own int64, r sdk.Rule) ([]int64, error) {
	seen := map[int64]bool{own: true}
	passed := map[string]bool{}
	named := keysOf(r.Addresses)
	var ids []int64
	level := parseAll(r.Lists)
	for depth := 0; len(level) > 0; depth++ {
		var next []address.Address
		for _, a := range level {
			if passed[a.Key()] {
				continue
			}
			passed[a.Key()] = true
			l, err := d.find(ctx, a)
			if err != nil {
				return nil, err
			}
			if l == nil || seen[l.ID] {
				continue
			}
			copied, err := d.hasCopy(ctx, l, named, r.Authors)
			if err != nil {
				return nil, err
			}
			if copied {
				continue
			}
			if depth == list.MaxIncludeDepth || len(ids) == list.MaxIncluded {
				d.log.Error("include_lists goes too far: some members get no copy", "list", l.Address, "depth", depth, "lists", len(ids))
				return ids, nil
			}
			seen[l.ID] = true
			ids = append(ids, l.ID)
			next = append(next, parseAll(l.Settings.IncludeLists)...)
		}
		level = next
	}
	return ids, nil
}

// siblings finds the lists of a rule whose members have a copy already.
func (d *Daemon) siblings(ctx context.Context, r sdk.Rule) ([]int64, error) {
	var ids []int64
	named := keysOf(r.Addresses)
	for _, a := range parseAll(r.Lists) {
		l, err := d.find(ctx, a)
		if err != nil {
			return nil, err
		}
		if l == nil || slices.Contains(ids, l.ID) || len(ids) == list.MaxIncluded {
			continue
		}
		copied := len(r.Addresses) == 0
		if !copied {
			if copied, err = d.hasCopy(ctx, l, named, r.Authors); err != nil {
				return nil, err
			}
		}
		if copied {
			ids = append(ids, l.ID)
		}
	}
	return ids, nil
}

// hasCopy tells whether a list gets the post itself: it is named, by one of its addresses,
// and takes it from one of the authors.
func (d *Daemon) hasCopy(ctx context.Context, l *list.List, named map[string]bool, authors []string) (bool, error) {
	if len(named) == 0 {
		return false, nil
	}
	is := named[l.Address.Key()]
	if !is {
		aliases, err := d.store.Aliases(ctx, l.ID)
		if err != nil {
			return false, storeFailed("look for other addresses of a list", err)
		}
		is = slices.ContainsFunc(aliases, func(a address.Address) bool { return named[a.Key()] })
	}
	if !is {
		return false, nil
	}
	return d.takes(ctx, l, parseAll(authors))
}

// takes tells whether a list takes what one of these writes, as far as can be told without
// running its stages. What a moderator has to let through counts if a member wrote it.
func (d *Daemon) takes(ctx context.Context, l *list.List, authors []address.Address) (bool, error) {
	if code, _ := l.Refusal(); code != "" {
		return false, nil
	}
	if len(authors) == 0 {
		return true, nil
	}
	all, err := d.store.Standings(ctx, l.ID, authors)
	if err != nil {
		return false, storeFailed("look up what authors are on another list", err)
	}
	s := &l.Settings
	strangers := len(authors)
	for _, a := range authors {
		known := false
		for _, st := range all {
			if st.Of.Key() != a.Key() {
				continue
			}
			switch action := st.Action; st.Role {
			case list.Member, list.Sender:
				known = true
				if action = cmp.Or(action, s.DefaultMemberAction); action != list.Reject && action != list.Discard {
					return true, nil
				}
			case list.Nonmember:
				known = true
				if isLetThrough(cmp.Or(action, s.DefaultNonmemberAction)) {
					return true, nil
				}
			}
		}
		if known {
			strangers--
		}
	}
	return strangers > 0 && isLetThrough(s.DefaultNonmemberAction), nil
}

func isLetThrough(a list.Action) bool { return a == list.Accept || a == list.Defer }

// keysOf are the keys of those of the texts that are addresses.
func keysOf(texts []string) map[string]bool {
	keys := map[string]bool{}
	for _, a := range parseAll(texts) {
		keys[a.Key()] = true
	}
	return keys
}

// find reads a list; nil if it is gone.
func (d *Daemon) find(ctx context.Context, a address.Address) (*list.List, error) {
	l, err := d.store.List(ctx, a)
	if errors.Is(err, store.ErrNotFound) {
		d.log.Warn("a setting names a list that is not there", "named", a)
		return nil, nil
	}
	if err != nil {
		return nil, storeFailed("look a list up", err)
	}
	return l, nil
}
