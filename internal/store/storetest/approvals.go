package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/store"
)

// approval makes a one-time password of the list, for an hour.
func (w *world) approval(l *list.List, hash string) store.Approval {
	w.Helper()
	a := store.Approval{ListID: l.ID, Hash: hash, Note: "for " + hash, Added: at, Expires: at.Add(time.Hour)}
	w.ok(w.AddApproval(w.ctx, a))
	return a
}

// opens complains unless these one-time passwords are open to a post.
func (w *world) opens(l *list.List, entry string, when time.Time, want ...string) {
	w.Helper()
	got, err := w.OpenApprovals(w.ctx, l.ID, entry, when)
	w.ok(err)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		w.Errorf("open to %s: %q, want %q", entry, got, want)
	}
}

var approvalTests = []test{
	{"a one-time password is found again as it was added", func(w *world) {
		l, other := w.list("dev@l.test"), w.list("ops@l.test")
		a := w.approval(l, "h1")
		got, err := w.Approvals(w.ctx, l.ID)
		w.ok(err)
		if len(got) != 1 || got[0] != a {
			w.Errorf("%+v, want %+v", got, a)
		}
		w.opens(l, "e1", at, "h1")
		w.opens(other, "e1", at)
		w.wants(w.AddApproval(w.ctx, a), store.ErrExists)
		w.wants(w.AddApproval(w.ctx, store.Approval{ListID: 4711, Hash: "h"}), store.ErrNotFound)
	}},
	{"a one-time password ends with its time", func(w *world) {
		l := w.list("dev@l.test")
		w.approval(l, "h1")
		w.opens(l, "e1", at.Add(time.Hour-1), "h1")
		w.opens(l, "e1", at.Add(time.Hour))
	}},
	{"a one-time password is used once, by the same commit as its post", func(w *world) {
		l := w.list("dev@l.test")
		w.approval(l, "h1")
		w.approval(l, "h2")
		post := store.Post{ListID: l.ID, Entry: "e1", Digest: []byte("e1"), At: at, Approval: "h1"}
		w.file(post, false) // held
		w.opens(l, "e2", at, "h1", "h2")
		for range 2 {
			w.same("file", w.file(post, true), store.PostRecord{Number: 1, Entry: "e1"})
			w.opens(l, "e2", at, "h2")
			w.opens(l, "e1", at, "h1", "h2") // when it is run again
		}
		second := store.Post{ListID: l.ID, Entry: "e2", Digest: []byte("e2"), At: at, Approval: "h1"}
		_, err := w.FilePost(w.ctx, second, true, time.Hour)
		w.wants(err, store.ErrApprovalGone)
		second.Approval = ""
		w.same("without it", w.file(second, true), store.PostRecord{Number: 2, Entry: "e2"})
		got, err := w.Approvals(w.ctx, l.ID)
		w.ok(err)
		for _, a := range got {
			if used := a.Hash == "h1"; used != !a.Used.IsZero() || used != (a.Entry == "e1") {
				w.Errorf("%+v", a)
			}
		}
	}},
	{"a one-time password is revoked unless it is used", func(w *world) {
		l := w.list("dev@l.test")
		w.approval(l, "h1")
		w.approval(l, "h2")
		w.file(store.Post{ListID: l.ID, Entry: "e1", Digest: []byte("e1"), At: at, Approval: "h1"}, true)
		w.wants(w.RevokeApproval(w.ctx, l.ID, "h1"), store.ErrNotFound)
		w.ok(w.RevokeApproval(w.ctx, l.ID, "h2"))
		w.wants(w.RevokeApproval(w.ctx, l.ID, "h2"), store.ErrNotFound)
		w.opens(l, "e2", at)
		_, err := w.FilePost(w.ctx, store.Post{ListID: l.ID, Entry: "e2", Digest: []byte("e2"), At: at, Approval: "h2"}, true, time.Hour)
		w.wants(err, store.ErrApprovalGone)
	}},
	{"a list has so many one-time passwords that are open", func(w *world) {
		l := w.list("dev@l.test")
		for i := range store.MaxApprovals {
			w.approval(l, fmt.Sprint("h", i))
		}
		more := store.Approval{ListID: l.ID, Hash: "more", Added: at, Expires: at.Add(time.Hour)}
		w.fails(w.AddApproval(w.ctx, more))
		more.Added, more.Expires = at.Add(time.Hour), at.Add(2*time.Hour)
		w.ok(w.AddApproval(w.ctx, more))
	}},
	{"one-time passwords go with their time, and with their list", func(w *world) {
		l := w.list("dev@l.test")
		w.approval(l, "h1")
		w.approval(l, "h2")
		w.ok(w.Prune(w.ctx, at.Add(time.Hour)))
		w.opens(l, "e1", at, "h1", "h2")
		w.ok(w.Prune(w.ctx, at.Add(time.Hour+time.Microsecond)))
		w.opens(l, "e1", at)
		w.approval(l, "h3")
		w.ok(w.DeleteList(w.ctx, l.Address))
		got, err := w.Approvals(w.ctx, l.ID)
		w.ok(err)
		if len(got) > 0 {
			w.Errorf("left: %+v", got)
		}
	}},
}
