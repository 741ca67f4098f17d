package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/mlist/mlist/test/tools/sink"
)

// load is what is sent. Each host has a sender, who keeps a post until it is taken.
type load struct {
	mu      sync.Mutex
	on      bool
	busy    int             // senders with a post in hand
	due     []string        // posts that were taken
	unsure  map[string]bool // posts whose reply was lost behind an MTA: they may have been taken
	refused int             // tries that were answered with 4xx, or not at all
	held    int             // posts that needed more than one try
	longest time.Duration   // until a post was taken, since it was last asked
	sinks   []*sink.Server  // where all of it ends
	broken  error           // what must not happen: a refusal for good
}

const (
	between = 150 * time.Millisecond // two posts of a sender
	again   = 300 * time.Millisecond // two tries
	ahead   = 60 * members           // deliveries that may be under way when another post is sent
)

func (l *load) allow(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.on = on
}

func (l *load) taken() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.due)
}

func (l *load) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.busy == 0
}

// take begins a post, if there is to be one.
func (l *load) take() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.on {
		l.busy++
	}
	return l.on
}

var (
	errRefused = errors.New("not now")          // by a 4xx, or nobody is there: to be tried again
	errUnsure  = errors.New("no reply")         // to the message itself
	errForGood = errors.New("refused for good") // by a 5xx
)

// send posts to a host: each post until it is taken.
func (c *cluster) send(ctx context.Context, h *host) {
	for n := 0; ctx.Err() == nil; n++ {
		if c.delivered() < c.load.taken()*members-ahead || !c.load.take() {
			_ = sleep(ctx, between) // ctx.Err is looked at
			continue
		}
		c.post(ctx, h, fmt.Sprintf("%d.%s@cluster.test", n, h.name))
		_ = sleep(ctx, between)
	}
}

func (c *cluster) post(ctx context.Context, h *host, id string) {
	l := &c.load
	begun, tries := time.Now(), 0
	for ; ; tries++ {
		err := c.try(h, id)
		l.mu.Lock()
		switch {
		case err == nil:
			l.due = append(l.due, id)
			l.longest = max(l.longest, time.Since(begun))
		case errors.Is(err, errForGood):
			l.broken = errors.Join(l.broken, fmt.Errorf("%s on %s: %w", id, h.name, err))
		case errors.Is(err, errUnsure) && h.postfix != nil:
			// Another copy would be another message, by another Received field. (mlist itself
			// knows a copy again.)
			if l.unsure == nil {
				l.unsure = map[string]bool{}
			}
			l.unsure[id] = true
		default:
			l.refused++
			l.mu.Unlock()
			if sleep(ctx, again) == nil {
				continue
			}
			l.mu.Lock()
		}
		if tries > 0 {
			l.held++
		}
		l.busy--
		l.mu.Unlock()
		return
	}
}

// try hands a post over once.
func (c *cluster) try(h *host, id string) error {
	conn, err := c.dial(h)
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	d := dialogue{conn, bufio.NewReader(conn)}
	hello := "EHLO"
	if h.postfix == nil {
		hello = "LHLO"
	}
	for _, line := range []string{"", hello + " client.test", "MAIL FROM:<eve@else.test>", "RCPT TO:<" + list + ">", "DATA"} {
		if err := d.say(line); err != nil {
			return err
		}
	}
	err = d.say(fmt.Sprintf("From: eve@else.test\r\nTo: %s\r\nSubject: hello\r\nMessage-ID: <%s>\r\nDate: Tue, 24 Nov 2026 12:00:00 +0000\r\n\r\n%sEnd.\r\n.",
		list, id, strings.Repeat("The quick brown fox jumps over the lazy dog.\r\n", 40)))
	if err != nil && !errors.Is(err, errForGood) && !errors.Is(err, errRefused) {
		return fmt.Errorf("%w: %w", errUnsure, err)
	}
	return err
}

// dialogue is with a server that speaks SMTP or LMTP.
type dialogue struct {
	conn net.Conn
	in   *bufio.Reader
}

// say sends a line, and reads the reply.
func (d dialogue) say(line string) error {
	if line != "" {
		if _, err := d.conn.Write([]byte(line + "\r\n")); err != nil {
			return err
		}
	}
	for {
		reply, err := d.in.ReadString('\n')
		switch {
		case err != nil:
			return err
		case len(reply) > 3 && reply[3] == '-':
			continue
		case reply[0] == '2' || reply[0] == '3':
			return nil
		case reply[0] == '5':
			return fmt.Errorf("%w: %s", errForGood, strings.TrimSpace(reply))
		}
		return fmt.Errorf("%w: %s", errRefused, strings.TrimSpace(reply))
	}
}
