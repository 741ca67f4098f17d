package mailauth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// fakeNet is the net under DNS.
type fakeNet struct {
	mu      sync.Mutex
	asked   int
	answers map[string]error // by name; nil is one record
	wait    chan struct{}    // not nil: an answer waits for it
}

func (f *fakeNet) LookupTXT(ctx context.Context, name string) ([]string, error) {
	f.mu.Lock()
	f.asked++
	err, ok := f.answers[name]
	wait := f.wait
	f.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, &net.DNSError{Err: "i/o timeout", IsTimeout: true}
		}
	}
	if !ok {
		return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
	}
	return []string{"record of " + name}, err
}

func (f *fakeNet) LookupHost(ctx context.Context, name string) ([]string, error) {
	return f.LookupTXT(ctx, name)
}

func (f *fakeNet) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	if _, err := f.LookupTXT(ctx, name); err != nil {
		return nil, err
	}
	return []*net.MX{{Host: "mx"}}, nil
}

func (f *fakeNet) questions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

var (
	servfail    = &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	unreachable = &net.DNSError{Err: "dial udp 192.0.2.53:53: connect: network is unreachable", IsTemporary: true}
	timeout     = &net.DNSError{Err: "i/o timeout", IsTimeout: true}
)

func TestDNSIsAskedOnce(t *testing.T) {
	now := noon
	n := &fakeNet{answers: map[string]error{"a.org.": nil, "bad.org.": servfail}}
	d := newDNS(n, func() time.Time { return now })
	ask := func(name string, want error, questions int) {
		t.Helper()
		got, err := d.LookupTXT(t.Context(), name)
		if want == nil && (err != nil || len(got) != 1) || want != nil && !errors.Is(err, want) || n.questions() != questions {
			t.Errorf("%s: %v, %v after %d questions; want %v after %d", name, got, err, n.questions(), want, questions)
		}
	}
	ask("a.org", nil, 1)
	ask("A.ORG.", nil, 1)
	ask("gone.org", ErrNotFound, 2)
	ask("gone.org", ErrNotFound, 2)
	ask("bad.org", servfail, 3)
	ask("bad.org", servfail, 3)
	ask("no name", ErrNotFound, 3)
	ask("lab.test", ErrNotFound, 3) // RFC 6761
	now = now.Add(cacheTrouble + time.Second)
	ask("bad.org", servfail, 4)
	ask("a.org", nil, 4)
	now = now.Add(cacheMissing)
	ask("gone.org", ErrNotFound, 5)
	now = now.Add(cacheFound)
	ask("a.org", nil, 6)
}

func TestAMachineWithoutDNSIsToldSoAndDoesNotWait(t *testing.T) {
	now := noon
	n := &fakeNet{answers: map[string]error{"a.org.": unreachable, "b.org.": nil}}
	d := newDNS(n, func() time.Time { return now })
	for i := range 3 {
		if _, err := d.LookupTXT(t.Context(), fmt.Sprintf("%c.org", 'a'+i)); !errors.Is(err, ErrNoDNS) {
			t.Errorf("%v", err)
		}
	}
	if n.questions() != 1 {
		t.Errorf("%d questions", n.questions())
	}
	now = now.Add(restMin + time.Second)
	if _, err := d.LookupTXT(t.Context(), "a.org"); !errors.Is(err, ErrNoDNS) || n.questions() != 2 {
		t.Errorf("%v after %d questions", err, n.questions())
	}
	now = now.Add(restMin + time.Second) // it rests twice as long now
	if _, err := d.LookupTXT(t.Context(), "b.org"); !errors.Is(err, ErrNoDNS) || n.questions() != 2 {
		t.Errorf("%v after %d questions", err, n.questions())
	}
	now = now.Add(restMin)
	if _, err := d.LookupTXT(t.Context(), "b.org"); err != nil {
		t.Errorf("%v", err)
	}
	// From now on, silence is trouble of somebody's servers.
	if _, err := d.LookupTXT(t.Context(), "a.org"); err == nil || errors.Is(err, ErrNoDNS) {
		t.Errorf("%v", err)
	}
}

func TestOneDeadDomainStopsNobody(t *testing.T) {
	n := &fakeNet{answers: map[string]error{"good.org.": nil}}
	d := newDNS(n, func() time.Time { return noon })
	if _, err := d.LookupTXT(t.Context(), "good.org"); err != nil {
		t.Fatal(err)
	}
	for i := range maxSilent + 2 {
		name := fmt.Sprintf("dead%d.org", i)
		n.answers[name+"."] = timeout
		if _, err := d.LookupTXT(t.Context(), name); err == nil {
			t.Errorf("%s answered", name)
		}
		if i == 1 {
			if _, err := d.LookupTXT(t.Context(), "other.org"); !errors.Is(err, ErrNotFound) {
				t.Errorf("after %d: %v", i+1, err)
			}
		}
	}
	// Two dead, one answer, then maxSilent dead in a row: the rest is not asked for.
	if got := n.questions(); got != 1+maxSilent+2+1 {
		t.Errorf("%d questions", got)
	}
	if _, err := d.LookupTXT(t.Context(), "third.org"); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("while it rests: %v", err)
	}
}

