package outbound

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mlist/mlist/outbound/internal/fakemta"
)

// meter keeps what is counted.
type meter struct {
	mu      sync.Mutex
	sums    [4]int
	nothing int
	replies []string
	ages    bool // every age was sound
}

func (m *meter) Transaction(accepted, deferred, refused, expired int, took, age time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, n := range []int{accepted, deferred, refused, expired} {
		m.sums[i] += n
	}
	m.ages = took > 0 && age > 0
}

func (m *meter) Trouble(error) {}

func (m *meter) Nothing() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nothing++
}

func (m *meter) Reply(code int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.replies = append(m.replies, fmt.Sprint(code))
}

func TestWhatTheMTASaysIsCounted(t *testing.T) {
	var all []string
	for i := range 25 {
		all = append(all, fmt.Sprintf("m%02d@m.test", i))
	}
	s := fakemta.Start(t, "", fakemta.Script{Rcpt: map[string]string{"m01@m.test": "450 4.2.1 later", "m02@m.test": "550 5.1.1 no"}})
	old := chunk(1, "old@m.test")
	old.Created, old.Tries = time.Now().Add(-6*24*time.Hour), 3
	s2 := fakemta.Start(t, "", fakemta.Script{Rcpt: map[string]string{"old@m.test": "451 4.2.1 later"}})
	m := newMemory(chunk(0, all...))
	count := &meter{}
	cfg := testConfig(s.Addr)
	cfg.RecipientsPerTransaction = 10 // what is deferred is carried to the last transaction, and counted once
	d := run(t, cfg, m, func(d *Daemon) { d.SetMeter(count) })
	m.wait(t, "all is dealt with", func() bool { return len(m.settled) > 0 && m.idle() })
	if st := d.MTA(); !st.Up || st.Address == "" || st.Limit != cfg.Connections {
		t.Errorf("the MTA: %+v", st)
	}
	if err := d.stop(t); err != nil {
		t.Fatal(err)
	}
	slices.Sort(count.replies)
	if got := strings.Join(count.replies, " "); count.sums != [4]int{23, 1, 1, 0} || got != "450 550" || !count.ages {
		t.Errorf("counted %v, replies %s, %v", count.sums, got, count.ages)
	}

	m, count = newMemory(old), &meter{}
	d = run(t, testConfig(s2.Addr), m, func(d *Daemon) { d.SetMeter(count) })
	m.wait(t, "the old one is given up", func() bool { return len(m.settled) > 0 && m.idle() })
	if err := d.stop(t); err != nil {
		t.Fatal(err)
	}
	if count.sums != [4]int{0, 0, 0, 1} || strings.Join(count.replies, " ") != "451" {
		t.Errorf("counted %v, replies %v", count.sums, count.replies)
	}
}

func TestAnMTAThatIsDownIsToldOf(t *testing.T) {
	m, count := newMemory(chunk(0, "a@m.test")), &meter{}
	d := run(t, testConfig("unix:/nowhere/socket"), m, func(d *Daemon) { d.SetMeter(count) })
	m.wait(t, "a try", func() bool {
		st := d.MTA()
		return !st.Up && st.Reason != "" && !st.Since.IsZero()
	})
	if err := d.stop(t); err != nil {
		t.Fatal(err)
	}
	if count.nothing == 0 || count.sums != [4]int{} {
		t.Errorf("counted %v, nothing %d", count.sums, count.nothing)
	}
}
