package pg

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// turn is a post, and chunks of it that are ready.
type turn struct {
	id     spool.ID
	post   int64
	chunks []place
}

const (
	// turnChunks is how many chunks of a post are known by name at once, turnsChunks how many
	// of all posts.
	turnChunks  = 64
	turnsChunks = 16384
	// slowFill is how long reading what is ready may take before it is done in the other way.
	slowFill = 50 * time.Millisecond
	// fillPart is how many times as long one waits then, when bells ring, and fillMost how long.
	fillPart = 4
	fillMost = 10 * time.Second
)

// What is ready is found in two ways. Post by post, from the oldest, is quick when there is
// something of this owner in most posts, however much there is of each. Where there are many posts
// in which nothing is, since all of it is deferred or is another's, those are chosen first that have
// something, by the keys.
var (
	readyByPost = ready(``)
	readyByKey  = ready(` AND p.number IN (
		SELECT c.post FROM unnest($2::int[], $3::int[]) AS r (first, last) JOIN spool_chunks c ON c.due = 0 AND c.key BETWEEN r.first AND r.last
		UNION ALL SELECT c.post FROM spool_chunks c WHERE c.due > 0 AND c.due <= $1)`)
)

func ready(which string) string {
	return `SELECT p.number, p.id, c.name, c.key FROM spool_posts p
		CROSS JOIN LATERAL (SELECT name, key FROM spool_chunks WHERE post = p.number AND due <= $1 AND ` + inRanges(2, 3) + `
			AND NOT EXISTS (SELECT 1 FROM unnest($4::bigint[], $5::text[]) AS h (post, name) WHERE h.post = spool_chunks.post AND h.name = spool_chunks.name)
			ORDER BY name LIMIT $6) c
		WHERE NOT p.paused` + which + ` ORDER BY p.number, c.name LIMIT $7`
}

// look reads what is new when the bell has rung, for those in Next, and so that Others knows.
func (o *outgoing) look() {
	for {
		select {
		case <-o.bell:
		case <-o.ended:
			return
		}
		begun := time.Now()
		if err := o.fill(o.s.work); err != nil && !o.over() {
			o.s.opts.Log.Debug("spool: what is new is found later", "err", err)
		}
		o.again()
		select { // what else is new by then is found together
		case <-time.After(min(fillPart*time.Since(begun), fillMost)):
		case <-o.ended:
			return
		}
	}
}

// fill reads which chunks are ready, some of each post.
func (o *outgoing) fill(ctx context.Context) error {
	first, last := ranges(o.segments())
	o.mu.Lock()
	var posts []int64
	var names []string
	for p, until := range o.held {
		if until.IsZero() || until.After(time.Now()) {
			posts, names = append(posts, p.post), append(names, p.name)
		} else {
			delete(o.held, p)
		}
	}
	query := readyByPost
	if o.byKey {
		query = readyByKey
	}
	o.mu.Unlock()
	begun := time.Now()
	rows, err := o.s.pool.Query(ctx, query, time.Now().UnixMicro(), first, last, posts, names, turnChunks, turnsChunks)
	if err != nil {
		return err
	}
	type ready struct {
		id spool.ID
		place
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r ready, err error) {
		var key int32
		err = row.Scan(&r.post, &r.id, &r.name, &key)
		r.key = segment.Key(key)
		return r, err
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(begun) > slowFill {
		o.byKey = len(found) < turnsChunks // it was much that was not wanted, or it was much that was
	}
	o.turns = nil
	for _, r := range found {
		if until, is := o.held[r.place]; is && until.IsZero() {
			continue // it was handed out while the database was asked
		}
		if n := len(o.turns); n == 0 || o.turns[n-1].post != r.post {
			o.turns = append(o.turns, &turn{id: r.id, post: r.post})
		}
		t := o.turns[len(o.turns)-1]
		t.chunks = append(t.chunks, r.place)
	}
	// Turns go on where they were: else the oldest post would have one whenever something is new.
	next := max(0, slices.IndexFunc(o.turns, func(t *turn) bool { return t.post > o.lastTurn }))
	o.turns = slices.Concat(o.turns[next:], o.turns[:next])
	return err
}

// untilDue is how long to wait for the next deferred chunk.
func (o *outgoing) untilDue(ctx context.Context) (time.Duration, error) {
	first, last := ranges(o.segments())
	var due int64
	now := time.Now()
	err := o.s.pool.QueryRow(ctx, `SELECT coalesce((SELECT due FROM spool_chunks WHERE due > 0 AND due > $1 AND `+inRanges(2, 3)+`
			AND EXISTS (SELECT 1 FROM spool_posts p WHERE p.number = post AND NOT p.paused) ORDER BY due LIMIT 1), 0)`,
		now.UnixMicro(), first, last).Scan(&due)
	if err != nil {
		return 0, fmt.Errorf("look for chunks: %w", err)
	}
	wake := o.s.wait(due)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, until := range o.held {
		if !until.IsZero() {
			wake = max(time.Millisecond, min(wake, time.Until(until)))
		}
	}
	return wake, nil
}
