package milter

import "time"

// Meter counts what the MTA is told, at RCPT ("rcpt") and at the end of a message
// ("message"): "pass", "reject" or "tempfail". It must not fail, and takes no time.
type Meter interface {
	Verdict(step, verdict string, took time.Duration)
}

type noMeter struct{}

func (noMeter) Verdict(string, string, time.Duration) {}

// SetMeter makes m count everything; it is called before Run.
func (d *Daemon) SetMeter(m Meter) { d.meter = m }

// Connections tells how many are open.
func (d *Daemon) Connections() int { return d.conns.Len() }
