package main

import (
	"bufio"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mlist/mlist/mailauth"
	"github.com/mlist/mlist/test/harness"
	"github.com/mlist/mlist/test/tools/sink"
)

// copies measures deliveries/s where each member gets a copy of their own: with a return
// path that mlist makes, with one that the MTA makes (XVERP), and personal and signed. Each
// takes turns with its yardstick.
func (b *bench) copies(ctx context.Context) error {
	const wish, xwish, signed = "one copy a recipient, return paths of mlist's own", "return paths made by the MTA (XVERP)", "personal copies, signed with RSA-2048"
	if err := b.copiesTo(ctx, 20_000, wish, b.sinkLimit(eachRate), "the sink, fed one recipient a transaction by a client that does nothing else", 0.6, "verp_delivery_interval=1"); err != nil {
		return err
	}
	if err := b.withKey(ctx); err != nil {
		return err
	}
	raw := func(context.Context) (float64, error) { return signRate(time.Second) }
	if err := b.copiesTo(ctx, 10_000, signed, raw, "raw signatures on all cores", 0.8, "personalize=full",
		"footer=This copy went to %(user_name_or_address)s"); err != nil {
		return err
	}
	out, err := sink.Listen("127.0.0.1:0", sink.Options{XVERP: true})
	if err != nil {
		return err
	}
	defer out.Close()
	b.out = out
	if b.mlist, err = harness.Install(filepath.Join(b.dir, "x"), b.dist, harness.Options{MTA: out.Addr().String()}); err != nil {
		return err
	}
	return b.copiesTo(ctx, 100_000, xwish, b.sinkLimit(sinkRate), "the sink, fed by a client that does nothing else", 0, "verp_delivery_interval=1")
}

// sinkLimit is what the sink takes from a client that does nothing else.
func (b *bench) sinkLimit(rate func(context.Context, string, int) (float64, error)) func(context.Context) (float64, error) {
	return func(ctx context.Context) (float64, error) { return rate(ctx, b.out.Addr().String(), clients) }
}

const copyRounds = 5

// copiesTo measures posts to a list with such settings.
func (b *bench) copiesTo(ctx context.Context, members int, what string, limit func(context.Context) (float64, error), beside string, share float64, settings ...string) error {
	list := fmt.Sprintf("copies%d@lists.test", members)
	if _, err := b.list(ctx, list, members); err != nil {
		return err
	}
	if _, err := b.mlist.Command(ctx, nil, append([]string{"list", "set", list}, settings...)...); err != nil {
		return err
	}
	if err := b.mlist.Start(ctx); err != nil {
		return err
	}
	defer b.mlist.Kill()
	var times []time.Duration
	var limits []float64
	for n := range copyRounds + 1 {
		if n > 0 { // the first one warms up
			rate, err := limit(ctx)
			if err != nil {
				return err
			}
			limits = append(limits, rate)
		}
		b.out.Reset()
		start := time.Now()
		if err := b.post(ctx, list, fmt.Sprint(members, "-", n), 4000); err != nil {
			return err
		}
		if err := b.wait(ctx, int64(members), 2*time.Minute); err != nil {
			return err
		}
		if n > 0 {
			times = append(times, time.Since(start))
		}
	}
	b.add(figure{Name: fmt.Sprintf("%s, %s members", what, group(members)), Value: float64(members) / median(times).Seconds(), Unit: "deliveries/s",
		Beside: beside, Limit: middle(limits), Share: share})
	return nil
}

// withKey makes a key to sign with, and an installation that does.
func (b *bench) withKey(context.Context) error {
	text, err := mailauth.Generate("rsa")
	if err != nil {
		return err
	}
	path := filepath.Join(b.dir, "key.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return err
	}
	b.mlist, err = harness.Install(filepath.Join(b.dir, "signed"), b.dist, harness.Options{MTA: b.out.Addr().String(), Set: map[string]string{
		"plugin.sign.keys": fmt.Sprintf(`[{ domain = "lists.test", selector = "s1", key_file = %q }]`, path),
	}})
	return err
}

// signRate is how many RSA-2048 signatures/s all cores make.
func signRate(long time.Duration) (float64, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return 0, err
	}
	hash := sha256.Sum256([]byte("x"))
	var made atomic.Int64
	var g errgroup.Group
	end := time.Now().Add(long)
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			for time.Now().Before(end) {
				if _, err := key.Sign(rand.Reader, hash[:], crypto.SHA256); err != nil {
					return err
				}
				made.Add(1)
			}
			return nil
		})
	}
	err = g.Wait()
	return float64(made.Load()) / long.Seconds(), err
}

// eachRate is how many messages of one recipient the sink takes in a second over so many
// connections, from a client that sends ready-made text: the end of one with the commands
// of the next.
func eachRate(ctx context.Context, addr string, connections int) (float64, error) {
	const messages = 4000
	g, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for range connections {
		g.Go(func() error { return blastEach(ctx, addr, messages) })
	}
	err := g.Wait()
	return float64(connections*messages) / time.Since(start).Seconds(), err
}

