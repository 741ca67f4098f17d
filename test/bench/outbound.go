package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/mlist/mlist/test/harness"
)

// queue is what outbound finds when it starts.
type queue struct {
	what     string
	members  int
	posts    int
	settings []string
	injector func(ctx context.Context, addr string, connections int) (float64, error)
	share    float64
}

const outboundRounds = 3

// outbound measures the outbound daemon alone with a full queue: recipients/s from the first
// to the last delivery. The yardstick is a client that has everything ready and pipelines it
// into the same sink over as many connections; the two take turns.
func (b *bench) outbound(ctx context.Context) error {
	queues := []queue{
		{what: "1000 recipients a transaction", members: 100_000, posts: *large / 50_000, injector: sinkRate},
		{what: "one recipient a transaction", members: 20_000, posts: 2, settings: []string{"verp_delivery_interval=1"}, injector: eachRate, share: 0.6},
	}
	for _, q := range queues {
		if err := b.drain(ctx, q); err != nil {
			return fmt.Errorf("%s: %w", q.what, err)
		}
	}
	return b.intoSMTPSink(ctx)
}

// intoSMTPSink is outbound into smtp-sink, which comes with Postfix to measure clients with.
// What has not been delivered is counted in the queue, since that sink tells nobody.
func (b *bench) intoSMTPSink(ctx context.Context) error {
	path, err := exec.LookPath("smtp-sink")
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: outbound into smtp-sink: left out: Postfix is not installed")
		return nil
	}
	addr, stop, err := startSMTPSink(ctx, path)
	if err != nil {
		return err
	}
	defer stop()
	dir := filepath.Join(b.dir, "smtp-sink")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if b.mlist, err = harness.Install(dir, b.dist, harness.Options{MTA: addr}); err != nil {
		return err
	}
	const members = 100_000
	posts := *large / 50_000
	if _, err := b.list(ctx, "queue@lists.test", members); err != nil {
		return err
	}
	var rates, limits []float64
	for round := range outboundRounds {
		limit, err := sinkRate(ctx, addr, clients)
		if err != nil {
			return err
		}
		if err := b.fill(ctx, "queue@lists.test", fmt.Sprint("smtp-sink", round), posts); err != nil {
			return err
		}
		took, err := b.emptied(ctx)
		if err != nil {
			return err
		}
		rates, limits = append(rates, float64(posts*members)/took.Seconds()), append(limits, limit)
	}
	b.add(figure{Name: "outbound alone, the same into Postfix's smtp-sink", Value: middle(rates), Unit: "recipients/s",
		Beside: "smtp-sink, fed by a client that does nothing else", Limit: middle(limits), Share: 0.5})
	return nil
}

func startSMTPSink(ctx context.Context, path string) (addr string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	addr = l.Addr().String()
	if err := l.Close(); err != nil { // smtp-sink wants a port that is free
		return "", nil, err
	}
	c := exec.Command(path, addr, "100")
	if os.Geteuid() == 0 {
		c.Args = []string{path, "-u", "nobody", addr, "100"} // it refuses to be root
	}
	if err := c.Start(); err != nil {
		return "", nil, err
	}
	stop = func() { _, _ = c.Process.Kill(), c.Wait() }
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return addr, stop, nil
		}
		if time.Now().After(end) || ctx.Err() != nil {
			stop()
			return "", nil, fmt.Errorf("smtp-sink does not listen: %w", err)
		}
	}
}

// emptied has outbound deliver all that is queued, and tells how long it took until no chunk
// was left.
func (b *bench) emptied(ctx context.Context) (time.Duration, error) {
	chunks, err := filepath.Glob(filepath.Join(b.mlist.Spool, "outgoing", "*", "chunks"))
	if err != nil || len(chunks) == 0 {
		return 0, errors.Join(err, errors.New("the queue is empty"))
	}
	if err := b.mlist.StartDaemon(ctx, "outbound"); err != nil {
		return 0, err
	}
	start := time.Now()
	for ; len(chunks) > 0; time.Sleep(time.Millisecond) {
		chunks = slices.DeleteFunc(chunks, func(dir string) bool {
			_, err := os.Stat(dir)
			return errors.Is(err, os.ErrNotExist)
		})
		if time.Since(start) > 2*time.Minute || ctx.Err() != nil {
			return 0, fmt.Errorf("%d posts are not delivered\n%s", len(chunks), b.mlist.Log())
		}
	}
	return time.Since(start), b.mlist.Stop()
}

