package pg

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mlist/mlist/internal/spool"
)

// Entries implements spool.Admin.
func (s *Spool) Entries(ctx context.Context, q spool.Queue) iter.Seq2[spool.Entry, error] {
	return func(yield func(spool.Entry, error) bool) {
		// Page by page: the caller may take its time, and do something with each.
		for after := ""; ; {
			rows, err := s.pool.Query(ctx, `SELECT `+entryColumns+` FROM spool_entries WHERE queue = $1 AND id > $2 ORDER BY id LIMIT $3`, string(q), after, pageRows)
			var page []row
			if err == nil {
				page, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (row, error) { return scanEntry(r) })
			}
			if err != nil {
				yield(spool.Entry{}, fmt.Errorf("read %s: %w", q, err))
				return
			}
			for _, r := range page {
				if !yield(r.Entry, nil) {
					return
				}
			}
			if len(page) < pageRows {
				return
			}
			after = string(page[len(page)-1].ID)
		}
	}
}

// pageRows is how many rows an operator's tool reads at once.
const pageRows = 200

// Chunks implements spool.Admin.
func (s *Spool) Chunks(ctx context.Context, recipients bool) iter.Seq2[spool.Chunk, error] {
	return func(yield func(spool.Chunk, error) bool) {
		columns := chunkColumns
		if recipients {
			columns += `, c.recipients`
		}
		var number int64
		for name := ""; ; {
			rows, err := s.pool.Query(ctx, `SELECT `+columns+` FROM spool_chunks c JOIN spool_posts p ON p.number = c.post
				WHERE (c.post, c.name) > ($1, $2) ORDER BY c.post, c.name LIMIT $3`, number, name, pageRows)
			var page []*spool.Chunk
			if err == nil {
				page, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (*spool.Chunk, error) {
					c, _, err := scanChunk(r, recipients)
					return c, err
				})
			}
			if err == nil && len(page) > 0 {
				last := page[len(page)-1]
				name = last.Name
				err = s.pool.QueryRow(ctx, `SELECT number FROM spool_posts WHERE id = $1`, string(last.Post)).Scan(&number)
				if errors.Is(err, pgx.ErrNoRows) { // the post went meanwhile: on with the next one
					name, err = "\U0010FFFF", nil
				}
			}
			if err != nil {
				yield(spool.Chunk{}, fmt.Errorf("read outgoing: %w", err))
				return
			}
			for _, c := range page {
				if !yield(*c, nil) {
					return
				}
			}
			if len(page) < pageRows {
				return
			}
		}
	}
}

// Find implements spool.Admin.
func (s *Spool) Find(ctx context.Context, id spool.ID) (spool.Entry, error) {
	r, err := scanEntry(s.pool.QueryRow(ctx, `SELECT `+entryColumns+` FROM spool_entries WHERE id = $1 ORDER BY queue DESC LIMIT 1`, string(id)))
	if err != nil {
		return spool.Entry{}, fmt.Errorf("find entry %s: %w", id, notFound(err))
	}
	return r.Entry, nil
}

// Read implements spool.Admin.
func (s *Spool) Read(ctx context.Context, e spool.Entry) (spool.Message, error) {
	return s.openEntry(ctx, e)
}

// Retry implements spool.Admin.
func (s *Spool) Retry(ctx context.Context, e spool.Entry, flags ...string) error {
	to := e.Queue
	err := s.change(ctx, func(tx pgx.Tx) error {
		r, err := scanEntry(tx.QueryRow(ctx, `SELECT `+entryColumns+` FROM spool_entries WHERE queue = $1 AND id = $2 FOR UPDATE`, string(e.Queue), string(e.ID)))
		if err != nil {
			return notFound(err)
		}
		tries := r.Tries
		if to = r.origin; to != e.Queue {
			tries = 0
		}
		for _, f := range flags {
			if !slices.Contains(r.Flags, f) {
				r.Flags = append(r.Flags, f)
			}
		}
		env, err := encode(r.Envelope)
		if err != nil {
			return err
		}
		if to == e.Queue {
			_, err = tx.Exec(ctx, `UPDATE spool_entries SET envelope = $3, due = 0 WHERE queue = $1 AND id = $2`, string(e.Queue), string(e.ID), env)
			return err
		}
		return moveEntry(ctx, tx, e, to, to, env, tries, "")
	})
	if err != nil {
		return fmt.Errorf("retry entry %s: %w", e.ID, err)
	}
	s.ring(to)
	return nil
}

