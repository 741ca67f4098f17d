// Package transfer moves mail from one spool to another, of whichever kinds they are, with all
// that is known of it: tries, times, reasons, who is served already, what is paused.
//
// A round makes the one spool what the other is, and compares both as it goes, messages and
// contents by their hashes. Rounds may be made while mail flows: that leaves less to be done
// when it does not. When it does not, the round that finds nothing to do is the proof that all
// is there. A transfer that is cut short anywhere is begun anew, and finds what is there already.
package transfer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/mlist/mlist/internal/spool"
)

// queues are those of entries.
var queues = []spool.Queue{spool.Incoming, spool.Bounces, spool.Held, spool.Failed}

// Round is what a round has found.
type Round struct {
	Entries    int64 `json:"entries"`
	Posts      int64 `json:"posts"`
	Chunks     int64 `json:"chunks"`
	Recipients int64 `json:"recipients"` // who are left in those
	Octets     int64 `json:"octets"`     // of messages and contents

	Changed int64 `json:"-"` // entries and posts that were different, or there in one only
	// Damaged are entries that cannot be read, and stay where they are.
	Damaged []string `json:"damaged,omitempty"`
}

// Transfer is a transfer under way. It is for one goroutine.
type Transfer struct {
	from, to side
	progress func(done int64)
	done     int64 // entries and posts in all rounds
}

// side is one of the spools, and the hashes of what was read there.
type side struct {
	spool.Movable
	read map[string]bytes
}

type hash [sha256.Size]byte

// bytes is what is remembered of a message or content.
type bytes struct {
	hash
	size int64
}

const (
	// maxRead bounds what is remembered of messages and contents: of more, the next round reads
	// them again.
	maxRead = 200_000
	// parallel is how many entries are written at once.
	parallel = 8
)

// New makes a transfer. progress is told how many entries and posts were looked at.
func New(from, to spool.Movable, progress func(done int64)) *Transfer {
	return &Transfer{from: side{from, map[string]bytes{}}, to: side{to, map[string]bytes{}}, progress: progress}
}

// Round makes the one spool what the other is, or was when it was looked at.
func (t *Transfer) Round(ctx context.Context) (r Round, err error) {
	// Posts first: a post says that its entry is done with.
	if err = t.posts(ctx, &r); err == nil {
		for _, q := range queues {
			if err = t.entries(ctx, q, &r); err != nil {
				break
			}
		}
	}
	if err != nil {
		return r, fmt.Errorf("move the mail of %s to %s: %w", t.from.Name(), t.to.Name(), err)
	}
	return r, nil
}

// maxRounds is after how many rounds a spool that nobody should change has changed too often.
const maxRounds = 4

// ErrChanging: somebody changes the spool that the mail comes from.
var ErrChanging = errors.New("somebody else is changing it")

// Finish makes rounds until one finds nothing to do. Nobody may change either spool meanwhile.
func (t *Transfer) Finish(ctx context.Context) (r Round, err error) {
	if err := t.from.Recover(ctx); err != nil {
		return r, fmt.Errorf("move the mail of %s: %w", t.from.Name(), err)
	}
	for range maxRounds {
		if r, err = t.Round(ctx); err != nil || r.Changed == 0 {
			return r, err
		}
	}
	return r, fmt.Errorf("move the mail of %s: %w", t.from.Name(), ErrChanging)
}

func (t *Transfer) step() {
	if t.done++; t.progress != nil {
		t.progress(t.done)
	}
}

// pair is what two sorted sequences have of one id.
type pair[T any] struct{ a, b *T }

