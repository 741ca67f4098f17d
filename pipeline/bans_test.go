package pipeline

import (
	"context"
	"slices"
	"testing"

	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/sdk"
)

func TestStagesAreToldWhichSendersAreBanned(t *testing.T) {
	told := make(chan []string, 1)
	w := newWorld(t, stagesFunc(func(_ context.Context, p *host.Post) (host.Result, error) {
		var bans []string
		for _, s := range p.Senders {
			bans = append(bans, s.Source+" "+s.Ban)
		}
		told <- bans
		return host.Result{Verdict: sdk.Discard("x", "x"), Stage: "test"}, nil
	}))
	for _, b := range []list.Ban{
		{What: "@bad.test", Reason: "spam"},
		{What: "@else.test", Scope: list.Scope{Domain: "other.test"}},
		{What: "^ann", Scope: list.Scope{ListID: w.list.ID}},
	} {
		if err := w.store.AddBan(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	w.post("From: Ann@net.test, eve@sub.bad.test\r\nReply-To: x@else.test\r\n\r\nhello\r\n")
	want := []string{"from ^ann, from dev@lists.test", "from @bad.test, from every list (spam)", "envelope ^ann, from dev@lists.test", "reply-to "}
	if got := <-told; !slices.Equal(got, want) {
		t.Errorf("bans %q, want %q", got, want)
	}
	w.idle()
}
