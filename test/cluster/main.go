// Command cluster has three hosts, each with mlist and an MTA of its own, share one PostgreSQL
// with a synchronous standby, and takes away one thing after another under load: a host, its
// way to the database, its MTA, the database. After each, every post that was acknowledged is
// at every member, and none came twice but those that were in flight. `make cluster-test`
// runs it, as root.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mlist/mlist/test/harness"
	"github.com/mlist/mlist/test/postgres"
	"github.com/mlist/mlist/test/tools/checker"
	"github.com/mlist/mlist/test/tools/inject"
	"github.com/mlist/mlist/test/tools/sink"
)

const (
	bound   = 5 * time.Minute // for everything
	list    = "dev@lists.test"
	members = 20
	mtaAddr = "127.0.0.1:10025" // on each host
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// host is a machine.
type host struct {
	name string
	mta  *sink.Server
	site *harness.Mlist
}

type cluster struct {
	net     *network
	dir     string
	hosts   []*host
	sinks   []*sink.Server // MTAs that there are and were
	primary *postgres.Server
	standby *postgres.Server

	mu      sync.Mutex
	due     []checker.Accepted
	refused int
	off     map[string]bool // hosts to which nothing is sent
	all     []string        // members
	clean   []func() error
}

func run(ctx context.Context) (err error) {
	c := &cluster{off: map[string]bool{}}
	defer func() {
		for i := len(c.clean) - 1; i >= 0; i-- {
			err = errors.Join(err, c.clean[i]())
		}
	}()
	c.clean = append(c.clean, func() (err error) {
		for _, s := range c.sinks {
			err = errors.Join(err, s.Close())
		}
		return err
	})
	if err := c.start(ctx); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var load sync.WaitGroup
	for _, h := range c.hosts {
		load.Go(func() { c.load(ctx, h) })
	}
	defer load.Wait()
	defer stop()
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"load on three hosts", func(context.Context) error { return nil }},
		{"a host is killed, and comes back", c.killHost},
		{"a host is cut off from the database for longer than its lease", c.cutOff},
		{"a host loses its MTA", c.loseMTA},
		{"the primary is killed, and the standby promoted", c.failOver},
		{"all hosts are restarted, one after the other", c.roll},
	} {
		if err := c.step(ctx, step.what, step.do); err != nil {
			return fmt.Errorf("%s: %w\n%s", step.what, err, c.logs())
		}
	}
	return nil
}

// start makes the network and all that is in it.
func (c *cluster) start(ctx context.Context) (err error) {
	names := []string{"db1", "db2", "host1", "host2", "host3"}
	if c.net, err = newNetwork(names...); err != nil {
		return err
	}
	c.clean = append(c.clean, c.net.remove)
	dir, remove, err := harness.TempDir("cluster")
	if err != nil {
		return err
	}
	c.dir = dir
	c.clean = append(c.clean, func() error { remove(); return nil })
	err = c.net.in("db1", func() (err error) {
		c.primary, err = postgres.Start(ctx, postgres.Options{Durable: true, Listen: address(0) + ":5432", Settings: map[string]string{"synchronous_standby_names": "second"}})
		return err
	})
	if err != nil {
		return err
	}
	c.clean = append(c.clean, c.primary.Stop)
	err = c.net.in("db2", func() (err error) {
		c.standby, err = c.primary.Standby(ctx, "second", address(1)+":5432")
		return err
	})
	if err != nil {
		return err
	}
	c.clean = append(c.clean, c.standby.Stop)
	dist, err := harness.Build(ctx)
	if err != nil {
		return err
	}
	url := strconv.Quote(fmt.Sprintf("postgres://mlist@%s:5432,%s:5432/postgres?search_path=public&target_session_attrs=read-write&connect_timeout=2", address(0), address(1)))
	for _, name := range names[2:] {
		h := &host{name: name}
		dir := filepath.Join(c.dir, name)
		if h.site, err = harness.Install(dir, dist, harness.Options{MTA: mtaAddr, Set: map[string]string{
			"hostname": strconv.Quote(name + ".test"), "store.url": url, "spool.url": url, "milter.listen": "[]", "metrics.listen": `""`, "outbound.segments": `"auto"`, "pipeline.segments": `"auto"`,
			"trace.dir": strconv.Quote(filepath.Join(dir, "trace")), "archive.url": strconv.Quote("dir:" + filepath.Join(c.dir, "archive")),
		}}); err != nil {
			return err
		}
		err = c.net.in(name, func() (err error) {
			h.mta, err = sink.Listen(mtaAddr, sink.Options{Record: sink.Memory})
			return errors.Join(err, h.site.Start(ctx))
		})
		if err != nil {
			return err
		}
		c.sinks = append(c.sinks, h.mta)
		c.clean = append(c.clean, func() error { h.site.Kill(); return nil })
		c.hosts = append(c.hosts, h)
	}
	for i := range members {
		c.all = append(c.all, fmt.Sprintf("member%d@net.test", i))
	}
	return c.net.in("host1", func() error {
		m := c.hosts[0].site
		_, err := m.Command(ctx, nil, "list", "create", list, "default_nonmember_action=accept", "verp_delivery_interval=1")
		if err == nil {
			_, err = m.Command(ctx, strings.NewReader(strings.Join(c.all, "\n")+"\n"), "member", "add", list, "--file", "-")
		}
		return err
	})
}

