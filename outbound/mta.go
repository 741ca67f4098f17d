package outbound

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/mlist/mlist/outbound/sender"
)

// mta is the way to the MTA: the connections that are open, how many there may be, and
// whether it can be reached at all.
type mta struct {
	log *slog.Logger

	mu     sync.Mutex
	cfg    Config
	gen    int        // of the configuration; connections of an older one are not used again
	idle   []idleConn // the one used last at the end
	open   int        // connections, idle or in use
	jobs   int        // slots that are taken
	spare  bool       // one of them is the dispatcher's, which has no chunk for it yet
	few    int        // the MTA lately would not have more connections than this; 0 if it would
	fewEnd time.Time
	down   bool
	since  time.Time // down since
	why    string    // it is down
	fails  int       // transactions in a row that came to nothing
	wait   delay     // before the prober's next try

	free  chan struct{} // a slot may be free, or the MTA up: wakes acquire
	probe chan struct{} // wakes the prober
	tidy  chan struct{} // wakes the tidier
}

// conn is a connection and which configuration it was made with.
type conn struct {
	*sender.Conn
	gen    int
	rested bool // was idle: the MTA may have closed it meanwhile
}

type idleConn struct {
	*conn
	since time.Time
}

const (
	failsForDown = 4 // transactions in a row without any answer: the MTA is not well
	fewFor       = time.Minute
	probeFirst   = time.Second
	probeMost    = time.Minute
)

func newMTA(cfg Config, log *slog.Logger) *mta {
	return &mta{
		log: log, cfg: cfg, wait: delay{first: probeFirst, most: probeMost},
		free: make(chan struct{}, 1), probe: make(chan struct{}, 1), tidy: make(chan struct{}, 1),
	}
}

// wake leaves a token for the one goroutine that waits on ch.
func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (m *mta) configure(cfg Config) {
	m.mu.Lock()
	m.cfg, m.few = cfg, 0
	m.gen++
	old := m.takeIdle(nil)
	m.wait.reset()
	m.mu.Unlock()
	closeAll(old)
	wake(m.free)
	wake(m.probe)
}

// acquire waits until the MTA is up and a slot is free, and takes it. It returns false
// when ctx ends first. Only the dispatcher calls it.
func (m *mta) acquire(ctx context.Context) bool {
	for ctx.Err() == nil {
		m.mu.Lock()
		limit := m.cfg.Connections
		recheck := time.Hour
		if m.few > 0 {
			if left := time.Until(m.fewEnd); left > 0 {
				limit, recheck = min(limit, m.few), left
			} else {
				m.few = 0
			}
		}
		if !m.down && m.jobs < limit {
			m.jobs++
			m.spare = true
			m.mu.Unlock()
			return true
		}
		m.mu.Unlock()
		t := time.NewTimer(recheck)
		select {
		case <-ctx.Done():
		case <-m.free:
		case <-t.C:
		}
		t.Stop()
	}
	return false
}

// filled says that the slot which was acquired last is waited with no more.
func (m *mta) filled() {
	m.mu.Lock()
	m.spare = false
	m.mu.Unlock()
}

// release gives a slot back.
func (m *mta) release() {
	m.mu.Lock()
	m.jobs--
	m.mu.Unlock()
	wake(m.free)
}

// get returns a connection that was idle, or a new one if there is none or fresh is
// asked for. When it fails, the MTA is taken to be down, unless it serves us on other
// connections: then it only does not want more of them.
func (m *mta) get(ctx context.Context, fresh bool) (*conn, error) {
	m.mu.Lock()
	if n := len(m.idle); n > 0 && !fresh {
		c := m.idle[n-1].conn
		m.idle = m.idle[:n-1]
		m.mu.Unlock()
		return c, nil
	}
	var stale []*conn
	if fresh { // one that was idle turned out to be dead: so will the others be
		stale = m.takeIdle(nil)
	}
	cfg, gen := m.cfg.MTA, m.gen
	m.mu.Unlock()
	closeAll(stale)

	sc, err := sender.Dial(ctx, cfg)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err == nil:
		m.open++
		m.setUp()
		return &conn{Conn: sc, gen: gen}, nil
	case ctx.Err() != nil:
	case m.open > 0:
		if m.few == 0 {
			m.log.Warn("outbound: the MTA refuses more connections", "open", m.open, "err", err)
		}
		m.few, m.fewEnd = m.open, time.Now().Add(fewFor)
	default:
		m.setDown(err)
	}
	return nil, err
}

