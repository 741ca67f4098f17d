package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/test/tools/inject"
)

// imports measures adding 100,000 members from a file.
func (b *bench) imports(ctx context.Context) error {
	took, err := b.list(ctx, "dev@lists.test", 100_000)
	if err != nil {
		return err
	}
	b.add(figure{Name: "import of 100,000 members from a file", Value: took.Seconds(), Unit: "s", Target: 2})
	return nil
}

const (
	clients = 8
	rounds  = 7
)

// lmtp measures acknowledged posts/s over 8 connections, with lmtpd alone and with all
// daemons at work, beside the disk. The two take turns, since what a disk does differs
// from one second to the next.
func (b *bench) lmtp(ctx context.Context) error {
	if _, err := b.list(ctx, "dev@lists.test", 10); err != nil {
		return err
	}
	for _, daemon := range []struct{ name, what string }{{"lmtpd", "lmtpd alone"}, {"serve", "all daemons at work"}} {
		if err := b.mlist.StartDaemon(ctx, daemon.name); err != nil {
			return err
		}
		if daemon.name == "serve" { // first comes what lmtpd alone has left
			if err := b.wait(ctx, 10*1500*rounds, 2*time.Minute); err != nil {
				return err
			}
			b.out.Reset()
		}
		var posts, disk []float64
		for round := range rounds {
			rate, err := diskRate(b.dir, clients, time.Second)
			if err != nil {
				return err
			}
			r, err := inject.Run(ctx, inject.Options{
				Addr: "unix:" + b.mlist.LMTP, Lists: []string{"dev@lists.test"}, Sender: "author@net.test",
				Messages: 1500, Connections: clients, Size: 4000, Tag: fmt.Sprint(daemon.name, round),
			})
			if err != nil {
				return err
			}
			posts, disk = append(posts, float64(r.Accepted)/r.Took.Seconds()), append(disk, rate)
			if daemon.name == "serve" {
				if err := b.wait(ctx, int64(10*1500*(round+1)), 2*time.Minute); err != nil {
					return err
				}
			}
		}
		b.mlist.Kill()
		b.add(figure{Name: "acknowledged posts at LMTP, 8 connections, " + daemon.what, Value: middle(posts), Unit: "posts/s",
			Beside: "disk, 8 writers of write+sync+rename+syncdir", Limit: middle(disk), Share: 0.5})
	}
	return nil
}

