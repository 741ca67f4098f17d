package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/pg"
	"github.com/mlist/mlist/test/harness"
	"github.com/mlist/mlist/test/postgres"
	"github.com/mlist/mlist/test/tools/sink"
)

// host is a machine with mlist and an MTA. What the MTA hands on goes to a sink, which is the
// world outside, and stays when the host does not.
type host struct {
	name    string
	site    *harness.Mlist
	postfix *harness.Postfix // nil: mlist hands over to the sink itself
	sink    *sink.Server
}

const (
	sinkAt         = "127.0.0.1:2525" // on each host
	upgradeVersion = "9.9.9-upgrade"
)

func (c *cluster) newHost(ctx context.Context, name, dist string) (*host, error) {
	h := &host{name: name}
	dir := filepath.Join(c.dir, name)
	err := c.openSink(h)
	if err != nil {
		return nil, err
	}
	mta := sinkAt
	if c.postfix {
		err := c.net.in(name, func() (err error) {
			h.postfix, err = harness.StartPostfix(ctx, filepath.Join(dir, "postfix"), harness.PostfixOptions{
				Domain: "lists.test", LMTP: filepath.Join(dir, "run", "lmtp.sock"), Relay: sinkAt,
			})
			return err
		})
		if err != nil {
			return nil, err
		}
		mta = h.postfix.HandBack
	}
	h.site, err = harness.Install(dir, dist, harness.Options{MTA: mta, Set: map[string]string{
		"hostname": strconv.Quote(name + ".test"), "store.url": c.url(), "spool.url": c.url(), "spool.host": strconv.Quote(name), "spool.lease": strconv.Quote(lease.String()),
		"milter.listen": "[]", "outbound.segments": `"auto"`, "pipeline.segments": `"auto"`,
		"outbound.connections": strconv.Itoa(connections), "outbound.recipients_per_transaction": strconv.Itoa(chunk), "outbound.retry_min": `"1s"`,
		"trace.dir": strconv.Quote(filepath.Join(dir, "trace")), "archive.url": strconv.Quote("dir:" + filepath.Join(c.dir, "archive")),
	}})
	if err != nil {
		return nil, err
	}
	// Whatever is left on the host ends with it, mlist and Postfix.
	c.clean = append(c.clean, func() error { return c.net.kill(name) })
	return h, c.begin(ctx, h)
}

// begin starts mlist on a host.
func (c *cluster) begin(ctx context.Context, h *host) error {
	return c.net.in(h.name, func() error { return h.site.Start(ctx) })
}

// dial connects to where a host's senders hand in their posts.
func (c *cluster) dial(h *host) (conn net.Conn, err error) {
	if h.postfix == nil {
		return net.DialTimeout("unix", h.site.LMTP, 5*time.Second)
	}
	err = c.net.in(h.name, func() (err error) {
		conn, err = net.DialTimeout("tcp", h.postfix.SMTP, 5*time.Second)
		return err
	})
	return conn, err
}

// watchAt looks at who owns what in a database. Its socket is in the file system: what happens
// to the network does not matter.
func (c *cluster) watchAt(ctx context.Context, s *postgres.Server) (err error) {
	if c.watch != nil {
		c.watch.Close() // its server is gone
	}
	c.watch, err = pg.Open(ctx, s.URL("public"), pg.Options{Lease: lease, Log: slog.New(slog.DiscardHandler)})
	return err
}

// owned tells how much of the queues hosts own, in percent of the queue of which it is least.
func (c *cluster) owned(ctx context.Context, queues []spool.Queue, which func(host string) bool) int {
	owners, err := c.watch.Owners(ctx)
	if err != nil {
		return 0
	}
	least := 100
	for _, q := range queues {
		var all segment.Set
		for _, o := range owners {
			if o.Queue == q && which(o.Host) {
				all = all.Union(o.Segments)
			}
		}
		least = min(least, all.Size()*100/65536)
	}
	return least
}

var queues = []spool.Queue{spool.Incoming, spool.Bounces, spool.Outgoing}

// takenOver waits until others own all that a host had, and says how long that took.
func (c *cluster) takenOver(ctx context.Context, from *host) (string, error) {
	begun := time.Now()
	others := func(name string) bool { return name != from.name }
	if err := wait(ctx, "others to own all segments", func() bool { return c.owned(ctx, queues, others) == 100 }); err != nil {
		return "", err
	}
	return fmt.Sprintf("all segments others' after %.1f s", time.Since(begun).Seconds()), nil
}

