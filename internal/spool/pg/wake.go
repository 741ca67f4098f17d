package pg

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mlist/mlist/internal/spool"
)

// ring tells owners of a queue that there is something new: those here at once, others soon.
func (s *Spool) ring(q spool.Queue) {
	if q == spool.Held || q == spool.Failed {
		return // nobody waits for those
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ringHere(q)
	if s.pending[q] || s.closed {
		return
	}
	s.pending[q] = true
	s.busy.Go(func() { s.notify(q) })
}

func (s *Spool) ringHere(q spool.Queue) {
	for bell := range s.bells[q] {
		select {
		case bell <- struct{}{}:
		default: // it rings already
		}
	}
}

// notify tells other processes, after a moment in which what else is put joins in.
func (s *Spool) notify(q spool.Queue) {
	select {
	case <-time.After(quiet):
	case <-s.work.Done():
	}
	s.mu.Lock()
	s.pending[q] = false
	s.mu.Unlock()
	_, err := s.pool.Exec(s.work, `SELECT pg_notify(`+channel+`, $1)`, string(q))
	if err != nil && s.work.Err() == nil {
		s.opts.Log.Debug("spool: other daemons are not told, and look by themselves", "queue", string(q), "err", err)
	}
}

// listen has the bells of a queue rung when other processes put something into it.
func (s *Spool) listen(q spool.Queue, bell chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bells[q] == nil {
		s.bells[q] = map[chan struct{}]struct{}{}
	}
	s.bells[q][bell] = struct{}{}
	if !s.hears && !s.closed {
		s.hears = true
		s.busy.Go(s.hear)
	}
}

func (s *Spool) unlisten(q spool.Queue, bell chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.bells[q], bell)
}

// hear has a connection of its own, and gets another when that breaks.
func (s *Spool) hear() {
	for s.work.Err() == nil {
		if err := s.hearOn(s.work); err != nil && s.work.Err() == nil {
			s.opts.Log.Debug("spool: nobody tells what is new for now", "err", err)
		}
		select {
		case <-time.After(s.opts.Rescan):
		case <-s.work.Done():
		}
	}
}

func (s *Spool) hearOn(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, s.patient)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // it only listened
	var name string
	if err := conn.QueryRow(ctx, `SELECT `+channel).Scan(&name); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, `LISTEN `+pgx.Identifier{name}.Sanitize()); err != nil {
		return err
	}
	for {
		n, err := s.nextNotice(ctx, conn)
		if err != nil {
			return err
		}
		if n == nil {
			continue
		}
		s.mu.Lock()
		s.ringHere(spool.Queue(n.Payload))
		s.mu.Unlock()
	}
}

// nextNotice waits for a notification. When there was none for a while it asks whether the
// server is still there, and returns none: one that hangs may have a successor by now.
func (s *Spool) nextNotice(ctx context.Context, conn *pgx.Conn) (*pgconn.Notification, error) {
	waiting, cancel := context.WithTimeout(ctx, s.opts.silence)
	defer cancel()
	n, err := conn.WaitForNotification(waiting)
	if err == nil || ctx.Err() != nil || waiting.Err() == nil {
		return n, err
	}
	asking, cancel := context.WithTimeout(ctx, s.opts.silence)
	defer cancel()
	return nil, conn.Ping(asking)
}
