package pg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

var _ spool.Movable = (*Spool)(nil)

// Name implements spool.Movable.
func (s *Spool) Name() string { return s.url }

// What a row of spool_moves tells.
const (
	movedTo   = "to"
	movedFrom = "from"
)

// moves reads what is known of a spool that is moved.
func moves(ctx context.Context, on queryer) (m spool.Moves, err error) {
	rows, err := on.Query(ctx, `SELECT what, spool, at FROM spool_moves`)
	if err != nil {
		return m, err
	}
	var what, other string
	var at int64
	_, err = pgx.ForEachRow(rows, []any{&what, &other, &at}, func() error {
		m.At = fromMicros(at)
		if what == movedTo {
			m.To = other
		} else {
			m.From = other
		}
		return nil
	})
	return m, err
}

// queryer is a pool, a connection or a transaction.
type queryer interface {
	Query(ctx context.Context, text string, args ...any) (pgx.Rows, error)
}

// Recover implements spool.Movable: no crash leaves anything half done here.
func (s *Spool) Recover(context.Context) error { return nil }

// also is a row with more columns than its reader knows of.
type also struct {
	pgx.Row
	more []any
}

func (a also) Scan(dest ...any) error { return a.Row.Scan(append(dest, a.more...)...) }

// pages yields what read reads after an id, page by page: the caller may take its time.
func pages[T any](what string, id func(T) string, read func(after string) ([]T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for after := ""; ; {
			page, err := read(after)
			if err != nil {
				var none T
				yield(none, fmt.Errorf("read %s: %w", what, err))
				return
			}
			for _, one := range page {
				if !yield(one, nil) {
					return
				}
			}
			if len(page) == 0 {
				return
			}
			after = id(page[len(page)-1])
		}
	}
}

// StoredEntries implements spool.Movable.
func (s *Spool) StoredEntries(ctx context.Context, q spool.Queue) iter.Seq2[spool.StoredEntry, error] {
	return pages(string(q), func(e spool.StoredEntry) string { return string(e.ID) }, func(after string) ([]spool.StoredEntry, error) {
		rows, err := s.pool.Query(ctx, `SELECT `+entryColumns+`, `+isFinished+` FROM spool_entries WHERE queue = $1 AND id > $2 ORDER BY id LIMIT $3`, string(q), after, pageRows)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(rows, func(row pgx.CollectableRow) (e spool.StoredEntry, err error) {
			r, err := scanEntry(also{row, []any{&e.Finished}})
			if e.Entry = r.Entry; q == spool.Held || q == spool.Failed {
				e.Origin = r.origin
			}
			return e, err
		})
	})
}

// StoredPosts implements spool.Movable.
func (s *Spool) StoredPosts(ctx context.Context) iter.Seq2[spool.StoredPost, error] {
	return pages("outgoing", func(p spool.StoredPost) string { return string(p.ID) }, func(after string) ([]spool.StoredPost, error) {
		rows, err := s.pool.Query(ctx, `SELECT id, paused, ARRAY(SELECT variant FROM spool_contents c WHERE c.post = p.number ORDER BY variant),
				(SELECT key FROM spool_entries e WHERE e.id = p.id LIMIT 1), (SELECT head FROM spool_chunks c WHERE c.post = p.number ORDER BY name LIMIT 1)
			FROM spool_posts p WHERE id > $1 ORDER BY id LIMIT $2`, after, pageRows)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(rows, scanPost)
	})
}

func scanPost(row pgx.CollectableRow) (p spool.StoredPost, err error) {
	var key *int32
	var head []byte
	if err := row.Scan(&p.ID, &p.Paused, &p.Variants, &key, &head); err != nil {
		return p, err
	}
	switch {
	case key != nil:
		p.Key = segment.Key(*key)
	case head != nil: // its entry is gone: no other key would be better
		var h chunkHead
		if err := decode(head, &h); err != nil {
			return p, fmt.Errorf("post %s: %w", p.ID, err)
		}
		p.Key = segment.KeyOf(h.List)
	}
	return p, nil
}

// moveChunks is how many chunks are read at once.
const moveChunks = 32

