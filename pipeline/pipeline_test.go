package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk"
)

func TestAnAcceptedPostGoesToEveryMemberInChunks(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	members := []string{"a@x.test", "b@x.test", "c@x.test", "d@x.test", "e@x.test", "用户@x.test", "z@x.test"}
	w.add(list.Member, members...)
	id := w.post(hello)
	w.idle()
	slices.Sort(members)
	if got := w.recipients(id); !slices.Equal(got, members) {
		t.Errorf("recipients %v, want %v", got, members)
	}
	for _, c := range w.outgoing()[id] {
		international := !isASCII(c.Recipients[0])
		if hasFlag(c.Flags, spool.FlagSMTPUTF8) != international {
			t.Errorf("chunk of %v has flags %v", c.Recipients, c.Flags)
		}
		if c.Sender != "dev-bounces@lists.test" {
			t.Errorf("envelope sender %s", c.Sender)
		}
	}
	w.stop()
	if _, text := w.take(); text != hello {
		t.Errorf("content %q, want %q", text, hello)
	}
}

func TestASecondCopyIsDropped(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	w.add(list.Member, "a@x.test")
	w.post(hello)
	w.idle()
	w.post(hello)
	w.post(strings.Replace(hello, "hello\r\n", "bye\r\n", 1))
	w.idle()
	if got := w.outgoing(); len(got) != 2 {
		t.Errorf("%d posts went out, want 2", len(got))
	}
}

func TestAFailingPostIsTriedAgainAndThenParked(t *testing.T) {
	var mu sync.Mutex
	tries := 0
	w := newWorld(t, stagesFunc(func(_ context.Context, p *host.Post) (host.Result, error) {
		if p.Header.Get("Subject") != "poison" {
			return verdict(sdk.Accept)(context.Background(), p)
		}
		mu.Lock()
		defer mu.Unlock()
		tries++
		return host.Result{}, errors.New("plugin standard died")
	}))
	w.add(list.Member, "a@x.test")
	bad := w.post(strings.Replace(hello, "hello", "poison", 1))
	good := w.post(hello)
	w.idle()
	failed := w.entries(spool.Failed)
	if len(failed) != 1 || failed[0].ID != bad || !strings.Contains(failed[0].Reason, "plugin standard died") {
		t.Fatalf("failed has %+v", failed)
	}
	if mu.Lock(); tries != 3 {
		t.Errorf("%d tries, want 3", tries)
	}
	mu.Unlock()
	if got := w.recipients(good); len(got) != 1 {
		t.Errorf("the next post went to %v", got)
	}
}

func TestWaitingForAPluginIsNoTry(t *testing.T) {
	var mu sync.Mutex
	calls := 0
	w := newWorld(t, stagesFunc(func(ctx context.Context, p *host.Post) (host.Result, error) {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls <= 6 { // twice as often as there are tries
			return host.Result{}, fmt.Errorf("plugin standard: %w", host.ErrDown)
		}
		return verdict(sdk.Accept)(ctx, p)
	}))
	w.add(list.Member, "a@x.test")
	id := w.post(hello)
	w.idle()
	if got := w.recipients(id); len(got) != 1 {
		t.Errorf("delivered to %v; failed has %v", got, w.entries(spool.Failed))
	}
}

func TestAnAuthorIsToldThatAPostWaitsIfTheListSaysSo(t *testing.T) {
	for say, want := range map[string]int{"true": 1, "false": 0} {
		w := newWorld(t, verdict(sdk.Hold("x", "It waits.")))
		w.set("admin_immed_notify=false", "respond_to_post_requests="+say)
		w.post(hello)
		w.idle()
		if got := len(w.delivered()["ann@net.test"]); got != want || len(w.entries(spool.Held)) != 1 {
			t.Errorf("respond_to_post_requests=%s: %d notices", say, got)
		}
	}
}