// put gives a connection back after a transaction.
func (m *mta) put(c *conn) {
	m.mu.Lock()
	if c.Usable() && c.gen == m.gen {
		c.rested = true
		m.idle = append(m.idle, idleConn{c, time.Now()})
		first := len(m.idle) == 1
		m.mu.Unlock()
		if first {
			wake(m.tidy)
		}
		return
	}
	m.open--
	m.mu.Unlock()
	_ = c.Close() // nothing is lost with it
}

// worked notes a transaction that the MTA has answered, however it did.
func (m *mta) worked() {
	m.mu.Lock()
	m.fails = 0
	m.wait.reset()
	m.setUp()
	m.mu.Unlock()
}

// easeFor is for how long fewer connections are used after the MTA has deferred everything.
const easeFor = 10 * time.Second

// ease has half as many transactions go on at once for a while, one at least: the MTA takes
// nothing for now, and more of the same would not help it.
func (m *mta) ease(reply sender.Reply) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	limit := m.cfg.Connections
	eased := m.few > 0 && now.Before(m.fewEnd)
	if eased {
		limit = min(limit, m.few)
	}
	if limit == 1 && !eased {
		return
	}
	m.few, m.fewEnd = max(1, min(limit, m.jobs)/2), now.Add(easeFor)
	if !eased {
		m.log.Warn("outbound: the MTA defers all of a transaction: fewer at once for a while", "connections", m.few, "reply", reply.String())
	}
}

// overloaded tells whether the MTA took nothing of a transaction for a reason of its own.
func overloaded(out *outcome) (reply sender.Reply, ok bool) {
	if out.accepted > 0 || len(out.refused) > 0 || len(out.deferred) == 0 {
		return reply, false
	}
	for _, r := range out.deferred {
		if !r.message || r.reply.Code != 421 && r.reply.Code != 451 && r.reply.Code != 452 {
			return reply, false
		}
	}
	return out.deferred[0].reply, true
}

// failed notes a transaction that came to nothing; unavailable tells that the MTA said so
// itself.
func (m *mta) failed(err error, unavailable bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fails++
	if unavailable || m.fails >= failsForDown {
		m.setDown(err)
	}
}

// setDown is called with mu held.
func (m *mta) setDown(err error) {
	m.fails = 0
	if m.down {
		return
	}
	m.down, m.since, m.why = true, time.Now(), err.Error()
	m.log.Warn("outbound: the MTA is down, mail waits", "mta", m.cfg.MTA.String(), "err", err)
	wake(m.probe)
}

// setUp is called with mu held.
func (m *mta) setUp() {
	if !m.down {
		return
	}
	m.down = false
	m.log.Info("outbound: the MTA is up again", "mta", m.cfg.MTA.String(), "down", time.Since(m.since).Round(time.Millisecond))
	wake(m.free)
}

// takeIdle removes the idle connections that keep does not want, and returns them for
// closing. A nil keep wants none. It is called with mu held.
func (m *mta) takeIdle(keep func(idleConn) bool) []*conn {
	var out []*conn
	kept := m.idle[:0]
	for _, ic := range m.idle {
		if keep != nil && keep(ic) {
			kept = append(kept, ic)
			continue
		}
		out = append(out, ic.conn)
		m.open--
	}
	clear(m.idle[len(kept):])
	m.idle = kept
	return out
}

// closeAll says goodbye on all connections at once.
func closeAll(conns []*conn) {
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() { _ = c.Close() }) // nothing is lost with it
	}
	wg.Wait()
}

// close closes what is idle, after all jobs have ended.
func (m *mta) close() {
	m.mu.Lock()
	all := m.takeIdle(nil)
	m.mu.Unlock()
	closeAll(all)
}