// merge walks through two sequences that are sorted by id.
func merge[T any](a, b iter.Seq2[T, error], id func(T) spool.ID) iter.Seq2[pair[T], error] {
	return func(yield func(pair[T], error) bool) {
		nextA, stopA := iter.Pull2(a)
		defer stopA()
		nextB, stopB := iter.Pull2(b)
		defer stopB()
		x, errX, okX := nextA()
		y, errY, okY := nextB()
		for okX || okY {
			if err := errors.Join(errX, errY); err != nil {
				yield(pair[T]{}, err)
				return
			}
			var p pair[T]
			takeX := okX && (!okY || id(x) <= id(y))
			takeY := okY && (!okX || id(y) <= id(x))
			if takeX {
				one := x
				p.a = &one
				x, errX, okX = nextA()
			}
			if takeY {
				one := y
				p.b = &one
				y, errY, okY = nextB()
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

func (t *Transfer) entries(ctx context.Context, q spool.Queue, r *Round) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	err := func() error {
		for p, err := range merge(t.from.StoredEntries(ctx, q), t.to.StoredEntries(ctx, q), func(e spool.StoredEntry) spool.ID { return e.ID }) {
			if err != nil {
				return err
			}
			if err := t.entry(ctx, g, q, p, r); err != nil {
				return err
			}
		}
		return nil
	}()
	if werr := g.Wait(); werr != nil {
		return werr // which has ended ctx
	}
	return err
}

func (t *Transfer) entry(ctx context.Context, g *errgroup.Group, q spool.Queue, p pair[spool.StoredEntry], r *Round) error {
	if p.a != nil && p.a.Damaged != "" {
		r.Damaged = append(r.Damaged, damaged(*p.a))
		p.a = nil
	}
	if p.a == nil && p.b == nil {
		return nil
	}
	t.step()
	if p.a == nil {
		r.Changed++
		if err := t.to.Remove(ctx, p.b.Entry); err != nil && !errors.Is(err, spool.ErrNotFound) {
			return err
		}
		return nil
	}
	e := *p.a
	r.Entries++
	r.Octets += e.Size
	if p.b != nil && p.b.Damaged == "" {
		same, err := t.sameEntry(ctx, e, *p.b)
		if same || err != nil {
			return err
		}
	}
	r.Changed++
	delete(t.to.read, string(e.ID))
	g.Go(func() error {
		m, err := t.from.Read(ctx, e.Entry)
		if errors.Is(err, spool.ErrNotFound) {
			return nil // it has moved on: the next round finds it
		}
		if err != nil {
			return err
		}
		defer m.Close()
		return t.to.RestoreEntry(ctx, e, io.NewSectionReader(m, 0, m.Size()))
	})
	return nil
}

// sameEntry compares all that is known of two entries, and then the messages.
func (t *Transfer) sameEntry(ctx context.Context, a, b spool.StoredEntry) (bool, error) {
	if !slices.Equal(entryText(a), entryText(b)) {
		return false, nil
	}
	ours, err := t.from.message(ctx, a.Entry)
	if err != nil {
		if errors.Is(err, spool.ErrNotFound) {
			return false, nil // it has moved on
		}
		return false, err
	}
	theirs, err := t.to.message(ctx, b.Entry)
	return ours == theirs, err
}

// entryText is what is known of an entry, in a form in which nothing is told in two ways.
func entryText(e spool.StoredEntry) []byte {
	if e.Queue != spool.Held && e.Queue != spool.Failed {
		e.Origin = e.Queue
	} else if e.Origin != spool.Bounces {
		e.Origin = spool.Incoming
	}
	e.Flags = slices.DeleteFunc(slices.Clone(e.Flags), func(f string) bool { return f == "" })
	if len(e.Flags) == 0 {
		e.Flags = nil
	}
	if len(e.Notes) == 0 {
		e.Notes = nil
	}
	e.Received, e.Due = e.Received.UTC(), e.Due.UTC()
	return asText(e)
}

// asText is a value in full; keys of maps are in order there.
func asText(v any) []byte { return fmt.Appendf(nil, "%#v", v) }

// message is what an entry's message is. An id has one message for ever.
func (s side) message(ctx context.Context, e spool.Entry) (bytes, error) {
	return s.bytes(string(e.ID), func() (spool.Message, error) { return s.Read(ctx, e) })
}

func (s side) bytes(name string, open func() (spool.Message, error)) (b bytes, err error) {
	if b, known := s.read[name]; known {
		return b, nil
	}
	m, err := open()
	if err != nil {
		return b, err
	}
	defer m.Close()
	sum := sha256.New()
	if b.size, err = io.Copy(sum, io.NewSectionReader(m, 0, m.Size())); err != nil {
		return b, err
	}
	b.hash = hash(sum.Sum(nil))
	if len(s.read) < maxRead {
		s.read[name] = b
	}
	return b, nil
}

func (t *Transfer) posts(ctx context.Context, r *Round) error {
	for p, err := range merge(t.from.StoredPosts(ctx), t.to.StoredPosts(ctx), func(p spool.StoredPost) spool.ID { return p.ID }) {
		if err == nil {
			err = t.post(ctx, p, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *Transfer) post(ctx context.Context, p pair[spool.StoredPost], r *Round) error {
	t.step()
	ours, err := t.from.look(ctx, p.a)
	if errors.Is(err, spool.ErrNotFound) {
		r.Changed++ // it was done while we looked: the next round finds out
		return nil
	}
	if err != nil {
		return err
	}
	theirs, err := t.to.look(ctx, p.b)
	if err != nil {
		return err
	}
	r.Chunks, r.Recipients, r.Octets = r.Chunks+ours.chunks, r.Recipients+ours.recipients, r.Octets+ours.octets
	if ours.chunks > 0 {
		r.Posts++
	}
	if ours.hash == theirs.hash {
		return nil
	}
	r.Changed++
	if p.b != nil {
		maps.DeleteFunc(t.to.read, func(name string, _ bytes) bool { return strings.HasPrefix(name, string(p.b.ID)+"/") })
		if err := t.to.Drop(ctx, *p.b); err != nil {
			return err
		}
	}
	if ours.chunks == 0 {
		return nil
	}
	err = t.to.RestorePost(ctx, *p.a, func(variant string) (spool.Message, error) { return t.from.StoredContent(ctx, *p.a, variant) }, t.from.left(ctx, *p.a))
	if errors.Is(err, spool.ErrNotFound) {
		return nil // it was done meanwhile
	}
	return err
}

// left are the chunks of a post that have recipients left.
func (s side) left(ctx context.Context, p spool.StoredPost) iter.Seq2[spool.Chunk, error] {
	return func(yield func(spool.Chunk, error) bool) {
		for c, err := range s.StoredChunks(ctx, p) {
			if err == nil && len(c.Recipients) == 0 {
				continue
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

// seen is a post as it was when it was looked at.
type seen struct {
	hash                       hash // of all of it; none of a post of which nothing is left
	chunks, recipients, octets int64
}

func (s side) look(ctx context.Context, p *spool.StoredPost) (out seen, err error) {
	if p == nil {
		return out, nil
	}
	sum := sha256.New()
	for c, err := range s.left(ctx, *p) {
		if err != nil {
			return out, err
		}
		out.chunks, out.recipients = out.chunks+1, out.recipients+int64(len(c.Recipients))
		sum.Write(chunkText(c))
	}
	if out.chunks == 0 {
		return out, nil
	}
	sum.Write(asText(p.Paused))
	for _, variant := range p.Variants {
		b, err := s.bytes(string(p.ID)+"/"+variant, func() (spool.Message, error) { return s.StoredContent(ctx, *p, variant) })
		if err != nil {
			return out, err
		}
		out.octets += b.size
		sum.Write(asText(variant))
		sum.Write(b.hash[:])
	}
	out.hash = hash(sum.Sum(nil))
	return out, nil
}

// chunkText is entryText for a chunk.
func chunkText(c spool.Chunk) []byte {
	c.Paused = false
	if len(c.Flags) == 0 {
		c.Flags = nil
	}
	if len(c.Names) == 0 {
		c.Names = nil
	}
	if len(c.Slots) == 0 {
		c.Slots = nil
	}
	if len(c.Sign) == 0 {
		c.Sign = nil
	}
	c.Created, c.Due = c.Created.UTC(), c.Due.UTC()
	return asText(c)
}

// Count is what a round would find, without another spool and without reading messages.
func Count(ctx context.Context, s spool.Movable) (r Round, err error) {
	for _, q := range queues {
		for e, err := range s.StoredEntries(ctx, q) {
			if err != nil {
				return r, err
			}
			if e.Damaged != "" {
				r.Damaged = append(r.Damaged, damaged(e))
				continue
			}
			r.Entries, r.Octets = r.Entries+1, r.Octets+e.Size
		}
	}
	for p, err := range s.StoredPosts(ctx) {
		if err != nil {
			return r, err
		}
		before := r.Chunks
		for c, err := range (side{Movable: s}).left(ctx, p) {
			if err != nil {
				return r, err
			}
			r.Chunks, r.Recipients = r.Chunks+1, r.Recipients+int64(len(c.Recipients))
		}
		if r.Chunks > before {
			r.Posts++
		}
	}
	return r, nil
}

func damaged(e spool.StoredEntry) string { return fmt.Sprintf("%s/%s: %s", e.Queue, e.ID, e.Damaged) }