func TestAHeldPostWaitsAndIsDeliveredOnceAccepted(t *testing.T) {
	w := newWorld(t, stagesFunc(func(_ context.Context, p *host.Post) (host.Result, error) {
		if p.Approved {
			return verdict(sdk.Accept)(context.Background(), p)
		}
		p.Notes["why"] = "test"
		return host.Result{Verdict: sdk.Hold("nonmember", "You are not a member."), Stage: "posting"}, nil
	}))
	w.add(list.Member, "a@x.test")
	w.add(list.Owner, "boss@x.test")
	w.add(list.Moderator, "boss@x.test", "mod@x.test")
	id := w.post(hello)
	w.idle()
	held := w.entries(spool.Held)
	if len(held) != 1 || held[0].ID != id || held[0].Reason != "You are not a member." || held[0].Notes["code"] != "nonmember" || held[0].Notes["why"] != "test" {
		t.Fatalf("held has %+v", held)
	}
	var told []string
	for post := range w.outgoing() {
		told = append(told, strings.Join(w.recipients(post), " "))
	}
	slices.Sort(told)
	if want := []string{"ann@net.test", "boss@x.test mod@x.test"}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
	if err := w.spool.Retry(t.Context(), held[0], spool.FlagApproved); err != nil {
		t.Fatal(err)
	}
	w.eventually("the accepted post", func() bool { return len(w.recipients(id)) == 1 })
}

func TestARejectedPostIsAnsweredOnlyToPeople(t *testing.T) {
	tests := []struct {
		name, sender, header string
		answered             bool
	}{
		{"a person gets a notice", "ann@net.test", "", true},
		{"the null sender does not", "", "", false},
		{"an automatic reply does not", "ann@net.test", "Auto-Submitted: auto-replied\r\n", false},
		{"Auto-Submitted: no is a person", "ann@net.test", "Auto-Submitted: no\r\n", true},
		{"bulk mail does not", "ann@net.test", "Precedence: bulk\r\n", false},
		{"list mail does not", "ann@net.test", "List-Id: <x.y>\r\n", false},
		{"a bounce address does not", "x-bounces+1@net.test", "", false},
		{"a mailer daemon does not", "MAILER-DAEMON@net.test", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, verdict(sdk.Reject("nonmember", "Only members may post.")))
			id := w.put(spool.Incoming, spool.Envelope{Sender: tt.sender}, tt.header+hello)
			w.idle()
			w.stop()
			if !tt.answered {
				if got := w.outgoing(); len(got) != 0 {
					t.Fatalf("a notice went out: %v", got)
				}
				return
			}
			c, text := w.take()
			if c.Post != id || c.Sender != "" || !slices.Equal(c.Recipients, []string{tt.sender}) {
				t.Errorf("notice is %+v", c)
			}
			for _, want := range []string{"Auto-Submitted: auto-replied", "Only members may post.", "message/rfc822", "Subject: hello"} {
				if !strings.Contains(text, want) {
					t.Errorf("the notice lacks %q:\n%s", want, text)
				}
			}
		})
	}
}

func TestOneAddressGetsSoManyNoticesADay(t *testing.T) {
	w := newWorld(t, verdict(sdk.Reject("nonmember", "Only members may post.")))
	for i := range 5 {
		w.post(fmt.Sprintf("X-Number: %d\r\n%s", i, hello))
	}
	w.idle()
	if got := w.outgoing(); len(got) != 2 {
		t.Errorf("%d notices, want 2", len(got))
	}
}

func TestADiscardedPostLeavesNothing(t *testing.T) {
	w := newWorld(t, verdict(sdk.Discard("loop", "It has been here.")))
	w.post(hello)
	w.idle()
	if len(w.outgoing())+len(w.entries(spool.Held))+len(w.entries(spool.Failed)) != 0 {
		t.Error("something is left")
	}
}