func blastEach(ctx context.Context, addr string, messages int) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReaderSize(c, 64<<10)
	read := func(lines int) error {
		for range lines {
			if _, err := r.ReadSlice('\n'); err != nil {
				return err
			}
		}
		return nil
	}
	const envelope = "MAIL FROM:<dev-bounces+abc@lists.test>\r\nRCPT TO:<member0000001@net01.test>\r\nDATA\r\n"
	body := "Subject: x\r\n\r\n" + strings.Repeat("a line of text that is seventy characters long, more or less so.......\r\n", 60) + ".\r\n"
	_, err = c.Write([]byte(envelope))
	if err = errors.Join(err, read(1)); err != nil {
		return err
	}
	for n := range messages {
		if err := read(3 + min(n, 1)); err != nil {
			return err
		}
		if _, err := c.Write([]byte(body + envelope)); err != nil {
			return err
		}
	}
	return read(1)
}

// first measures from the acceptance of a post to its first delivery.
func (b *bench) first(ctx context.Context) error {
	if err := b.mlist.Start(ctx); err != nil {
		return err
	}
	for _, size := range []struct {
		members int
		most    float64 // ms
		posts   int
	}{{100_000, 100, 9}, {*large, 1000, 5}} {
		list := fmt.Sprintf("list%d@lists.test", size.members)
		if _, err := b.list(ctx, list, size.members); err != nil {
			return err
		}
		var times []time.Duration
		for n := range size.posts {
			b.out.Reset()
			if err := b.post(ctx, list, fmt.Sprint("first", size.members, n), 4000); err != nil {
				return err
			}
			start := time.Now()
			if err := b.wait(ctx, 1, time.Minute); err != nil {
				return err
			}
			times = append(times, time.Since(start))
			if err := b.wait(ctx, int64(size.members), 5*time.Minute); err != nil {
				return err
			}
		}
		b.add(figure{Name: fmt.Sprintf("first delivery of a post to %s members, after its acceptance, p50", group(size.members)),
			Value: ms(median(times)), Unit: "ms", Target: size.most})
	}
	return nil
}

// fair measures how long a post to ten members takes while one to 100,000 goes out, each
// of them a copy of its own, beside an idle mlist.
func (b *bench) fair(ctx context.Context) error {
	if _, err := b.list(ctx, "big@lists.test", 100_000); err != nil {
		return err
	}
	if _, err := b.mlist.Command(ctx, nil, "list", "set", "big@lists.test", "verp_delivery_interval=1"); err != nil {
		return err
	}
	if _, err := b.list(ctx, "small@lists.test", 10); err != nil {
		return err
	}
	small, err := sink.Listen("127.0.0.1:0", sink.Options{Watch: "small-bounces"})
	if err != nil {
		return err
	}
	defer small.Close()
	b.out.Close()
	b.out = small
	if b.mlist, err = harness.Install(b.dir, b.dist, harness.Options{MTA: small.Addr().String()}); err != nil {
		return err
	}
	if err := b.mlist.Start(ctx); err != nil {
		return err
	}
	var idle, busy []time.Duration
	for n := range 5 {
		took, err := b.smallPost(ctx, fmt.Sprint("idle", n))
		if err != nil {
			return err
		}
		idle = append(idle, took)
	}
	if err := b.post(ctx, "big@lists.test", "big", 4000); err != nil {
		return err
	}
	for n := 0; ; n++ {
		took, err := b.smallPost(ctx, fmt.Sprint("busy", n))
		if err != nil {
			return err
		}
		if b.out.Stats().Recipients > 90_000 {
			break
		}
		busy = append(busy, took)
	}
	if len(busy) == 0 {
		return errors.New("the large post was gone before a small one came")
	}
	b.add(figure{Name: "a post to 10 members while copies go to 100,000, to the last delivery, p50", Value: ms(median(busy)), Unit: "ms",
		Beside: "while nothing else goes out", Limit: ms(median(idle)), Target: 50})
	b.add(figure{Name: fmt.Sprintf("the slowest of %d", len(busy)), Value: ms(busy[len(busy)-1]), Unit: "ms"})
	return nil
}

// smallPost posts to the small list, and waits until its members have it.
func (b *bench) smallPost(ctx context.Context, tag string) (time.Duration, error) {
	start, before := time.Now(), b.out.Stats().Watched
	if err := b.post(ctx, "small@lists.test", tag, 4000); err != nil {
		return 0, err
	}
	for time.Since(start) < time.Minute {
		if b.out.Stats().Watched >= before+10 {
			return time.Since(start), nil
		}
		time.Sleep(time.Millisecond)
	}
	return 0, errors.New("the small post did not come within a minute")
}
