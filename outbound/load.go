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

	deferred int       // recipients in a row of whom none was taken
	last     time.Time // that one of them was deferred
}

// job is a transaction under way.
type job struct {
	since   time.Time
	counted time.Duration // of its time
}

const (
	// manyDeferred recipients in a row are not what some of them are to blame for: the MTA
	// defers whatever it gets.
	manyDeferred = 20
	// deferredLately is for how long that says something of the MTA.
	deferredLately = 5 * time.Minute
)

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

// end counts a transaction in: done is how many recipients need no more of it, deferred how many
// the MTA did not take for now, connections how many transactions there may be at once.
func (l *loads) end(j *job, done, deferred, connections int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.jobs, j)
	switch {
	case done > 0:
		l.deferred = 0
	case deferred > 0:
		l.deferred, l.last = l.deferred+deferred, time.Now()
	}
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

// nothingTaken tells whether the MTA takes nothing of what it gets.
func (l *loads) nothingTaken() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deferred >= manyDeferred && time.Since(l.last) < deferredLately
}

// load is what whoever shares the segments is told.
func (d *Daemon) load() spool.Load {
	done, busy := d.loads.sum(d.cfg.Load().Connections)
	return spool.Load{Done: done, Busy: busy, Failing: !d.mta.isUp() || d.loads.nothingTaken()}
}
