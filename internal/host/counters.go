package host

import (
	"maps"
	"sync"
	"sync/atomic"
)

// maxCounters is how many counters one plugin can have; more are not kept.
const maxCounters = 200

// counters are what plugins count, and what is counted of them. They outlive processes
// and reloads, not the host.
type counters struct {
	posts, calls atomic.Int64

	mu      sync.Mutex
	counts  map[string]map[string]int64 // by plugin
	tallies map[string]*tally           // by plugin
}

// tally is where the calls to a plugin are counted.
func (c *counters) tally(plugin string) *tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tallies == nil {
		c.tallies = map[string]*tally{}
	}
	if c.tallies[plugin] == nil {
		c.tallies[plugin] = &tally{}
	}
	return c.tallies[plugin]
}

func (c *counters) add(plugin string, counts map[string]int64) {
	if len(counts) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[string]map[string]int64{}
	}
	have := c.counts[plugin]
	if have == nil {
		have = map[string]int64{}
		c.counts[plugin] = have
	}
	for name, n := range counts {
		if _, known := have[name]; known || len(have) < maxCounters {
			have[name] += n
		}
	}
}

func (c *counters) of(plugin string) map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.counts[plugin])
}
