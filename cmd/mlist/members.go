package main

import (
	"context"
	"iter"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk"
)

// members tells plugins who is on a list, in the words of the contract.
type members struct{ store store.Members }

// Members implements host.Members.
func (m members) Members(ctx context.Context, listID int64, f sdk.MemberFilter) iter.Seq2[sdk.Member, error] {
	filter := store.Filter{Roles: typed[list.Role](f.Roles), Modes: typed[list.Mode](f.Modes), Statuses: typed[list.Status](f.Statuses)}
	return func(yield func(sdk.Member, error) bool) {
		for have, err := range m.store.Members(ctx, listID, filter) {
			if err != nil {
				yield(sdk.Member{}, err)
				return
			}
			out := sdk.Member{Address: have.Address.String(), DisplayName: have.DisplayName, Membership: sdk.Membership{
				Role: string(have.Role), Action: string(have.Action), Mode: string(have.Mode), Status: string(have.Status),
				NoOwnPosts: have.NoOwnPosts, NoDuplicates: have.NoDuplicates, AcknowledgePosts: have.AcknowledgePosts}}
			if !yield(out, nil) {
				return
			}
		}
	}
}

func typed[T ~string](words []string) []T {
	out := make([]T, len(words))
	for i, w := range words {
		out[i] = T(w)
	}
	return out
}