func (b *bench) drain(ctx context.Context, q queue) error {
	list := fmt.Sprintf("queue%d@lists.test", q.members)
	if _, err := b.list(ctx, list, q.members); err != nil {
		return err
	}
	if len(q.settings) > 0 {
		if _, err := b.mlist.Command(ctx, nil, append([]string{"list", "set", list}, q.settings...)...); err != nil {
			return err
		}
	}
	peaks := map[int]int64{} // of memory, by posts
	var rates, limits []float64
	// With less than a quarter, the process would be through before its memory is what it
	// stays at.
	few := max(1, q.posts/4)
	for _, posts := range []int{few, q.posts} {
		for round := range outboundRounds + 1 {
			limit, err := q.injector(ctx, b.out.Addr().String(), clients)
			if err != nil {
				return err
			}
			if err := b.fill(ctx, list, fmt.Sprint(posts, "-", round), posts); err != nil {
				return err
			}
			// To look at memory stops the process each time: one round is for that alone.
			looks := round == outboundRounds
			took, peak, err := b.empty(ctx, int64(posts*q.members), looks)
			if err != nil {
				return err
			}
			peaks[posts] = max(peaks[posts], peak)
			if posts == q.posts && !looks {
				rates, limits = append(rates, float64(posts*q.members)/took.Seconds()), append(limits, limit)
			}
		}
	}
	b.add(figure{Name: "outbound alone, a queue of " + group(q.posts*q.members) + ", " + q.what, Value: middle(rates), Unit: "recipients/s",
		Beside: "the sink, fed by a client that does nothing else", Limit: middle(limits), Share: q.share})
	small := float64(peaks[few]) / (1 << 20)
	b.add(figure{Name: "its peak memory (PSS)", Value: float64(peaks[q.posts]) / (1 << 20), Unit: "MiB",
		Beside: "with a queue of " + group(few*q.members), Limit: small, Target: 1.2 * small})
	return nil
}

// fill puts posts into the outgoing queue.
func (b *bench) fill(ctx context.Context, list, tag string, posts int) error {
	if err := b.mlist.StartDaemon(ctx, "lmtpd"); err != nil {
		return err
	}
	for n := range posts {
		if err := b.post(ctx, list, fmt.Sprint("queue", tag, "-", n), 4000); err != nil {
			return err
		}
	}
	if err := b.mlist.Stop(); err != nil {
		return err
	}
	if err := b.mlist.StartDaemon(ctx, "pipeline"); err != nil {
		return err
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		waiting, err := os.ReadDir(filepath.Join(b.mlist.Spool, "incoming"))
		if err != nil {
			return err
		}
		ready, err := os.ReadDir(filepath.Join(b.mlist.Spool, "outgoing"))
		if err != nil {
			return err
		}
		if len(waiting) == 0 && len(ready) == posts {
			return b.mlist.Stop()
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d posts wait, and %d are ready\n%s", len(waiting), len(ready), b.mlist.Log())
		}
	}
}

// empty has outbound deliver all that is queued. It returns how long that took, or if it looks
// for it the peak of its memory.
func (b *bench) empty(ctx context.Context, recipients int64, looks bool) (took time.Duration, peak int64, err error) {
	b.out.Reset()
	if err := b.mlist.StartDaemon(ctx, "outbound"); err != nil {
		return 0, 0, err
	}
	most := func() int64 { return 0 }
	if looks {
		most = watch(b.mlist.PID())
	}
	err = b.wait(ctx, recipients, 2*time.Minute)
	peak = most()
	stats := b.out.Stats()
	return stats.Last.Sub(stats.First), peak, errors.Join(err, b.mlist.Stop())
}
