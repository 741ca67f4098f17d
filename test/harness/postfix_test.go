package harness

import (
	"context"
	"testing"
)

func TestPostfixStartsAndStops(t *testing.T) {
	dir, remove, err := TempDir("postfix")
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	p, err := StartPostfix(context.Background(), dir, PostfixOptions{Domain: "lists.test", LMTP: dir + "/x.sock", Relay: "127.0.0.1:9"})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}
