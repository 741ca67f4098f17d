package pipeline

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/sdk"
)

// What mlist writes itself, and what it sends on to the owners, outbound signs; posts are for
// stage sign.
func TestOwnMailIsSigned(t *testing.T) {
	key := spool.SignKey{Domain: "lists.test", Selector: "s1", File: "/etc/mlist/s1"}
	w := newWorld(t, stagesFunc(func(_ context.Context, p *host.Post) (host.Result, error) {
		if strings.Contains(p.Header.Text("Subject"), "2") {
			return host.Result{Stage: "posting", Verdict: sdk.Reject("nonmember", "No.")}, nil
		}
		p.Rules = []sdk.Rule{{Kind: sdk.RuleSelect, Roles: []string{"member"}}}
		return host.Result{Verdict: sdk.Accept}, nil
	}))
	cfg := *w.daemon.cfg.Load()
	cfg.SignKeys = func(domain string) []spool.SignKey {
		if domain != "lists.test" {
			t.Errorf("asked for the keys of %s", domain)
		}
		return []spool.SignKey{key}
	}
	w.daemon.cfg.Store(&cfg)
	w.add(list.Member, "bob@net.test")
	w.add(list.Owner, "boss@net.test")
	for _, tt := range []struct {
		name, to string
		send     func() spool.ID
		signed   bool
	}{
		{"a post", "bob@net.test", func() spool.ID { return w.post(numbered(1)) }, false},
		{"a notice of a rejection", "ann@net.test", func() spool.ID { return w.post(numbered(2)) }, true},
		{"an answer to a command", "cy@net.test", func() spool.ID {
			return w.put(spool.Incoming, spool.Envelope{Sender: "cy@net.test", Recipient: "dev-request@lists.test", Role: "request"}, "From: cy@net.test\nSubject: help\n\n")
		}, true},
		{"mail to the owners", "boss@net.test", func() spool.ID {
			return w.put(spool.Incoming, spool.Envelope{Sender: "cy@net.test", Recipient: "dev-owner@lists.test", Role: "owner"}, "From: cy@net.test\nSubject: hello\n\nhello\n")
		}, true},
	} {
		id := tt.send()
		w.idle()
		found := false
		for post, chunks := range w.outgoing() {
			for _, c := range chunks {
				if !slices.Equal(c.Recipients, []string{tt.to}) {
					continue
				}
				found = true
				if signed := slices.Equal(c.Sign, []spool.SignKey{key}); signed != tt.signed {
					t.Errorf("%s (%s of %s): sign %+v", tt.name, c.Variant, post, c.Sign)
				}
			}
		}
		if !found {
			t.Errorf("%s: nothing of %s goes to %s", tt.name, id, tt.to)
		}
	}
}
