package pg

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// Create implements spool.Putter.
func (s *Spool) Create(ctx context.Context) (spool.Draft, error) {
	return &draft{s: s, b: buffer{temp: s.temp}}, ctx.Err()
}

// draft implements spool.Draft. Its bytes go to the database once, with the first entry.
type draft struct {
	s      *Spool
	b      buffer
	body   int64 // once it is in the database
	put    bool
	closed bool
}

func (d *draft) Write(p []byte) (int, error) {
	if d.put || d.closed {
		return 0, errors.New("write to a draft that was put or closed")
	}
	return d.b.Write(p)
}

func (d *draft) Close() error {
	if d.closed {
		return nil
	}
	d.closed = true
	return d.b.Close()
}

// Put implements spool.Draft.
func (d *draft) Put(ctx context.Context, q spool.Queue, id spool.ID, env spool.Envelope) (spool.ID, error) {
	if d.closed {
		return "", errors.New("put a draft that was closed")
	}
	if q == spool.Outgoing || !slices.Contains(spool.Queues, q) {
		return "", fmt.Errorf("put into %s: entries go to incoming, bounces, held or failed", q)
	}
	if id == "" {
		id = d.s.newID()
	} else if _, err := spool.CheckID(string(id)); err != nil {
		return "", err
	}
	d.put = true
	e := spool.Entry{ID: id, Queue: q, Envelope: env, Size: d.b.size}
	body, err := d.insert(ctx, e)
	if isState(err, foreignKey) { // the entry for another list was done with meanwhile, and the bytes went with it
		d.body = 0
		body, err = d.insert(ctx, e)
	}
	if err != nil {
		return "", fmt.Errorf("put entry %s into %s: %w", id, q, err)
	}
	d.body = body
	d.s.ring(q)
	return id, nil
}

// errThere ends a transaction: the queue has the id.
var errThere = errors.New("it is there")

func (d *draft) insert(ctx context.Context, e spool.Entry) (body int64, err error) {
	if d.body == 0 && d.b.isSmall() {
		return d.insertSmall(ctx, e)
	}
	err = d.s.change(ctx, func(tx pgx.Tx) error {
		body = d.body
		if body == 0 {
			if body, err = addBody(ctx, tx, &d.b); err != nil {
				return err
			}
		}
		n, err := insertEntry(ctx, tx, e, body)
		if err == nil && n == 0 {
			err = errThere
		}
		return err
	})
	if errors.Is(err, errThere) {
		return d.body, nil
	}
	return body, err
}

// insertSmall adds entry and bytes by one statement, and so in one round trip.
func (d *draft) insertSmall(ctx context.Context, e spool.Entry) (body int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.s.opts.Answer)
	defer cancel()
	env, err := encode(e.Envelope)
	if err != nil {
		return 0, err
	}
	var added int
	err = d.s.pool.QueryRow(ctx, smallBody+`, e AS (INSERT INTO spool_entries (queue, id, key, list, origin, envelope, body, size, tries, due, reason)
		SELECT $3, $4, $5, $6, $3, $7, id, $1, $8, $9, $10 FROM b ON CONFLICT DO NOTHING RETURNING 1)
		SELECT (SELECT id FROM b), (SELECT count(*) FROM e)`,
		d.b.size, d.b.memory.Bytes(),
		string(e.Queue), string(e.ID), int32(e.Key), e.List, env, e.Tries, micros(e.Due), []byte(e.Reason)).Scan(&body, &added)
	if err != nil || added > 0 {
		return body, err
	}
	_, err = d.s.pool.Exec(ctx, `DELETE FROM spool_bodies WHERE id = $1`, body) // the queue has the id: nothing changes
	return 0, err
}

const foreignKey = "23503" // a row that another one names is not there

func isState(err error, code string) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == code
}

