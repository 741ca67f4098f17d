package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mlist/mlist/internal/config"
	"github.com/mlist/mlist/internal/control"
	"github.com/mlist/mlist/internal/listen"
	"github.com/mlist/mlist/internal/metrics"
	"github.com/mlist/mlist/internal/spool"
)

// probes are what the checks ask.
type probes struct{ alive, spool, store probe }

// singles are the daemons that can have a process of their own, in the order of the ports
// of their metrics.
var singles = []struct {
	name  string
	which parts
}{{"lmtpd", parts{lmtpd: true}}, {"milter", parts{milter: true}}, {"pipeline", parts{pipeline: true}}, {"outbound", parts{outbound: true}}}

// metricsAddress is where a process that runs these daemons shows its metrics, or "".
// Several of one kind would want one port: each needs to be told its own by --metrics.
func metricsAddress(c *config.Config, which parts, instance string) string {
	address := c.Metrics.Listen
	if address == "" {
		return ""
	}
	for i, s := range singles {
		if which != s.which {
			continue
		}
		if path, ok := strings.CutPrefix(address, "unix:"); ok {
			return "unix:" + besideSocket(path, s.name, instance)
		}
		if instance != "" {
			return ""
		}
		host, port, err := net.SplitHostPort(strings.TrimPrefix(address, "tcp:"))
		if n, perr := strconv.Atoi(port); err == nil && perr == nil { // config has checked both
			return "tcp:" + net.JoinHostPort(host, strconv.Itoa(n+1+i))
		}
	}
	return address
}

// besideSocket puts the name of a single daemon into the path of a socket.
func besideSocket(path, name, instance string) string {
	if instance != "" {
		name += "-" + instance
	}
	return strings.TrimSuffix(path, ".sock") + "-" + name + ".sock"
}

// listenMetrics opens the address, or returns nil. Mail flows without it, so its trouble
// ends nothing.
func (s *server) listenMetrics() net.Listener {
	address := s.metricsAt
	if address == "" {
		address = metricsAddress(s.cfg, s.which, s.instance)
	}
	if address == "" {
		return nil
	}
	l, err := listen.Open(address, 0o660)
	if err != nil {
		s.log.Warn("nobody can read the metrics of this process: metrics.listen in the configuration, or --metrics, names another address", "err", err)
		return nil
	}
	return l
}

// serveMetrics answers Prometheus and health checks until ctx ends.
func (s *server) serveMetrics(ctx context.Context, l net.Listener) {
	c := &census{spool: s.spool, life: ctx}
	defer c.wait()
	s.metrics.Ask(func() metrics.State { return s.state(c) })
	err := metrics.Serve(ctx, l, metrics.Pages{Metrics: s.metrics, Alive: s.health, Ready: s.readiness})
	if err != nil {
		s.log.Warn("nobody can read the metrics of this process any more", "err", err)
	}
}

