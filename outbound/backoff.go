package outbound

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/outbound/sender"
)

// pace is how a deferral is met, by what the reply says.
type pace struct {
	times       int           // the first wait, in RetryMin
	hint        time.Duration // not before that, because the reply says so; or 0
	destination bool          // it is the destination that has had enough, not the one recipient
}

// Bounds of waits that a reply may ask for.
const (
	hintLeast = 5 * time.Second
	hintMost  = 2 * time.Hour
)

var (
	greylisted = regexp.MustCompile(`gr[ae]y-?list`)
	tooFast    = regexp.MustCompile(`rate|throttl|too (many|much|fast|quickly)|slow down|defer|volume|frequency|reputation|\bbusy\b|overload`)
	// wanted is a wait that a reply names: "try again in 300 seconds", "retry after 5 min".
	wanted = regexp.MustCompile(`\b(?:in|after|for|within|next) (?:another )?(\d{1,5}) ?(s|sec|secs|seconds?|m|min|mins|minutes?|h|hours?)\b`)
	clock  = regexp.MustCompile(`\b(?:in|after|for) (\d\d):(\d\d):(\d\d)\b`)
)

// paceOf tells how a reply is met. A full mailbox takes longer to mend than a name server;
// who is asked to come later or slower goes by that, for all of the destination.
func paceOf(r sender.Reply) pace {
	text, status := strings.ToLower(r.Text), r.Status()
	p := pace{times: 1}
	switch {
	case greylisted.MatchString(text):
		p.times, p.destination = 2, true
	case status[1] == 7 && tooFast.MatchString(text):
		p.times, p.destination = 5, true
	case r.Code == 552 || status[1] == 2 && status[2] == 2:
		p.times = 15 // a full mailbox
	case status[1] == 4 || status[1] == 1 && status[2] == 2:
		p.destination = true // its host or its name server, or the way there; not 4.3.x, which is the MTA itself
	}
	p.hint = hintOf(text)
	return p
}

// hintOf is the wait that a reply names, within bounds; 0 if there is none.
func hintOf(text string) time.Duration {
	var hint time.Duration
	if m := wanted.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1]) // five digits at most
		unit := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour}[m[2][0]]
		hint = time.Duration(n) * unit
	} else if m := clock.FindStringSubmatch(text); m != nil {
		for i, unit := range []time.Duration{time.Hour, time.Minute, time.Second} {
			n, _ := strconv.Atoi(m[i+1])
			hint += time.Duration(n) * unit
		}
	}
	if hint < hintLeast {
		return 0
	}
	return min(hint, hintMost)
}

// wait is how long to wait after a reply, the tries before it being so many.
func (p pace) wait(cfg *Config, tries int) time.Duration {
	w := doubled(min(cfg.RetryMin*time.Duration(p.times), cfg.RetryMax), cfg.RetryMax, tries)
	return max(jitter(w), jitterUp(p.hint))
}

// destinations are the domains that lately deferred recipients for a reason of their own, and
// until when nobody is tried there. Losing one costs a try: so it is in memory only.
type destinations struct {
	some atomic.Bool // there is one: nearly always there is none
	mu   sync.Mutex
	by   map[string]*destination
}

type destination struct {
	until time.Time
	tries int          // in a row
	reply sender.Reply // the last
}

const (
	destinationsKept = 10_000
	asideMost        = time.Minute // after which a chunk that was not tried is looked at again
)

// domainOf is where a recipient is.
func domainOf(recipient string) string {
	return strings.ToLower(recipient[strings.LastIndexByte(recipient, '@')+1:])
}

// waiting is what a destination said last, if nobody is to be tried there before a time that
// is yet to come.
func (s *destinations) waiting(domain string, now time.Time) (destination, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.by[domain]; d != nil && now.Before(d.until) {
		return *d, true
	}
	return destination{}, false
}

// deferred notes that a destination has deferred somebody, and returns until when it is left
// alone. What several transactions find at once counts once.
func (s *destinations) deferred(domain string, reply sender.Reply, p pace, cfg *Config, now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.by[domain]
	if d == nil {
		if len(s.by) >= destinationsKept {
			clear(s.by)
		}
		if s.by == nil {
			s.by = map[string]*destination{}
		}
		d = &destination{}
		s.by[domain] = d
		s.some.Store(true)
	}
	if !now.Before(d.until) {
		d.until = now.Add(p.wait(cfg, d.tries))
		d.tries++
	}
	d.reply = reply
	return d.until
}

// served forgets a destination that takes mail again.
func (s *destinations) served(domain string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.by, domain)
	if len(s.by) == 0 {
		s.some.Store(false)
	}
}

// setAside divides recipients into those to be tried now and those whose destination is left
// alone for the time being, with what it said. Nobody of a chunk that is too old is: it is
// to end.
func (d *Daemon) setAside(c *spool.Chunk, all []string) (now []string, aside []refusal) {
	at := d.now()
	if !d.destinations.some.Load() || at.Sub(c.Created) >= d.cfg.Load().MaxAge {
		return all, nil
	}
	if c.Tries > 0 && c.Due.IsZero() {
		for _, r := range all {
			d.destinations.served(domainOf(r))
		}
		return all, nil
	}
	for i, r := range all {
		dest, waits := d.destinations.waiting(domainOf(r), at)
		switch {
		case waits && aside == nil:
			now = append(now, all[:i]...)
			fallthrough
		case waits:
			aside = append(aside, refusal{recipient: r, reply: dest.reply, until: dest.until})
		case aside != nil:
			now = append(now, r)
		}
	}
	if aside == nil {
		return all, nil
	}
	return now, aside
}

// allAside tells whether nobody of a chunk is to be tried for now, and until when.
func (d *Daemon) allAside(c *spool.Chunk) (due time.Time, all bool) {
	now, aside := d.setAside(c, c.Recipients)
	if len(now) > 0 || len(aside) == 0 {
		return due, false
	}
	due = d.now().Add(asideMost)
	for _, r := range aside {
		if r.until.Before(due) {
			due = r.until
		}
	}
	return due.Add(jitterUp(time.Second)), true
}

// learn notes what a settled outcome says of destinations, and when each deferred recipient is
// to be tried again.
func (d *Daemon) learn(c *spool.Chunk, out *outcome, tries int) {
	cfg, now := d.cfg.Load(), d.now()
	silent := map[string]bool{} // domains of which it is not known that they take mail
	for i := range out.deferred {
		r := &out.deferred[i]
		domain := domainOf(r.recipient)
		silent[domain] = true
		if now.Before(r.until) {
			continue
		}
		p := paceOf(r.reply)
		if p.destination && !r.message {
			r.until = d.destinations.deferred(domain, r.reply, p, cfg, now)
			continue
		}
		r.until = now.Add(p.wait(cfg, tries))
	}
	if out.accepted == 0 || !d.destinations.some.Load() {
		return
	}
	for _, r := range out.refused {
		silent[domainOf(r.recipient)] = true
	}
	for _, r := range out.rest {
		silent[domainOf(r)] = true
	}
	for _, r := range c.Recipients {
		if domain := domainOf(r); !silent[domain] {
			d.destinations.served(domain)
		}
	}
}