// insertEntry adds an entry unless its queue has the id.
func insertEntry(ctx context.Context, tx pgx.Tx, e spool.Entry, body int64) (int64, error) {
	env, err := encode(e.Envelope)
	if err != nil {
		return 0, err
	}
	tag, err := tx.Exec(ctx, `INSERT INTO spool_entries (queue, id, key, list, origin, envelope, body, size, tries, due, reason)
		VALUES ($1, $2, $3, $4, $1, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING`,
		string(e.Queue), string(e.ID), int32(e.Key), e.List, env, body, e.Size, e.Tries, micros(e.Due), []byte(e.Reason))
	return tag.RowsAffected(), err
}

// encode is a value in the form in which it is stored: fields have names there, so that
// another version may have more of them.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}

func decode(data []byte, v any) error { return gob.NewDecoder(bytes.NewReader(data)).Decode(v) }

// entryColumns are what scanEntry reads.
const entryColumns = `queue, id, origin, envelope, body, size, tries, due, reason`

// row is an entry, and where its bytes are.
type row struct {
	spool.Entry
	origin spool.Queue
	body   int64
}

func scanEntry(from pgx.Row) (r row, err error) {
	var env, reason []byte
	var due int64
	if err := from.Scan(&r.Queue, &r.ID, &r.origin, &env, &r.body, &r.Size, &r.Tries, &due, &reason); err != nil {
		return r, err
	}
	r.Due, r.Reason = fromMicros(due), string(reason)
	if err := decode(env, &r.Envelope); err != nil {
		return r, fmt.Errorf("envelope of entry %s: %w", r.ID, err)
	}
	// An empty list comes back as none.
	r.Received = r.Received.UTC()
	return r, nil
}

func notFound(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return spool.ErrNotFound
	}
	return err
}

// openEntry reads the bytes of an entry.
func (s *Spool) openEntry(ctx context.Context, e spool.Entry) (spool.Message, error) {
	var body, size int64
	var first []byte
	err := s.pool.QueryRow(ctx, `SELECT b.id, b.size, `+firstPart+` FROM spool_entries e JOIN spool_bodies b ON b.id = e.body `+joinedParts+`
		WHERE e.queue = $1 AND e.id = $2`, string(e.Queue), string(e.ID)).Scan(&body, &size, &first)
	if err == nil {
		var m *message
		if m, err = s.readBody(ctx, body, size, first); err == nil {
			return m, nil
		}
	}
	return nil, fmt.Errorf("read entry %s: %w", e.ID, notFound(down(err)))
}

// removeEntry removes an entry, and its bytes if nothing else has them.
func removeEntry(ctx context.Context, tx pgx.Tx, e spool.Entry) error {
	var body int64
	err := tx.QueryRow(ctx, `DELETE FROM spool_entries WHERE queue = $1 AND id = $2 RETURNING body`, string(e.Queue), string(e.ID)).Scan(&body)
	if err != nil {
		return notFound(err)
	}
	return dropBodies(ctx, tx, body)
}

// takeEntry is removeEntry as one statement, which tells whether the entry was there.
const takeEntry = `WITH gone AS (DELETE FROM spool_entries WHERE queue = $1 AND id = $2 RETURNING body),
	dropped AS (DELETE FROM spool_bodies b USING gone WHERE b.id = gone.body AND NOT EXISTS (SELECT 1 FROM spool_entries e WHERE e.body = b.id AND (e.queue, e.id) <> ($1, $2))
		AND NOT EXISTS (SELECT 1 FROM spool_contents c WHERE c.body = b.id))
	SELECT EXISTS (SELECT 1 FROM gone)`

// ranges are a set as a query takes it: the first and the last keys of each range.
func ranges(set segment.Set) (first, last []int32) {
	for _, r := range set {
		first, last = append(first, int32(r.First)), append(last, int32(r.Last))
	}
	return first, last
}

// inRanges is a condition on column key, with the parameters that ranges makes.
func inRanges(first, last int) string {
	return fmt.Sprintf(`EXISTS (SELECT 1 FROM unnest($%d::int[], $%d::int[]) AS r (first, last) WHERE key BETWEEN r.first AND r.last)`, first, last)
}
