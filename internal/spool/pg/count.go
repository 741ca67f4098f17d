package pg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mlist/mlist/internal/spool"
)

var _ spool.Counting = (*Spool)(nil)

// Now is what the server's clock says.
func (s *Spool) Now(ctx context.Context) (now time.Time, err error) {
	if err := s.pool.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&now); err != nil {
		return now, fmt.Errorf("ask the database for the time: %w", err)
	}
	return now, nil
}

// Count implements spool.Counting.
func (s *Spool) Count(ctx context.Context, q spool.Queue) (c spool.Count, err error) {
	if q == spool.Outgoing {
		err = s.countOutgoing(ctx, &c)
	} else {
		err = s.countEntries(ctx, q, &c)
	}
	if err != nil {
		return c, fmt.Errorf("count what is in %s: %w", q, err)
	}
	return c, nil
}

func (s *Spool) countEntries(ctx context.Context, q spool.Queue, c *spool.Count) error {
	err := s.pool.QueryRow(ctx, `SELECT count(*), (SELECT count(*) FROM spool_entries WHERE queue = $1 AND due > 0) FROM spool_entries WHERE queue = $1`,
		string(q)).Scan(&c.Entries, &c.Deferred)
	if err != nil || c.Entries == 0 {
		return err
	}
	oldest, err := scanEntry(s.pool.QueryRow(ctx, `SELECT `+entryColumns+` FROM spool_entries WHERE queue = $1 ORDER BY id LIMIT 1`, string(q)))
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // it went meanwhile
	}
	c.Oldest = oldest.Received
	return err
}

func (s *Spool) countOutgoing(ctx context.Context, c *spool.Count) error {
	var came int64
	err := s.pool.QueryRow(ctx, `SELECT p.posts, p.paused, c.chunks, c.deferred, c.people - (SELECT count(*) FROM spool_progress), c.came
		FROM (SELECT count(*) AS posts, count(*) FILTER (WHERE paused) AS paused FROM spool_posts) p,
			(SELECT count(*) AS chunks, count(*) FILTER (WHERE due > 0) AS deferred, coalesce(sum(people), 0) AS people, coalesce(min(came), 0) AS came
				FROM spool_chunks WHERE post IN (SELECT number FROM spool_posts)) c`).
		Scan(&c.Entries, &c.Paused, &c.Chunks, &c.Deferred, &c.Recipients, &came)
	c.Oldest = fromMicros(came)
	return err
}
