package pipeline

import (
	"context"
	"errors"

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
	for _, a := range parseAll(r.Addresses) {
		passed[a.Key()] = true
	}
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

// named finds the lists of these addresses.
func (d *Daemon) named(ctx context.Context, addrs []string) ([]int64, error) {
	var ids []int64
	for _, a := range parseAll(addrs) {
		l, err := d.find(ctx, a)
		if err != nil {
			return nil, err
		}
		if l != nil && len(ids) < list.MaxIncluded {
			ids = append(ids, l.ID)
		}
	}
	return ids, nil
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
