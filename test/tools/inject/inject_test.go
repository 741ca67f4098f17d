package inject

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mlist/mlist/test/tools/sink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Whatever goes wrong on the way, each message is told of once, and was taken.
func TestEveryMessageIsAcceptedOnce(t *testing.T) {
	s, err := sink.Listen("127.0.0.1:0", sink.Options{Record: sink.Memory, Bodies: true, Faults: sink.Faults{
		Seed: 1, Greeting421: 0.1, Mail4xx: 0.1, Rcpt4xx: 0.1, Data4xx: 0.1, DropAtRcpt: 0.1, DropInData: 0.1, DropBeforeEnd: 0.1,
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var mu sync.Mutex
	told := map[string]int{}
	r, err := Run(ctx, Options{
		Addr: s.Addr().String(), Lists: []string{"dev@l.test"}, Sender: "ann@net.test", Tag: "x", Messages: 50, Connections: 3, Size: 500,
		Accepted: func(id, _ string, _ time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			told[strings.Trim(id, "<>")]++
		},
	})
	if err != nil || r.Accepted != 50 || len(told) != 50 || r.Retries == 0 {
		t.Fatalf("%+v, %v; told of %d", r, err, len(told))
	}
	taken := map[string]bool{}
	for _, tx := range s.Transactions() {
		taken[tx.MessageID] = true
	}
	for id, n := range told {
		if n != 1 || !taken[id] {
			t.Errorf("%s: told %d times, taken %v", id, n, taken[id])
		}
	}
}

func TestAPermanentRefusalEndsIt(t *testing.T) {
	s, err := sink.Listen("127.0.0.1:0", sink.Options{Refuse: []string{"dev@l.test"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = Run(t.Context(), Options{Addr: s.Addr().String(), Lists: []string{"dev@l.test"}, Sender: "ann@net.test", Messages: 5, Connections: 2})
	if err == nil || !strings.Contains(err.Error(), "550") {
		t.Errorf("Run: %v", err)
	}
}

func TestItEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close() // nobody answers there
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Run(ctx, Options{Addr: address, Lists: []string{"dev@l.test"}, Messages: 1, Connections: 1}); err == nil {
		t.Error("Run succeeded without a server")
	}
}
