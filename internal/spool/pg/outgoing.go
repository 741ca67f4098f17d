package pg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// OwnOutgoing implements spool.Spool.
func (s *Spool) OwnOutgoing(ctx context.Context, segments segment.Set, name string) (spool.OutgoingOwner, error) {
	return s.ownChunks(func() (*lease, error) { return s.take(ctx, spool.Outgoing, segments, name) })
}

func (s *Spool) ownChunks(take func() (*lease, error)) (spool.OutgoingOwner, error) {
	l, err := take()
	if err != nil {
		return nil, err
	}
	o := &outgoing{lease: l, bell: make(chan struct{}, 1), more: make(chan struct{}, 1), out: map[*spool.Chunk]*handed{}, held: map[place]time.Time{}}
	s.listen(spool.Outgoing, o.bell)
	if err := s.remember(o); err != nil {
		return nil, errors.Join(err, o.Close())
	}
	l.watch(o.keys, o.moved)
	o.notes = newNotes(o)
	s.busy.Go(o.notes.run)
	s.busy.Go(o.look)
	s.busy.Go(func() { s.reap(l.ended) })
	return o, nil
}

// Holds implements spool.OutgoingOwner.
func (o *outgoing) Holds() error {
	if !o.holds() {
		return spool.ErrFenced
	}
	return nil
}

// keys are those of what is handed out, or about to be.
func (o *outgoing) keys() []segment.Key {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []segment.Key
	for p, until := range o.held {
		if until.IsZero() {
			out = append(out, p.key)
		}
	}
	return out
}

// moved has look find what is in other segments.
func (o *outgoing) moved() {
	select {
	case o.bell <- struct{}{}:
	default: // it rings already
	}
}

// place names a chunk in the database.
type place struct {
	post int64
	name string
	key  segment.Key
}

// handed is what is known of a chunk that is handed out.
type handed struct {
	place
	places  []int        // in the chunk as it is stored, beside each recipient as handed out
	content *smallBodyOf // of a variant of the post, if it came with the chunk
}

// smallBodyOf is a content as it is in the database.
type smallBodyOf struct {
	variant  string
	id, size int64
	bytes    []byte
}

// outgoing implements spool.OutgoingOwner.
type outgoing struct {
	*lease
	bell chan struct{} // rung when there is something new
	more chan struct{} // wakes one Next

	notes    *notes
	contents contents

	mu    sync.Mutex
	turns []*turn // posts with chunks that are ready; the first has its turn
	out   map[*spool.Chunk]*handed
	held  map[place]time.Time // not to be handed out before: zero is while it is out

	lastTurn int64 // the post that had the last turn
	byKey    bool  // how to fill next time
}

// Next implements spool.OutgoingOwner.
func (o *outgoing) Next(ctx context.Context) (*spool.Chunk, error) {
	for {
		c, wake, err := o.pick(ctx)
		if c != nil || err != nil {
			return c, err
		}
		timer := time.NewTimer(wake)
		select {
		case <-o.more:
		case <-timer.C:
		case <-o.ended:
			timer.Stop()
			return nil, spool.ErrFenced
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
		timer.Stop()
	}
}

// again wakes one Next, which wakes the next one if it has found something.
func (o *outgoing) again() {
	select {
	case o.more <- struct{}{}:
	default:
	}
}

// pick hands a chunk out. If there is none it tells for how long there may be none.
func (o *outgoing) pick(ctx context.Context) (*spool.Chunk, time.Duration, error) {
	for filled := false; ; {
		if o.over() {
			return nil, 0, spool.ErrFenced
		}
		if !o.holds() { // it may be prolonged yet
			return nil, o.s.opts.Lease / 16, nil
		}
		id, p, ok := o.fromTurns()
		if ok {
			c, err := o.handOut(ctx, id, p)
			if c != nil {
				o.again()
			}
			if c != nil || err != nil {
				return c, 0, err
			}
			continue // it is gone, or deferred, meanwhile
		}
		if filled {
			wake, err := o.untilDue(ctx)
			return nil, wake, err
		}
		if err := o.fill(ctx); err != nil {
			return nil, 0, fmt.Errorf("look for chunks: %w", err)
		}
		filled = true
	}
}

// fromTurns chooses the chunk whose turn it is, and marks it as handed out.
func (o *outgoing) fromTurns() (spool.ID, place, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.turns) > 0 {
		t := o.turns[0]
		o.turns = o.turns[1:]
		p := t.chunks[0]
		if t.chunks = t.chunks[1:]; len(t.chunks) > 0 {
			o.turns = append(o.turns, t)
		}
		if !o.has(p.key) {
			continue // it is another's by now
		}
		if until, is := o.held[p]; is && (until.IsZero() || until.After(time.Now())) {
			continue
		}
		o.held[p], o.lastTurn = time.Time{}, t.post
		return t.id, p, true
	}
	return "", place{}, false
}

// Others implements spool.OutgoingOwner.
func (o *outgoing) Others(c *spool.Chunk) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range o.turns {
		if t.id != c.Post {
			return true
		}
	}
	return false
}

// chunkColumns are what scanChunk reads.
const chunkColumns = `p.id, p.paused, c.name, c.key, c.due, c.tries, c.reason, c.head,
	ARRAY(SELECT g.place FROM spool_progress g WHERE g.post = c.post AND g.name = c.name)`

