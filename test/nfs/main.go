// Nfs tries a spool in a directory that two hosts share, without a coordinator: it is given the
// directory twice, by two mounts, and treats each as a host of its own. Each host owns a half of
// the hash space; what one puts goes out on both, once, and neither can take the other's half.
// Run it by test/nfs/try, which makes the mounts.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/dir"
)

const (
	chunks = 200
	// within is how long a host may take to see what another has done: on NFS nobody tells it.
	within = 3 * time.Minute
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: nfs DIR DIR: one directory, by two mounts")
		os.Exit(2)
	}
	if err := try(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "nfs:", err)
		os.Exit(1)
	}
}

func try(one, two string) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	opts := dir.Options{Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	a, err := dir.Open(one, opts)
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := dir.Open(two, opts)
	if err != nil {
		return err
	}
	defer b.Close()
	low, high := segment.Set{{First: 0, Last: 0x7fff}}, segment.Set{{First: 0x8000, Last: 0xffff}}
	outA, err := a.OwnOutgoing(ctx, low, "host a")
	if err != nil {
		return err
	}
	outB, err := b.OwnOutgoing(ctx, high, "host b")
	if err != nil {
		return err
	}
	if _, err := b.OwnOutgoing(ctx, segment.Set{{First: 0x7000, Last: 0x8000}}, "host b"); !errors.Is(err, spool.ErrOwned) {
		return fmt.Errorf("a segment that the other host owns could be taken: locks do not work between the mounts (%w)", err)
	}
	if err := put(ctx, a); err != nil {
		return err
	}
	start := time.Now()
	var mu sync.Mutex
	got := map[string]int{}
	done, stop := context.WithCancel(ctx)
	defer stop()
	var hosts sync.WaitGroup
	errs := make(chan error, 2)
	for _, o := range []spool.OutgoingOwner{outA, outB} {
		hosts.Go(func() {
			errs <- drain(done, o, func(to string) {
				mu.Lock()
				defer mu.Unlock()
				if got[to]++; len(got) == chunks {
					stop()
				}
			})
		})
	}
	hosts.Wait()
	if err := errors.Join(<-errs, <-errs); err != nil {
		return err
	}
	for to, n := range got {
		if n != 1 {
			return fmt.Errorf("%s got it %d times", to, n)
		}
	}
	if len(got) != chunks {
		return fmt.Errorf("%d of %d recipients got it within %s", len(got), chunks, within)
	}
	fmt.Printf("%d chunks went out on two hosts, each once, in %s; segments of the other host were refused\n", chunks, time.Since(start).Round(time.Millisecond))
	return nil
}

// drain settles what an owner hands out.
func drain(ctx context.Context, o spool.OutgoingOwner, sent func(to string)) error {
	for {
		c, err := o.Next(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		m, err := o.Content(ctx, c)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, io.NewSectionReader(m, 0, m.Size()))
		if err := errors.Join(err, m.Close(), o.Settle(context.WithoutCancel(ctx), c, spool.Settlement{})); err != nil {
			return err
		}
		sent(c.Recipients[0])
	}
}

// put makes a post of an entry that it puts.
func put(ctx context.Context, s *dir.Spool) error {
	d, err := s.Create(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err := io.WriteString(d, "Subject: x\r\n\r\nx\r\n"); err != nil {
		return err
	}
	const list = "dev@lists.test"
	if _, err := d.Put(ctx, spool.Incoming, "", spool.Envelope{List: list, Key: segment.KeyOf(list), Received: time.Now()}); err != nil {
		return err
	}
	o, err := s.Own(ctx, spool.Incoming, segment.All, "pipeline on host a")
	if err != nil {
		return err
	}
	defer o.Close()
	e, err := o.Next(ctx)
	if err != nil {
		return err
	}
	p, err := o.Prepare(ctx, e)
	if err != nil {
		return err
	}
	w, err := p.Content("plain")
	if err == nil {
		_, err = io.WriteString(w, "Subject: x\r\n\r\nx\r\n")
		err = errors.Join(err, w.Close())
	}
	for i := range chunks {
		err = errors.Join(err, p.AddChunk(ctx, spool.Chunk{List: list, Variant: "plain", Recipients: []string{fmt.Sprintf("m%d@x.test", i)}}))
	}
	if err != nil {
		return errors.Join(err, p.Abort())
	}
	return p.Commit(ctx)
}
