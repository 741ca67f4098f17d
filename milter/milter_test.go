package milter

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/sdk"
)

func TestRecipients(t *testing.T) {
	w := start(t, func(c *Config) { c.ListDomains = []string{"Lists.Test"} })
	c := w.connect()
	defer c.Close()
	c.mail("ann@net.test")
	for _, tt := range []struct{ to, want string }{
		{"dev@lists.test", "continue"},
		{"nobody@lists.test", "550 5.1.1 <nobody@lists.test>: no such list address here"},
		{"100%@lists.test", "550 5.1.1 <100%@lists.test>: no such list address here"}, // %% on the wire
		{"dev-owner@lists.test", "continue"},
		{"dev-bounces+ann=net.test@lists.test", "continue"},
		{"news@lists.test", "continue"}, // after those refused
		{"bob@net.test", "continue"},    // another domain's
		{"no address", "continue"},
		{"dev+x@lists.test", "550 5.1.1 <dev+x@lists.test>: no such list address here"},
		{"dev+subscribe@lists.test", "continue"},
		{"Postmaster@lists.test", "continue"}, // must be there, and is no list's
		{"abuse@lists.test", "continue"},
	} {
		got := strings.ReplaceAll(c.rcpt(tt.to), "%%", "%")
		if got != tt.want {
			t.Errorf("RCPT %s: %s, want %s", tt.to, got, tt.want)
		}
	}
}

// Where users are, too, Postfix takes dev+x for dev: what is no address of the list's is refused.
func TestWhatStandsBehindAListsNameIsNoUsers(t *testing.T) {
	w := start(t, nil)
	c := w.connect()
	defer c.Close()
	c.mail("ann@net.test")
	for to, want := range map[string]string{
		"dev+x@lists.test":           "550 5.1.1 <dev+x@lists.test>: no such list address here",
		"dev-owner+x@lists.test":     "550 5.1.1 <dev-owner+x@lists.test>: no such list address here",
		"dev+leave@lists.test":       "continue",
		"ann+x@lists.test":           "continue", // a user's, perhaps
		"ann@lists.test":             "continue",
		"dev-bounces+x=y@lists.test": "continue",
	} {
		if got := c.rcpt(to); got != want {
			t.Errorf("RCPT %s: %s, want %s", to, got, want)
		}
	}
}

func TestAListThatTakesNoPostsIsRefusedAlone(t *testing.T) {
	w := start(t, nil)
	c := w.connect()
	defer c.Close()
	dev := address.Address{Local: "dev", Domain: "lists.test"}
	for _, tt := range []struct {
		state     list.State
		why, want string
	}{
		{list.Frozen, "Until Monday.", "550 5.7.1 dev@lists.test takes no posts at present. Until Monday."},
		{list.Closed, "", "550 5.7.1 dev@lists.test is closed and takes no posts any more."},
		{list.Open, "", "continue"},
	} {
		if _, err := w.store.SetState(t.Context(), dev, tt.state, tt.why); err != nil {
			t.Fatal(err)
		}
		c.mail("ann@net.test")
		for to, want := range map[string]string{"dev@lists.test": tt.want, "dev-owner@lists.test": "continue", "news@lists.test": "continue"} {
			if got := c.rcpt(to); got != want {
				t.Errorf("%s list, RCPT %s: %s, want %s", tt.state, to, got, want)
			}
		}
		c.Abort(nil)
	}
}

func TestASenderWhomTheListRefusesWhateverComes(t *testing.T) {
	w := start(t, nil)
	w.stages.banned = "eve@else.test"
	c := w.connect()
	defer c.Close()
	for _, tt := range []struct{ from, want string }{
		{"eve@else.test", "550 5.7.1 eve@else.test may not post to this list."},
		{"ann@net.test", "continue"},
	} {
		c.mail(tt.from)
		for to, want := range map[string]string{"dev@lists.test": tt.want, "dev-owner@lists.test": "continue"} {
			if got := c.rcpt(to); got != want {
				t.Errorf("from %s, RCPT %s: %s, want %s", tt.from, to, got, want)
			}
		}
		c.Abort(nil)
	}
	p := w.stages.envelopes[0]
	if p.List.Address != "dev@lists.test" || p.Envelope.Peer != "client.test [192.0.2.1]" || len(p.Senders) != 1 || p.Senders[0].Source != "envelope" || p.Body != nil {
		t.Errorf("the stages are told %+v", p)
	}
}

func TestInADomainWithUsersUnknownAddressesPass(t *testing.T) {
	w := start(t, nil)
	c := w.connect()
	defer c.Close()
	c.mail("ann@net.test")
	if got := c.rcpt("nobody@lists.test"); got != "continue" {
		t.Errorf("%s", got)
	}
}

