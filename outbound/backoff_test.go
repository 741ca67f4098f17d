package outbound

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/outbound/internal/fakemta"
	"github.com/mlist/mlist/outbound/sender"
)

func TestPaceOfReplies(t *testing.T) {
	for _, tt := range []struct {
		code        int
		status      sender.Enhanced
		text        string
		times       int
		hint        time.Duration
		destination bool
	}{
		{450, sender.Enhanced{4, 2, 1}, "later", 1, 0, false},
		{451, sender.Enhanced{}, "later", 1, 0, false},
		{452, sender.Enhanced{4, 2, 2}, "mailbox full", 15, 0, false},
		{450, sender.Enhanced{4, 7, 1}, "Greylisted, try again in 300 seconds", 2, 5 * time.Minute, true},
		{450, sender.Enhanced{4, 2, 0}, "<a@m.test>: greylisted, see http://postgrey.test/", 2, 0, true},
		{451, sender.Enhanced{4, 7, 1}, "greylisting in action, come back in 00:10:00", 2, 10 * time.Minute, true},
		{421, sender.Enhanced{4, 7, 0}, "too many messages, slow down; retry after 15 min", 5, 15 * time.Minute, true},
		{450, sender.Enhanced{4, 4, 1}, "connect to m.test: timed out", 1, 0, true},
		{450, sender.Enhanced{4, 1, 2}, "domain not found", 1, 0, true},
		{450, sender.Enhanced{4, 7, 1}, "Sender address rejected", 1, 0, false},
		{451, sender.Enhanced{4, 3, 0}, "<a@m.test>: temporary lookup failure", 1, 0, false}, // the MTA's own trouble
		{451, sender.Enhanced{4, 4, 2}, "content: input/output error", 1, 0, true},
		{450, sender.Enhanced{4, 2, 1}, "try again in 99999 hours", 1, hintMost, false},
		{450, sender.Enhanced{4, 2, 1}, "try again in 1 second", 1, 0, false},
		{450, sender.Enhanced{4, 2, 1}, "in 999999999999999 seconds", 1, 0, false},
	} {
		want := pace{tt.times, tt.hint, tt.destination}
		if got := paceOf(sender.Reply{Code: tt.code, Enhanced: tt.status, Text: tt.text}); got != want {
			t.Errorf("%d %s %s: %+v, want %+v", tt.code, tt.status, tt.text, got, want)
		}
	}
}

// TestWaitsGrowAndDiffer: a wait doubles up to the longest, is never shorter than what the reply
// asks for, and no two are the same.
func TestWaitsGrowAndDiffer(t *testing.T) {
	cfg := Config{}.withDefaults()
	p := pace{times: 5}
	for tries, want := range []time.Duration{5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 40 * time.Minute, 80 * time.Minute, 2 * time.Hour, 2 * time.Hour} {
		seen := map[time.Duration]bool{}
		for range 20 {
			w := p.wait(&cfg, tries)
			if w < want*4/5 || w > want*6/5 {
				t.Errorf("after %d tries %v, want about %v", tries, w, want)
			}
			seen[w] = true
		}
		if len(seen) < 10 {
			t.Errorf("after %d tries only %d different waits of 20", tries, len(seen))
		}
	}
	if w := (pace{times: 1, hint: time.Hour}).wait(&cfg, 0); w < time.Hour {
		t.Errorf("asked for an hour, it is %v", w)
	}
}

// TestADestinationThatDefersIsLeftAlone: others' mail to it waits without being tried, and is
// charged no try for that; mail to other destinations goes.
func TestADestinationThatDefersIsLeftAlone(t *testing.T) {
	s := fakemta.Start(t, "", fakemta.Script{Rcpt: map[string]string{"a@slow.test": "450 4.4.1 no route to slow.test"}})
	m := newMemory(chunk(0, "a@slow.test"))
	d := run(t, testConfig(s.Addr), m)
	m.wait(t, "the first is deferred", func() bool { return slices.Contains(m.events, "settle") && m.idle() })
	m.lock(func() { m.waiting = append(m.waiting, chunk(1, "b@Slow.test", "c@fine.test"), chunk(2, "d@slow.test")) })
	m.wait(t, "the others are dealt with", func() bool { return len(m.waiting) == 3 && slices.Contains(m.events, "release") && m.idle() })
	if err := d.stop(t); err != nil {
		t.Fatal(err)
	}
	if got := deliveries(s); len(got) != 1 || got["c@fine.test"] != 1 {
		t.Errorf("delivered: %v", got)
	}
	for _, l := range s.Lines() {
		if strings.Contains(l, "b@Slow") || strings.Contains(l, "d@slow") {
			t.Errorf("tried meanwhile: %s", l)
		}
	}
	tries := map[string]int{"000000": 1, "000001": 1, "000002": 0}
	for _, c := range m.waiting {
		if left := time.Until(c.Due); left < 40*time.Second || left > 80*time.Second {
			t.Errorf("%s is due in %v", c.Name, left)
		}
		if c.Tries != tries[c.Name] {
			t.Errorf("%s: %d tries, want %d", c.Name, c.Tries, tries[c.Name])
		}
	}
}

