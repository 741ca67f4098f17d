package pg

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

var _ spool.SharedSegments = (*Spool)(nil)

// Waiting implements spool.SharedSegments.
func (s *Spool) Waiting(ctx context.Context) ([]spool.Waiting, error) {
	rows, err := s.pool.Query(ctx, `SELECT c.key, count(*), count(*) FILTER (WHERE c.due > 0), min(c.made)
		FROM spool_chunks c JOIN spool_posts p ON p.number = c.post GROUP BY c.key ORDER BY c.key`)
	if err != nil {
		return nil, fmt.Errorf("count what waits: %w", err)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (w spool.Waiting, err error) {
		var key int32
		var made int64
		err = row.Scan(&key, &w.Chunks, &w.Deferred, &made)
		w.Key, w.Since = segment.Key(key), fromMicros(made)
		return w, err
	})
	if err != nil {
		return nil, fmt.Errorf("count what waits: %w", err)
	}
	return out, nil
}

// Wants implements spool.SharedSegments.
func (s *Spool) Wants(ctx context.Context) (pins []spool.Pin, drained []string, err error) {
	site, err := s.site(ctx, s.pool, spool.Outgoing)
	if err != nil {
		return nil, nil, fmt.Errorf("read pins and drained hosts: %w", err)
	}
	for _, p := range site.Pins {
		pins = append(pins, spool.Pin(p))
	}
	return pins, site.Drained, nil
}

// Drain implements spool.SharedSegments.
func (s *Spool) Drain(ctx context.Context, host string, drained bool) (bool, error) {
	text := `DELETE FROM spool_drains WHERE host = $1`
	if drained {
		text = `INSERT INTO spool_drains (host) VALUES ($1) ON CONFLICT DO NOTHING`
	}
	tag, err := s.pool.Exec(ctx, text, host)
	if err != nil {
		return false, fmt.Errorf("drain host %s: %w", host, err)
	}
	return tag.RowsAffected() > 0, nil
}

// Pin implements spool.SharedSegments.
func (s *Spool) Pin(ctx context.Context, p spool.Pin) error {
	err := s.change(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, takeLeases); err != nil {
			return err
		}
		there, err := pinsWithin(ctx, tx, `SELECT first, last, host FROM spool_pins WHERE first <= $2 AND last >= $1 ORDER BY first`, p.Range)
		if err != nil {
			return err
		}
		if len(there) == 1 && there[0].Range == p.Range {
			_, err := tx.Exec(ctx, `UPDATE spool_pins SET host = $2 WHERE first = $1`, int32(p.First), p.Host)
			return err
		}
		if len(there) > 0 {
			return fmt.Errorf("%s to %s: %w", there[0].Range, there[0].Host, spool.ErrPinned)
		}
		_, err = tx.Exec(ctx, `INSERT INTO spool_pins (first, last, host) VALUES ($1, $2, $3)`, int32(p.First), int32(p.Last), p.Host)
		return err
	})
	if err != nil {
		return fmt.Errorf("pin %s to %s: %w", p.Range, p.Host, err)
	}
	return nil
}

// Unpin implements spool.SharedSegments.
func (s *Spool) Unpin(ctx context.Context, r segment.Range) ([]spool.Pin, error) {
	pins, err := pinsWithin(ctx, s.pool, `DELETE FROM spool_pins WHERE first >= $1 AND last <= $2 RETURNING first, last, host`, r)
	if err != nil {
		return nil, fmt.Errorf("unpin %s: %w", r, err)
	}
	return pins, nil
}

func pinsWithin(ctx context.Context, tx rowsQuerier, text string, r segment.Range) ([]spool.Pin, error) {
	rows, err := tx.Query(ctx, text, int32(r.First), int32(r.Last))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (p spool.Pin, err error) {
		var first, last int32
		err = row.Scan(&first, &last, &p.Host)
		p.Range = segment.Range{First: segment.Key(first), Last: segment.Key(last)}
		return p, err
	})
}
