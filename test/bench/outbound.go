package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
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
		{"1000 recipients a transaction", 100_000, *large / 50_000, nil, sinkRate, 0.5},
		{"one recipient a transaction", 20_000, 2, []string{"verp_delivery_interval=1"}, eachRate, 0.6},
	}
	for _, q := range queues {
		if err := b.drain(ctx, q); err != nil {
			return fmt.Errorf("%s: %w", q.what, err)
		}
	}
	return nil
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
	for _, posts := range []int{1, q.posts} {
		for round := range outboundRounds {
			limit, err := q.injector(ctx, b.out.Addr().String(), clients)
			if err != nil {
				return err
			}
			if err := b.fill(ctx, list, fmt.Sprint(posts, "-", round), posts); err != nil {
				return err
			}
			took, peak, err := b.empty(ctx, int64(posts*q.members))
			if err != nil {
				return err
			}
			peaks[posts] = max(peaks[posts], peak)
			if posts == q.posts {
				rates, limits = append(rates, float64(posts*q.members)/took.Seconds()), append(limits, limit)
			}
		}
	}
	b.add(figure{Name: "outbound alone, a queue of " + group(q.posts*q.members) + ", " + q.what, Value: middle(rates), Unit: "recipients/s",
		Beside: "the sink, fed by a client that does nothing else", Limit: middle(limits), Share: q.share})
	small := float64(peaks[1]) / (1 << 20)
	b.add(figure{Name: "its peak memory (PSS)", Value: float64(peaks[q.posts]) / (1 << 20), Unit: "MiB",
		Beside: "with a queue of " + group(q.members), Limit: small, Target: 1.2 * small})
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

// empty has outbound deliver all that is queued. It returns how long that took and the peak
// of its memory.
func (b *bench) empty(ctx context.Context, recipients int64) (took time.Duration, peak int64, err error) {
	b.out.Reset()
	if err := b.mlist.StartDaemon(ctx, "outbound"); err != nil {
		return 0, 0, err
	}
	most := watch(b.mlist.PID())
	err = b.wait(ctx, recipients, 2*time.Minute)
	peak = most()
	stats := b.out.Stats()
	return stats.Last.Sub(stats.First), peak, errors.Join(err, b.mlist.Stop())
}
