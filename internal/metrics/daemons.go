package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// LMTPD counts what becomes of mail at the door.
type LMTPD struct {
	replies  *prometheus.CounterVec
	kept     prometheus.Counter
	octets   prometheus.Counter
	took     prometheus.Observer
	failures prometheus.Counter

	taken, refused atomic.Int64
	trouble
}

func newLMTPD(m *Metrics) *LMTPD {
	return &LMTPD{
		replies: m.counters("lmtpd_replies_total", "Replies by SMTP command and code: a connection or MAIL that was refused, each RCPT, and each recipient after DATA.", "command", "code"),
		kept:    m.counter("lmtpd_kept_total", "Entries put into the spool."),
		octets:  m.counter("lmtpd_kept_bytes_total", "Octets of those messages."),
		took:    m.histogram("lmtpd_keep_seconds", "From the first octet of a message to its entry on stable storage.", moments),
		failures: m.counter("lmtpd_store_errors_total",
			"Look-ups of recipients that failed, and were answered 451."),
		trouble: trouble{lasts: lmtpdTrouble},
	}
}

// Reply counts a reply to an SMTP command.
func (c *LMTPD) Reply(command string, n int) {
	c.replies.WithLabelValues(bounded(command, "CONNECT", "MAIL", "RCPT", "DATA"), code(n)).Inc()
	if n >= 400 {
		c.refused.Add(1)
	}
}

// Kept counts an entry that is on stable storage.
func (c *LMTPD) Kept(size int64, took time.Duration) {
	c.kept.Inc()
	c.octets.Add(float64(size))
	c.took.Observe(seconds(took))
	c.taken.Add(1)
}

// StoreError counts a look-up that failed.
func (c *LMTPD) StoreError() { c.failures.Inc() }

// Milter counts what is said while the sender is connected.
type Milter struct {
	verdicts *prometheus.CounterVec
	took     *prometheus.HistogramVec
}

func newMilter(m *Metrics) *Milter {
	return &Milter{
		verdicts: m.counters("milter_verdicts_total", "What Postfix was told, at RCPT (step rcpt) and at the end of a message (step message): pass, reject or tempfail.", "step", "verdict"),
		took:     m.histograms("milter_seconds", "How long Postfix waited for that.", moments, "step"),
	}
}

// Verdict counts what the MTA was told.
func (c *Milter) Verdict(step, verdict string, took time.Duration) {
	step = bounded(step, "rcpt", "message")
	c.verdicts.WithLabelValues(step, bounded(verdict, "pass", "reject", "tempfail")).Inc()
	c.took.WithLabelValues(step).Observe(seconds(took))
}

// Pipeline counts what becomes of entries.
type Pipeline struct {
	entries    *prometheus.CounterVec
	waited     prometheus.Observer
	recipients prometheus.Counter
	stages     *prometheus.HistogramVec
	verdicts   *prometheus.CounterVec
	bounces    *prometheus.CounterVec
	failures   prometheus.Counter

	lists          lists
	prepared, held atomic.Int64
	trouble
}

// outcomes are what can become of an entry of incoming or bounces.
var outcomes = []string{"accepted", "held", "rejected", "discarded", "duplicate", "deferred", "waits", "failed"}

func newPipeline(m *Metrics) *Pipeline {
	return &Pipeline{
		entries:    m.counters("pipeline_entries_total", "What became of entries: accepted, held, rejected, discarded, duplicate; deferred after a try that failed, waits for a plugin that is down, failed after the last try.", "outcome"),
		waited:     m.histogram("pipeline_wait_seconds", "From LMTP's 250 to the moment when outbound sees the post.", waits),
		recipients: m.counter("pipeline_recipients_total", "Recipients of accepted posts."),
		stages:     m.histograms("stage_seconds", "What a stage took for a post, as its plugin measured it.", moments, "stage"),
		verdicts:   m.counters("stage_verdicts_total", "What stages decided: accept, hold, reject or discard.", "stage", "verdict"),
		bounces:    m.counters("bounces_total", "Recipients whom bounces were about, by class: mailbox, full, policy, content, dmarc, rate, network or unknown.", "class"),
		failures:   m.counter("pipeline_store_errors_total", "Tries that failed because the store did: the post waits."),
		trouble:    trouble{lasts: pipelineTrouble},
		lists: lists{
			entries:    m.counters("list_entries_total", "What became of posts of one list, for as many lists as metrics.lists says; list \"other\" is all others.", "list", "outcome"),
			recipients: m.counters("list_recipients_total", "Recipients of its accepted posts.", "list"),
		},
	}
}

// Entry counts what became of an entry.
func (c *Pipeline) Entry(list, outcome string) {
	c.entries.WithLabelValues(bounded(outcome, outcomes...)).Inc()
	c.lists.entry(list, bounded(outcome, outcomes...))
	if outcome == "held" {
		c.held.Add(1)
	}
}

// Accepted counts a post that outbound sees now, so long after it came in.
func (c *Pipeline) Accepted(list string, waited time.Duration, recipients int64) {
	c.Entry(list, "accepted")
	c.lists.sent(list, recipients)
	c.waited.Observe(seconds(waited))
	c.recipients.Add(float64(recipients))
	c.prepared.Add(1)
}

// Stage counts what a stage decided. Which stages there are, the configuration says.
func (c *Pipeline) Stage(stage, verdict string, took time.Duration) {
	c.stages.WithLabelValues(stage).Observe(seconds(took))
	c.verdicts.WithLabelValues(stage, bounded(verdict, "accept", "hold", "reject", "discard")).Inc()
}

