package main

import (
	"context"
	"encoding/json"
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
// through all default handlers: time, calls to plugins, memory of each process.
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
		name   string
		bytes  int
		posts  int
		target float64 // ms
	}{{"10 KB", 10 << 10, 40, 5}, {"5 MB", 5 << 20, 10, 0}, {"39 MB", 39 << 20, 5, 0}} {
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
		b.add(figure{Name: "preparing a post of " + size.name + ", taken to committed, p50", Value: ms(median(took)), Unit: "ms",
			Beside: "disk, one write+sync+rename+syncdir", Limit: ms(disk), Target: size.target})
	}
	if err := b.plugins(ctx); err != nil {
		return err
	}
	return b.large(ctx, delivered)
}

// plugins tells what the posts so far cost in calls, and what each plugin's process holds.
func (b *bench) plugins(ctx context.Context) error {
	out, err := b.mlist.Command(ctx, nil, "plugin", "ls", "--json")
	if err != nil {
		return err
	}
	var ls struct {
		Running []struct{ Posts, Calls int64 }
		Plugins []struct {
			Name    string
			Running *struct {
				PID    int
				Stages []string
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &ls); err != nil {
		return fmt.Errorf("plugin ls: %w", err)
	}
	if len(ls.Running) != 1 || ls.Running[0].Posts == 0 {
		return fmt.Errorf("plugin ls: no mlist that has had posts is running: %s", out)
	}
	r := ls.Running[0]
	b.add(figure{Name: "calls to plugins for a post, default stages", Value: float64(r.Calls) / float64(r.Posts), Unit: "calls", Target: 3})
	for _, p := range ls.Plugins {
		if p.Running != nil {
			b.add(figure{Name: fmt.Sprintf("memory (PSS) of plugin %s, with %d stages", p.Name, len(p.Running.Stages)),
				Value: float64(own(p.Running.PID)) / (1 << 20), Unit: "MiB"})
		}
	}
	return nil
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
			Value: float64(max(peaks[i]()-before[i], 0)) / (1 << 20), Unit: "MiB", Target: 2})
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