// scanChunk reads a chunk; the recipients too if the row has them.
func scanChunk(row pgx.Row, recipients bool) (*spool.Chunk, []int, error) {
	c := &spool.Chunk{}
	var due int64
	var key int32
	var reason, head, to []byte
	var done []int32
	dest := []any{&c.Post, &c.Paused, &c.Name, &key, &due, &c.Tries, &reason, &head, &done}
	if recipients {
		dest = append(dest, &to)
	}
	if err := row.Scan(dest...); err != nil {
		return nil, nil, err
	}
	var h chunkHead
	if err := decode(head, &h); err != nil {
		return nil, nil, fmt.Errorf("chunk %s: %w", c.ID(), err)
	}
	c.Key, c.Due, c.Reason = segment.Key(key), fromMicros(due), string(reason)
	c.List, c.Variant, c.Sender, c.Flags, c.Created = h.List, h.Variant, h.Sender, h.Flags, h.Created.UTC()
	c.ReturnKey, c.UnsubscribeKey, c.Slots, c.Sign = h.ReturnKey, h.UnsubscribeKey, h.Slots, h.Sign
	if !recipients {
		return c, nil, nil
	}
	var all people
	if err := decode(to, &all); err != nil {
		return nil, nil, fmt.Errorf("recipients of chunk %s: %w", c.ID(), err)
	}
	accepted := map[int]bool{}
	for _, i := range done {
		accepted[int(i)] = true
	}
	var places []int
	for i, r := range all.Recipients {
		if accepted[i] {
			continue
		}
		places = append(places, i)
		c.Recipients = append(c.Recipients, r)
		if len(all.Names) > 0 {
			c.Names = append(c.Names, all.Names[i])
		}
	}
	return c, places, nil
}

// handOut reads a chunk. It returns nil if the chunk is not to be handed out any more.
func (o *outgoing) handOut(ctx context.Context, id spool.ID, p place) (*spool.Chunk, error) {
	var content smallBodyOf
	row := o.s.pool.QueryRow(ctx, `SELECT `+chunkColumns+`, c.recipients, coalesce(t.variant, ''), coalesce(t.id, 0), coalesce(t.size, 0), t.bytes
		FROM spool_chunks c JOIN spool_posts p ON p.number = c.post
		LEFT JOIN LATERAL (SELECT variant, b.id, b.size, b.bytes FROM spool_contents JOIN spool_bodies b ON b.id = body
			WHERE $5 AND post = c.post AND b.size <= $6 ORDER BY variant LIMIT 1) t ON true
		WHERE c.post = $1 AND c.name = $2 AND c.due <= $3 AND NOT p.paused AND EXISTS (SELECT 1 FROM spool_owners WHERE epoch = $4)`,
		p.post, p.name, time.Now().UnixMicro(), o.epoch, !o.contents.knows(p.post), smallContent)
	c, places, err := scanChunk(also{row, []any{&content.variant, &content.id, &content.size, &content.bytes}}, true)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		o.free(p)
		return nil, nil
	case err != nil:
		o.free(p)
		return nil, fmt.Errorf("read chunk %s/%s: %w", id, p.name, err)
	}
	o.mu.Lock()
	o.out[c] = &handed{place: p, places: places}
	if len(content.bytes) > 0 && content.variant == c.Variant {
		o.out[c].content = &content
	}
	o.mu.Unlock()
	if len(c.Recipients) == 0 { // a process died between the last acceptance and the settlement
		return nil, o.Settle(ctx, c, spool.Settlement{})
	}
	return c, nil
}

func (o *outgoing) free(p place) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.held, p)
}

// handedOut finds what is known of a chunk that is handed out.
func (o *outgoing) handedOut(c *spool.Chunk) (*handed, error) {
	if o.over() {
		return nil, spool.ErrFenced
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	h := o.out[c]
	if h == nil {
		return nil, spool.ErrNotFound
	}
	return h, nil
}

// Content implements spool.OutgoingOwner.
func (o *outgoing) Content(ctx context.Context, c *spool.Chunk) (spool.Message, error) {
	h, err := o.handedOut(c)
	if err == nil {
		var m spool.Message
		read := func() (*message, error) { return o.s.readContent(ctx, contentName{h.post, c.Variant}) }
		if b := h.content; b != nil {
			read = func() (*message, error) { return o.s.readBody(ctx, b.id, b.size, b.bytes) }
		}
		if m, err = o.contents.open(ctx, contentName{h.post, c.Variant}, read); err == nil {
			return m, nil
		}
	}
	return nil, fmt.Errorf("content %s of post %s: %w", c.Variant, c.Post, notFound(err))
}

// deferChunk leaves some recipients. An operator may have removed the post.
func (o *outgoing) deferChunk(ctx context.Context, tx pgx.Tx, c *spool.Chunk, h *handed, r spool.Settlement) error {
	left := people{Recipients: r.Deferred}
	if len(c.Names) > 0 {
		for _, to := range r.Deferred {
			name := ""
			if i := slices.Index(c.Recipients, to); i >= 0 {
				name = c.Names[i]
			}
			left.Names = append(left.Names, name)
		}
	}
	to, err := encode(left)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM spool_progress WHERE post = $1 AND name = $2`, h.post, h.name); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE spool_chunks SET recipients = $3, people = $4, tries = tries + 1, due = $5, reason = $6 WHERE post = $1 AND name = $2`,
		h.post, h.name, to, len(r.Deferred), micros(r.Due), []byte(r.Reason))
	return err
}

// Release implements spool.OutgoingOwner.
func (o *outgoing) Release(c *spool.Chunk, due time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := o.out[c]
	if h == nil {
		return
	}
	delete(o.out, c)
	if due.IsZero() {
		delete(o.held, h.place)
	} else {
		o.held[h.place] = due
	}
	o.again()
}

// Close implements spool.OutgoingOwner.
func (o *outgoing) Close() error {
	o.s.unlisten(spool.Outgoing, o.bell)
	o.s.forget(o)
	return errors.Join(o.giveUp(), o.contents.close())
}
