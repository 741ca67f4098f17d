// Package storetest is the suite that every implementation of store.Store passes:
// call Run from the implementation's tests.
package storetest

import (
	"context"
	"errors"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// Open opens one more handle on the store of one test, as another process would; the
// suite closes it.
type Open func(t *testing.T) store.Store

// Run runs the suite. fresh makes an empty store of its own for each test; name is the
// implementation's, for the output.
func Run(t *testing.T, name string, fresh func(t *testing.T) Open) {
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"lists", listTests},
		{"lives", lifeTests},
		{"styles", styleTests},
		{"apply", applyTests},
		{"members", memberTests},
		{"sync", syncTests},
		{"move", moveTests},
		{"journal", journalTests},
		{"state", stateTests},
		{"archive", archiveTests},
		{"digests", digestTests},
		{"secrets", secretTests},
		{"bans", banTests},
		{"approvals", approvalTests},
		{"bounces", bounceTests},
		{"requests", requestTests},
		{"invitations", invitationTests},
		{"people", peopleTests},
		{"arrivals", arrivalTests},
		{"moderation", moderationTests},
		{"together", togetherTests},
	} {
		for _, tt := range group.tests {
			t.Run(name+"/"+group.name+"/"+tt.name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				open := fresh(t)
				w := &world{T: t, ctx: ctx, open: open}
				w.Store = w.another()
				tt.run(w)
			})
		}
	}
}

type test struct {
	name string
	run  func(w *world)
}

// world is the store of one test, and short words for what tests do to it.
type world struct {
	*testing.T
	store.Store
	ctx  context.Context
	open Open
}

// another opens one more handle.
func (w *world) another() store.Store {
	w.Helper()
	s := w.open(w.T)
	w.Cleanup(func() {
		if err := s.Close(); err != nil {
			w.Errorf("close: %v", err)
		}
	})
	return s
}

// ok ends the test if err is an error.
func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// wants ends the test unless err is want.
func (w *world) wants(err, want error) {
	w.Helper()
	if !errors.Is(err, want) {
		w.Fatalf("error is %v, want %v", err, want)
	}
}

// fails ends the test unless err is one that a caller does not tell apart.
func (w *world) fails(err error) {
	w.Helper()
	if err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrExists) {
		w.Fatalf("error is %v, want another one", err)
	}
}

func (w *world) addr(s string) address.Address {
	w.Helper()
	a, err := address.Parse(s)
	w.ok(err)
	return a
}

// list creates a list.
func (w *world) list(addr string) *list.List {
	w.Helper()
	l := &list.List{Address: w.addr(addr), Settings: list.Defaults()}
	w.ok(w.CreateList(w.ctx, l))
	return l
}

// add adds members as addr or role:addr.
func (w *world) add(l *list.List, role list.Role, addrs ...string) {
	w.Helper()
	r, err := w.AddMembers(w.ctx, l.ID, func(yield func(list.Membership, error) bool) {
		for _, a := range addrs {
			if !yield(list.Membership{Address: w.addr(a), Role: role}, nil) {
				return
			}
		}
	}, nil)
	w.ok(err)
	if r.Added != int64(len(addrs)) {
		w.Fatalf("added %+v of %d", r, len(addrs))
	}
}

// collect reads an iterator to its end.
func collect[T any](w *world, seq iter.Seq2[T, error]) []T {
	w.Helper()
	var out []T
	for v, err := range seq {
		w.ok(err)
		out = append(out, v)
	}
	return out
}

// recipients collects those of some sources.
func recipients(w *world, sources ...store.Source) []store.Recipient {
	w.Helper()
	return slices.Concat(collect(w, w.Recipients(w.ctx, sources...))...)
}

// seq yields values without an error.
func seq[T any](values ...T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range values {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// names are the addresses of members, as they are spelled.
func names(members []list.Membership) []string {
	var out []string
	for _, m := range members {
		out = append(out, m.Address.String())
	}
	return out
}

func ptr[T any](v T) *T { return &v }
