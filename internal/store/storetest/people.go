package storetest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// stands tells in which roles an address acts on a list.
func (w *world) stands(l *list.List, who string, want ...string) {
	w.Helper()
	all, err := w.Standings(w.ctx, l.ID, []address.Address{w.addr(who), w.addr("stranger@n.test")})
	w.ok(err)
	var got []string
	for _, s := range all {
		if s.Of.Key() != w.addr(who).Key() {
			w.Errorf("asked for %s, got %+v", who, s)
		}
		text := string(s.Role) + " " + s.Address.String()
		if s.Domain {
			text += " domain"
		}
		if s.Action != "" {
			text += " " + string(s.Action)
		}
		got = append(got, text)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		w.Errorf("%s on %s is %q, want %q", who, l.Address, got, want)
	}
}

func (w *world) linked(who string, want ...string) {
	w.Helper()
	all, err := w.LinkedAddresses(w.ctx, w.addr(who))
	w.ok(err)
	var got []string
	for _, a := range all {
		got = append(got, a.String())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		w.Errorf("linked to %s: %q, want %q", who, got, want)
	}
}

var peopleTests = []test{
	{"a person acts with any of their addresses", func(w *world) {
		dev, ops := w.list("dev@l.test"), w.list("ops@l.test")
		w.add(dev, list.Member, "ann@home.test")
		w.add(ops, list.Moderator, "Ann@work.test")
		w.add(dev, list.Member, "bob@n.test")
		w.stands(dev, "ann@work.test")
		w.ok(w.LinkAddress(w.ctx, w.addr("ann@home.test"), w.addr("Ann@work.test"), at))
		w.ok(w.LinkAddress(w.ctx, w.addr("ann@home.test"), w.addr("ann@work.test"), at)) // again is nothing new
		w.stands(dev, "ann@work.test", "member ann@home.test")
		w.stands(dev, "ANN@home.test", "member ann@home.test")
		w.stands(ops, "ann@home.test", "moderator Ann@work.test")
		w.stands(dev, "bob@n.test", "member bob@n.test")
		w.linked("ann@home.test", "Ann@work.test")
		w.linked("bob@n.test")
		w.ok(w.LinkAddress(w.ctx, w.addr("ann@phone.test"), w.addr("a@phone.test"), at.Add(day)))
		w.ok(w.LinkAddress(w.ctx, w.addr("ann@work.test"), w.addr("a@phone.test"), at)) // two persons are one
		w.linked("ann@home.test", "Ann@work.test", "ann@phone.test", "a@phone.test")    // as they were named
		w.stands(dev, "ann@phone.test", "member ann@home.test")

		persons, err := w.Persons(w.ctx, []int64{dev.ID})
		w.ok(err)
		if len(persons) != 4 || persons["ann@work.test"].ID != persons["ann@phone.test"].ID || persons["ann@work.test"].Place == persons["ann@home.test"].Place {
			w.Errorf("persons %+v", persons)
		}
		w.ok(w.UnlinkAddress(w.ctx, w.addr("ann@home.test")))
		w.stands(dev, "ann@work.test")
		w.stands(dev, "ann@home.test", "member ann@home.test")
		if persons, err := w.Persons(w.ctx, []int64{dev.ID, ops.ID}); err != nil || len(persons) != 0 && persons["ann@home.test"].ID != "" {
			w.Errorf("persons %+v, %v", persons, err)
		}
		w.ok(w.UnlinkAddress(w.ctx, w.addr("a@phone.test")))
		w.ok(w.UnlinkAddress(w.ctx, w.addr("ann@phone.test")))
		w.wants(w.UnlinkAddress(w.ctx, w.addr("ann@work.test")), store.ErrNotFound) // it was the last
		w.fails(w.LinkAddress(w.ctx, w.addr("x@n.test"), w.addr("X@n.test"), at))
	}},
	{"a person has so many addresses", func(w *world) {
		for i := range store.MaxAddresses - 1 {
			w.ok(w.LinkAddress(w.ctx, w.addr("a@n.test"), w.addr(fmt.Sprintf("a%d@n.test", i)), at))
		}
		w.wants(w.LinkAddress(w.ctx, w.addr("a@n.test"), w.addr("b@n.test"), at), store.ErrTooMany)
		w.linked("b@n.test")
	}},
	{"links go with an address that moves", func(w *world) {
		dev := w.list("dev@l.test")
		w.add(dev, list.Member, "ann@home.test")
		w.ok(w.LinkAddress(w.ctx, w.addr("ann@home.test"), w.addr("ann@work.test"), at))
		w.ok(w.AddDomainRole(w.ctx, store.DomainRole{Domain: "l.test", Role: list.Owner, Address: w.addr("ann@home.test"), Added: at}))
		_, err := w.MoveAddress(w.ctx, w.addr("ann@home.test"), w.addr("Ann@new.test"), nil, "operator", "")
		w.ok(err)
		w.linked("ann@work.test", "Ann@new.test")
		w.stands(dev, "ann@work.test", "member Ann@new.test", "owner Ann@new.test domain")
		w.stands(dev, "ann@home.test")
		_, err = w.MoveAddress(w.ctx, w.addr("ann@new.test"), w.addr("ann@work.test"), nil, "operator", "") // to one's own other address
		w.ok(err)
		w.linked("ann@work.test")
		w.stands(dev, "ann@work.test", "member ann@work.test", "owner ann@work.test domain")
	}},
	{"links go with an address that is on no list, too", func(w *world) {
		dev := w.list("dev@l.test")
		w.add(dev, list.Member, "ann@home.test")
		w.ok(w.LinkAddress(w.ctx, w.addr("ann@home.test"), w.addr("ann@work.test"), at))
		w.ok(w.AddDomainRole(w.ctx, store.DomainRole{Domain: "l.test", Role: list.Owner, Address: w.addr("ann@work.test"), Added: at}))
		moved, err := w.MoveAddress(w.ctx, w.addr("ann@work.test"), w.addr("Ann@new.test"), nil, "operator", "")
		w.ok(err)
		if len(moved) > 0 {
			w.Errorf("it was on %v", moved)
		}
		w.linked("ann@home.test", "Ann@new.test")
		w.linked("ann@work.test")
		w.stands(dev, "ann@new.test", "member ann@home.test", "owner Ann@new.test domain")
		w.stands(dev, "ann@work.test")
		w.ok(w.RemoveDomainRole(w.ctx, "l.test", list.Owner, w.addr("ann@new.test")))
	}},
	{"who looks after a domain looks after its lists", func(w *world) {
		dev, other := w.list("dev@l.test"), w.list("dev@m.test")
		for _, r := range []store.DomainRole{
			{Domain: "L.test", Role: list.Owner, Address: w.addr("Boss@n.test"), DisplayName: "Boss", Added: at},
			{Domain: "l.test", Role: list.Sender, Address: w.addr("bot@n.test"), Added: at},
		} {
			w.ok(w.AddDomainRole(w.ctx, r))
			w.wants(w.AddDomainRole(w.ctx, r), store.ErrExists)
		}
		w.wants(w.AddDomainRole(w.ctx, store.DomainRole{Domain: "none.test", Role: list.Owner, Address: w.addr("a@n.test")}), store.ErrNotFound)
		w.fails(w.AddDomainRole(w.ctx, store.DomainRole{Domain: "l.test", Role: list.Member, Address: w.addr("a@n.test")}))
		w.stands(dev, "boss@n.test", "owner Boss@n.test domain")
		w.stands(dev, "bot@n.test", "sender bot@n.test domain")
		w.stands(other, "boss@n.test")
		later := w.list("later@l.test")
		w.stands(later, "boss@n.test", "owner Boss@n.test domain")
		w.ok(w.LinkAddress(w.ctx, w.addr("boss@n.test"), w.addr("boss@home.test"), at))
		w.stands(dev, "boss@home.test", "owner Boss@n.test domain")
		if got := collect(w, w.DomainRoles(w.ctx, "")); len(got) != 2 || got[0].DisplayName != "Boss" || got[0].Domain != "l.test" || !got[0].Added.Equal(at) {
			w.Errorf("roles %+v", got)
		}
		if got := collect(w, w.DomainRoles(w.ctx, "m.test")); len(got) != 0 {
			w.Errorf("roles %+v", got)
		}
		w.ok(w.RemoveDomainRole(w.ctx, "l.test", list.Owner, w.addr("boss@N.test")))
		w.wants(w.RemoveDomainRole(w.ctx, "l.test", list.Owner, w.addr("boss@n.test")), store.ErrNotFound)
		w.stands(dev, "boss@n.test")
	}},
	{"a sender, and a receiver", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Sender, "bot@n.test")
		w.add(l, list.Receiver, "reader@n.test")
		w.stands(l, "bot@n.test", "sender bot@n.test")
		w.stands(l, "reader@n.test", "member reader@n.test reject")
		got := recipients(w, store.Source{ListID: l.ID, Filter: store.Filter{Roles: []list.Role{list.Member}}})
		if len(got) != 1 || got[0].Address != "reader@n.test" {
			w.Errorf("recipients %+v", got)
		}
		_, err := w.AddMembers(w.ctx, l.ID, seq(list.Membership{Address: w.addr("x@n.test"), Role: list.Receiver, Action: list.Accept}), nil)
		w.fails(err)
		n, err := w.RemoveMembers(w.ctx, l.ID, list.Sender, seq(w.addr("bot@n.test")))
		if w.ok(err); n != 1 {
			w.Errorf("removed %d", n)
		}
	}},
}
