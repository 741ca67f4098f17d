package outbound

import "time"

// Meter counts what becomes of mail at the MTA. It must not fail, and takes no time.
type Meter interface {
	// Transaction is told of each, or of each turn of copies: what the MTA said to how many
	// recipients, how long it took, and how long ago the post came in.
	Transaction(accepted, deferred, refused, expired int, took, age time.Duration)
	// Nothing is told of a transaction that came to nothing.
	Nothing()
	// Reply is told what the MTA said to each recipient that it did not accept.
	Reply(code int)
	// Trouble is told why it cannot be noted what was delivered, and with nil that it could.
	Trouble(err error)
}

type noMeter struct{}

func (noMeter) Transaction(int, int, int, int, time.Duration, time.Duration) {}
func (noMeter) Trouble(error)                                                {}
func (noMeter) Nothing()                                                     {}
func (noMeter) Reply(int)                                                    {}

// SetMeter makes m count everything; it is called before Run.
func (d *Daemon) SetMeter(m Meter) { d.meter = m }

// count counts what came of a transaction. Those that were deferred are told when the chunk
// is through: until then they are carried from one transaction to the next.
func (d *Daemon) count(out *outcome, took, age time.Duration) {
	deferred, refused, expired := 0, 0, 0
	if len(out.rest) == 0 {
		deferred = len(out.deferred)
		for _, r := range out.deferred {
			d.meter.Reply(r.reply.Code)
		}
	}
	for _, r := range out.refused {
		d.meter.Reply(r.reply.Code)
		if r.expired {
			expired++
		} else {
			refused++
		}
	}
	d.meter.Transaction(out.accepted, deferred, refused, expired, took, age)
}

// MTA is how the way to the MTA is.
type MTA struct {
	Address     string    // where it is
	Up          bool      // as far as is known: one that nobody has spoken to is
	Since       time.Time // down since
	Reason      string    // why
	Connections int       // that are open
	Jobs        int       // transactions under way
	Limit       int       // of those, for now
}

// MTA tells how the way to the MTA is.
func (d *Daemon) MTA() MTA {
	m := d.mta
	m.mu.Lock()
	defer m.mu.Unlock()
	s := MTA{Address: m.cfg.MTA.String(), Up: !m.down, Connections: m.open, Jobs: m.jobs, Limit: m.cfg.Connections}
	if m.spare {
		s.Jobs--
	}
	if m.few > 0 && time.Now().Before(m.fewEnd) {
		s.Limit = min(s.Limit, m.few)
	}
	if m.down {
		s.Since, s.Reason = m.since, m.why
	}
	return s
}
