package metrics

import (
	"sync/atomic"
	"time"
)

// trouble is what keeps a daemon from its work at present, though the mail in hand cannot
// help it: a store that is locked, a disk that is full.
type trouble struct {
	now atomic.Pointer[Trouble]
	// lasts is for how long it is believed without happening again: who has to do with
	// mail that comes when it likes may have no chance to find out that it is over.
	lasts time.Duration
}

// Trouble is what keeps a daemon from its work, and since when.
type Trouble struct {
	Why         string
	Since, Last time.Time
}

// How often a daemon in trouble tries again is what these go by: an MTA comes back when it
// likes, the pipeline after pipeline.retry_max, outbound within half a minute.
const (
	lmtpdTrouble    = time.Minute
	pipelineTrouble = 15 * time.Minute
	outboundTrouble = time.Minute
)

// Trouble notes a failure that is the machine's, or with nil, that work has gone through.
func (t *trouble) Trouble(err error) {
	have := t.now.Load()
	switch {
	case err == nil && have != nil:
		t.now.CompareAndSwap(have, nil)
	case err != nil:
		now := time.Now()
		next := &Trouble{Why: err.Error(), Since: now, Last: now}
		if have != nil && now.Sub(have.Last) < t.lasts {
			next.Since = have.Since
		}
		t.now.Store(next)
	}
}

// Troubles are those that daemons are in now, by daemon.
func (m *Metrics) Troubles() map[string]Trouble {
	out := map[string]Trouble{}
	for daemon, t := range map[string]*trouble{"lmtpd": &m.LMTPD.trouble, "pipeline": &m.Pipeline.trouble, "outbound": &m.Outbound.trouble} {
		if now := t.now.Load(); now != nil && time.Since(now.Last) < t.lasts {
			out[daemon] = *now
		}
	}
	return out
}