// middle sorts and returns the median.
func middle(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// idle measures one post to an idle list of ten, from the connection to the last delivery.
func (b *bench) idle(ctx context.Context) error {
	if _, err := b.list(ctx, "dev@lists.test", 10); err != nil {
		return err
	}
	if err := b.mlist.Start(ctx); err != nil {
		return err
	}
	disk, err := diskLatency(b.dir, 100)
	if err != nil {
		return err
	}
	var times []time.Duration
	for n := range 60 {
		start := time.Now()
		if err := b.post(ctx, "dev@lists.test", fmt.Sprint("idle", n), 4000); err != nil {
			return err
		}
		if err := b.wait(ctx, int64(10*(n+1)), time.Minute); err != nil {
			return err
		}
		if n >= 10 { // the first ones warm up
			times = append(times, time.Since(start))
		}
		time.Sleep(20 * time.Millisecond) // idle is the point
	}
	b.add(figure{Name: "one post to an idle list of 10, to the last delivery, p50", Value: ms(median(times)), Unit: "ms",
		Beside: "disk, one write+sync+rename+syncdir", Limit: ms(disk), Target: 15})
	b.add(figure{Name: "the same, p95", Value: ms(times[len(times)*95/100]), Unit: "ms"})
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// post hands over one message.
func (b *bench) post(ctx context.Context, list, tag string, size int) error {
	return b.posts(ctx, list, tag, 1, size)
}

// posts are n posts in a row.
func (b *bench) posts(ctx context.Context, list, tag string, n, size int) error {
	_, err := inject.Run(ctx, inject.Options{
		Addr: "unix:" + b.mlist.LMTP, Lists: []string{list}, Sender: "author@net.test", Messages: n, Connections: 1, Size: size, Tag: tag,
	})
	return err
}

func (b *bench) wait(ctx context.Context, recipients int64, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := b.out.Wait(ctx, recipients); err != nil {
		return fmt.Errorf("%w\n%s", err, b.mlist.Log())
	}
	return nil
}

// deliver measures deliveries/s from the injection of one post to the last delivery.
func (b *bench) deliver(ctx context.Context) error {
	limit, err := sinkRate(ctx, b.out.Addr().String(), clients)
	if err != nil {
		return err
	}
	if err := b.mlist.Start(ctx); err != nil {
		return err
	}
	for _, size := range []struct{ members, posts int }{{100, 20}, {1000, 10}, {10_000, 5}, {100_000, 3}, {*large, 1}} {
		list := fmt.Sprintf("list%d@lists.test", size.members)
		if _, err := b.list(ctx, list, size.members); err != nil {
			return err
		}
		var times []time.Duration
		cpu := cpuOf(b.mlist.PID())
		for n := range size.posts + 1 {
			b.out.Reset()
			start := time.Now()
			if err := b.post(ctx, list, fmt.Sprint(size.members, "-", n), 4000); err != nil {
				return err
			}
			if err := b.wait(ctx, int64(size.members), time.Minute); err != nil {
				return err
			}
			if n > 0 {
				times = append(times, time.Since(start))
			}
		}
		b.growth = append(b.growth, point{size.members, float64(size.members) / median(times).Seconds()})
		f := figure{Name: fmt.Sprintf("one post to %s members, end to end", group(size.members)),
			Value: float64(size.members) / median(times).Seconds(), Unit: "deliveries/s",
			Beside: "the sink, fed by a client that does nothing else", Limit: limit}
		if size.members >= 10_000 {
			f.Least = 100_000
		}
		b.add(f)
		if size.members >= 100_000 {
			spent := cpuOf(b.mlist.PID()) - cpu
			b.add(figure{Name: fmt.Sprintf("CPU of all processes for each of these deliveries, %s members", group(size.members)),
				Value: spent.Seconds() * 1e6 / float64(size.members*(size.posts+1)), Unit: "µs", Target: 3})
		}
	}
	return b.many(ctx, limit)
}

// many measures a run of posts to one list, from the first injection to the last delivery.
func (b *bench) many(ctx context.Context, limit float64) error {
	for _, size := range []struct {
		members, posts int
		least          float64 // three times the fastest peer (docs/bench.md)
	}{{1000, 100, 202_500}, {10_000, 20, 269_700}} {
		b.out.Reset()
		start := time.Now()
		_, err := inject.Run(ctx, inject.Options{
			Addr: "unix:" + b.mlist.LMTP, Lists: []string{fmt.Sprintf("list%d@lists.test", size.members)}, Sender: "author@net.test",
			Messages: size.posts, Connections: clients, Size: 4000, Tag: fmt.Sprint("many", size.members),
		})
		if err != nil {
			return err
		}
		if err := b.wait(ctx, int64(size.members*size.posts), time.Minute); err != nil {
			return err
		}
		b.add(figure{Name: fmt.Sprintf("%d posts in a row to %s members, end to end", size.posts, group(size.members)),
			Value: float64(size.members*size.posts) / time.Since(start).Seconds(), Unit: "deliveries/s",
			Beside: "the sink, fed by a client that does nothing else", Limit: limit, Least: size.least})
	}
	return nil
}

// group writes 10000 as 10,000.
func group(n int) string {
	s := fmt.Sprint(n)
	var parts []string
	for len(s) > 3 {
		parts = append([]string{s[len(s)-3:]}, parts...)
		s = s[:len(s)-3]
	}
	return strings.Join(append([]string{s}, parts...), ",")
}

// memory measures the peak of all processes while a post goes to a list.
func (b *bench) memory(ctx context.Context) error {
	for _, members := range []int{10, 10_000, *large} {
		list := fmt.Sprintf("list%d@lists.test", members)
		if _, err := b.list(ctx, list, members); err != nil {
			return err
		}
		if err := b.mlist.Start(ctx); err != nil {
			return err
		}
		b.out.Reset()
		peak := watch(b.mlist.PID())
		for n := range 3 {
			if err := b.post(ctx, list, fmt.Sprint("memory", members, n), 4000); err != nil {
				return err
			}
		}
		if err := b.wait(ctx, int64(3*members), 5*time.Minute); err != nil {
			return err
		}
		b.add(figure{Name: fmt.Sprintf("peak PSS of all processes, 3 posts to %s members", group(members)),
			Value: float64(peak()) / (1 << 20), Unit: "MiB", Target: 100})
		b.mlist.Kill()
	}
	return nil
}