func TestNumbersCountDeliveredPostsOnly(t *testing.T) {
	var mu sync.Mutex
	var numbers []int64
	w := newWorld(t, stagesFunc(func(_ context.Context, p *host.Post) (host.Result, error) {
		if p.Header.Get("Subject") == "spam" {
			return host.Result{Verdict: sdk.Discard("spam", "spam"), Stage: "test"}, nil
		}
		mu.Lock()
		numbers = append(numbers, p.Number)
		mu.Unlock()
		return verdict(sdk.Accept)(context.Background(), p)
	}))
	w.add(list.Member, "a@x.test")
	for _, subject := range []string{"one", "spam", "two", "spam", "three"} {
		w.post(strings.Replace(hello, "hello", subject, 1) + subject)
	}
	w.idle()
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(numbers, []int64{1, 2, 3}) {
		t.Errorf("numbers %v, want 1 2 3", numbers)
	}
}

func TestMailForTheOwnersIsForwardedOnce(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	w.add(list.Owner, "boss@x.test")
	id := w.put(spool.Incoming, spool.Envelope{Sender: "ann@net.test", Role: "owner"}, hello)
	w.idle()
	if got := w.recipients(id); !slices.Equal(got, []string{"boss@x.test"}) {
		t.Errorf("forwarded to %v", got)
	}
	w.stop()
	_, text := w.take()
	if !strings.HasSuffix(text, hello) {
		t.Errorf("forwarded as %q", text)
	}
	w.start(verdict(sdk.Accept))
	again := w.put(spool.Incoming, spool.Envelope{Sender: "ann@net.test", Role: "owner"}, text)
	w.idle()
	if got := w.recipients(again); len(got) != 0 {
		t.Errorf("a loop went to %v", got)
	}
}

func TestMailOfADeletedListIsParked(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	w.stop()
	w.post(hello)
	if err := w.store.DeleteList(t.Context(), w.list.Address); err != nil {
		t.Fatal(err)
	}
	w.start(verdict(sdk.Accept))
	w.idle()
	if failed := w.entries(spool.Failed); len(failed) != 1 || !strings.Contains(failed[0].Reason, "gone") {
		t.Errorf("failed has %+v", failed)
	}
}

func TestARefusedMessageIsFiledButNotHeldAgainstItsRecipients(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	w.put(spool.Bounces, spool.Envelope{Role: "bounces", Flags: []string{spool.FlagOutbound}}, strings.ReplaceAll(`From: MAILER-DAEMON@lists.test
Content-Type: multipart/report; report-type=delivery-status; boundary=b
MIME-Version: 1.0

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; lists.test

Final-Recipient: rfc822; gone@x.test
Action: failed
Status: 5.1.1
X-Mlist-Scope: recipient

Final-Recipient: rfc822; fine@x.test
Action: failed
Status: 5.7.1
Diagnostic-Code: smtp; 554 5.7.1 looks like spam
X-Mlist-Scope: message

--b--
`, "\n", "\r\n"))
	w.idle()
	var filed []string
	for e, err := range w.store.BounceEvents(t.Context(), w.list.ID) {
		if err != nil {
			t.Fatal(err)
		}
		filed = append(filed, fmt.Sprintf("%s hard=%v", e.Recipient, e.Hard))
	}
	slices.Sort(filed)
	if !slices.Equal(filed, []string{"fine@x.test hard=false", "gone@x.test hard=true"}) {
		t.Errorf("filed %v", filed)
	}
}

func TestBouncesAreFiled(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	w.add(list.Owner, "gone@x.test")
	w.put(spool.Bounces, spool.Envelope{Role: "bounces"}, strings.ReplaceAll(`From: MAILER-DAEMON@net.test
Content-Type: multipart/report; report-type=delivery-status; boundary=b
MIME-Version: 1.0

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; net.test

Final-Recipient: rfc822; gone@x.test
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no such user

--b--
`, "\n", "\r\n"))
	w.idle()
	var events []store.BounceEvent
	for e, err := range w.store.BounceEvents(t.Context(), w.list.ID) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	if len(events) != 1 || events[0].Recipient.String() != "gone@x.test" || !events[0].Hard || events[0].Status != "5.1.1" {
		t.Errorf("events %+v", events)
	}
}