// A message is refused when every list that it is for rejects it and nobody else gets it.
func TestTheEndOfAMessage(t *testing.T) {
	reject, other := sdk.Reject("nonmember", "Only members post here: 100% of them."), sdk.Reject("too-big", "Too big.")
	for _, tt := range []struct {
		name       string
		recipients string
		dev, news  sdk.Verdict
		want       string
		asked      int
	}{
		{"accepted", "dev@lists.test", sdk.Accept, sdk.Accept, "continue", 1},
		{"rejected", "dev@lists.test", reject, sdk.Accept, "550 5.7.1 Only members post here: 100%% of them.", 1},
		{"held", "dev@lists.test", sdk.Hold("nonmember", "Held."), sdk.Accept, "continue", 1},
		{"discarded", "dev@lists.test", sdk.Discard("loop", "A loop."), sdk.Accept, "continue", 1},
		{"rejected by both", "dev@lists.test news@lists.test", reject, other, "550 5.7.1 Only members post here: 100%% of them.", 2},
		{"rejected by one", "news@lists.test dev@lists.test", reject, sdk.Accept, "continue", 1},
		{"named twice", "dev@lists.test DEV@lists.test", reject, sdk.Accept, "550 5.7.1 Only members post here: 100%% of them.", 1},
		{"and to the owners", "dev@lists.test dev-owner@lists.test", reject, sdk.Accept, "continue", 0},
		{"and to a person", "dev@lists.test bob@net.test", reject, sdk.Accept, "continue", 0},
		{"to a person", "bob@net.test", reject, reject, "continue", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, nil)
			w.stages.verdicts = map[string]sdk.Verdict{"dev@lists.test": tt.dev, "news@lists.test": tt.news}
			c := w.connect()
			defer c.Close()
			c.mail("ann@net.test")
			for to := range strings.FieldsSeq(tt.recipients) {
				c.rcpt(to)
			}
			if got := c.message(hello, "Hi.\r\n"); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if len(w.stages.asked) != tt.asked {
				t.Errorf("%d lists' stages were asked, want %d", len(w.stages.asked), tt.asked)
			}
		})
	}
}

func TestStagesSeeTheMessage(t *testing.T) {
	w := start(t, nil)
	c := w.connect()
	defer c.Close()
	body := strings.Repeat("A line of the body.\r\n", 10_000)
	c.mail("Ann@Net.test")
	c.rcpt("Dev@lists.test")
	c.message(hello, body)
	if len(w.stages.asked) != 1 {
		t.Fatalf("asked %d times", len(w.stages.asked))
	}
	p := w.stages.asked[0]
	if p.List.Address != "dev@lists.test" || p.Envelope.Sender != "Ann@net.test" || p.Envelope.Recipient != "Dev@lists.test" || p.Envelope.Peer != "client.test [192.0.2.1]" {
		t.Errorf("list %s, envelope %+v", p.List.Address, p.Envelope)
	}
	if len(p.Senders) != 2 || p.Senders[0].Address != "ann@net.test" || p.Senders[0].Source != "from" {
		t.Errorf("senders %+v", p.Senders)
	}
	if want := "From: ann@net.test\r\nSubject: hello\r\n\tagain\r\n|" + body; w.stages.texts[0] != want {
		t.Errorf("the stages saw %.200q, want %.200q", w.stages.texts[0], want)
	}
}

// The library makes a new object after some responses, and forgets who is connected.
func TestASessionOutlivesRefusals(t *testing.T) {
	w := start(t, func(c *Config) { c.ListDomains = []string{"lists.test"} })
	w.stages.verdicts["dev@lists.test"] = sdk.Reject("nonmember", "No.")
	c := w.connect()
	defer c.Close()
	for i := range 3 {
		c.mail("ann@net.test")
		c.rcpt("nobody@lists.test")
		if got := c.rcpt("dev@lists.test"); got != "continue" {
			t.Fatalf("message %d: RCPT after a refused one: %s", i, got)
		}
		if got := c.message(hello, "Hi.\r\n"); got != "550 5.7.1 No." {
			t.Fatalf("message %d: %s", i, got)
		}
		c.Abort(nil)
	}
	for i, p := range w.stages.asked {
		if p.Envelope.Peer != "client.test [192.0.2.1]" || p.Envelope.Sender != "ann@net.test" {
			t.Errorf("message %d: envelope %+v", i, p.Envelope)
		}
	}
}

func TestWhatCannotBeJudged(t *testing.T) {
	down := errors.New("down")
	for _, tt := range []struct {
		name      string
		onFailure OnFailure
		store     error
		stages    error
		rcpt, end string
	}{
		{"the store, tempfail", Tempfail, down, nil, "451 4.3.0 mx.test cannot check this at present, try again later", "continue"},
		{"the store, pass", Pass, down, nil, "continue", "continue"},
		{"a handler, tempfail", Tempfail, nil, down, "continue", "451 4.3.0 mx.test cannot check this at present, try again later"},
		{"a handler, pass", Pass, nil, down, "continue", "continue"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, func(c *Config) { c.OnFailure = tt.onFailure })
			w.store.err, w.stages.err = tt.store, tt.stages
			w.stages.verdicts["dev@lists.test"] = sdk.Reject("x", "y")
			c := w.connect()
			defer c.Close()
			c.mail("ann@net.test")
			if got := c.rcpt("dev@lists.test"); got != tt.rcpt {
				t.Errorf("RCPT: %s, want %s", got, tt.rcpt)
			}
			if got := c.message(hello, "Hi.\r\n"); got != tt.end {
				t.Errorf("end: %s, want %s", got, tt.end)
			}
		})
	}
}

// A handler that hangs is waited for once at RCPT, however many recipients there are, and once at the end.
func TestAHandlerThatFailsIsAskedOnceBeforeTheEnd(t *testing.T) {
	w := start(t, nil)
	w.stages.err = context.DeadlineExceeded
	c := w.connect()
	defer c.Close()
	for range 2 { // each message anew
		c.mail("ann@net.test")
		for range 5 {
			for _, to := range []string{"dev@lists.test", "news@lists.test"} {
				if got := c.rcpt(to); got != "continue" {
					t.Errorf("RCPT %s: %s", to, got)
				}
			}
		}
		if got := c.message(hello, "Hi.\r\n"); !strings.HasPrefix(got, "451 ") {
			t.Errorf("end: %s", got)
		}
	}
	if w.stages.failures != 2 || len(w.stages.asked) != 2 {
		t.Errorf("asked %d times at RCPT, %d times at the end", w.stages.failures, len(w.stages.asked))
	}
}
