package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mlist/mlist/test/harness"
)

const postfixRounds = 3

// handover is a way in which posts go into Postfix, each for so many members.
type handover struct {
	name     string
	members  int
	posts    int    // in a row
	together int    // recipients of a transaction, as mlist sends it
	args     string // of the client's MAIL
	own      bool   // the client has a return path for each recipient, as mlist has
	noXVERP  bool
	settings []string
	share    float64
	cpu      float64 // percent of Postfix's
}

var handovers = []handover{
	{name: "plain", members: 10_000, posts: 3, together: 1000, share: 0.95, cpu: 15},
	{name: "return paths made by Postfix (XVERP)", members: 10_000, posts: 2, together: 1000, args: " XVERP=+=", settings: []string{"verp_delivery_interval=1"}, share: 0.95, cpu: 15},
	{name: "return paths of mlist's own", members: 8000, posts: 1, together: 1, own: true, noXVERP: true, settings: []string{"verp_delivery_interval=1"}, share: 0.95, cpu: 15},
}

// recipients is how many there are of all posts of a round.
func (h handover) recipients() int { return h.posts * h.members }

// postfix measures recipients/s into a real Postfix on the same machine, from the first
// byte until Postfix has logged that it delivered to the last of them (to nowhere: discard),
// and what CPU both take. The yardstick is a client that has everything ready and does
// nothing but pipeline it into the same Postfix. The two take turns.
func (b *bench) postfix(ctx context.Context) error {
	if err := harness.FindPostfix(); err != nil {
		fmt.Fprintf(os.Stderr, "bench: postfix: left out: %v\n", err)
		return nil
	}
	for n, h := range handovers {
		if err := b.handOver(ctx, filepath.Join(b.dir, fmt.Sprint("handover", n)), h); err != nil {
			return fmt.Errorf("%s: %w", h.name, err)
		}
	}
	return nil
}

func (b *bench) handOver(ctx context.Context, dir string, h handover) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	pf, err := harness.StartPostfix(ctx, filepath.Join(dir, "postfix"), harness.PostfixOptions{
		Domain: "lists.test", LMTP: filepath.Join(dir, "run", "lmtp.sock"), Discard: true, Tuned: true, NoXVERP: h.noXVERP,
	})
	if err != nil {
		return err
	}
	defer pf.Stop()
	if b.mlist, err = harness.Install(dir, b.dist, harness.Options{MTA: pf.HandBack}); err != nil {
		return err
	}
	if _, err := b.list(ctx, "dev@lists.test", h.members); err != nil {
		return err
	}
	if len(h.settings) > 0 {
		if _, err := b.mlist.Command(ctx, nil, append([]string{"list", "set", "dev@lists.test"}, h.settings...)...); err != nil {
			return err
		}
	}
	if err := b.mlist.Start(ctx); err != nil {
		return err
	}
	defer b.mlist.Kill()
	return b.takeTurns(ctx, pf, h)
}

// takeTurns hands posts over, by mlist and by the client.
func (b *bench) takeTurns(ctx context.Context, pf *harness.Postfix, h handover) error {
	master, err := pf.PID()
	if err != nil {
		return err
	}
	log := &deliveries{path: pf.LogFile()}
	measure := func(send func() error) (float64, error) {
		start, before := time.Now(), log.n
		if err := send(); err != nil {
			return 0, err
		}
		if err := log.wait(ctx, before+h.recipients()); err != nil {
			return 0, err
		}
		return float64(h.recipients()) / time.Since(start).Seconds(), nil
	}
	var ours, theirs []float64
	var took, postfix time.Duration
	for n := range postfixRounds + 1 {
		rate, err := measure(func() error { return feed(ctx, pf.HandBack, clients, h, n) })
		if err != nil {
			return fmt.Errorf("the client: %w", err)
		}
		cpu, cpuPostfix := cpuOf(b.mlist.PID()), cpuOf(master)
		mine, err := measure(func() error { return b.posts(ctx, "dev@lists.test", fmt.Sprint("postfix", n), h.posts, 4000) })
		if err != nil {
			return fmt.Errorf("mlist: %w\n%s", err, b.mlist.Log())
		}
		if n > 0 { // the first ones warm up
			ours, theirs = append(ours, mine), append(theirs, rate)
			took += cpuOf(b.mlist.PID()) - cpu
			postfix += cpuOf(master) - cpuPostfix
		}
	}
	b.add(figure{Name: fmt.Sprintf("into Postfix, %s, %d x %s members", h.name, h.posts, group(h.members)), Value: middle(ours), Unit: "recipients/s",
		Beside: "a client that does nothing else", Limit: middle(theirs), Share: h.share})
	b.add(figure{Name: "CPU of mlist for it, in percent of Postfix's", Value: 100 * took.Seconds() / postfix.Seconds(), Unit: "%", Target: h.cpu})
	each := 1e6 / float64(h.recipients()*postfixRounds)
	b.add(figure{Name: "CPU of mlist for each recipient", Value: took.Seconds() * each, Unit: "µs", Beside: "Postfix", Limit: postfix.Seconds() * each})
	return nil
}

