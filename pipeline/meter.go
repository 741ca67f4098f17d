package pipeline

import (
	"errors"
	"time"

	"github.com/mlist/mlist/internal/host"
)

// Meter counts what becomes of entries. It must not fail, and takes no time.
type Meter interface {
	// Entry is told what became of an entry: held, rejected, discarded, duplicate, deferred
	// (a try failed), waits (for a plugin that is down) or failed (the last try did).
	Entry(list, outcome string)
	// Accepted is told of each post that outbound sees now, so long after it came in.
	Accepted(list string, waited time.Duration, recipients int64)
	// Stage is told what each stage decided.
	Stage(stage, verdict string, took time.Duration)
	// Bounce is told of each recipient whom a bounce was about.
	Bounce(class string)
	// StoreError is told of each try that failed because the store did.
	StoreError()
	// Trouble is told what keeps posts waiting that cannot help it, such as a store that is
	// locked or a disk that is full, and with nil that an entry has gone through.
	Trouble(err error)
}

type noMeter struct{}

func (noMeter) Entry(string, string)                  {}
func (noMeter) Accepted(string, time.Duration, int64) {}
func (noMeter) Stage(string, string, time.Duration)   {}
func (noMeter) Bounce(string)                         {}
func (noMeter) StoreError()                           {}
func (noMeter) Trouble(error)                         {}

// SetMeter makes m count everything; it is called before Run.
func (d *Daemon) SetMeter(m Meter) { d.meter = m }

// countStages counts what the stages decided.
func (d *Daemon) countStages(stages []host.StageTime) {
	for _, s := range stages {
		d.meter.Stage(s.Stage, string(s.Verdict), s.Took)
	}
}

// countFailure counts a try that failed.
func (d *Daemon) countFailure(list, outcome string, cause error) {
	d.meter.Entry(list, outcome)
	if out := (outage{}); errors.As(cause, &out) {
		d.meter.StoreError()
	}
}
