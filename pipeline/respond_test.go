package pipeline

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/wire"
)

// delivered takes everything from outgoing, and returns the texts by recipient.
func (w *world) delivered() map[string][]string {
	w.t.Helper()
	o, err := w.spool.OwnOutgoing(w.t.Context(), segment.All, "test")
	if err != nil {
		w.t.Fatal(err)
	}
	defer o.Close()
	out := map[string][]string{}
	for len(w.outgoing()) > 0 {
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
		c, err := o.Next(ctx)
		cancel()
		if err != nil {
			w.t.Fatal(err)
		}
		m, err := o.Content(w.t.Context(), c)
		if err != nil {
			w.t.Fatal(err)
		}
		text, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size()))
		m.Close()
		if err != nil {
			w.t.Fatal(err)
		}
		for _, r := range c.Recipients {
			out[r] = append(out[r], string(text))
		}
		if err := o.Settle(w.t.Context(), c, spool.Settlement{}); err != nil {
			w.t.Fatal(err)
		}
	}
	return out
}

func TestAListResponds(t *testing.T) {
	const header = "From: ann@net.test\r\nTo: dev@lists.test\r\nSubject: hello\r\nMessage-ID: <2@net.test>\r\nReferences: <1@net.test>\r\n"
	type settings = []string
	for _, tt := range []struct {
		name     string
		role     address.Role
		settings settings
		extra    string
		sender   string
		stages   stagesFunc
		answers  int
		goesOn   bool
	}{
		{name: "by default it does not", role: address.RolePost, goesOn: true},
		{name: "to a post, and goes on", role: address.RolePost, settings: settings{"autorespond_postings=respond_and_continue"}, answers: 1, goesOn: true},
		{name: "to a post, and throws it away", role: address.RolePost, settings: settings{"autorespond_postings=respond_and_discard"}, answers: 1},
		{name: "not to a post that is discarded", role: address.RolePost, settings: settings{"autorespond_postings=respond_and_continue"}, stages: verdict(sdk.Discard("x", "x"))},
		{name: "to the owners' mail, and goes on", role: address.RoleOwner, settings: settings{"autorespond_owner=respond_and_continue"}, answers: 1, goesOn: true},
		{name: "to the owners' mail, and throws it away", role: address.RoleOwner, settings: settings{"autorespond_owner=respond_and_discard"}, answers: 1},
		{name: "to a request", role: address.RoleRequest, settings: settings{"autorespond_requests=respond_and_continue"}, answers: 1, goesOn: true},
		{name: "each has its own", role: address.RoleRequest, settings: settings{"autorespond_owner=respond_and_discard", "autorespond_postings=respond_and_discard"}, goesOn: true},
		{name: "not to a machine", role: address.RoleOwner, settings: settings{"autorespond_owner=respond_and_continue"}, extra: "Auto-Submitted: auto-generated\r\n", goesOn: true},
		{name: "not to list mail", role: address.RoleOwner, settings: settings{"autorespond_owner=respond_and_continue"}, extra: "Precedence: list\r\n", goesOn: true},
		{name: "not to a machine, whose mail is thrown away", role: address.RolePost, settings: settings{"autorespond_postings=respond_and_discard"}, extra: "List-Id: <x.y>\r\n"},
		{name: "not to the null sender", role: address.RoleOwner, settings: settings{"autorespond_owner=respond_and_continue"}, sender: "null", goesOn: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stages := tt.stages
			if stages == nil {
				stages = verdict(sdk.Accept)
			}
			w := newWorld(t, stages)
			w.add(list.Member, "member@x.test")
			w.add(list.Owner, "owner@x.test")
			w.set(tt.settings...)
			env := spool.Envelope{Sender: "ann@net.test", Recipient: "dev@lists.test", Role: string(tt.role)}
			if tt.sender == "null" {
				env.Sender = ""
			}
			w.put(spool.Incoming, env, header+tt.extra+"\r\nhello\r\n")
			w.idle()
			all := w.delivered()
			got := all["ann@net.test"]
			if len(got) != tt.answers {
				t.Fatalf("%d answers, want %d: %q", len(got), tt.answers, got)
			}
			for _, field := range []string{"Auto-Submitted: auto-replied\r\n", "In-Reply-To: <2@net.test>\r\n", "References: <1@net.test> <2@net.test>\r\n", "To: ann@net.test\r\n", "received"} {
				if len(got) > 0 && !strings.Contains(got[0], field) {
					t.Errorf("no %q in\n%s", field, got[0])
				}
			}
			on := len(all["member@x.test"]) + len(all["owner@x.test"])
			if (on > 0) != tt.goesOn {
				t.Errorf("%d copies go on", on)
			}
		})
	}
}

