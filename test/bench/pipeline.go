package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var tookField = regexp.MustCompile(`msg="post accepted".* took=(\S+)`)

// pipeline measures what preparing a post costs, from the entry's taking to the commit,
// through all default handlers; and how much memory a large message costs each process.
func (b *bench) pipeline(ctx context.Context) error {
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
	delivered := int64(0)
	for _, size := range []struct {
		name  string
		bytes int
		posts int
	}{{"10 KB", 10 << 10, 40}, {"5 MB", 5 << 20, 10}} {
		before := len(tookField.FindAllString(b.mlist.Log(), -1))
		for n := range size.posts {
			if err := b.post(ctx, "dev@lists.test", fmt.Sprint("pipeline", size.bytes, "-", n), size.bytes); err != nil {
				return err
			}
			delivered += 10
			if err := b.wait(ctx, delivered, time.Minute); err != nil {
				return err
			}
		}
		var took []time.Duration
		for _, m := range tookField.FindAllStringSubmatch(b.mlist.Log(), -1)[before:] {
			d, err := time.ParseDuration(m[1])
			if err != nil {
				return fmt.Errorf("read the log: %w", err)
			}
			took = append(took, d)
		}
		b.add(figure{"preparing a post of " + size.name + ", taken to committed, p50", ms(median(took)), "ms",
			"disk, one write+sync+rename+syncdir", ms(disk)})
	}
	return b.large(ctx, delivered)
}

// large measures how much one message of nearly 40 MB adds to each process.
func (b *bench) large(ctx context.Context, delivered int64) error {
	pids := append([]int{b.mlist.PID()}, children(b.mlist.PID())...)
	before := make([]int64, len(pids))
	for i, pid := range pids {
		before[i] = own(pid)
	}
	peaks := make([]func() int64, len(pids))
	for i, pid := range pids {
		peaks[i] = watchOwn(pid)
	}
	if err := b.post(ctx, "dev@lists.test", "large", 39<<20); err != nil {
		return err
	}
	if err := b.wait(ctx, delivered+10, time.Minute); err != nil {
		return err
	}
	for i, pid := range pids {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil {
			return err
		}
		b.add(figure{Name: "a message of 39 MB adds to the memory of " + strings.TrimSpace(string(name)),
			Value: float64(max(peaks[i]()-before[i], 0)) / (1 << 20), Unit: "MiB"})
	}
	return nil
}

// children are the processes that a process has started.
func children(pid int) []int {
	var out []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, t := range tasks {
		b, _ := os.ReadFile(t)
		for _, child := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(child); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}
