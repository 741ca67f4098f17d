package pipeline

import (
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/command"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk"
)

func TestModeratorsDecideByMail(t *testing.T) {
	for _, tt := range []struct {
		name, policy, answer string
		member               bool
		told                 string // part of what the address is sent; "" for nothing
	}{
		{"accept", "moderate", "accept", true, "Welcome to the list"},
		{"accept, after a confirmation", "confirm_then_moderate", "> quoted\n\nAccept.", true, "Welcome to the list"},
		{"reject", "moderate", "reject Members are known to us.", false, "Members are known to us."},
		{"reject, without a reason", "confirm_then_moderate", "reject", false, "has rejected the request"},
		{"discard", "moderate", "discard", false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, out := commandWorld(t, "subscription_policy="+tt.policy)
			w.add(list.Moderator, "mod@x.test")
			w.wrote("dev-join@lists.test", "Ann A. <ann@net.test>", "ann@net.test", "", "")
			if tt.policy == "confirm_then_moderate" {
				w.wrote(tokenIn(t, out.to("ann@net.test", "Please confirm").text), "ann@net.test", "", "Re: yes", "")
			}
			out.to("ann@net.test", "A moderator decides whether ann@net.test is to join")
			notice := out.to("mod@x.test", "ann@net.test (Ann A.)")
			out.none()
			if s := w.statusOf("ann@net.test"); s != "" {
				t.Fatalf("ann is %s before anybody has decided", s)
			}
			decide := tokenIn(t, notice.text)
			w.wrote(decide, "mod@x.test", "", "Re: wants to join", "I shall think about it.")
			out.to("mod@x.test", "To decide, answer with one of these")
			w.wrote(decide, "mod@x.test", "", "Re: wants to join", tt.answer)
			if is := w.statusOf("ann@net.test") != ""; is != tt.member {
				t.Errorf("a member: %t, want %t", is, tt.member)
			}
			out.to("mod@x.test", "It is done")
			if tt.told != "" {
				out.to("ann@net.test", tt.told)
			}
			out.none()
			w.wrote(decide, "boss@x.test", "", "Re: wants to join", "reject")
			out.to("boss@x.test", "mod@x.test has decided already, on ")
			out.none()
		})
	}
}

// TestOnlyTheModeratorsTokenDecides: not the one that the address got, nor a machine's answer.
func TestOnlyTheModeratorsTokenDecides(t *testing.T) {
	w, out := commandWorld(t, "subscription_policy=confirm_then_moderate")
	w.wrote("dev-join@lists.test", "eve@net.test", "", "", "accept")
	own := tokenIn(t, out.to("eve@net.test", "Please confirm").text)
	w.wrote(own, "eve@net.test", "", "Re:", "accept")
	out.to("eve@net.test", "A moderator decides")
	decide := tokenIn(t, out.to("boss@x.test", "wants to join").text)
	w.wrote(own, "eve@other.test", "", "Re:", "accept")
	out.to("eve@other.test", "Nothing waits for this token") // it was used
	w.wrote(own, "boss@x.test", "eve@other.test", "Re:", "accept")
	out.to("eve@other.test", "Nothing waits for this token") // it says to be an owner's
	w.wrote(decide, "boss@x.test", "", "Re:", "accept", "Auto-Submitted: auto-replied\r\n")
	out.none()
	if s := w.statusOf("eve@net.test"); s != "" {
		t.Errorf("eve is %s", s)
	}
	w.wrote("dev-request@lists.test", "boss@x.test", "", "confirm "+strings.TrimSuffix(strings.TrimPrefix(decide, "dev-confirm+"), "@lists.test"), "")
	out.to("boss@x.test", "To decide, answer")
	if s := w.statusOf("eve@net.test"); s != "" {
		t.Errorf("eve is %s", s)
	}
}

func TestModeratedLeaving(t *testing.T) {
	w, out := commandWorld(t, "unsubscription_policy=moderate")
	w.add(list.Member, "ann@net.test")
	w.wrote("dev-leave@lists.test", "ann@net.test", "eve@net.test", "", "")
	out.to("ann@net.test", "Please confirm") // nobody is asked about what she may not want
	out.none()
	w.wrote("dev-leave@lists.test", "ann@net.test", "", "", "")
	out.to("ann@net.test", "Please confirm")
	out.none()
	w.add(list.Member, "bob@net.test")
	w.wrote("dev-leave@lists.test", "bob@net.test", "", "", "")
	out.to("bob@net.test", "A moderator decides whether bob@net.test is to leave")
	w.wrote(tokenIn(t, out.to("boss@x.test", "wants to leave").text), "boss@x.test", "", "Re:", "accept")
	out.to("bob@net.test", "has left the list")
	if s := w.statusOf("bob@net.test"); s != "" {
		t.Errorf("bob is %s", s)
	}
}

func TestAnOperatorDecides(t *testing.T) {
	for _, tt := range []struct {
		policy, told string
		decision     command.Decision
		member       bool
	}{
		{"confirm", "Welcome to the list", command.Decision{Verb: command.Accept}, true},
		{"confirm_then_moderate", "Welcome to the list", command.Decision{Verb: command.Accept}, true},
		{"moderate", "who are you? x", command.Decision{Verb: command.Reject, Reason: "who are you?\nx"}, false},
		{"moderate", "", command.Decision{Verb: command.Discard}, false},
	} {
		t.Run(tt.policy+" "+string(tt.decision.Verb), func(t *testing.T) {
			w, out := commandWorld(t, "subscription_policy="+tt.policy)
			w.wrote("dev-join@lists.test", "ann@net.test", "", "", "")
			out.to("ann@net.test", "")
			out.collect()
			out.mail = nil
			var r store.Request
			for got, err := range w.store.Requests(t.Context(), w.list.ID, time.Now()) {
				if err != nil {
					t.Fatal(err)
				}
				r = got
			}
			for range 2 { // the second finds nothing
				if _, err := PutDecision(t.Context(), w.spool, w.list.Address, r.Token, tt.decision, spool.Envelope{Received: time.Now()}); err != nil {
					t.Fatal(err)
				}
				w.idle()
			}
			if is := w.statusOf("ann@net.test") != ""; is != tt.member {
				t.Errorf("a member: %t, want %t", is, tt.member)
			}
			if tt.told != "" {
				out.to("ann@net.test", tt.told)
			}
			out.none()
			h, err := w.store.MemberHistory(t.Context(), w.list.ID, addr(t, "ann@net.test"), 10)
			if err != nil || len(h) != 1 || h[0].By != "operator" {
				t.Errorf("history %+v, %v", h, err)
			}
			if failed := w.entries(spool.Failed); len(failed) != 0 {
				t.Errorf("failed has %+v", failed)
			}
		})
	}
}

// TestASecondRunOfADecision: the first dies when all is done, and before anybody is told.
func TestASecondRunOfADecision(t *testing.T) {
	w, out := commandWorld(t, "subscription_policy=moderate")
	w.wrote("dev-join@lists.test", "ann@net.test", "", "", "")
	decide := tokenIn(t, out.to("boss@x.test", "wants to join").text)
	out.to("ann@net.test", "A moderator decides")
	w.stop()
	dying := &dyingStore{Store: w.store}
	dying.left.Store(1)
	w.startWith(dying, verdict(sdk.Accept))
	w.wrote(decide, "boss@x.test", "", "Re:", "reject no")
	out.to("ann@net.test", "has rejected the request")
	out.to("boss@x.test", "It is done")
	out.none()
}