// takesPart waits until a host has a share of each queue again.
func (c *cluster) takesPart(ctx context.Context, h *host) error {
	return wait(ctx, h.name+" to have a share", func() bool {
		return c.owned(ctx, queues, func(name string) bool { return name == h.name }) > 5
	})
}

func (c *cluster) killHost(ctx context.Context) (string, error) {
	h := c.hosts[0]
	if err := c.net.kill(h.name); err != nil {
		return "", err
	}
	h.site.Kill() // which only waits for its end
	said, err := c.takenOver(ctx, h)
	if err == nil {
		err = c.takes(ctx, 10)
	}
	if err == nil {
		err = c.begin(ctx, h) // before Postfix, which remembers for half a minute that it was not there
	}
	if err == nil && h.postfix != nil {
		err = c.net.in(h.name, func() error { return h.postfix.Start(ctx) })
	}
	if err == nil {
		err = c.takesPart(ctx, h)
	}
	return said, err
}

func (c *cluster) cutOff(ctx context.Context) (string, error) {
	h := c.hosts[1]
	if err := c.net.unplug(h.name); err != nil {
		return "", err
	}
	said, err := c.takenOver(ctx, h)
	if err == nil {
		err = c.takes(ctx, 10)
	}
	if err = errors.Join(err, c.net.plug(h.name)); err == nil {
		err = c.takesPart(ctx, h)
	}
	return said, err
}

func (c *cluster) pause(ctx context.Context) (string, error) {
	h := c.hosts[2]
	if err := h.site.Signal(syscall.SIGSTOP); err != nil {
		return "", err
	}
	said, err := c.takenOver(ctx, h)
	if err == nil {
		err = c.takes(ctx, 10) // the others deliver
	}
	if err = errors.Join(err, h.site.Signal(syscall.SIGCONT)); err == nil {
		err = c.takesPart(ctx, h)
	}
	return said, err
}

func (c *cluster) loseMTA(ctx context.Context) (string, error) {
	h := c.hosts[2]
	stop, start := h.sink.Close, func() error { return c.openSink(h) }
	if h.postfix != nil {
		stop, start = h.postfix.Stop, func() error { return c.net.in(h.name, func() error { return h.postfix.Start(ctx) }) }
	}
	if err := stop(); err != nil {
		return "", err
	}
	begun := time.Now()
	err := wait(ctx, "others to have its share of outgoing", func() bool {
		return c.owned(ctx, []spool.Queue{spool.Outgoing}, func(name string) bool { return name != h.name }) >= 97
	})
	said := fmt.Sprintf("97 %% of outgoing others' after %.1f s", time.Since(begun).Seconds())
	if err == nil {
		err = c.takes(ctx, 10)
	}
	return said, errors.Join(err, start())
}

// deferring has an MTA defer whatever it gets for delivery, with its reason being none of the
// recipients', as with a full disk; it is there, and answers.
func (c *cluster) deferring(ctx context.Context) (string, error) {
	h := c.hosts[1]
	outgoing := []spool.Queue{spool.Outgoing}
	mine := func(name string) bool { return name == h.name }
	if err := c.deferAll(ctx, h, true); err != nil {
		return "", err
	}
	begun := time.Now()
	err := wait(ctx, "others to have its share of outgoing", func() bool { return c.owned(ctx, outgoing, mine) <= 2 })
	said := fmt.Sprintf("98 %% of outgoing others' after %.1f s", time.Since(begun).Seconds())
	for range 10 {
		if err == nil {
			err = c.takes(ctx, 1)
		}
		if part := c.owned(ctx, outgoing, mine); part > 2 && err == nil {
			err = fmt.Errorf("it has %d %% again", part)
		}
	}
	begun = time.Now()
	if err = errors.Join(err, c.deferAll(ctx, h, false)); err == nil {
		err = wait(ctx, "its share to come back", func() bool { return c.owned(ctx, outgoing, mine) > 20 })
	}
	return said + fmt.Sprintf("; back %.1f s after it was well", time.Since(begun).Seconds()), err
}

func (c *cluster) deferAll(ctx context.Context, h *host, on bool) error {
	if h.postfix != nil {
		return c.net.in(h.name, func() error { return h.postfix.Defer(ctx, on) })
	}
	f := sink.Faults{}
	if on {
		f.Rcpt4xx = 1
	}
	h.sink.SetFaults(f)
	return nil
}

