package main

import (
	"context"
	"fmt"
	"time"

	"github.com/mlist/mlist/test/tools/inject"
)

const (
	sustainedPosts  = 3000
	sustainedRounds = 3
)

// sustained measures posts/s from the first connection to the last delivery, of posts of
// 4 KB to lists of ten: all of them to one list, whose posts keep their order, and then
// spread over ten lists. The yardstick is one writer that does, for each post, the least
// that a durable step can: those of one list follow one another.
func (b *bench) sustained(ctx context.Context) error {
	var all []string
	for i := range 10 {
		name := fmt.Sprintf("dev%d@lists.test", i)
		if _, err := b.list(ctx, name, 10); err != nil {
			return err
		}
		all = append(all, name)
	}
	if err := b.mlist.Start(ctx); err != nil {
		return err
	}
	delivered := int64(0)
	var spent time.Duration
	for _, part := range []struct {
		name    string
		lists   []string
		writers int
		least   float64
	}{{"one list of 10", all[:1], 1, 400}, {"ten lists of 10", all, 8, 0}} {
		var posts, disk []float64
		for round := range sustainedRounds {
			rate, err := diskRate(b.dir, part.writers, time.Second)
			if err != nil {
				return err
			}
			begun, cpu := time.Now(), cpuOf(b.mlist.PID())
			r, err := inject.Run(ctx, inject.Options{
				Addr: "unix:" + b.mlist.LMTP, Lists: part.lists, Sender: "author@net.test",
				Messages: sustainedPosts, Connections: clients, Size: 4000, Tag: fmt.Sprint("sustained", len(part.lists), round),
			})
			if err != nil {
				return err
			}
			if r.Accepted != sustainedPosts {
				return fmt.Errorf("%d of %d posts were accepted", r.Accepted, sustainedPosts)
			}
			delivered += 10 * sustainedPosts
			if err := b.wait(ctx, delivered, 3*time.Minute); err != nil {
				return err
			}
			spent += cpuOf(b.mlist.PID()) - cpu
			posts, disk = append(posts, sustainedPosts/time.Since(begun).Seconds()), append(disk, rate)
		}
		b.add(figure{Name: "posts from LMTP to the last delivery, " + part.name, Value: middle(posts), Unit: "posts/s",
			Beside: fmt.Sprintf("disk, %d writers of write+sync+rename+syncdir", part.writers), Limit: middle(disk), Least: part.least})
	}
	b.add(figure{Name: "CPU of all of mlist for each of those posts", Value: ms(spent) / (2 * sustainedRounds * sustainedPosts), Unit: "ms"})
	return nil
}