// RetryChunks implements spool.Admin.
func (s *Spool) RetryChunks(ctx context.Context, post spool.ID) error {
	err := s.ofPost(ctx, post, func(tx pgx.Tx, number int64) error {
		_, err := tx.Exec(ctx, `UPDATE spool_chunks SET due = 0 WHERE post = $1 AND due > 0`, number)
		return err
	})
	if err != nil {
		return fmt.Errorf("retry post %s: %w", post, err)
	}
	s.ring(spool.Outgoing)
	return nil
}

// ofPost runs f in a transaction that has locked a post.
func (s *Spool) ofPost(ctx context.Context, post spool.ID, f func(tx pgx.Tx, number int64) error) error {
	return s.change(ctx, func(tx pgx.Tx) error {
		var number int64
		if err := tx.QueryRow(ctx, `SELECT number FROM spool_posts WHERE id = $1 FOR UPDATE`, string(post)).Scan(&number); err != nil {
			return notFound(err)
		}
		return f(tx, number)
	})
}

// Remove implements spool.Admin.
func (s *Spool) Remove(ctx context.Context, e spool.Entry) error {
	if err := s.change(ctx, func(tx pgx.Tx) error { return removeEntry(ctx, tx, e) }); err != nil {
		return fmt.Errorf("remove entry %s: %w", e.ID, err)
	}
	return nil
}

// PausePost implements spool.Admin.
func (s *Spool) PausePost(ctx context.Context, post spool.ID) error {
	return s.setPaused(ctx, post, true)
}

// ResumePost implements spool.Admin.
func (s *Spool) ResumePost(ctx context.Context, post spool.ID) error {
	return s.setPaused(ctx, post, false)
}

func (s *Spool) setPaused(ctx context.Context, post spool.ID, paused bool) error {
	err := s.ofPost(ctx, post, func(tx pgx.Tx, number int64) error {
		_, err := tx.Exec(ctx, `UPDATE spool_posts SET paused = $2 WHERE number = $1`, number, paused)
		return err
	})
	if err != nil {
		return fmt.Errorf("pause or resume post %s: %w", post, err)
	}
	s.ring(spool.Outgoing)
	return nil
}

// RemovePost implements spool.Admin.
func (s *Spool) RemovePost(ctx context.Context, post spool.ID) error {
	err := s.ofPost(ctx, post, func(tx pgx.Tx, number int64) error { return dropPost(ctx, tx, number) })
	if err != nil {
		return fmt.Errorf("remove post %s: %w", post, err)
	}
	return nil
}

const (
	// reapEvery is how often an owner of outgoing looks for what crashes left behind, and
	// leftFor how old that must be: no commit takes so long.
	reapEvery = 10 * time.Minute
	leftFor   = 6 * time.Hour
	// finishedFor is for how long the ids of committed entries are remembered.
	finishedFor = 7 * 24 * time.Hour
)

// reap removes what nothing refers to, until the lease ends.
func (s *Spool) reap(until <-chan struct{}) {
	tick := time.NewTicker(reapEvery)
	defer tick.Stop()
	for {
		if err := s.reapOnce(s.work, 0); err != nil && s.work.Err() == nil {
			s.opts.Log.Warn("spool: what crashes left behind is still there", "err", err)
		}
		select {
		case <-tick.C:
		case <-until:
			return
		case <-s.work.Done():
			return
		}
	}
}

// reapOnce removes what is old enough, or will be after a while. Only the server's clock counts: a host
// whose own is wrong must not take what is under way elsewhere for old.
func (s *Spool) reapOnce(ctx context.Context, ahead time.Duration) error {
	conn, err := pgx.ConnectConfig(ctx, s.patient)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // each statement is a transaction that has ended
	old := (leftFor - ahead).Microseconds()
	for _, step := range []struct {
		text string
		arg  int64
	}{
		{`DELETE FROM spool_posts p WHERE NOT EXISTS (SELECT 1 FROM spool_chunks c WHERE c.post = p.number) AND $1 > 0`, 1},
		{`DELETE FROM spool_chunks c WHERE made < spool_now() - $1 AND NOT EXISTS (SELECT 1 FROM spool_posts p WHERE p.number = c.post)`, old},
		{`DELETE FROM spool_contents c WHERE made < spool_now() - $1 AND NOT EXISTS (SELECT 1 FROM spool_posts p WHERE p.number = c.post)`, old},
		{`DELETE FROM spool_bodies b WHERE made < spool_now() - $1 AND NOT EXISTS (SELECT 1 FROM spool_entries e WHERE e.body = b.id)
			AND NOT EXISTS (SELECT 1 FROM spool_contents c WHERE c.body = b.id)`, old},
		{`DELETE FROM spool_finished WHERE at < spool_now() - $1`, (finishedFor - ahead).Microseconds()},
	} {
		if _, err := conn.Exec(ctx, step.text, step.arg); err != nil {
			return err
		}
	}
	return nil
}