// StoredChunks implements spool.Movable.
func (s *Spool) StoredChunks(ctx context.Context, p spool.StoredPost) iter.Seq2[spool.Chunk, error] {
	return pages("post "+string(p.ID), func(c spool.Chunk) string { return c.Name }, func(after string) ([]spool.Chunk, error) {
		rows, err := s.pool.Query(ctx, `SELECT `+chunkColumns+`, c.recipients FROM spool_chunks c JOIN spool_posts p ON p.number = c.post
			WHERE p.id = $1 AND c.name > $2 ORDER BY c.name LIMIT $3`, string(p.ID), after, moveChunks)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(rows, func(row pgx.CollectableRow) (spool.Chunk, error) {
			c, _, err := scanChunk(row, true)
			if err != nil {
				return spool.Chunk{}, err
			}
			return *c, nil
		})
	})
}

// StoredContent implements spool.Movable.
func (s *Spool) StoredContent(ctx context.Context, p spool.StoredPost, variant string) (spool.Message, error) {
	var number int64
	err := s.pool.QueryRow(ctx, `SELECT number FROM spool_posts WHERE id = $1`, string(p.ID)).Scan(&number)
	if err == nil {
		var m *message
		if m, err = s.readContent(ctx, contentName{number, variant}); err == nil {
			return m, nil
		}
	}
	return nil, fmt.Errorf("content %s of post %s: %w", variant, p.ID, notFound(err))
}

// Fill implements spool.Movable.
func (s *Spool) Fill(ctx context.Context, from string) error {
	err := s.change(ctx, func(tx pgx.Tx) error {
		m, err := moves(ctx, tx)
		if err != nil || m.From == from {
			return err
		}
		if m.From != "" {
			return fmt.Errorf("%w: %s was to be moved here, and was in part", spool.ErrNotEmpty, m.From)
		}
		if m.To == from { // what was not cleared here went there, and comes back from there
			if _, err := tx.Exec(ctx, clear); err != nil {
				return err
			}
		}
		var some bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM spool_entries) OR EXISTS (SELECT 1 FROM spool_posts)`).Scan(&some); err != nil {
			return err
		}
		if some {
			return spool.ErrNotEmpty
		}
		for _, text := range []string{`DELETE FROM spool_moves`, `DROP TRIGGER IF EXISTS spool_moved ON spool_entries`} {
			if _, err := tx.Exec(ctx, text); err != nil {
				return err
			}
		}
		return addMove(ctx, tx, movedFrom, from)
	})
	if err != nil {
		return fmt.Errorf("fill spool %s: %w", s.url, err)
	}
	return nil
}

func addMove(ctx context.Context, tx pgx.Tx, what, other string) error {
	_, err := tx.Exec(ctx, `INSERT INTO spool_moves (what, spool, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, what, other, time.Now().UnixMicro())
	return err
}

// RestoreEntry implements spool.Movable.
func (s *Spool) RestoreEntry(ctx context.Context, e spool.StoredEntry, message io.Reader) error {
	if err := s.restoreEntry(ctx, e, message); err != nil {
		return fmt.Errorf("restore entry %s of %s: %w", e.ID, e.Queue, err)
	}
	return nil
}

func (s *Spool) restoreEntry(ctx context.Context, e spool.StoredEntry, message io.Reader) error {
	if _, err := spool.CheckID(string(e.ID)); err != nil {
		return err
	}
	b := buffer{temp: s.temp}
	defer b.Close()
	if _, err := io.Copy(&b, message); err != nil {
		return err
	}
	e.Size = b.size
	if e.Origin == "" {
		e.Origin = e.Queue
	}
	return s.change(ctx, func(tx pgx.Tx) error {
		if err := removeEntry(ctx, tx, e.Entry); err != nil && !errors.Is(err, spool.ErrNotFound) {
			return err
		}
		body, err := addBody(ctx, tx, &b)
		if err != nil {
			return err
		}
		if _, err := insertEntry(ctx, tx, e.Entry, body); err != nil {
			return err
		}
		finished := `DELETE FROM spool_finished WHERE id = $1`
		if e.Finished {
			finished = finishedNow
		}
		if _, err := tx.Exec(ctx, finished, string(e.ID)); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE spool_entries SET origin = $3 WHERE queue = $1 AND id = $2`, string(e.Queue), string(e.ID), string(e.Origin))
		return err
	})
}

// finishedNow notes that an entry was committed.
const finishedNow = `INSERT INTO spool_finished (id) VALUES ($1) ON CONFLICT DO NOTHING`

// RestorePost implements spool.Movable. As with a commit, the post is there when its row is.
func (s *Spool) RestorePost(ctx context.Context, p spool.StoredPost, content func(string) (spool.Message, error), chunks iter.Seq2[spool.Chunk, error]) error {
	if err := s.restorePost(ctx, p, content, chunks); err != nil {
		return fmt.Errorf("restore post %s: %w", p.ID, err)
	}
	return nil
}

func (s *Spool) restorePost(ctx context.Context, p spool.StoredPost, content func(string) (spool.Message, error), chunks iter.Seq2[spool.Chunk, error]) error {
	if _, err := spool.CheckID(string(p.ID)); err != nil {
		return err
	}
	number, err := nextNumber(ctx, s.pool)
	if err != nil {
		return err
	}
	for _, variant := range p.Variants {
		if err := s.restoreContent(ctx, number, variant, content); err != nil {
			return err
		}
	}
	var waiting [][]any
	octets := 0
	flush := func() error {
		err := s.change(ctx, func(tx pgx.Tx) error {
			_, err := tx.CopyFrom(ctx, pgx.Identifier{"spool_chunks"}, chunkFields, pgx.CopyFromRows(waiting))
			return err
		})
		waiting, octets = waiting[:0], 0
		return err
	}
	for c, err := range chunks {
		if err != nil {
			return err
		}
		row, n, err := chunkRow(number, &c)
		if err != nil {
			return err
		}
		waiting = append(waiting, row)
		if octets += n; len(waiting) >= chunkRows || octets >= chunkOctets {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	return s.change(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, finishedNow, string(p.ID)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO spool_posts (number, id, paused) VALUES ($1, $2, $3)`, number, string(p.ID), p.Paused)
		return err
	})
}