// Bounce counts a recipient whom a bounce was about.
func (c *Pipeline) Bounce(class string) {
	c.bounces.WithLabelValues(bounded(class, "mailbox", "full", "policy", "content", "dmarc", "rate", "network", "unknown")).Inc()
}

// StoreError counts a try that failed because the store did.
func (c *Pipeline) StoreError() { c.failures.Inc() }

// Outbound counts what became of mail at the MTA.
type Outbound struct {
	recipients   *prometheus.CounterVec
	replies      *prometheus.CounterVec
	transactions *prometheus.CounterVec
	took         prometheus.Observer
	handover     prometheus.Observer

	accepted, deferred, refused atomic.Int64
	trouble
}

func newOutbound(m *Metrics) *Outbound {
	return &Outbound{
		recipients:   m.counters("outbound_recipients_total", "What the MTA said to recipients: accepted, deferred, refused; and expired, refused after too long a deferral.", "outcome"),
		replies:      m.counters("outbound_replies_total", "The MTA's replies to recipients, by code; 250 is those accepted, and a connection that was lost counts as 451.", "code"),
		transactions: m.counters("outbound_transactions_total", "Transactions that the MTA answered (answered), and that came to nothing (nothing).", "result"),
		took:         m.histogram("outbound_transaction_seconds", "How long a transaction took, or a turn of copies of their own.", moments),
		trouble:      trouble{lasts: outboundTrouble},
		handover:     m.histogram("outbound_handover_seconds", "From LMTP's 250 to the MTA's, for each transaction in which something was accepted.", waits),
	}
}

// Transaction counts one, or a turn of copies; a post that came in so long ago was in it.
func (c *Outbound) Transaction(accepted, deferred, refused, expired int, took, age time.Duration) {
	c.transactions.WithLabelValues("answered").Inc()
	c.took.Observe(seconds(took))
	for outcome, n := range map[string]int{"accepted": accepted, "deferred": deferred, "refused": refused, "expired": expired} {
		if n > 0 {
			c.recipients.WithLabelValues(outcome).Add(float64(n))
		}
	}
	if accepted > 0 {
		c.replies.WithLabelValues("250").Add(float64(accepted))
		c.handover.Observe(seconds(age))
	}
	c.accepted.Add(int64(accepted))
	c.deferred.Add(int64(deferred))
	c.refused.Add(int64(refused + expired))
}

// Nothing counts a transaction that came to nothing.
func (c *Outbound) Nothing() { c.transactions.WithLabelValues("nothing").Inc() }

// Reply counts what the MTA said to a recipient that it did not accept.
func (c *Outbound) Reply(n int) { c.replies.WithLabelValues(code(n)).Inc() }

// Reloads counts how the configuration was taken on.
type Reloads struct {
	all  *prometheus.CounterVec
	good prometheus.Gauge
	at   prometheus.Gauge
	took prometheus.Gauge
}

func newReloads(m *Metrics) *Reloads {
	r := &Reloads{
		all:  m.counters("config_reloads_total", "Attempts to take a configuration on while running: success or failure.", "result"),
		good: m.gauge("config_last_reload_success", "Whether the last attempt was one; 1 before the first."),
		at:   m.gauge("config_last_reload_timestamp_seconds", "When the configuration in effect was taken on."),
		took: m.gauge("config_last_reload_seconds", "How long the last attempt took."),
	}
	r.good.Set(1)
	r.at.Set(float64(time.Now().Unix()))
	return r
}

// Reload counts an attempt.
func (r *Reloads) Reload(err error, took time.Duration) {
	r.took.Set(took.Seconds())
	if err != nil {
		r.all.WithLabelValues("failure").Inc()
		r.good.Set(0)
		return
	}
	r.all.WithLabelValues("success").Inc()
	r.good.Set(1)
	r.at.Set(float64(time.Now().Unix()))
}

// Totals are what mlist has done since it started, in short.
type Totals struct {
	Taken     int64 `json:"taken"`     // entries that LMTP brought
	Refused   int64 `json:"refused"`   // replies of lmtpd that were not 250
	Prepared  int64 `json:"prepared"`  // posts that outbound got to see
	Held      int64 `json:"held"`      // posts that moderators got to see
	Delivered int64 `json:"delivered"` // recipients that the MTA accepted
	Deferred  int64 `json:"deferred"`  // recipients, each time
	Bounced   int64 `json:"bounced"`   // recipients that the MTA refused
}

// Totals tells them.
func (m *Metrics) Totals() Totals {
	return Totals{
		Taken: m.LMTPD.taken.Load(), Refused: m.LMTPD.refused.Load(),
		Prepared: m.Pipeline.prepared.Load(), Held: m.Pipeline.held.Load(),
		Delivered: m.Outbound.accepted.Load(), Deferred: m.Outbound.deferred.Load(), Bounced: m.Outbound.refused.Load(),
	}
}

// Add adds what another process did.
func (t Totals) Add(o Totals) Totals {
	return Totals{t.Taken + o.Taken, t.Refused + o.Refused, t.Prepared + o.Prepared, t.Held + o.Held, t.Delivered + o.Delivered, t.Deferred + o.Deferred, t.Bounced + o.Bounced}
}

// Less takes what was done before from t.
func (t Totals) Less(o Totals) Totals {
	return Totals{t.Taken - o.Taken, t.Refused - o.Refused, t.Prepared - o.Prepared, t.Held - o.Held, t.Delivered - o.Delivered, t.Deferred - o.Deferred, t.Bounced - o.Bounced}
}
