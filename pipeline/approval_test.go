package pipeline

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk"
)

// approving accepts posts for which the list has a one-time password, and holds others; before
// it answers it does what meanwhile says.
func approving(meanwhile func(listID int64, hash string)) stagesFunc {
	return func(_ context.Context, p *host.Post) (host.Result, error) {
		hash, _, _ := strings.Cut(p.List.String(sdk.OneTimePasswords), "\n")
		if hash == "" {
			return host.Result{Stage: "posting", Verdict: sdk.Hold("emergency", "No.")}, nil
		}
		p.Rules = []sdk.Rule{{Kind: sdk.RuleSelect, Roles: []string{"member"}}}
		p.Notes["approved.once"] = hash
		meanwhile(p.ListID, hash)
		return host.Result{Verdict: sdk.Accept}, nil
	}
}

func (w *world) approval(hash string) {
	w.t.Helper()
	now := time.Now()
	if err := w.store.AddApproval(w.t.Context(), store.Approval{ListID: w.list.ID, Hash: hash, Added: now, Expires: now.Add(time.Hour)}); err != nil {
		w.t.Fatal(err)
	}
}

func TestAOneTimePasswordServesOnePost(t *testing.T) {
	w := newWorld(t, approving(func(int64, string) {}))
	w.set("respond_to_post_requests=false")
	w.add(list.Member, "bob@net.test")
	w.approval("h1")
	first := w.post(numbered(1))
	w.idle()
	w.post(numbered(2))
	w.idle()
	if out := w.outgoing(); len(out) != 1 || len(out[first]) != 1 {
		t.Errorf("outgoing %+v", out)
	}
	if held := w.entries(spool.Held); len(held) != 1 {
		t.Errorf("held %+v", held)
	}
	all, err := w.store.Approvals(t.Context(), w.list.ID)
	if err != nil || len(all) != 1 || all[0].Entry != string(first) {
		t.Errorf("%+v, %v", all, err)
	}
}

// One that is revoked while a post is prepared serves none: the post is judged anew.
func TestAOneTimePasswordIsRevokedMeanwhile(t *testing.T) {
	var w *world
	w = newWorld(t, approving(func(listID int64, hash string) {
		if err := w.store.RevokeApproval(context.Background(), listID, hash); err != nil {
			t.Error(err)
		}
	}))
	w.set("respond_to_post_requests=false")
	w.add(list.Member, "bob@net.test")
	w.approval("h1")
	w.post(numbered(1))
	w.idle()
	if held := w.entries(spool.Held); len(held) != 1 || len(w.outgoing()) > 0 {
		t.Errorf("held %+v, outgoing %+v", held, w.outgoing())
	}
}

// Of posts that wait together, and have the same one, one is let through.
func TestAOneTimePasswordServesOnePostOfMany(t *testing.T) {
	w := newWorld(t, approving(func(int64, string) {}))
	w.set("respond_to_post_requests=false")
	w.add(list.Member, "bob@net.test")
	w.stop()
	for i := range 5 {
		w.post(numbered(i))
	}
	w.approval("h1")
	w.start(approving(func(int64, string) {}))
	w.idle()
	if out, held := w.outgoing(), w.entries(spool.Held); len(out) != 1 || len(held) != 4 {
		t.Errorf("outgoing %+v, held %+v", out, held)
	}
	if failed := w.entries(spool.Failed); len(failed) > 0 {
		t.Errorf("failed %+v", failed)
	}
}