// openSink opens the sink of a host, perhaps in the place of one that was closed.
func (c *cluster) openSink(h *host) error {
	return c.net.in(h.name, func() (err error) {
		if h.sink, err = sink.Listen(sinkAt, sink.Options{Record: sink.Memory}); err != nil {
			return err
		}
		c.clean = append(c.clean, h.sink.Close)
		c.load.mu.Lock()
		defer c.load.mu.Unlock()
		c.load.sinks = append(c.load.sinks, h.sink)
		return nil
	})
}

func (c *cluster) failOver(ctx context.Context) (string, error) {
	// Nobody tells the hosts: their connections are silent. What the old primary might still
	// write nobody is told either, since it waits for its standby.
	if err := c.net.unplug("db1"); err != nil {
		return "", err
	}
	begun := time.Now()
	if err := c.standby.Promote(ctx); err != nil {
		return "", err
	}
	promoted := time.Now()
	if err := c.watchAt(ctx, c.standby); err != nil {
		return "", err
	}
	// The rows of owners came along; what counts is that they are prolonged.
	err := wait(ctx, "all segments to be owned on the new primary", func() bool {
		now, err := c.prolonged(ctx, promoted)
		return err == nil && now
	})
	said := fmt.Sprintf("all segments owned after %.1f s", time.Since(begun).Seconds())
	if err == nil {
		err = c.takes(ctx, 10)
	}
	// As its operators have to: it must not come back and take itself for the primary.
	return said, errors.Join(err, c.primary.Kill(), c.net.plug("db1"))
}

// prolonged tells whether all segments have owners who have been heard of since.
func (c *cluster) prolonged(ctx context.Context, since time.Time) (bool, error) {
	left := lease - time.Since(since)
	if left < lease/10 {
		return c.owned(ctx, queues, func(string) bool { return true }) == 100, nil // older leases are over
	}
	late, err := c.standby.Ask(ctx, fmt.Sprintf(`SELECT count(*) FROM spool_owners WHERE until < clock_timestamp() + interval '%d milliseconds'`, left.Milliseconds()))
	return late == "0" && c.owned(ctx, queues, func(string) bool { return true }) == 100, err
}

func (c *cluster) roll(ctx context.Context) (string, error) {
	if err := <-c.upgraded; err != nil {
		return "", fmt.Errorf("build the upgrade: %w", err)
	}
	for _, h := range c.hosts {
		if err := c.upgrade(ctx, h); err != nil {
			return "", fmt.Errorf("upgrade %s: %w", h.name, err)
		}
	}
	return "each was drained first, and did nothing from then on; now " + upgradeVersion, nil
}

// upgrade drains a host, puts another mlist in the place of its own, and has it take part again.
func (c *cluster) upgrade(ctx context.Context, h *host) error {
	do := func(args ...string) error {
		return c.net.in(h.name, func() error {
			_, err := h.site.Command(ctx, nil, args...)
			return err
		})
	}
	if err := do("segment", "drain", h.name, "--wait=40s"); err != nil {
		return err
	}
	mine := func(name string) bool { return name == h.name }
	if n := c.owned(ctx, queues, mine); n != 0 {
		return fmt.Errorf("it is drained, and owns %d %%", n)
	}
	before, err := c.done(ctx, h)
	if err == nil {
		err = c.takes(ctx, 5)
	}
	if err != nil {
		return err
	}
	if after, err := c.done(ctx, h); err != nil || after != before {
		return fmt.Errorf("it was drained, and delivered to %d, %w", after-before, err)
	}
	if err := h.site.Stop(); err != nil {
		return err
	}
	h.site.Bin = filepath.Join(c.dir, "upgrade", "mlist")
	if err := c.begin(ctx, h); err != nil {
		return err
	}
	if log := h.site.Log(); !strings.Contains(log, "msg=ready version="+upgradeVersion) {
		return errors.New("it does not say that it is the upgrade")
	}
	if err := do("segment", "undrain", h.name); err != nil {
		return err
	}
	return c.takesPart(ctx, h)
}

// done is to how many recipients a host's daemon has delivered.
func (c *cluster) done(ctx context.Context, h *host) (int64, error) {
	owners, err := c.watch.Owners(ctx)
	if err != nil {
		return 0, err
	}
	i := slices.IndexFunc(owners, func(o spool.Ownership) bool { return o.Host == h.name && o.Queue == spool.Outgoing })
	if i < 0 {
		return 0, errors.New("it does not take part")
	}
	return owners[i].Done, nil
}

// build builds a program that says that it is of some version.
func build(ctx context.Context, root, to, pkg, version string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+version, "-o", to, pkg)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w: %s", err, out)
	}
	return nil
}