// deliveries counts those that Postfix has logged.
type deliveries struct {
	path string
	read int64
	n    int
}

// wait waits until there are so many.
func (d *deliveries) wait(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		if err := d.look(); err != nil {
			return err
		}
		if d.n >= n {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the MTA has delivered %d of %d: %w", d.n, n, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// look reads the lines that are new.
func (d *deliveries) look() error {
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, d.read, 1<<40))
	if err != nil {
		return err
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	d.read += int64(len(text))
	d.n += bytes.Count(text, []byte(" status=sent "))
	return nil
}

// feed hands ready-made transactions to an MTA over so many connections, each command
// group in one write (RFC 2920), the message with the commands of the next.
func feed(ctx context.Context, addr string, connections int, h handover, round int) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range connections {
		g.Go(func() error { return feedSome(ctx, addr, &next, h, round) })
	}
	return g.Wait()
}

func feedSome(ctx context.Context, addr string, next *atomic.Int64, h handover, round int) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	r := bufio.NewReaderSize(c, 64<<10)
	if _, err := io.WriteString(c, "EHLO client.test\r\n"); err != nil {
		return err
	}
	if err := errors.Join(replies(r, 1, "2"), replies(r, 1, "2")); err != nil {
		return err
	}
	body := strings.Repeat("a line of text that is seventy characters long, more or less so.......\r\n", 60) + ".\r\n"
	pending := ""
	for {
		first := int(next.Add(int64(h.together))) - h.together
		if first >= h.recipients() {
			if pending == "" {
				return nil
			}
			_, err := io.WriteString(c, pending)
			return errors.Join(err, replies(r, 1, "2"))
		}
		n := min(h.together, h.recipients()-first)
		var out strings.Builder
		out.WriteString(pending)
		path := "dev-bounces@lists.test"
		if h.own {
			path = fmt.Sprintf("dev-bounces+abcdefghijkl+member%07d=net%02d.test@lists.test", first%h.members, first%20)
		}
		out.WriteString("MAIL FROM:<" + path + ">" + h.args + "\r\n")
		for i := first; i < first+n; i++ {
			fmt.Fprintf(&out, "RCPT TO:<member%07d@net%02d.test>\r\n", i%h.members, i%20)
		}
		out.WriteString("DATA\r\n")
		sent := make(chan error, 1)
		go func() { _, err := io.WriteString(c, out.String()); sent <- err }()
		if pending != "" {
			n++
		}
		if err := errors.Join(replies(r, n+1, "2"), replies(r, 1, "3"), <-sent); err != nil {
			return err
		}
		pending = fmt.Sprintf("From: author@net.test\r\nTo: dev@lists.test\r\nSubject: x\r\nMessage-ID: <%d.%d@client.test>\r\n\r\n", round, first) + body
	}
}

// replies reads so many replies, of one or more lines each, of a class.
func replies(r *bufio.Reader, n int, class string) error {
	for n > 0 {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if string(line[:1]) != class {
			return fmt.Errorf("reply %q", line)
		}
		n--
	}
	return nil
}
