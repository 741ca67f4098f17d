package stories

import (
	"net"
	"net/textproto"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestABounceOfAMemberIsFiled(t *testing.T) {
	list := newList(t, nil, append(slices.Clone(three), "gone@net.test")...)
	send(t, "ann@net.test", list, message(t, "ann@net.test", list, "x"))
	delivered(t, id(t)+"@net.test", 3)
	eventually(t, "the bounce in the log", func() bool {
		for line := range strings.Lines(mlist.Log()) {
			if strings.Contains(line, "bounce filed") && strings.Contains(line, list) {
				return true
			}
		}
		return false
	})
}

func TestACopyThatPostfixSendsAgainIsDropped(t *testing.T) {
	list := newList(t, nil, three...)
	text := message(t, "ann@net.test", list, "once")
	for range 2 { // the same bytes by the same way in, as after a lost reply
		lmtpPost(t, "ann@net.test", list, text)
	}
	delivered(t, id(t)+"@net.test", 3)
	eventually(t, "the duplicate in the log", func() bool {
		return strings.Contains(mlist.Log(), "duplicate dropped") && strings.Contains(mlist.Log(), list)
	})
	if got, _ := delivered(t, id(t)+"@net.test", 3); len(got) != 3 {
		t.Errorf("delivered to %v", got)
	}
}

func TestPostsWaitInPostfixWhileMlistIsDown(t *testing.T) {
	list := newList(t, nil, three...)
	// The address is verified, and so known to Postfix, before mlist goes down.
	send(t, "ann@net.test", list, strings.Replace(message(t, "ann@net.test", list, "first"), "<"+id(t), "<"+id(t)+".1", 1))
	delivered(t, id(t)+".1@net.test", 3)
	if err := mlist.Stop(); err != nil {
		t.Fatal(err)
	}
	send(t, "ann@net.test", list, message(t, "ann@net.test", list, "second"))
	if err := mlist.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := postfix.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, _ := delivered(t, id(t)+"@net.test", 3); !slices.Equal(got, three) {
		t.Errorf("delivered to %v", got)
	}
}

func TestReloadKeepsMailFlowing(t *testing.T) {
	list := newList(t, nil, three...)
	if err := mlist.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	send(t, "ann@net.test", list, message(t, "ann@net.test", list, "x"))
	if got, _ := delivered(t, id(t)+"@net.test", 3); !slices.Equal(got, three) {
		t.Errorf("delivered to %v", got)
	}
}

// lmtpPost hands a message to mlist as Postfix would.
func lmtpPost(t *testing.T, from, to, text string) {
	t.Helper()
	conn, err := net.Dial("unix", mlist.LMTP)
	if err != nil {
		t.Fatal(err)
	}
	c := textproto.NewConn(conn)
	defer c.Close()
	expect := func(code int) {
		t.Helper()
		if _, msg, err := c.ReadResponse(code); err != nil {
			t.Fatalf("LMTP: %v %s", err, msg)
		}
	}
	expect(220)
	for _, step := range []struct {
		line string
		code int
	}{{"LHLO mx.test", 250}, {"MAIL FROM:<" + from + ">", 250}, {"RCPT TO:<" + to + ">", 250}, {"DATA", 354}} {
		if err := c.PrintfLine("%s", step.line); err != nil {
			t.Fatal(err)
		}
		expect(step.code)
	}
	if err := c.PrintfLine("%s.", text); err != nil {
		t.Fatal(err)
	}
	expect(250)
}
