package outbound

import (
	"sync"
	"time"

	"github.com/mlist/mlist/internal/spool"
)

// loads adds up what the daemon has done, by which its share of the segments is measured.
type loads struct {
	mu   sync.Mutex
	done int64
	busy time.Duration
	jobs map[*job]struct{}
}

// job is a transaction under way.
type job struct {
	since   time.Time
	counted time.Duration // of its time
}

// stuck is when the time of a transaction counts although it has not ended: the MTA may hang.
const stuck = 10 * time.Second

func (l *loads) begin() *job {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.jobs == nil {
		l.jobs = map[*job]struct{}{}
	}
	j := &job{since: time.Now()}
	l.jobs[j] = struct{}{}
	return j
}

// end counts a transaction in: done is how many recipients need no more of it, connections how
// many transactions there may be at once.
func (l *loads) end(j *job, done, connections int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.jobs, j)
	l.done += int64(done)
	l.busy += (time.Since(j.since) - j.counted) / time.Duration(max(connections, 1))
}

// sum is all up to now.
func (l *loads) sum(connections int) (done int64, busy time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for j := range l.jobs {
		if took := time.Since(j.since) - stuck; took > j.counted {
			l.busy += (took - j.counted) / time.Duration(max(connections, 1))
			j.counted = took
		}
	}
	return l.done, l.busy
}

// load is what whoever shares the segments is told.
func (d *Daemon) load() spool.Load {
	done, busy := d.loads.sum(d.cfg.Load().Connections)
	return spool.Load{Done: done, Busy: busy, Failing: !d.mta.isUp()}
}
