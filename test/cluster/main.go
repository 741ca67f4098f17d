// Command cluster has three hosts, each with mlist and an MTA of its own, share one PostgreSQL
// with a synchronous standby, and takes away one thing after another under load: a host, its
// way to the database, its MTA, the database's host; and it stops one for longer than its
// lease, and upgrades all of them in turn. The MTA is a real Postfix where one is installed:
// posts go in through it, and what it hands on goes to a sink, whose record tells after each
// step that every post that was taken is at every member, and that none came twice but what
// was in flight. `make cluster-test` runs it, as root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mlist/mlist/internal/spool/pg"
	"github.com/mlist/mlist/test/harness"
	"github.com/mlist/mlist/test/postgres"
)

const (
	bound       = 8 * time.Minute // for everything; at leisure it takes a good two
	stepBound   = 150 * time.Second
	list        = "dev@lists.test"
	members     = 10
	lease       = 10 * time.Second
	connections = 2 // of each host to its MTA
	chunk       = 5 // recipients in a transaction
)

func main() {
	only := flag.String("only", "", "of the steps do those whose names have this in them")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	if err := run(ctx, *only); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

type cluster struct {
	net      *network
	dir      string
	postfix  bool // hosts have a real one
	hosts    []*host
	primary  *postgres.Server
	standby  *postgres.Server
	watch    *pg.Spool // who owns what, as the database has it
	upgraded chan error
	all      []string // members
	load     load
	clean    []func() error
}

// step is something that happens to hosts under load.
type step struct {
	what string
	do   func(context.Context) (string, error) // what is said of it beside the figures
	// hit is how many daemons lose what they have in flight.
	hit int
}

func run(ctx context.Context, only string) (err error) {
	c := &cluster{upgraded: make(chan error, 1), postfix: harness.FindPostfix() == nil}
	defer func() {
		for i := len(c.clean) - 1; i >= 0; i-- {
			err = errors.Join(err, c.clean[i]())
		}
	}()
	begun := time.Now()
	if err := c.start(ctx); err != nil {
		return err
	}
	mta := "a sink: there is no Postfix here"
	if c.postfix {
		mta = "Postfix"
	}
	fmt.Printf("three hosts, each with mlist and %s; PostgreSQL with a synchronous standby; started in %.0f s\n\n", mta, time.Since(begun).Seconds())
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var senders sync.WaitGroup
	for _, h := range c.hosts {
		senders.Go(func() { c.send(ctx, h) })
	}
	defer senders.Wait()
	defer stop()
	for _, s := range []step{
		{"load on three hosts", func(context.Context) (string, error) { return "", nil }, 0},
		{"a host loses its power, and comes back", c.killHost, 1},
		{"a host is cut off from the database for longer than its lease", c.cutOff, 1},
		{"a daemon is stopped for longer than its lease, and wakes", c.pause, 1},
		{"a host loses its MTA", c.loseMTA, 1},
		{"an MTA defers all mail for a while", c.deferring, 2},
		{"the primary's host is cut off, and the standby promoted", c.failOver, 3},
		{"all hosts are upgraded, one after the other", c.roll, 0},
	} {
		if !strings.Contains(s.what, only) {
			continue
		}
		if err := c.step(ctx, s); err != nil {
			return fmt.Errorf("%s: %w\n%s", s.what, err, c.logs())
		}
	}
	fmt.Printf("\nall of it in %.0f s: nothing was lost, and nothing came twice but what was in flight\n", time.Since(begun).Seconds())
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
	dist, err := harness.Build(ctx)
	if err != nil {
		return err
	}
	go func() { c.upgraded <- c.buildUpgrade(ctx) }()
	if err := c.startDatabases(ctx); err != nil {
		return err
	}
	for _, name := range names[2:] {
		h, err := c.newHost(ctx, name, dist)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		c.hosts = append(c.hosts, h)
	}
	if err := c.watchAt(ctx, c.primary); err != nil {
		return err
	}
	c.clean = append(c.clean, func() error { c.watch.Close(); return nil }) // its server may be gone
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

func (c *cluster) startDatabases(ctx context.Context) error {
	err := c.net.in("db1", func() (err error) {
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
	return nil
}

// url is where hosts find whichever database takes writes.
func (c *cluster) url() string {
	return strconv.Quote(fmt.Sprintf("postgres://mlist@%s:5432,%s:5432/postgres?search_path=public&target_session_attrs=read-write", address(0), address(1)))
}

// step does something under load, then waits until all that was taken is delivered.
func (c *cluster) step(ctx context.Context, s step) error {
	ctx, cancel := context.WithTimeout(ctx, stepBound)
	defer cancel()
	before := c.figures()
	c.load.allow(true)
	if err := c.takes(ctx, 15); err != nil {
		return err
	}
	said, err := s.do(ctx)
	if err != nil {
		return err
	}
	if err := c.takes(ctx, 15); err != nil {
		return err
	}
	c.load.allow(false)
	quiet := time.Now()
	if err := wait(ctx, "senders to get their posts taken", c.load.idle); err != nil {
		return err
	}
	if err := wait(ctx, "every post at every member", func() bool { return c.everywhere() }); err != nil {
		return fmt.Errorf("%w: %s", err, c.compare())
	}
	return c.report(s, before, quiet, said)
}

// takes waits until so many more posts were taken.
func (c *cluster) takes(ctx context.Context, more int) error {
	want := c.load.taken() + more
	return wait(ctx, "posts to be taken", func() bool { return c.load.taken() >= want })
}

func wait(ctx context.Context, what string, ok func() bool) error {
	for !ok() {
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("waited in vain for %s", what)
		}
	}
	return nil
}

func sleep(ctx context.Context, long time.Duration) error {
	select {
	case <-time.After(long):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// logs are the last lines of each host's log.
func (c *cluster) logs() string {
	var b strings.Builder
	last := func(what, log string) {
		lines := strings.Split(strings.TrimSpace(log), "\n")
		fmt.Fprintf(&b, "--- %s\n%s\n", what, strings.Join(lines[max(0, len(lines)-30):], "\n"))
	}
	for _, h := range c.hosts {
		last("mlist on "+h.name, h.site.Log())
		if h.postfix != nil {
			last("Postfix on "+h.name, h.postfix.Log())
		}
	}
	return b.String()
}

// buildUpgrade builds another mlist, with its handlers, for hosts to be upgraded to.
func (c *cluster) buildUpgrade(ctx context.Context) error {
	root, err := harness.Root()
	if err != nil {
		return err
	}
	return build(ctx, root, filepath.Join(c.dir, "upgrade", "mlist"), "./cmd/mlist", upgradeVersion)
}