func TestAResponseHasTheListsWordsOncePerGrace(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	w.add(list.Owner, "owner@x.test")
	w.set("autorespond_owner=respond_and_discard", "autoresponse_grace_period=2",
		"autoresponse_owner_text=%(display_name)s is on holiday. %(list_address)s %(owner_address)s")
	at := time.Now().Add(-100 * time.Hour)
	var got []string
	for i, step := range []struct {
		after   time.Duration
		answers int // so far
	}{{0, 1}, {time.Hour, 1}, {47 * time.Hour, 1}, {48 * time.Hour, 2}} {
		w.put(spool.Incoming, spool.Envelope{Sender: "ann@net.test", Recipient: "dev-owner@lists.test", Role: string(address.RoleOwner), Received: at.Add(step.after)},
			"From: ann@net.test\r\nSubject: "+strings.Repeat("x", i)+"\r\n\r\nhello\r\n")
		w.idle()
		if got = append(got, w.delivered()["ann@net.test"]...); len(got) != step.answers {
			t.Fatalf("after %s %d answers, want %d", step.after, len(got), step.answers)
		}
	}
	if !strings.Contains(got[0], "\r\n\r\ndev is on holiday. dev@lists.test dev-owner@lists.test\r\n") {
		t.Errorf("%d answers: %q", len(got), got)
	}
}

func TestWhatIsApprovedIsNotThrownAway(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	w.add(list.Member, "member@x.test")
	w.set("autorespond_postings=respond_and_discard")
	w.put(spool.Incoming, spool.Envelope{Sender: "ann@net.test", Recipient: "dev@lists.test", Flags: []string{spool.FlagApproved}}, hello)
	w.put(spool.Incoming, spool.Envelope{Recipient: "dev@lists.test", Peer: "pipeline", Flags: []string{spool.FlagBy + "weekly"}}, "Subject: weekly\r\n\r\nx\r\n")
	w.idle()
	if got := w.delivered()["member@x.test"]; len(got) != 2 {
		t.Errorf("%d copies", len(got))
	}
}

// A handler's automatic reply keeps to invariant 8 without knowing it.
func TestAHandlersReplyGoesToPeopleAlone(t *testing.T) {
	for _, tt := range []struct {
		name, extra, kind, to string
		posts, want           int
	}{
		{"a person", "", "auto-replied", "ann@net.test", 1, 1},
		{"a person, so often a day", "", "auto-replied", "ann@net.test", 4, 2},
		{"a machine", "Auto-Submitted: auto-replied\r\n", "auto-replied", "ann@net.test", 1, 0},
		{"the address of a machine in From, where a person sent it", "", "auto-replied", "dev-request@net.test", 1, 0},
		{"a list", "", "auto-replied", "dev@lists.test", 1, 0},
		{"a list's owners", "", "auto-replied", "dev-owner@lists.test", 1, 0},
		{"what is no reply is not held back", "Auto-Submitted: auto-replied\r\n", "auto-generated", "ann@net.test", 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, stagesFunc(func(_ context.Context, p *host.Post) (host.Result, error) {
				p.Header.Append("List-Id", "<dev.lists.test>") // as a stage before it does
				p.Submissions = []wire.Submission{{Stage: "acknowledge", Submission: sdk.Submission{To: tt.to,
					Message: []byte("To: " + tt.to + "\r\nAuto-Submitted: " + tt.kind + "\r\n\r\nthanks\r\n")}}}
				return host.Result{Verdict: sdk.Accept}, nil
			}))
			for i := range tt.posts {
				w.post("From: ann@net.test\r\nSubject: " + strings.Repeat("x", i) + "\r\n" + tt.extra + "\r\nhello\r\n")
				w.idle()
			}
			if got := w.delivered()[tt.to]; len(got) != tt.want {
				t.Errorf("%d answers, want %d", len(got), tt.want)
			}
		})
	}
}

// The header that the stages have edited says nothing of who wrote the post.
func TestAnAuthorIsToldThoughTheStagesHaveMarkedThePost(t *testing.T) {
	w := newWorld(t, stagesFunc(func(_ context.Context, p *host.Post) (host.Result, error) {
		p.Header.Append("List-Id", "<dev.lists.test>")
		p.Header.Append("Precedence", "list")
		return host.Result{Verdict: sdk.Reject("dmarc", "no"), Stage: "dmarc"}, nil
	}))
	w.post(hello)
	w.idle()
	if got := w.delivered()["ann@net.test"]; len(got) != 1 {
		t.Errorf("%d answers", len(got))
	}
}

func TestTryTellsThatAListThrowsPostsAway(t *testing.T) {
	w := newWorld(t, verdict(sdk.Accept))
	w.set("autorespond_postings=respond_and_discard")
	l, err := w.store.List(t.Context(), w.list.Address)
	if err != nil {
		t.Fatal(err)
	}
	w.stop()
	id := w.post(hello)
	e, err := w.spool.Find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := w.spool.Read(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	defer msg.Close()
	trial, err := Try(t.Context(), w.store, nil, verdict(sdk.Accept), l, msg, spool.Envelope{Role: string(address.RolePost)}, func(string, string) error { return nil })
	if err != nil || trial.Result.Verdict.Kind != sdk.KindDiscard || trial.Result.Verdict.Code != "autorespond" {
		t.Errorf("%+v, %v", trial, err)
	}
}