// load posts to a host as long as it is there. What it does not take is another's.
func (c *cluster) load(ctx context.Context, h *host) {
	for n := 0; ctx.Err() == nil; n++ {
		c.mu.Lock()
		off := c.off[h.name]
		c.mu.Unlock()
		if !off {
			r, err := inject.Run(ctx, inject.Options{
				Addr: "unix:" + h.site.LMTP, Lists: []string{list}, Sender: "eve@else.test", Tag: fmt.Sprint(h.name, n), Messages: 5, Connections: 1, Size: 2000,
				Accepted: func(id, _ string, _ time.Duration) {
					c.mu.Lock()
					defer c.mu.Unlock()
					c.due = append(c.due, checker.Accepted{MessageID: strings.Trim(id, "<>"), Recipients: c.all})
				},
			})
			if err != nil || r.Accepted < 5 {
				c.mu.Lock()
				c.refused++
				c.mu.Unlock()
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// pause has nothing more sent to some hosts, or all.
func (c *cluster) pause(off bool, hosts ...*host) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range hosts {
		c.off[h.name] = off
	}
}

// step does something under load, then waits until all that was acknowledged is delivered.
func (c *cluster) step(ctx context.Context, what string, do func(context.Context) error) error {
	begun := time.Now()
	c.mu.Lock()
	before := len(c.due)
	c.mu.Unlock()
	c.pause(false, c.hosts...)
	if err := c.accepts(ctx, 20); err != nil {
		return err
	}
	if err := do(ctx); err != nil {
		return err
	}
	if err := c.accepts(ctx, 20); err != nil {
		return err
	}
	c.pause(true, c.hosts...)
	var report checker.Report
	err := wait(ctx, "every post at every member", func() bool {
		report = c.compare()
		return len(report.Lost) == 0
	})
	c.mu.Lock()
	fmt.Printf("%-66s %5d posts  %s  (%d refused so far, %.0f s)\n", what, len(c.due)-before, report, c.refused, time.Since(begun).Seconds())
	c.mu.Unlock()
	if err == nil && !report.OK() {
		err = errors.New("not as promised")
	}
	return err
}

func (c *cluster) compare() checker.Report {
	var sent []sink.Transaction
	for _, s := range c.sinks {
		sent = append(sent, s.Transactions()...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return checker.Compare(c.due, sent)
}

// accepts waits until so many more posts were taken.
func (c *cluster) accepts(ctx context.Context, more int) error {
	have := func() int { c.mu.Lock(); defer c.mu.Unlock(); return len(c.due) }
	want := have() + more
	return wait(ctx, "posts to be taken", func() bool { return have() >= want })
}

func wait(ctx context.Context, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 70*time.Second)
	defer cancel()
	for !ok() {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s", what)
		}
	}
	return nil
}

func (c *cluster) again(ctx context.Context, h *host) error {
	return c.net.in(h.name, func() error { return h.site.Start(ctx) })
}

func (c *cluster) killHost(ctx context.Context) error {
	h := c.hosts[0]
	h.site.Kill()
	if err := c.accepts(ctx, 20); err != nil {
		return err
	}
	return c.again(ctx, h)
}

func (c *cluster) cutOff(ctx context.Context) error {
	h := c.hosts[1]
	if err := c.net.unplug(h.name); err != nil {
		return err
	}
	select {
	case <-time.After(12 * time.Second): // the lease is 10
	case <-ctx.Done():
	}
	return errors.Join(c.accepts(ctx, 20), c.net.plug(h.name))
}

func (c *cluster) loseMTA(ctx context.Context) error {
	h := c.hosts[2]
	if err := h.mta.Close(); err != nil {
		return err
	}
	if err := c.accepts(ctx, 40); err != nil {
		return err
	}
	return c.net.in(h.name, func() error {
		again, err := sink.Listen(mtaAddr, sink.Options{Record: sink.Memory})
		if err != nil {
			return err
		}
		c.sinks = append(c.sinks, again)
		return nil
	})
}

func (c *cluster) failOver(ctx context.Context) error {
	if err := c.primary.Kill(); err != nil {
		return err
	}
	return c.standby.Promote(ctx)
}

func (c *cluster) roll(ctx context.Context) error {
	for _, h := range c.hosts {
		if err := h.site.Stop(); err != nil {
			return err
		}
		if err := c.again(ctx, h); err != nil {
			return err
		}
		if err := c.accepts(ctx, 10); err != nil {
			return err
		}
	}
	return nil
}

// logs are the last lines of each host's log.
func (c *cluster) logs() string {
	var b strings.Builder
	for _, h := range c.hosts {
		lines := strings.Split(h.site.Log(), "\n")
		fmt.Fprintf(&b, "--- host %s\n%s\n", h.name, strings.Join(lines[max(0, len(lines)-30):], "\n"))
	}
	return b.String()
}