// sample remembers what was done, for what is told of the last minute.
func (s *server) sample(ctx context.Context) {
	tick := time.NewTicker(metrics.SampleEvery)
	defer tick.Stop()
	for {
		s.rates.Sample(time.Now(), s.metrics.Totals())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// state is what is looked at for the metrics.
func (s *server) state(c *census) metrics.State {
	st := metrics.State{Version: versionText(), Daemons: map[string]bool{}, Connections: s.connections()}
	for _, d := range s.running {
		st.Daemons[d.name] = isClosed(d.Ready())
	}
	counted := c.look()
	st.Queues, st.Counted, st.Unserved = counted.queues, counted.at, counted.unserved
	if s.host != nil {
		for _, p := range s.host.Plugins() {
			st.Plugins = append(st.Plugins, metrics.Plugin{Name: p.Name, Up: p.PID != 0 && p.Healthy,
				Restarts: int64(p.Restarts), Calls: p.Calls, Errors: p.Errors, P50: p.P50, P99: p.P99, Spent: p.Spent, Counts: p.Counts})
		}
	}
	for _, at := range disksOf(s.cfgNow()) {
		if d, err := diskAt(at.of, at.path); err == nil { // the next reading may know more
			st.Disks = append(st.Disks, d)
		}
	}
	st.Full = s.lmtpd != nil && s.lmtpd.Full()
	if s.outbound != nil {
		mta := s.outbound.MTA()
		st.MTAUp, st.MTALimit = &mta.Up, mta.Limit
	}
	return st
}

// connections are those that are open, by daemon.
func (s *server) connections() map[string]int {
	out := map[string]int{}
	if s.lmtpd != nil {
		out["lmtpd"] = s.lmtpd.Connections()
	}
	if s.milter != nil {
		out["milter"] = s.milter.Connections()
	}
	if s.outbound != nil {
		out["outbound"] = s.outbound.MTA().Connections
	}
	return out
}

// mtaStatus is how outbound gets on, if it runs here.
func (s *server) mtaStatus() *control.MTA {
	if s.outbound == nil {
		return nil
	}
	m := s.outbound.MTA()
	return &control.MTA{Address: m.Address, Up: m.Up, DownSince: m.Since, Reason: m.Reason, Transactions: m.Jobs, Limit: m.Limit}
}

// diskPlace is a directory that mlist writes to.
type diskPlace struct{ of, path string }

// disksOf are the places on this machine that can get full.
func disksOf(c *config.Config) []diskPlace {
	var out []diskPlace
	if path, ok := spoolDir(c); ok {
		out = append(out, diskPlace{"spool", path})
	}
	if path, ok := strings.CutPrefix(c.Store.URL, "sqlite:"); ok {
		out = append(out, diskPlace{"store", path})
	}
	if path, ok := strings.CutPrefix(c.Archive.URL, "dir:"); ok {
		out = append(out, diskPlace{"archive", path})
	}
	if c.Trace.Enabled {
		out = append(out, diskPlace{"trace", tracePath(c)})
	}
	return out
}

// census counts what is in the queues, for who asks again and again: the more there is, the
// less often.
type census struct {
	spool   spool.Admin
	life    context.Context
	keys    bool // count by keys, too
	mu      sync.Mutex
	last    counted
	took    time.Duration
	pending chan struct{} // closed when the count under way is done
	counts  sync.WaitGroup
}

type counted struct {
	queues    []metrics.Queue
	summaries []queueJSON // the same, for people
	unserved  map[string]float64
	waiting   []spool.Waiting
	at        time.Time // zero: there was none that went to its end
	err       error     // why
}

const (
	censusEvery = 10 * time.Second
	// censusPart is the most of the time that may go into counting, as its inverse.
	censusPart = 20
	// censusWait is how long the first one to ask may wait.
	censusWait = 2 * time.Second
)

// look returns the last count, and has another made if that is old. Before there is any, it
// waits for it, but not for long.
func (c *census) look() counted {
	c.mu.Lock()
	due := c.last.at.IsZero() || time.Since(c.last.at) >= max(censusEvery, censusPart*c.took)
	if due && c.pending == nil && c.life.Err() == nil {
		c.pending = make(chan struct{})
		c.counts.Go(c.count)
	}
	last, pending := c.last, c.pending
	c.mu.Unlock()
	if !last.at.IsZero() || pending == nil {
		return last
	}
	late := time.NewTimer(censusWait)
	defer late.Stop()
	select {
	case <-pending:
	case <-late.C:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// count counts. When the spool cannot be read, the last count stays, and gets old.
func (c *census) count() {
	begun := time.Now()
	next, err := takeCensus(c.life, c.spool)
	if err == nil && c.keys {
		next.waiting, err = waitingIn(c.life, c.spool)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.took = time.Since(begun)
	if err == nil {
		next.at = time.Now()
		c.last = next
	} else {
		c.last.err = err
	}
	close(c.pending)
	c.pending = nil
}

func (c *census) wait() { c.counts.Wait() }

func takeCensus(ctx context.Context, sp spool.Admin) (counted, error) {
	out := counted{unserved: map[string]float64{}}
	for _, q := range spool.Queues {
		j, err := summary(ctx, sp, q)
		if err != nil {
			return out, err
		}
		m := metrics.Queue{Name: string(q), Entries: j.Entries, Chunks: j.Chunks, Recipients: j.Recipients, Deferred: j.Deferred, Paused: j.Paused}
		if j.Oldest != nil {
			m.Oldest = *j.Oldest
		}
		out.queues, out.summaries = append(out.queues, m), append(out.summaries, j)
	}
	owners, err := sp.Owners(ctx)
	if err != nil {
		return out, fmt.Errorf("owners: %w", err)
	}
	for _, q := range []spool.Queue{spool.Incoming, spool.Bounces, spool.Outgoing} {
		out.unserved[string(q)] = unservedIn(q, owners).Part()
	}
	return out, nil
}
