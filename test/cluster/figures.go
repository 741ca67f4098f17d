package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/test/tools/sink"
)

// figures are where things stand.
type figures struct {
	at                          time.Time
	due, refused, held, waiting int
	unsure, twice, explained    int
}

func (c *cluster) figures() figures {
	report := c.compare()
	c.load.mu.Lock()
	defer c.load.mu.Unlock()
	c.load.longest = 0
	return figures{at: time.Now(), due: len(c.load.due), refused: c.load.refused, held: c.load.held, waiting: c.deferred(), unsure: len(c.load.unsure),
		twice: report.twice, explained: report.explained}
}

// report prints what a step has come to, and tells whether that is as promised. From quiet on
// nothing new was sent.
func (c *cluster) report(s step, before figures, quiet time.Time, said string) error {
	c.load.mu.Lock()
	longest, broken := c.load.longest, c.load.broken
	c.load.mu.Unlock()
	now, report := c.figures(), c.compare()
	most := 0 // the sink knows each
	if c.postfix {
		most = s.hit * inFlight
	}
	fmt.Printf("%s\n", s.what)
	if said != "" {
		fmt.Printf("    %s\n", said)
	}
	fmt.Printf("    %d posts, %d deliveries: %d lost, %d twice", now.due-before.due, (now.due-before.due)*members, len(report.lost), now.twice-before.twice+now.explained-before.explained)
	if s.hit > 0 {
		fmt.Printf(" (at most %d were in flight)", s.hit*inFlight)
	}
	fmt.Printf("\n    longest pause in deliveries %.1f s; %.0f s in all\n", c.longestPause(before.at, quiet).Seconds(), now.at.Sub(before.at).Seconds())
	fmt.Printf("    senders: %d tries refused (4xx, or nobody there), %d posts held back, the longest %.1f s until it was taken", now.refused-before.refused, now.held-before.held, longest.Seconds())
	if c.postfix {
		fmt.Printf("; Postfix held %d posts back", now.waiting-before.waiting)
	}
	fmt.Println()
	switch {
	case broken != nil:
		return broken
	case len(report.lost) > 0 || len(report.wrong) > 0:
		return errors.New(report.String())
	case now.twice-before.twice > most:
		return fmt.Errorf("%d deliveries came twice that were not in flight", now.twice-before.twice)
	}
	return nil
}

// inFlight is to how many recipients a daemon may be delivering at one instant.
const inFlight = connections * chunk

// comparison is what was taken, held against what came out.
type comparison struct {
	lost, wrong []string // "MESSAGE-ID RECIPIENT"; wrong were not due
	// twice counts deliveries that came again. Of explained ones the sink knows that the reply
	// to each earlier one was in flight. What was in flight between mlist and Postfix it does not see.
	twice, explained int
}

func (c comparison) String() string {
	return fmt.Sprintf("%d lost %q, %d not due %q, %d twice", len(c.lost), c.lost[:min(len(c.lost), 5)], len(c.wrong), c.wrong[:min(len(c.wrong), 5)], c.twice)
}

func (c *cluster) compare() (out comparison) {
	type delivery struct {
		confirmed        bool
		twice, explained int
	}
	got := map[string]*delivery{}
	for _, s := range c.sinks() {
		for _, t := range s.Transactions() {
			for _, r := range t.Recipients {
				key := t.MessageID + " " + r
				d := got[key]
				switch {
				case d == nil:
					d = &delivery{}
					got[key] = d
				case d.confirmed:
					d.twice++
				default:
					d.explained++
				}
				d.confirmed = d.confirmed || t.Confirmed
			}
		}
	}
	c.load.mu.Lock()
	defer c.load.mu.Unlock()
	for _, id := range c.load.due {
		for _, r := range c.all {
			key := id + " " + r
			if d := got[key]; d != nil {
				out.twice, out.explained = out.twice+d.twice, out.explained+d.explained
			} else {
				out.lost = append(out.lost, key)
			}
			delete(got, key)
		}
	}
	for key := range got {
		if id, _, _ := strings.Cut(key, " "); !c.load.unsure[id] {
			out.wrong = append(out.wrong, key)
		}
	}
	return out
}

// everywhere tells whether every post that was taken is at every member.
func (c *cluster) everywhere() bool {
	return c.delivered() >= c.load.taken()*members && len(c.compare().lost) == 0
}

// sinks are all that there are and were.
func (c *cluster) sinks() []*sink.Server {
	c.load.mu.Lock()
	defer c.load.mu.Unlock()
	return slices.Clone(c.load.sinks)
}

// delivered counts what the sinks got.
func (c *cluster) delivered() int {
	n := 0
	for _, s := range c.sinks() {
		n += int(s.Stats().Recipients)
	}
	return n
}

// longestPause is the longest time between two deliveries, to whomever.
func (c *cluster) longestPause(since, until time.Time) (longest time.Duration) {
	var at []time.Time
	for _, s := range c.sinks() {
		for _, t := range s.Transactions() {
			if t.At.After(since) && t.At.Before(until) {
				at = append(at, t.At)
			}
		}
	}
	slices.SortFunc(at, time.Time.Compare)
	for i := 1; i < len(at); i++ {
		longest = max(longest, at[i].Sub(at[i-1]))
	}
	return longest
}

// deferral is how Postfix notes that mlist did not take a post.
var deferral = regexp.MustCompile(`(?m)/lmtp\[\d+\]: (\w+): .* status=deferred`)

// deferred counts the posts that mlist has not taken at once from Postfix, which held them back.
func (c *cluster) deferred() int {
	n := 0
	for _, h := range c.hosts {
		if h.postfix == nil {
			continue
		}
		posts := map[string]bool{}
		for _, m := range deferral.FindAllStringSubmatch(h.postfix.Log(), -1) {
			posts[m[1]] = true
		}
		n += len(posts)
	}
	return n
}
