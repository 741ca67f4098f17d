package lmtpd

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// meter keeps what is counted.
type meter struct {
	mu   sync.Mutex
	have map[string]int
}

func (m *meter) add(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.have == nil {
		m.have = map[string]int{}
	}
	m.have[what]++
}

func (m *meter) Reply(command string, code int)      { m.add(fmt.Sprint(command, " ", code)) }
func (m *meter) Kept(size int64, took time.Duration) { m.add(fmt.Sprint("kept ", size, " ", took > 0)) }
func (m *meter) Trouble(err error) {
	if err != nil {
		m.add("trouble: " + err.Error())
	}
}
func (m *meter) StoreError() { m.add("store error") }

func TestRepliesAreCounted(t *testing.T) {
	m := &meter{}
	w := startWith(t, func(c *Config) { c.MaxConnections = 1 }, nil, func(d *Daemon) { d.SetMeter(m) })
	p := w.greet(t)
	w.dial(t).want("421 4.3.2")
	p.send("MAIL FROM:<ann@net.test> SIZE=1001\r\n")
	p.want("552")
	p.send("MAIL FROM:<ann@net.test>\r\nRCPT TO:<dev@l.test>\r\nRCPT TO:<ops@l.test>\r\nRCPT TO:<nobody@l.test>\r\nDATA\r\n" + hello + ".\r\n")
	p.want("250", "250", "250", "550", "354", "250", "250")
	w.lists.mu.Lock()
	w.lists.err = fmt.Errorf("locked")
	w.lists.mu.Unlock()
	p.send("MAIL FROM:<ann@net.test>\r\nRCPT TO:<dev@l.test>\r\n")
	p.want("250", "451 4.3.0")
	if n := w.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	w.stopAndWait(t)
	want := map[string]int{"CONNECT 421": 1, "MAIL 552": 1, "RCPT 250": 2, "RCPT 550": 1, "RCPT 451": 1, "DATA 250": 2, fmt.Sprintf("kept %d true", len(hello)): 2, "store error": 1}
	if !maps.Equal(m.have, want) {
		t.Errorf("counted %v,\nwant %v", m.have, want)
	}
}

func TestWhatKeepsMailOutIsTold(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spool *memory
		want  int
	}{
		{"a draft", &memory{create: errors.New("no")}, 1},
		{"a write", &memory{write: errors.New("no")}, 1},
		{"a put", &memory{put: func(int) error { return errors.New("no") }}, 1},
		{"nothing", &memory{}, 0},
	} {
		m := &meter{}
		w := startWith(t, nil, tt.spool, func(d *Daemon) { d.SetMeter(m) })
		p := w.greet(t)
		p.send("MAIL FROM:<ann@net.test>\r\nRCPT TO:<dev@l.test>\r\nDATA\r\n" + hello + ".\r\n")
		p.want("250", "250", "354")
		if _, err := p.reply(); err != nil {
			t.Fatal(err)
		}
		w.stopAndWait(t)
		if m.have["trouble: no"] != tt.want {
			t.Errorf("%s: told %v", tt.name, m.have)
		}
	}
}

func TestMailWaitsInTheMTAWhileTheDiskIsNearlyFull(t *testing.T) {
	var free, clock atomic.Int64
	free.Store(5000)
	w := startWith(t, func(c *Config) { c.MinFree = 1000 }, nil, func(d *Daemon) {
		d.SetSpace(func() (int64, error) {
			if free.Load() < 0 {
				return 0, fmt.Errorf("no telling")
			}
			return free.Load(), nil
		})
		d.space.now = func() time.Time { return time.Unix(clock.Add(10), 0) } // each look is a new one
	})
	p := w.greet(t)
	mail := func(size string, want string) {
		t.Helper()
		p.send("MAIL FROM:<ann@net.test>" + size + "\r\n")
		p.want(want)
		if want == "250" {
			p.send("RSET\r\n")
			p.want("250")
		}
	}
	mail("", "250")
	free.Store(1500)
	mail(" SIZE=600", "452 4.3.1") // it alone is too much
	mail(" SIZE=400", "250")
	free.Store(999)
	mail("", "452 4.3.1 no space to keep the message now, try again later")
	mail("", "452 4.3.1")
	if !w.Full() {
		t.Error("it does not say that it is full")
	}
	free.Store(1010) // not enough more to change again
	mail("", "452 4.3.1")
	free.Store(2000)
	mail("", "250")
	free.Store(-1)
	mail("", "250")
	if n := strings.Count(w.log.String(), "nearly full"); n != 1 {
		t.Errorf("the log tells %d times that the disk is nearly full:\n%s", n, w.log)
	}
	if n := strings.Count(w.log.String(), "has room again"); n != 1 {
		t.Errorf("the log tells %d times that there is room:\n%s", n, w.log)
	}
	w.stopAndWait(t)
}
