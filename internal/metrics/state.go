package metrics

import (
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// State is what is looked at when somebody reads the metrics.
type State struct {
	Version string
	Daemons map[string]bool // and whether each is ready
	// Connections are those that are open now, by daemon.
	Connections map[string]int
	Queues      []Queue
	Counted     time.Time // when the queues were looked at
	Unserved    map[string]float64
	Plugins     []Plugin
	Disks       []Disk
	MTAUp       *bool // nil: this process does not know
	MTALimit    int   // transactions that may go on at once
	Full        bool  // lmtpd takes no mail for want of space
}

// Queue is how much is in a queue.
type Queue struct {
	Name                                          string
	Entries, Chunks, Recipients, Deferred, Paused int64
	Oldest                                        time.Time // zero: it is empty
}

// Plugin is how a plugin fares.
type Plugin struct {
	Name                    string
	Up                      bool
	Restarts, Calls, Errors int64
	P50, P99                time.Duration    // that half and nearly all of its calls stayed below
	Spent                   time.Duration    // in its calls
	Counts                  map[string]int64 // what its handlers count; the host bounds how many
}

// once leaves out what has a name that is there already, which would spoil the whole reading,
// and makes text of all names.
func once(plugins []Plugin) (out []Plugin) {
	seen := map[string]bool{}
	for _, p := range plugins {
		p.Name = strings.ToValidUTF8(p.Name, "?")
		if seen[p.Name] {
			continue
		}
		seen[p.Name] = true
		counts := map[string]int64{}
		for name, n := range p.Counts {
			counts[strings.ToValidUTF8(name, "?")] += n
		}
		p.Counts = counts
		out = append(out, p)
	}
	return out
}

// Disk is what is free where something lies.
type Disk struct {
	Of          string // spool, store, archive or trace
	Free, Total uint64 // octets
	FreeFiles   uint64 // inodes
	Files       uint64 // that there can be; 0 where the file system has no such number
	Device      uint64 // the same for places on one file system
}

// stateCollector turns a State into metrics at each reading.
type stateCollector struct {
	m     *Metrics
	ask   atomic.Pointer[func() State]
	descs map[string]*prometheus.Desc
}

func newStateCollector(m *Metrics) *stateCollector {
	c := &stateCollector{m: m, descs: map[string]*prometheus.Desc{}}
	add := func(kind, what, help string, labels ...string) {
		m.describe(kind, name(what), help, labels)
		c.descs[what] = prometheus.NewDesc(name(what), help, labels, nil)
	}
	add("gauge", "build_info", "1, with mlist's version and Go's.", "version", "go")
	add("gauge", "ready", "Whether a daemon of this process is ready.", "daemon")
	add("gauge", "trouble", "1 while the machine keeps a daemon from its work: a store that is locked, a disk that is full. /readyz and mlist status tell what.", "daemon")
	add("gauge", "connections", "Open connections: of lmtpd and milter from the MTA, of outbound to it.", "daemon")
	add("gauge", "queue_entries", "Entries in a queue, or posts in outgoing. Every process tells of the whole spool.", "queue")
	add("gauge", "queue_deferred", "Of those, what waits for a time (in outgoing, chunks).", "queue")
	add("gauge", "queue_oldest_seconds", "How long ago the oldest of them came in; 0 if there is none.", "queue")
	add("gauge", "queue_chunks", "Chunks in outgoing.")
	add("gauge", "queue_recipients", "Recipients in outgoing that are left.")
	add("gauge", "queue_paused", "Posts in outgoing that an operator has paused.")
	add("gauge", "queue_counted_timestamp_seconds", "When the queues were counted: large ones less often.")
	add("gauge", "queue_unserved_ratio", "The part of a queue's segments that no daemon serves.", "queue")
	add("gauge", "plugin_up", "Whether the plugin's process is there and well.", "plugin")
	add("counter", "plugin_restarts_total", "How often it was started again.", "plugin")
	add("counter", "plugin_calls_total", "Calls to it.", "plugin")
	add("counter", "plugin_errors_total", "Calls that failed, or whose reply was not valid.", "plugin")
	add("counter", "plugin_counted_total", "What its handlers count themselves, under the names that they give.", "plugin", "counter")
	add("summary", "plugin_call_seconds", "What its calls took since it was first started: half (quantile 0.5) and nearly all (0.99) stayed below that.", "plugin")
	add("gauge", "disk_free_bytes", "What is free where the spool, store, archive or trace lies.", "of")
	add("gauge", "disk_size_bytes", "The size of that file system.", "of")
	add("gauge", "disk_free_inodes", "Files that can still be made there.", "of")
	add("gauge", "spool_full", "1 while lmtpd answers 452 because less than spool.min_free is left.")
	add("gauge", "mta_up", "Whether outbound reaches the MTA.")
	add("gauge", "mta_transactions_limit", "Transactions that outbound lets go on at once; fewer while the MTA wants that.")
	return c
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(ch chan<- prometheus.Metric) {
	ask := c.ask.Load()
	if ask == nil {
		return
	}
	s := (*ask)()
	gauge := func(what string, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(c.descs[what], prometheus.GaugeValue, v, labels...)
	}
	count := func(what string, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(c.descs[what], prometheus.CounterValue, float64(v), labels...)
	}
	troubles := c.m.Troubles()
	gauge("build_info", 1, s.Version, runtime.Version())
	for daemon, ready := range s.Daemons {
		gauge("ready", truth(ready), daemon)
		_, troubled := troubles[daemon]
		gauge("trouble", truth(troubled), daemon)
	}
	for daemon, n := range s.Connections {
		gauge("connections", float64(n), daemon)
	}
	c.queues(s, gauge)
	for _, p := range once(s.Plugins) {
		for counter, n := range p.Counts {
			count("plugin_counted_total", n, p.Name, counter)
		}
		gauge("plugin_up", truth(p.Up), p.Name)
		count("plugin_restarts_total", p.Restarts, p.Name)
		count("plugin_calls_total", p.Calls, p.Name)
		count("plugin_errors_total", p.Errors, p.Name)
		ch <- prometheus.MustNewConstSummary(c.descs["plugin_call_seconds"], uint64(p.Calls), p.Spent.Seconds(),
			map[float64]float64{0.5: p.P50.Seconds(), 0.99: p.P99.Seconds()}, p.Name)
	}
	for _, d := range s.Disks {
		gauge("disk_free_bytes", float64(d.Free), d.Of)
		gauge("disk_size_bytes", float64(d.Total), d.Of)
		if d.Files > 0 {
			gauge("disk_free_inodes", float64(d.FreeFiles), d.Of)
		}
	}
	gauge("spool_full", truth(s.Full))
	if s.MTAUp != nil {
		gauge("mta_up", truth(*s.MTAUp))
		gauge("mta_transactions_limit", float64(s.MTALimit))
	}
}

func (c *stateCollector) queues(s State, gauge func(string, float64, ...string)) {
	for queue, part := range s.Unserved {
		gauge("queue_unserved_ratio", part, queue)
	}
	if s.Counted.IsZero() {
		return
	}
	gauge("queue_counted_timestamp_seconds", float64(s.Counted.Unix()))
	for _, q := range s.Queues {
		gauge("queue_entries", float64(q.Entries), q.Name)
		gauge("queue_deferred", float64(q.Deferred), q.Name)
		age := 0.0
		if !q.Oldest.IsZero() {
			age = seconds(time.Since(q.Oldest))
		}
		gauge("queue_oldest_seconds", age, q.Name)
		if q.Name == "outgoing" {
			gauge("queue_chunks", float64(q.Chunks))
			gauge("queue_recipients", float64(q.Recipients))
			gauge("queue_paused", float64(q.Paused))
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
