package pg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/mlist/mlist/internal/spool"
)

const (
	// partSize is how much of a body one row has: what is in memory at once, here and there.
	partSize = 256 << 10
	// memorySize is how much of what is written is kept in memory before it goes to a file.
	memorySize = 256 << 10
)

// buffer is what was written, in memory or, when it is much, in a file without a name.
type buffer struct {
	temp   string // directory of the file
	memory bytes.Buffer
	file   *os.File
	size   int64
}

func (b *buffer) Write(p []byte) (int, error) {
	if b.file == nil && b.memory.Len()+len(p) > memorySize {
		f, err := unnamed(b.temp)
		if err != nil {
			return 0, err
		}
		b.file = f
		if _, err := f.Write(b.memory.Bytes()); err != nil {
			return 0, err
		}
		b.memory = bytes.Buffer{}
	}
	var n int
	var err error
	if b.file == nil {
		n, err = b.memory.Write(p)
	} else {
		n, err = b.file.Write(p)
	}
	b.size += int64(n)
	return n, err
}

func (b *buffer) reader() io.Reader {
	if b.file == nil {
		return bytes.NewReader(b.memory.Bytes())
	}
	return io.NewSectionReader(b.file, 0, b.size)
}

func (b *buffer) Close() error {
	b.memory = bytes.Buffer{}
	if b.file == nil {
		return nil
	}
	return b.file.Close()
}

// unnamed opens a file that is gone when it is closed.
func unnamed(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "unnamed-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// addBody stores what was written.
func addBody(ctx context.Context, tx pgx.Tx, b *buffer) (id int64, err error) {
	if b.isSmall() {
		err = tx.QueryRow(ctx, smallBody+` SELECT id FROM b`, b.size, b.memory.Bytes()).Scan(&id)
		return id, err
	}
	err = tx.QueryRow(ctx, `INSERT INTO spool_bodies (size) VALUES ($1) RETURNING id`, b.size).Scan(&id)
	if err != nil {
		return 0, err
	}
	r, part := b.reader(), make([]byte, min(partSize, max(b.size, 1)))
	for n := 0; ; n++ {
		switch got, err := io.ReadFull(r, part); {
		case errors.Is(err, io.EOF):
			return id, nil
		case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
			return 0, err
		default:
			if _, err := tx.Exec(ctx, `INSERT INTO spool_body_parts (body, part, bytes) VALUES ($1, $2, $3)`, id, n, part[:got]); err != nil {
				return 0, err
			}
		}
	}
}

// copyBody writes the parts of a body behind its first, of which so much is there: all of them,
// or it is an error.
func (s *Spool) copyBody(ctx context.Context, to *os.File, id, have, size int64) error {
	for n := 1; have < size; n++ {
		var part []byte
		err := s.pool.QueryRow(ctx, `SELECT bytes FROM spool_body_parts WHERE body = $1 AND part = $2`, id, n).Scan(&part)
		if errors.Is(err, pgx.ErrNoRows) {
			return spool.ErrNotFound // it was removed meanwhile
		}
		if err != nil {
			return down(err)
		}
		if len(part) == 0 {
			break
		}
		if _, err := to.Write(part); err != nil {
			return err
		}
		have += int64(len(part))
	}
	if have != size {
		return fmt.Errorf("%w: %d octets are there of %d", errBody, have, size)
	}
	return nil
}

// errBody: the parts do not make what was stored. Nothing shorter, or longer, is taken for it.
var errBody = errors.New("the body is broken")

// message implements spool.Message.
type message struct {
	file *os.File
	size int64
}

func (m *message) ReadAt(p []byte, at int64) (int, error) { return m.file.ReadAt(p, at) }
func (m *message) Size() int64                            { return m.size }
func (m *message) File() (*os.File, int64)                { return m.file, 0 }
func (m *message) Close() error                           { return closeAndRemove(m.file) }

// smallBody begins a statement with a body of one part, whose row it adds as b. Its
// parameters are the size and the bytes.
const smallBody = `WITH b AS (INSERT INTO spool_bodies (size, bytes) VALUES ($1, coalesce($2::bytea, '')) RETURNING id)`

// smallContentOf adds such a body as a content of post $1, $2 is the variant.
const smallContentOf = `WITH b AS (INSERT INTO spool_bodies (size, bytes) VALUES ($3, coalesce($4::bytea, '')) RETURNING id)
	INSERT INTO spool_contents (post, variant, body) SELECT ` + thisNumber + `, $2, id FROM b`

// firstPart is what there is of body b without another round trip.
const (
	firstPart   = `coalesce(p.bytes, b.bytes)`
	joinedParts = `LEFT JOIN spool_body_parts p ON p.body = b.id AND p.part = 0`
)

// isSmall tells whether smallBody does for what was written.
func (b *buffer) isSmall() bool { return b.file == nil && b.size <= partSize }

// dropBodies removes those of the bodies to which nothing refers any more. A body that is
// about to be referred to is locked by that, and stays.
func dropBodies(ctx context.Context, tx pgx.Tx, ids ...int64) error {
	_, err := tx.Exec(ctx, `DELETE FROM spool_bodies b WHERE b.id = ANY($1) AND NOT EXISTS (SELECT 1 FROM spool_entries e WHERE e.body = b.id)
		AND NOT EXISTS (SELECT 1 FROM spool_contents c WHERE c.body = b.id)`, ids)
	return err
}