func (s *Spool) restoreContent(ctx context.Context, number int64, variant string, content func(string) (spool.Message, error)) error {
	m, err := content(variant)
	if err != nil {
		return err
	}
	defer m.Close()
	b := buffer{temp: s.temp}
	defer b.Close()
	if _, err := io.Copy(&b, io.NewSectionReader(m, 0, m.Size())); err != nil {
		return err
	}
	return s.change(ctx, func(tx pgx.Tx) error { return addContent(ctx, tx, number, variant, &b) })
}

// Drop implements spool.Movable.
func (s *Spool) Drop(ctx context.Context, p spool.StoredPost) error {
	if err := s.RemovePost(ctx, p.ID); err != nil && !errors.Is(err, spool.ErrNotFound) {
		return err
	}
	return nil
}

// Filled implements spool.Movable.
func (s *Spool) Filled(ctx context.Context) error {
	err := s.change(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM spool_moves WHERE what = $1`, movedFrom)
		return err
	})
	if err != nil {
		return fmt.Errorf("fill spool %s: %w", s.url, err)
	}
	return nil
}

// Leave implements spool.Movable. From then on the server refuses new entries, too.
func (s *Spool) Leave(ctx context.Context, to string) error {
	err := s.change(ctx, func(tx pgx.Tx) error {
		for _, text := range []string{`DROP TRIGGER IF EXISTS spool_moved ON spool_entries`,
			`CREATE TRIGGER spool_moved BEFORE INSERT ON spool_entries FOR EACH STATEMENT EXECUTE FUNCTION spool_moved()`} {
			if _, err := tx.Exec(ctx, text); err != nil {
				return err
			}
		}
		return addMove(ctx, tx, movedTo, to)
	})
	if err != nil {
		return fmt.Errorf("leave spool %s: %w", s.url, err)
	}
	return nil
}

// Moves implements spool.Movable.
func (s *Spool) Moves(ctx context.Context) (spool.Moves, error) {
	m, err := moves(ctx, s.pool)
	if err != nil {
		return m, fmt.Errorf("spool %s: %w", s.url, err)
	}
	return m, nil
}

// clear removes all mail.
const clear = `TRUNCATE spool_progress, spool_chunks, spool_contents, spool_posts, spool_finished, spool_entries, spool_body_parts, spool_bodies`

// Clear implements spool.Movable.
func (s *Spool) Clear(ctx context.Context) error {
	err := s.change(ctx, func(tx pgx.Tx) error {
		m, err := moves(ctx, tx)
		if err == nil && m.To == "" {
			err = errors.New("its mail is nowhere else")
		}
		if err == nil {
			_, err = tx.Exec(ctx, clear)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("clear spool %s: %w", s.url, err)
	}
	return nil
}
