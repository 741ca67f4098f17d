// Package inject hands messages to mlist as an MTA does: over LMTP, each until it is
// accepted. A message whose reply was lost is handed over again, byte for byte the
// same, which is what Postfix does.
package inject

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// Options say what to inject.
type Options struct {
	Addr        string // unix:PATH or host:port
	Lists       []string
	Sender      string
	Messages    int
	Connections int
	Size        int // of a body, in bytes
	// Text makes the n-th message; without it that is Message.
	Text func(n int, list string) string
	// First numbers the first message; Message-IDs are <NUMBER.TAG@inject.test>.
	First int
	Tag   string
	// Pause between two messages of one connection.
	Pause time.Duration
	// Stop, when closed, ends the run once every message begun is accepted; ctx ends it
	// at once, and leaves open whether the last ones were taken.
	Stop <-chan struct{}
	// Accepted, if not nil, is told of each message when its 250 has come, from several
	// goroutines at once.
	Accepted func(messageID, list string, took time.Duration)
}

// Result tells what was accepted.
type Result struct {
	Accepted int
	Retries  int // messages handed over again after a lost or temporary reply
	Took     time.Duration
}

// Run injects until every message is accepted, or ctx ends. A permanent refusal ends it.
func Run(ctx context.Context, o Options) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	numbers := make(chan int)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var total Result
	start := time.Now()
	for range o.Connections {
		wg.Go(func() {
			c := &client{o: o}
			defer c.close()
			for n := range numbers {
				retries, err := c.post(ctx, n)
				if err != nil {
					cancel(err)
					return
				}
				mu.Lock()
				total.Accepted++
				total.Retries += retries
				mu.Unlock()
			}
		})
	}
feed:
	for n := range o.Messages {
		select {
		case numbers <- o.First + n:
		case <-o.Stop:
			break feed
		case <-ctx.Done():
			break feed
		}
	}
	close(numbers)
	wg.Wait()
	total.Took = time.Since(start)
	return total, context.Cause(ctx)
}

// MessageID is the Message-ID of the n-th message.
func MessageID(n int, tag string) string { return fmt.Sprintf("<%d.%s@inject.test>", n, tag) }

// Message is the n-th message.
func Message(o Options, n int, list string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nSubject: message %d\r\nMessage-ID: %s\r\nDate: Tue, 24 Nov 2026 12:00:00 +0000\r\n\r\n",
		o.Sender, list, n, MessageID(n, o.Tag))
	const line = "The quick brown fox jumps over the lazy dog, again and again and again.\r\n"
	for b.Len() < o.Size {
		b.WriteString(line)
	}
	b.WriteString("end\r\n")
	return b.String()
}

// client is one connection, made anew when it breaks.
type client struct {
	o Options
	c net.Conn
	r *bufio.Reader
}

func (c *client) close() {
	if c.c != nil {
		c.c.Close()
		c.c = nil
	}
}

var errPermanent = errors.New("refused for good")

// post hands message n over until it is accepted.
func (c *client) post(ctx context.Context, n int) (retries int, err error) {
	list := c.o.Lists[n%len(c.o.Lists)]
	text := ""
	if c.o.Text != nil {
		text = c.o.Text(n, list)
	} else {
		text = Message(c.o, n, list)
	}
	start := time.Now()
	for ; ; retries++ {
		err := c.try(list, text)
		if err == nil {
			break
		}
		if errors.Is(err, errPermanent) {
			return retries, fmt.Errorf("message %d to %s: %w", n, list, err)
		}
		c.close()
		select {
		case <-ctx.Done():
			return retries, context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
	if c.o.Accepted != nil {
		c.o.Accepted(MessageID(n, c.o.Tag), list, time.Since(start))
	}
	if c.o.Pause > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(c.o.Pause):
		}
	}
	return retries, nil
}

func (c *client) dial() error {
	network, addr := "tcp", c.o.Addr
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	conn, err := net.DialTimeout(network, addr, 5*time.Second)
	if err != nil {
		return err
	}
	c.c, c.r = conn, bufio.NewReader(conn)
	if err := c.expect("2"); err != nil {
		return err
	}
	return c.say("LHLO inject.test\r\n", "2")
}

// try hands one message over; MAIL to DATA go in one write, as with PIPELINING.
func (c *client) try(list, text string) error {
	if c.c == nil {
		if err := c.dial(); err != nil {
			return err
		}
	}
	c.c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := fmt.Fprintf(c.c, "MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n", c.o.Sender, list); err != nil {
		return err
	}
	for _, want := range []string{"2", "2", "3"} {
		if err := c.expect(want); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(c.c, strings.ReplaceAll(text, "\r\n.", "\r\n..")+".\r\n"); err != nil {
		return err
	}
	return c.expect("2")
}

func (c *client) say(line, want string) error {
	if _, err := io.WriteString(c.c, line); err != nil {
		return err
	}
	return c.expect(want)
}

// expect reads a reply, of several lines perhaps, of the wanted class.
func (c *client) expect(class string) error {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return err
		}
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		switch {
		case strings.HasPrefix(line, class):
			return nil
		case strings.HasPrefix(line, "5"):
			return fmt.Errorf("%w: %s", errPermanent, strings.TrimSpace(line))
		}
		return fmt.Errorf("reply %q", strings.TrimSpace(line))
	}
}
