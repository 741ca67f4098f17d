package control

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

func TestWhoSuspendsHoldsUntilTheConnectionEnds(t *testing.T) {
	path := socket(t)
	asked := make(chan net.Conn, 1)
	stop := serve(t, path, Operations{Suspend: func(conn net.Conn) {
		select {
		case asked <- conn:
		default:
			Refuse(conn, "there is another")
		}
	}})
	// The server of a process that is suspended ends, and the connection goes on.
	resumed, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		conn := <-asked
		asked <- nil // whoever comes now comes second
		stop()
		Suspended(context.Background(), conn)
		close(resumed)
	}()
	resume, err := Suspend(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-resumed:
		t.Fatal("it went on while it was suspended")
	default:
	}
	if _, err := Suspend(t.Context(), path); !errors.Is(err, ErrNotRunning) {
		t.Errorf("while it is suspended: %v", err)
	}
	resume()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("it does not go on")
	}
}

func TestASuspensionMayBeRefusedOrGivenUp(t *testing.T) {
	path := socket(t)
	held := make(chan net.Conn, 1)
	serve(t, path, Operations{Suspend: func(conn net.Conn) {
		select {
		case held <- conn:
		default:
			Refuse(conn, "there is another")
		}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := Suspend(ctx, path)
		first <- err
	}()
	conn := <-held
	held <- nil
	if _, err := Suspend(t.Context(), path); err == nil || !strings.Contains(err.Error(), "there is another") {
		t.Errorf("the second: %v", err)
	}
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first, which was given up: %v", err)
	}
	Suspended(t.Context(), conn) // returns at once: nobody is there
	if _, err := Suspend(t.Context(), path+"x"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("without a socket: %v", err)
	}
}
