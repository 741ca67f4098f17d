package storetest

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// arrives compares what is known of a post before it comes with what the other methods say.
func (w *world) arrives(to, sender string, when time.Time) list.Arrival {
	w.Helper()
	var from address.Address
	var asked []address.Address
	if sender != "" {
		from = w.addr(sender)
		asked = append(asked, from)
	}
	got, err := w.Arrival(w.ctx, w.addr(to), from, when)
	w.ok(err)
	l, err := w.List(w.ctx, w.addr(to))
	w.ok(err)
	if got.List == nil || !sameList(got.List, l) || got.List.Revision != l.Revision {
		w.Fatalf("the list is %+v, want %+v", got.List, l)
	}
	once, err := w.OpenApprovals(w.ctx, l.ID, "", when)
	w.ok(err)
	slices.Sort(once)
	slices.Sort(got.OneTime)
	if !slices.Equal(got.OneTime, once) {
		w.Errorf("one-time passwords %q, want %q", got.OneTime, once)
	}
	if sender == "" {
		if len(got.Standings) > 0 || got.Ban != nil {
			w.Errorf("nobody is %+v, banned by %+v", got.Standings, got.Ban)
		}
		return got
	}
	standings, err := w.Standings(w.ctx, l.ID, asked)
	w.ok(err)
	byText := func(all []list.Standing) (out []string) {
		for _, s := range all {
			out = append(out, fmt.Sprintf("%+v", s))
		}
		slices.Sort(out)
		return out
	}
	if have, want := byText(got.Standings), byText(standings); !slices.Equal(have, want) {
		w.Errorf("%s is\n%q, want\n%q", sender, have, want)
	}
	bans, err := w.MatchBans(w.ctx, l.ID, l.Address.Domain, asked)
	w.ok(err)
	ban, banned := bans[from.Key()]
	if banned != (got.Ban != nil) || banned && !reflect.DeepEqual(*got.Ban, ban) {
		w.Errorf("%s is banned by %+v, want %+v", sender, got.Ban, ban)
	}
	return got
}

var arrivalTests = []test{
	{"one look-up says of a post that comes what the others do", func(w *world) {
		dev := w.list("Dev@l.test")
		ops := w.list("ops@l.test")
		_, err := w.ChangeList(w.ctx, dev.Address, map[string]*string{"emergency": ptr("yes"), "subject_prefix": ptr("[é] ")})
		w.ok(err)
		w.ok(w.AddAlias(w.ctx, dev.Address, w.addr("hackers@other.test")))
		w.add(dev, list.Member, "Ann@home.test")
		w.add(ops, list.Member, "bob@net.test")
		w.ok(w.SetMember(w.ctx, dev.ID, list.Member, w.addr("ann@home.test"), store.MemberChange{Action: ptr(list.Reject), Language: ptr("de"), NoDuplicates: ptr(true)}))
		w.ok(w.LinkAddress(w.ctx, w.addr("ann@home.test"), w.addr("Ann@work.test"), at))
		w.ok(w.AddDomainRole(w.ctx, store.DomainRole{Domain: "l.test", Role: list.Moderator, Address: w.addr("ann@home.test"), Added: at}))
		w.ok(w.AddDomainRole(w.ctx, store.DomainRole{Domain: "l.test", Role: list.Sender, Address: w.addr("sue@net.test"), Added: at}))
		w.approval(dev, "h1")
		w.approval(dev, "h2")
		w.approval(ops, "h3")
		for _, to := range []string{"dev@l.test", "DEV@L.TEST", "hackers@other.test", "ops@l.test"} {
			for _, from := range []string{"ann@home.test", "ANN@work.test", "sue@net.test", "bob@net.test", "stranger@far.below.net.test", ""} {
				w.arrives(to, from, at)
			}
		}
		if a := w.arrives("dev@l.test", "ann@work.test", at.Add(time.Hour)); len(a.Standings) != 2 || len(a.OneTime) != 0 {
			w.Errorf("%+v", a)
		}
		_, err = w.SetState(w.ctx, dev.Address, list.Frozen, "for a while")
		w.ok(err)
		if a := w.arrives("hackers@other.test", "ann@home.test", at); a.List.State != list.Frozen || a.List.Address != dev.Address || len(a.OneTime) != 2 {
			w.Errorf("%+v", a.List)
		}
	}},
	{"the ban that holds is the same for a post that comes", func(w *world) {
		dev, ops := w.list("dev@l.test"), w.list("ops@other.test")
		bans := []list.Ban{
			{Scope: list.Scope{ListID: ops.ID}, What: "eve@far.net.test"},
			{What: "^.*net", Reason: "the site"},
			{What: "^eve", Reason: "the site, too"},
			{Scope: list.Scope{Domain: "l.test"}, What: "^.*@far", Reason: "the domain"},
			{What: "@net.test"},
			{Scope: list.Scope{Domain: "l.test"}, What: "@far.net.test"},
			{Scope: list.Scope{ListID: dev.ID}, What: "^eve", Reason: "the list"},
			{Scope: list.Scope{ListID: dev.ID}, What: "eve@far.net.test"},
		}
		for i := range len(bans) + 1 {
			for _, to := range []string{"dev@l.test", "ops@other.test"} {
				for _, from := range []string{"Eve@far.net.test", "bob@net.test", "ann@x.test", ""} {
					w.arrives(to, from, at)
				}
			}
			if i < len(bans) {
				bans[i].Added = at.Add(time.Duration(i) * time.Second)
				w.ok(w.AddBan(w.ctx, bans[i]))
			}
		}
	}},
	{"no post comes to what is not the address of a list", func(w *world) {
		dev, gone := w.list("dev@l.test"), w.list("gone@l.test")
		w.ok(w.AddAlias(w.ctx, gone.Address, w.addr("alias@l.test")))
		w.ok(w.DeleteList(w.ctx, gone.Address))
		w.SetSite("mlist")
		for _, to := range []string{"gone@l.test", "alias@l.test", "dev-owner@l.test", "dev+owner@l.test", "nobody@l.test", "dev@other.test", "mlist@l.test", "~" + fmt.Sprint(dev.ID) + "-confirm+x@l.test"} {
			_, err := w.Arrival(w.ctx, w.addr(to), w.addr("ann@net.test"), at)
			w.wants(err, store.ErrNotFound)
		}
	}},
	{"what another process changes is seen by the next post", func(w *world) {
		l, other := w.list("dev@l.test"), w.another()
		w.arrives("dev@l.test", "ann@net.test", at)
		w.ok(other.AddBan(w.ctx, list.Ban{What: "ann@net.test", Added: at}))
		_, err := other.ChangeList(w.ctx, l.Address, map[string]*string{"emergency": ptr("yes")})
		w.ok(err)
		if a := w.arrives("dev@l.test", "ann@net.test", at); a.Ban == nil || !a.List.Settings.Emergency {
			w.Errorf("banned by %v, emergency %t", a.Ban, a.List.Settings.Emergency)
		}
		w.ok(other.RemoveBan(w.ctx, list.Scope{}, "ann@net.test"))
		if a := w.arrives("dev@l.test", "ann@net.test", at); a.Ban != nil {
			w.Errorf("banned by %v", a.Ban)
		}
	}},
}
