package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// how closes an issue of any size.
var how = store.CloseDigest{At: at, MaxPosts: 100, MaxSize: 1 << 20}

func (w *world) closeDigest(l *list.List, how store.CloseDigest) store.Digest {
	w.Helper()
	d, err := w.CloseDigest(w.ctx, l.ID, how)
	w.ok(err)
	return d
}

func (w *world) posts(l *list.List, i store.Issue) []store.Archived {
	w.Helper()
	posts, err := w.DigestPosts(w.ctx, l.ID, i)
	w.ok(err)
	return posts
}

// owed are those who are owed an issue in a mode.
func (w *world) owed(l *list.List, i store.Issue, m list.Mode) string {
	w.Helper()
	return fmt.Sprint(collect(w, w.OwedDigest(w.ctx, l.ID, i, m)))
}

func (w *world) setMode(l *list.List, addr string, m list.Mode) {
	w.Helper()
	w.ok(w.SetMember(w.ctx, l.ID, list.Member, w.addr(addr), store.MemberChange{Mode: &m}))
}

var digestTests = []test{
	{"digest readers are members in a digest mode", func(w *world) {
		l := w.list("dev@l.test")
		has := func(want bool) {
			w.Helper()
			got, err := w.HasDigestReaders(w.ctx, l.ID)
			w.ok(err)
			if got != want {
				w.Errorf("readers: %t", got)
			}
		}
		has(false)
		w.add(l, list.Member, "ann@n.test")
		_, err := w.AddMembers(w.ctx, l.ID, seq(list.Membership{Address: w.addr("own@n.test"), Role: list.Owner, Mode: list.MIMEDigest}), nil)
		w.ok(err)
		has(false)
		w.setMode(l, "ann@n.test", list.SummaryDigest)
		has(true)
		w.setMode(l, "ann@n.test", list.Regular)
		has(false)
	}},
	{"what waits is counted", func(w *world) {
		l, quiet := w.list("dev@l.test"), w.list("quiet@l.test")
		w.keep(quiet, "q", kept("q"))
		w.keep(l, "e1", forDigest("a", "", 10))
		w.keep(l, "e2", forDigest("b", "l.test/b", 20))
		want := store.Waiting{ListID: l.ID, Posts: 2, Size: 30, Oldest: at}
		got, err := w.WaitingDigest(w.ctx, l.ID)
		w.ok(err)
		if got != want {
			w.Errorf("waiting %+v, want %+v", got, want)
		}
		want.List = l.Address
		if all := collect(w, w.WaitingDigests(w.ctx)); len(all) != 1 || all[0] != want {
			w.Errorf("all that waits %+v, want %+v", all, want)
		}
		if got, err = w.WaitingDigest(w.ctx, quiet.ID); err != nil || got != (store.Waiting{ListID: quiet.ID}) {
			w.Errorf("waiting %+v, %v", got, err)
		}
		w.closeDigest(l, how)
		if all := collect(w, w.WaitingDigests(w.ctx)); len(all) != 0 {
			w.Errorf("all that waits %+v", all)
		}
	}},
	{"an issue takes what waits, in one step", func(w *world) {
		l := w.list("dev@l.test")
		_, err := w.CloseDigest(w.ctx, l.ID, how)
		w.wants(err, store.ErrNotFound)
		last, when, err := w.LastIssue(w.ctx, l.ID)
		w.ok(err)
		if last != (store.Issue{Volume: 1}) || !when.IsZero() {
			w.Errorf("last issue %+v at %s", last, when)
		}
		w.keep(l, "e1", forDigest("a", "", 10))
		w.keep(l, "e2", kept("x"))
		w.keep(l, "e3", forDigest("b", "", 20))
		want := store.Digest{ListID: l.ID, Issue: store.Issue{Volume: 1, Issue: 1}, Closed: at, Posts: 2, Size: 30}
		if d := w.closeDigest(l, how); d != want {
			w.Errorf("digest %+v, want %+v", d, want)
		}
		_, err = w.CloseDigest(w.ctx, l.ID, how)
		w.wants(err, store.ErrNotFound)
		if got := w.posts(l, want.Issue); numbers(got) != "[1 3]" || got[0].Issue != want.Issue || got[0].Waiting {
			w.Errorf("posts %+v", got)
		}
		want.List = l.Address
		if got := collect(w, w.UnfiledDigests(w.ctx)); len(got) != 1 || got[0] != want {
			w.Errorf("unfiled %+v", got)
		}
		if last, when, err = w.LastIssue(w.ctx, l.ID); err != nil || last != want.Issue || !when.Equal(at) {
			w.Errorf("last issue %+v at %s, %v", last, when, err)
		}
	}},
	{"an issue has no more than it may, and one post at least", func(w *world) {
		l := w.list("dev@l.test")
		for i := range 6 {
			w.keep(l, fmt.Sprint("e", i), forDigest(fmt.Sprint(i), "", 10))
		}
		for i, c := range []struct {
			posts int
			size  int64
			want  string
		}{{2, 1000, "[1 2]"}, {100, 25, "[3 4]"}, {100, 5, "[5]"}, {100, 1000, "[6]"}} {
			d := w.closeDigest(l, store.CloseDigest{At: at, MaxPosts: c.posts, MaxSize: c.size})
			if got := numbers(w.posts(l, d.Issue)); got != c.want || d.Issue.Issue != i+1 {
				w.Errorf("issue %+v has %s, want %s", d.Issue, got, c.want)
			}
		}
	}},
	{"volumes and issues are numbered", func(w *world) {
		l := w.list("dev@l.test")
		month := func(at time.Time) func(time.Time) bool {
			return func(last time.Time) bool { return last.Month() != at.Month() }
		}
		n := 0
		next := func(at time.Time, want store.Issue) {
			w.Helper()
			n++
			w.keep(l, fmt.Sprint("e", n), forDigest(fmt.Sprint(n), "", 1))
			if d := w.closeDigest(l, store.CloseDigest{At: at, MaxPosts: 9, MaxSize: 9, NewVolume: month(at)}); d.Issue != want {
				w.Errorf("issue %+v, want %+v", d.Issue, want)
			}
		}
		next(at, store.Issue{Volume: 1, Issue: 1})
		next(at.AddDate(0, 0, 1), store.Issue{Volume: 1, Issue: 2})
		next(at.AddDate(0, 1, 0), store.Issue{Volume: 2, Issue: 1})
		bumped, err := w.BumpDigest(w.ctx, l.ID, at.AddDate(0, 2, 0), store.Issue{})
		w.ok(err)
		if want := (store.Issue{Volume: 3, Issue: 1}); bumped != want {
			w.Errorf("bumped to %+v, want %+v", bumped, want)
		}
		next(at.AddDate(0, 2, 1), bumped)
		bumped, err = w.BumpDigest(w.ctx, l.ID, at.AddDate(0, 2, 0), store.Issue{Volume: 40, Issue: 12})
		w.ok(err)
		next(at.AddDate(0, 2, 1), bumped)
		next(at.AddDate(0, 2, 1), store.Issue{Volume: 40, Issue: 13})
		for _, used := range []store.Issue{{Volume: 40, Issue: 13}, {Volume: 2, Issue: 5}} {
			_, err = w.BumpDigest(w.ctx, l.ID, at, used)
			w.wants(err, store.ErrExists)
		}
		_, err = w.BumpDigest(w.ctx, l.ID, at, store.Issue{Volume: 50})
		w.wants(err, store.ErrExists)
		_, err = w.BumpDigest(w.ctx, 4711, at, store.Issue{})
		w.wants(err, store.ErrNotFound)
		var got []store.Issue
		for _, d := range collect(w, w.Digests(w.ctx, l.ID)) {
			got = append(got, d.Issue)
		}
		if want := []store.Issue{{Volume: 40, Issue: 13}, {Volume: 40, Issue: 12}, {Volume: 3, Issue: 1}, {Volume: 2, Issue: 1}, {Volume: 1, Issue: 2}, {Volume: 1, Issue: 1}}; !slices.Equal(got, want) {
			w.Errorf("digests %v", got)
		}
	}},
	{"what was kept for an issue alone goes when that is on its way", func(w *world) {
		l := w.list("dev@l.test")
		w.keep(l, "alone", forDigest("alone", "", 1))
		w.keep(l, "both", forDigest("both", "l.test/dev/both", 1))
		shared := forDigest("shared", "", 1)
		shared.Place = shared.DigestPlace
		w.keep(l, "shared", shared)
		w.keep(l, "removed", forDigest("removed", "", 1))
		d := w.closeDigest(l, how)
		_, err := w.RemoveArchived(w.ctx, l.ID, 4, at)
		w.ok(err)
		w.keep(l, "next", forDigest("next", "", 1))
		for i, want := range [][]string{{"l.test/digest/alone", "l.test/digest/both"}, nil} {
			places, err := w.DigestFiled(w.ctx, l.ID, d.Issue, at)
			w.ok(err)
			slices.Sort(places)
			if !slices.Equal(places, want) {
				w.Errorf("time %d: places %v, want %v", i+1, places, want)
			}
		}
		if got := collect(w, w.UnfiledDigests(w.ctx)); len(got) != 0 {
			w.Errorf("unfiled %+v", got)
		}
		left := w.archived(l, store.ArchiveFilter{Unarchived: true})
		if numbers(left) != "[2 3 4 5]" || left[0].DigestPlace != "" || left[1].Place != shared.Place || !left[3].Waiting || left[0].Issue != d.Issue {
			w.Errorf("left %+v", left)
		}
	}},
	{"who is owed a digest is owed it at their new address", func(w *world) {
		l := w.list("dev@l.test")
		for _, a := range []string{"ann@n.test", "bob@n.test", "there@n.test"} {
			w.add(l, list.Member, a)
			w.setMode(l, a, list.MIMEDigest)
		}
		w.keep(l, "e1", forDigest("a", "", 1))
		for _, a := range []string{"ann@n.test", "bob@n.test", "there@n.test"} {
			w.setMode(l, a, list.Regular)
		}
		move := func(from, to string) {
			_, err := w.MoveAddress(w.ctx, w.addr(from), w.addr(to), nil, "", "")
			w.ok(err)
		}
		move("ann@n.test", "Ann@new.test")
		first := w.closeDigest(l, how)
		if got := w.owed(l, first.Issue, list.MIMEDigest); got != "[bob@n.test there@n.test Ann@new.test]" {
			w.Errorf("owed is %s", got)
		}
		move("bob@n.test", "there@n.test") // which is owed it itself
		move("there@n.test", "end@n.test")
		if got := w.owed(l, first.Issue, list.MIMEDigest); !strings.Contains(got, "end@n.test") || !strings.Contains(got, "Ann@new.test") || strings.Contains(got, "there") {
			w.Errorf("owed is %s", got)
		}
	}},
	{"who leaves digests is owed the last one", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "Ann@n.test", "bob@n.test", "cy@n.test", "dee@n.test")
		for _, m := range []string{"ann", "bob", "cy", "dee"} {
			w.setMode(l, m+"@n.test", list.MIMEDigest)
		}
		w.setMode(l, "bob@n.test", list.Regular) // nothing waits: nothing is owed
		w.keep(l, "e1", forDigest("a", "", 10))
		w.setMode(l, "ann@n.test", list.Regular)
		w.setMode(l, "ann@n.test", list.Regular)
		w.setMode(l, "cy@n.test", list.PlaintextDigest) // the next digest reaches cy
		w.setMode(l, "dee@n.test", list.Regular)
		w.setMode(l, "dee@n.test", list.MIMEDigest)
		w.keep(l, "e2", forDigest("b", "", 10))
		first := w.closeDigest(l, store.CloseDigest{At: at, MaxPosts: 1, MaxSize: 100})
		second := w.closeDigest(l, how)
		for _, d := range []store.Digest{first, second} { // both posts waited
			if got := w.owed(l, d.Issue, list.MIMEDigest); got != "[Ann@n.test]" {
				w.Errorf("issue %+v is owed %s", d.Issue, got)
			}
			if got := w.owed(l, d.Issue, list.PlaintextDigest); got != "[]" {
				w.Errorf("issue %+v is owed %s", d.Issue, got)
			}
		}
		w.keep(l, "e3", forDigest("c", "", 10))
		third := w.closeDigest(l, how)
		if got := w.owed(l, third.Issue, list.MIMEDigest); got != "[]" {
			w.Errorf("issue %+v is owed %s", third.Issue, got)
		}
		w.ok(w.Prune(w.ctx, at.Add(time.Second)))
		if got := w.owed(l, first.Issue, list.MIMEDigest); got != "[]" {
			w.Errorf("pruned, and owed %s", got)
		}
		missing := list.Regular
		w.wants(w.SetMember(w.ctx, l.ID, list.Member, w.addr("zoe@n.test"), store.MemberChange{Mode: &missing}), store.ErrNotFound)
	}},
	{"an entry that was filed is known", func(w *world) {
		l := w.list("dev@l.test")
		for _, want := range []bool{false, true} {
			got, err := w.IsFiled(w.ctx, l.ID, "e1")
			w.ok(err)
			if got != want {
				w.Errorf("filed: %t", got)
			}
			w.file(store.Post{ListID: l.ID, Entry: "e1", Digest: []byte("d"), At: at}, false)
		}
	}},
	{"everything goes with the list", func(w *world) {
		l := w.list("dev@l.test")
		w.add(l, list.Member, "ann@n.test")
		w.setMode(l, "ann@n.test", list.MIMEDigest)
		w.keep(l, "e1", forDigest("a", "", 10))
		w.setMode(l, "ann@n.test", list.Regular)
		w.closeDigest(l, how)
		w.keep(l, "e2", forDigest("b", "", 10))
		w.ok(w.DeleteList(w.ctx, l.Address))
		if a, b := collect(w, w.WaitingDigests(w.ctx)), collect(w, w.UnfiledDigests(w.ctx)); len(a)+len(b) != 0 {
			w.Errorf("left are %+v, %+v", a, b)
		}
		again := w.list("dev@l.test")
		if got := w.archived(again, store.ArchiveFilter{Unarchived: true}); len(got) != 0 {
			w.Errorf("the next list of this name has %+v", got)
		}
	}},
}