func TestManyNamesOfOneDeadDomainStopNobody(t *testing.T) {
	n := &fakeNet{answers: map[string]error{"good.org.": nil}}
	d := newDNS(n, func() time.Time { return noon })
	if _, err := d.LookupTXT(t.Context(), "good.org"); err != nil {
		t.Fatal(err)
	}
	for i := range 3 * maxSilent {
		name := fmt.Sprintf("s%d._domainkey.dead.org", i)
		n.answers[name+"."] = timeout
		if _, err := d.LookupTXT(t.Context(), name); err == nil {
			t.Errorf("%s answered", name)
		}
	}
	if _, err := d.LookupTXT(t.Context(), "other.org"); !errors.Is(err, ErrNotFound) {
		t.Errorf("another domain: %v", err)
	}
}

func TestAnAskerWithoutTimeIsNoTroubleOfTheDomain(t *testing.T) {
	n := &fakeNet{answers: map[string]error{"good.org.": nil, "a.org.": nil}}
	d := newDNS(n, func() time.Time { return noon })
	if _, err := d.LookupTXT(t.Context(), "good.org"); err != nil {
		t.Fatal(err)
	}
	n.wait = make(chan struct{})
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if _, err := d.LookupTXT(ctx, "a.org"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	close(n.wait)
	if _, err := d.LookupTXT(t.Context(), "a.org"); err != nil {
		t.Errorf("then %v", err)
	}
}

func TestManyAskersOneQuestion(t *testing.T) {
	n := &fakeNet{answers: map[string]error{"a.org.": nil}, wait: make(chan struct{})}
	d := newDNS(n, func() time.Time { return noon })
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := d.LookupTXT(t.Context(), "a.org"); err != nil {
				t.Error(err)
			}
		})
	}
	close(n.wait)
	wg.Wait()
	if n.questions() != 1 {
		t.Errorf("%d questions", n.questions())
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	n := &fakeNet{}
	d := newDNS(n, func() time.Time { return noon })
	for i := range cacheNames + 500 {
		if _, err := d.LookupTXT(t.Context(), fmt.Sprintf("n%d.org", i)); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
	}
	if len(d.answers) > cacheNames {
		t.Errorf("%d answers kept", len(d.answers))
	}
}

func TestAnAskerWhoGivesUpSpoilsNothing(t *testing.T) {
	n := &fakeNet{answers: map[string]error{"a.org.": nil}, wait: make(chan struct{})}
	d := newDNS(n, func() time.Time { return noon })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.LookupTXT(ctx, "a.org"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	close(n.wait)
	if _, err := d.LookupTXT(t.Context(), "a.org"); err != nil {
		t.Errorf("%v", err)
	}
}

func TestWhatExists(t *testing.T) {
	d := newDNS(&fakeNet{answers: map[string]error{"a.org.": nil, "bad.org.": servfail}}, func() time.Time { return noon })
	for _, tt := range []struct {
		name   string
		exists bool
		err    error
	}{{"a.org", true, nil}, {"gone.org", false, nil}, {"bad.org", false, servfail}, {"a.invalid", false, nil}} {
		if ok, err := d.Exists(t.Context(), tt.name); ok != tt.exists || !errors.Is(err, tt.err) {
			t.Errorf("%s: %t, %v", tt.name, ok, err)
		}
	}
}

func TestFromFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dns.json")
	if err := os.WriteFile(path, []byte(`{"A.Example.": ["one", "two"], "empty.example": [], "null.example": null,
		"zone.example": ["\"v=DKIM1\\; k=rsa; \" \"p=\\065\\\"A\"", "\"open", "\"a\" b", " \"\""]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(FileVariable, path)
	r, err := FromEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.LookupTXT(t.Context(), "a.EXAMPLE"); err != nil || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
	// As a zone file writes a record: in strings, which are one text.
	if got, err := r.LookupTXT(t.Context(), "zone.example"); err != nil || !slices.Equal(got, []string{`v=DKIM1; k=rsa; p=A"A`, `"open`, `"a" b`, ""}) {
		t.Errorf("%q, %v", got, err)
	}
	for _, name := range []string{"empty.example", "null.example", "b.example"} {
		if _, err := r.LookupTXT(t.Context(), name); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile(path, []byte(`["no object"]`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := FromEnvironment(); err == nil {
		t.Error("a file that is none was taken")
	}
	t.Setenv(FileVariable, "")
	if r, err := FromEnvironment(); err != nil {
		t.Error(err)
	} else if _, ok := r.(*DNS); !ok {
		t.Errorf("%T without a file", r)
	}
}
