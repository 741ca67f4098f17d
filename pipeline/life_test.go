package pipeline

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/verp"
	"github.com/mlist/mlist/sdk"
)

func (w *world) state(s list.State, why string) {
	w.t.Helper()
	l, err := w.store.SetState(w.t.Context(), w.list.Address, s, why)
	if err != nil {
		w.t.Fatal(err)
	}
	w.list = l
}

func TestAFrozenListTakesNoPosts(t *testing.T) {
	for _, tt := range []struct {
		name  string
		state list.State
		flags []string
		want  string // in the notice; "" is that the post goes out
	}{
		{"open", list.Open, nil, ""},
		{"frozen", list.Frozen, nil, "takes no posts at present. We move house."},
		{"closed", list.Closed, nil, "is closed and takes no posts any more. We move house."},
		{"frozen, but a moderator has let it through", list.Frozen, []string{spool.FlagApproved}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, out := commandWorld(t, "autorespond_postings=respond_and_continue", "autoresponse_postings_text=Thanks.")
			w.add(list.Member, "bob@net.test")
			w.state(tt.state, "We move house.")
			w.put(spool.Incoming, spool.Envelope{Sender: "ann@net.test", Recipient: "dev@lists.test", Flags: tt.flags}, hello)
			w.idle()
			if tt.want == "" {
				out.to("bob@net.test", "hello")
				return
			}
			out.to("ann@net.test", tt.want)
			out.none()
		})
	}
}

func TestAClosedListIsJoinedByNobody(t *testing.T) {
	w, out := commandWorld(t)
	w.add(list.Member, "bob@net.test")
	w.wrote("dev-join@lists.test", "ann@net.test", "", "", "")
	ask := out.to("ann@net.test", "Please confirm")
	w.state(list.Closed, "")
	w.wrote(tokenIn(t, ask.text), "ann@net.test", "", "Re: Please confirm", "Yes.")
	out.to("ann@net.test", "ann@net.test cannot join dev@lists.test by mail")
	w.wrote("dev-request@lists.test", "cy@net.test", "", "join", "")
	out.to("cy@net.test", "cy@net.test cannot join dev@lists.test by mail")
	w.wrote("dev-request@lists.test", "cy@net.test", "", "info", "")
	out.to("cy@net.test", "dev@lists.test is closed")
	for _, who := range []string{"ann@net.test", "cy@net.test"} {
		if s := w.statusOf(who); s != "" {
			t.Errorf("%s is a member", who)
		}
	}
	w.wrote("dev-leave@lists.test", "bob@net.test", "", "", "")
	w.wrote(tokenIn(t, out.to("bob@net.test", "Please confirm").text), "bob@net.test", "", "", "Yes.")
	if s := w.statusOf("bob@net.test"); s != "" {
		t.Errorf("bob could not leave")
	}
}

// What was on its way when a list was renamed arrives, and what comes to the old address.
func TestARenamedListGoesOn(t *testing.T) {
	asked := make(chan sdk.List, 10)
	w := newWorld(t, stagesFunc(func(ctx context.Context, p *host.Post) (host.Result, error) {
		asked <- sdk.List{Address: p.List.Address, Settings: p.Settings()}
		return verdict(sdk.Accept)(ctx, p)
	}))
	out := &outbox{w: w}
	w.add(list.Owner, "boss@x.test")
	w.add(list.Member, "bob@net.test")
	w.set("acceptable_aliases=all@lists.test", "verp_probes=false", "bounce_score_threshold=1")
	old := w.list.Address
	l, err := w.store.RenameList(t.Context(), old, addr(t, "hackers@other.test"))
	if err != nil {
		t.Fatal(err)
	}
	w.list = l
	w.post(hello) // its entry names the list as it was called
	w.idle()
	if m := out.to("bob@net.test", "hello"); m.sender != "hackers-bounces@other.test" {
		t.Errorf("it goes out from %s", m.sender)
	}
	if got := <-asked; got.Address != "hackers@other.test" || !slices.Equal(got.Addresses(), []string{"hackers@other.test", "dev@lists.test"}) || got.Settings["acceptable_aliases"] != "all@lists.test" {
		t.Errorf("the stages see %s, and %q is acceptable", got.Addresses(), got.Settings["acceptable_aliases"])
	}
	w.wrote("dev-join@lists.test", "ann@net.test", "", "", "")
	w.wrote(tokenIn(t, out.to("ann@net.test", "join the list hackers@other.test").text), "ann@net.test", "", "", "Yes.")
	if s := w.statusOf("ann@net.test"); s != list.Enabled {
		t.Errorf("ann is %q", s)
	}

	// A bounce of what was sent from the old address proves as much as before.
	secret, err := w.store.Secret(t.Context(), "verp")
	if err != nil {
		t.Fatal(err)
	}
	path, keyed := verp.NewEncoder(verp.Derive(secret, old), old, time.Now()).Recipient("bob@net.test")
	if !keyed {
		t.Fatalf("%s has no key", path)
	}
	detail := strings.TrimPrefix(addr(t, path).Local, "dev-bounces+")
	w.put(spool.Bounces, spool.Envelope{Role: string(address.RoleBounces), Recipient: path, Detail: detail}, dsn("bob@net.test", "5.1.1"))
	w.idle()
	if s := w.statusOf("bob@net.test"); s != list.ByBounces {
		t.Errorf("bob is %q: the bounce did not count", s)
	}
}
