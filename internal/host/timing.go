package host

import (
	"log/slog"
	"math/rand/v2"
	"time"
)

// timing is how patient the host is. Tests are less so.
type timing struct {
	start    time.Duration // until a plugin has started and described itself
	health   time.Duration // between health checks
	answer   time.Duration // of a health check
	minPause time.Duration // before the first restart; doubles with each
	maxPause time.Duration
	settled  time.Duration // of health, after which the pause is short again
	grace    time.Duration // for a call to return after its deadline
	drain    time.Duration // for a plugin to finish what it is at
	term     time.Duration // from asking a process to end until killing it
}

var defaultTiming = timing{start: 10 * time.Second, health: 5 * time.Second, answer: 5 * time.Second,
	minPause: 100 * time.Millisecond, maxPause: 30 * time.Second, settled: time.Minute,
	grace: 5 * time.Second, drain: 10 * time.Second, term: time.Second}

// complete fills in what a configuration may leave out.
func (c Config) complete() Config {
	if c.timing == (timing{}) {
		c.timing = defaultTiming
	}
	if c.Timeout <= 0 {
		c.Timeout = 30 * time.Second
	}
	if c.ConsultTimeout <= 0 {
		c.ConsultTimeout = 5 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// pause is how long to wait before a restart, after so many in a row: doubled each
// time, and spread so that plugins that died together do not return together.
func (t timing) pause(restarts int) time.Duration {
	d := t.minPause
	for range restarts {
		if d >= t.maxPause {
			break
		}
		d *= 2
	}
	d = min(d, t.maxPause)
	return d/2 + rand.N(d/2+1)
}