// TestOneRecipientsDeferralIsNotTheDestinations: a full mailbox keeps no other waiting.
func TestOneRecipientsDeferralIsNotTheDestinations(t *testing.T) {
	s := fakemta.Start(t, "", fakemta.Script{Rcpt: map[string]string{"a@m.test": "452 4.2.2 mailbox full"}})
	m := newMemory(chunk(0, "a@m.test"))
	d := run(t, testConfig(s.Addr), m)
	m.wait(t, "the first is deferred", func() bool { return slices.Contains(m.events, "settle") && m.idle() })
	m.lock(func() { m.waiting = append(m.waiting, chunk(1, "b@m.test")) })
	m.wait(t, "the other is delivered", func() bool { return len(m.settled) == 2 && m.idle() })
	if err := d.stop(t); err != nil {
		t.Fatal(err)
	}
	if got := deliveries(s); got["b@m.test"] != 1 {
		t.Errorf("delivered: %v", got)
	}
	if left := time.Until(m.waiting[0].Due); left < 12*time.Minute || left > 18*time.Minute {
		t.Errorf("the full mailbox is tried again in %v", left)
	}
}

func TestDestinationsAreRememberedForAWhile(t *testing.T) {
	d := New(Config{MaxAge: time.Hour}, newMemory(), slog.New(slog.DiscardHandler))
	now := time.Now()
	d.now = func() time.Time { return now }
	slow := refusal{recipient: "a@slow.test", reply: sender.Reply{Code: 450, Enhanced: sender.Enhanced{4, 4, 1}}}
	c := chunk(0, "a@slow.test", "b@slow.test", "c@fine.test")

	d.learn(c, &outcome{deferred: []refusal{slow}}, 0)
	d.learn(c, &outcome{deferred: []refusal{slow}}, 0) // by another connection: the same event
	rest, aside := d.setAside(c, c.Recipients)
	if !slices.Equal(rest, []string{"c@fine.test"}) || len(aside) != 2 {
		t.Errorf("now %v, aside %v", rest, aside)
	}
	if left := aside[0].until.Sub(now); left > 72*time.Second {
		t.Errorf("left alone for %v after what was one event", left)
	}

	now = now.Add(2 * time.Minute)
	if _, aside := d.setAside(c, c.Recipients); len(aside) > 0 {
		t.Errorf("still aside: %v", aside)
	}
	d.learn(c, &outcome{deferred: []refusal{slow}}, 1)
	_, aside = d.setAside(c, c.Recipients)
	if left := aside[0].until.Sub(now); left < 90*time.Second {
		t.Errorf("the second wait is %v", left)
	}

	if due, all := d.allAside(chunk(3, "x@slow.test")); !all || due.Sub(now) > asideMost+2*time.Second {
		t.Errorf("all aside %v, due in %v: it is to be looked at again soon", all, due.Sub(now))
	}

	old := *c
	old.Created = now.Add(-2 * time.Hour)
	if _, aside := d.setAside(&old, c.Recipients); len(aside) > 0 {
		t.Errorf("a chunk that is to end is kept from it: %v", aside)
	}

	wanted := *c
	wanted.Tries = 1 // and it is due at once: an operator wants it to be tried
	if _, aside := d.setAside(&wanted, c.Recipients); len(aside) > 0 {
		t.Errorf("what an operator wants tried is kept from it: %v", aside)
	}
	d.learn(c, &outcome{deferred: []refusal{slow}}, 1)

	d.learn(c, &outcome{accepted: 3}, 0) // it takes mail again
	if _, aside := d.setAside(c, c.Recipients); len(aside) > 0 || d.destinations.some.Load() {
		t.Errorf("not forgotten: %v", aside)
	}
	for i := range destinationsKept + 5 {
		d.destinations.deferred(strings.Repeat("x", i%7)+string(rune(i)), sender.Reply{}, pace{times: 1}, d.cfg.Load(), now)
	}
	if n := len(d.destinations.by); n > destinationsKept {
		t.Errorf("%d are remembered", n)
	}
}
