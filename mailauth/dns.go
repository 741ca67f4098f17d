package mailauth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// How the DNS is asked.
const (
	queryTimeout = 3 * time.Second  // of one question; Mailman's
	cacheNames   = 10_000           // answers kept
	cacheFound   = 15 * time.Minute // the system's resolver does not tell the record's own time
	cacheMissing = 5 * time.Minute
	cacheTrouble = 30 * time.Second // a domain whose servers fail
	maxSilent    = 5                // domains in a row without an answer, before it rests
	restMin      = 30 * time.Second // without asking then; doubles
	restMax      = 10 * time.Minute
)

// lookup is what of net.Resolver is used; tests have their own.
type lookup interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupHost(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
}

// DNS is the Resolver of this machine, with a bounded cache of what was found, of what is
// missing, and of trouble. Questions about one name at a time are asked once. When no server
// answers, it rests: mail must not wait for a time-out each. One domain with dead servers is
// no reason to rest; so it takes some in a row, or one where none has ever answered.
type DNS struct {
	net lookup
	now func() time.Time

	mu       sync.Mutex
	answers  map[string]*answer
	answered bool // a server has answered once
	silent   int  // domains without an answer since
	// silentZone is the last of them.
	silentZone string
	rest       time.Duration
	resting    time.Time // until when nothing is asked
}

// answer is one that is known, or that somebody is waiting for.
type answer struct {
	done    chan struct{} // closed when it is known
	records []string
	err     error
	until   time.Time
}

// NewDNS makes a Resolver with an empty cache.
func NewDNS() *DNS { return newDNS(&net.Resolver{PreferGo: true}, time.Now) }

func newDNS(n lookup, now func() time.Time) *DNS {
	return &DNS{net: n, now: now, answers: map[string]*answer{}}
}

// LookupTXT implements Resolver.
func (d *DNS) LookupTXT(ctx context.Context, name string) ([]string, error) {
	name = lower(name)
	if !isDomain(name, 1) || special(name) {
		return nil, ErrNotFound
	}
	return d.cached(ctx, "txt "+name, func(ctx context.Context) ([]string, error) {
		return d.net.LookupTXT(ctx, name+".")
	})
}

// Exists implements Resolver, as RFC 9091 2.6 has it: a name without addresses and mail
// servers does not exist. The system's resolver does not tell more.
func (d *DNS) Exists(ctx context.Context, name string) (bool, error) {
	name = lower(name)
	if !isDomain(name, 1) || special(name) {
		return false, nil
	}
	_, err := d.cached(ctx, "any "+name, func(ctx context.Context) ([]string, error) {
		if mx, err := d.net.LookupMX(ctx, name+"."); err == nil || !notFound(err) {
			return nil, ignoreIf(len(mx) > 0, err)
		}
		return d.net.LookupHost(ctx, name+".")
	})
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// ignoreIf: net returns what it could read together with an error about the rest.
func ignoreIf(useful bool, err error) error {
	if useful {
		return nil
	}
	return err
}

// special are the names that nobody may ask the DNS for (RFC 6761).
func special(name string) bool {
	top := name[strings.LastIndexByte(name, '.')+1:]
	switch top {
	case "test", "invalid", "example", "localhost", "local", "onion":
		return true
	}
	return false
}

// cached answers from the cache, or asks. A second asker waits for the first one's answer.
func (d *DNS) cached(ctx context.Context, key string, ask func(context.Context) ([]string, error)) ([]string, error) {
	d.mu.Lock()
	a := d.answers[key]
	if a == nil || !a.pending() && d.now().After(a.until) {
		if d.now().Before(d.resting) {
			defer d.mu.Unlock()
			return nil, d.silence(errors.New("DNS did not answer a moment ago"))
		}
		a = &answer{done: make(chan struct{})}
		d.makeRoom()
		d.answers[key] = a
		d.mu.Unlock()
		d.fill(ctx, key, a, ask)
	} else {
		d.mu.Unlock()
	}
	select {
	case <-a.done:
		return a.records, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("DNS: %w", ctx.Err())
	}
}

func (a *answer) pending() bool {
	select {
	case <-a.done:
		return false
	default:
		return true
	}
}

// fill asks and keeps the answer. What ended only because the asker's time did is not kept.
func (d *DNS) fill(ctx context.Context, key string, a *answer, ask func(context.Context) ([]string, error)) {
	qctx, cancel := context.WithTimeout(ctx, queryTimeout)
	records, err := ask(qctx)
	cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	defer close(a.done)
	now := d.now()
	switch {
	case err == nil:
		d.heard()
		a.records, a.until = records, now.Add(cacheFound)
	case notFound(err):
		d.heard()
		a.err, a.until = ErrNotFound, now.Add(cacheMissing)
	case ctx.Err() != nil && (d.answered || errors.Is(ctx.Err(), context.Canceled)):
		// It ended because the asker's time did, most of which others may have used up.
		a.err = fmt.Errorf("DNS: %w", ctx.Err())
		delete(d.answers, key)
	case silent(err):
		// Ten keys below one domain of a sender's tell no more than one.
		if zone := zoneOf(key); zone != d.silentZone {
			d.silent, d.silentZone = d.silent+1, zone
		}
		if !d.answered || d.silent >= maxSilent {
			d.rest = min(max(2*d.rest, restMin), restMax)
			d.resting = now.Add(d.rest)
		}
		a.err, a.until = d.silence(err), now.Add(cacheTrouble)
	default:
		d.heard()
		a.err, a.until = fmt.Errorf("DNS: %w", err), now.Add(cacheTrouble)
	}
}

func (d *DNS) heard() {
	d.answered, d.silent, d.silentZone, d.rest, d.resting = true, 0, "", 0, time.Time{}
}

// zoneOf is the end of a name, by which one owner is told from another well enough.
func zoneOf(name string) string {
	labels := strings.Split(name, ".")
	return strings.Join(labels[max(len(labels)-2, 0):], ".")
}

// silence is the error of a question that no server answered.
func (d *DNS) silence(err error) error {
	if !d.answered {
		return ErrNoDNS
	}
	return fmt.Errorf("DNS: %w", err)
}

// makeRoom bounds the cache: what has expired goes, and if that is not enough, anything.
func (d *DNS) makeRoom() {
	if len(d.answers) < cacheNames {
		return
	}
	now := d.now()
	for key, a := range d.answers {
		if !a.pending() && now.After(a.until) {
			delete(d.answers, key)
		}
	}
	for key, a := range d.answers {
		if len(d.answers) < cacheNames*9/10 {
			return
		}
		if !a.pending() {
			delete(d.answers, key)
		}
	}
}

func notFound(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

// silent tells whether no server answered, in contrast to one that answered with an error.
func silent(err error) bool {
	var dns *net.DNSError
	if !errors.As(err, &dns) {
		return true
	}
	// "server misbehaving" is SERVFAIL: an answer. A server that cannot be reached shows as
	// a time-out or as an error of the connection.
	return dns.IsTimeout || strings.Contains(dns.Err, "dial") || strings.Contains(dns.Err, "read ") || strings.Contains(dns.Err, "write ")
}
