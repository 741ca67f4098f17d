// Package metrics counts what the daemons do, and shows it in the form that Prometheus reads.
//
// Each daemon says in an interface of its own what it wants counted; the types here are
// those interfaces' other side, and know no daemon. What is not counted but looked at, such
// as the length of a queue, is asked for when somebody reads ([State]).
//
// It promises that counting never waits and never fails, and that the number of series is
// bounded: no label has an address or anything else that strangers choose, and a list's
// name only as many of them as the configuration asks for.
package metrics

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"
)

// Metrics are all that one process counts. They are made by New.
type Metrics struct {
	LMTPD    *LMTPD
	Milter   *Milter
	Pipeline *Pipeline
	Outbound *Outbound
	Reloads  *Reloads

	registry *prometheus.Registry
	state    *stateCollector
	table    []Description
}

// Description is a metric as the documentation has it.
type Description struct {
	Name   string
	Type   string // counter, gauge, histogram or summary
	Labels []string
	Help   string
}

// New makes metrics, all at nothing.
func New() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.LMTPD, m.Milter, m.Pipeline, m.Outbound, m.Reloads = newLMTPD(m), newMilter(m), newPipeline(m), newOutbound(m), newReloads(m)
	m.state = newStateCollector(m)
	m.registry.MustRegister(m.state, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Ask has f called at each reading, for what is looked at and not counted. Without it
// there is none of that.
func (m *Metrics) Ask(f func() State) { m.state.ask.Store(&f) }

// Write writes all metrics as text. Where some cannot be had, it writes the others, and
// returns why.
func (m *Metrics) Write(w io.Writer) error {
	families, missing := m.registry.Gather()
	if missing != nil {
		missing = fmt.Errorf("gather the metrics: %w", missing)
	}
	enc := expfmt.NewEncoder(w, TextFormat)
	for _, f := range families {
		if err := enc.Encode(f); err != nil {
			return fmt.Errorf("write the metrics: %w", err)
		}
	}
	return missing
}

// TextFormat is the form that Write has.
var TextFormat = expfmt.NewFormat(expfmt.TypeTextPlain)

// Table describes every metric of mlist's own, in the order in which they were made.
func (m *Metrics) Table() []Description { return m.table }

// name makes a metric's name of a daemon's and what it counts.
func name(s string) string { return "mlist_" + s }

func (m *Metrics) describe(kind, name, help string, labels []string) {
	m.table = append(m.table, Description{Name: name, Type: kind, Labels: labels, Help: help})
}

func (m *Metrics) counters(what, help string, labels ...string) *prometheus.CounterVec {
	m.describe("counter", name(what), help, labels)
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name(what), Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) counter(what, help string) prometheus.Counter {
	return m.counters(what, help).WithLabelValues()
}

func (m *Metrics) gauge(what, help string) prometheus.Gauge {
	m.describe("gauge", name(what), help, nil)
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name(what), Help: help})
	m.registry.MustRegister(g)
	return g
}

func (m *Metrics) histograms(what, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	m.describe("histogram", name(what), help, labels)
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name(what), Help: help, Buckets: buckets}, labels)
	m.registry.MustRegister(h)
	return h
}

func (m *Metrics) histogram(what, help string, buckets []float64) prometheus.Observer {
	return m.histograms(what, help, buckets).WithLabelValues()
}

// What takes moments, and what may wait for a person or an MTA for days.
var (
	moments = []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}
	waits   = []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 5 * 24 * 3600}
)

func seconds(d time.Duration) float64 { return max(d, 0).Seconds() }

// code is a reply's code as a label: those of RFC 5321 and what MTAs add to them are told
// apart, and one that is rare goes by its class.
func code(n int) string {
	switch n {
	case 220, 221, 250, 251, 252, 354, 421, 432, 450, 451, 452, 454, 455,
		500, 501, 502, 503, 504, 521, 530, 534, 535, 550, 551, 552, 553, 554, 555, 556:
		return strconv.Itoa(n)
	}
	if n >= 200 && n < 600 {
		return strconv.Itoa(n/100) + "xx"
	}
	return "other"
}

// bounded is a word as a label, if it is one of those.
func bounded(word string, of ...string) string {
	if slices.Contains(of, word) {
		return word
	}
	return "other"
}

// Markdown is the table as the documentation has it.
func Markdown(table []Description) string {
	var b strings.Builder
	b.WriteString("| metric | type | labels | what it tells |\n|---|---|---|---|\n")
	for _, d := range table {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.Name, d.Type, strings.Join(d.Labels, ", "), d.Help)
	}
	return b.String()
}
