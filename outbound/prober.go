package outbound

import (
	"context"
	"sync"
	"time"

	"github.com/mlist/mlist/outbound/sender"
)

// run looks after the MTA until ctx ends: it probes one that is down, and closes
// connections that nobody uses.
func (m *mta) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { m.probeLoop(ctx) })
	wg.Go(func() { m.tidyLoop(ctx) })
	wg.Wait()
}

// probeLoop tries to connect while the MTA is down. The wait before a try goes on
// doubling until a transaction has worked, so that an MTA that takes connections and
// then fails is not pestered either.
func (m *mta) probeLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.probe:
		}
		for {
			m.mu.Lock()
			down, wait := m.down, time.Duration(0)
			if down {
				wait = m.wait.next()
			}
			m.mu.Unlock()
			if !down || !m.rest(ctx, wait) {
				break
			}
			if m.isUp() {
				break // by a connection that somebody else made
			}
			m.tryOnce(ctx)
		}
	}
}

func (m *mta) isUp() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.down
}

// rest waits before a try; a new configuration ends it.
func (m *mta) rest(ctx context.Context, wait time.Duration) bool {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-m.probe:
	case <-t.C:
	}
	return true
}

func (m *mta) tryOnce(ctx context.Context) {
	m.mu.Lock()
	cfg, gen := m.cfg.MTA, m.gen
	// What is idle is suspect, and may be just the connection that the MTA has too many.
	suspect := m.takeIdle(nil)
	m.mu.Unlock()
	closeAll(suspect)
	sc, err := sender.Dial(ctx, cfg)
	if err != nil {
		m.log.Debug("outbound: the MTA is still down", "mta", cfg.String(), "err", err)
		return
	}
	m.mu.Lock()
	m.open++
	m.mu.Unlock()
	m.put(&conn{Conn: sc, gen: gen})
	m.mu.Lock()
	m.setUp()
	m.mu.Unlock()
}

// tidyLoop closes connections that have been idle for long enough.
func (m *mta) tidyLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.tidy:
		}
		for {
			m.mu.Lock()
			limit := m.cfg.Idle
			old := m.takeIdle(func(ic idleConn) bool { return time.Since(ic.since) < limit })
			next := time.Duration(0)
			for _, ic := range m.idle {
				next = max(next, time.Since(ic.since))
			}
			left := len(m.idle) > 0
			m.mu.Unlock()
			closeAll(old)
			if !left || !sleep(ctx, max(limit-next, time.Millisecond)) {
				break
			}
		}
	}
}
