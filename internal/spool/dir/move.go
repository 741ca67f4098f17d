package dir

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/spool"
)

var _ spool.Movable = (*Spool)(nil)

// Files in the spool's directory that say where its mail is, or is to come from.
const (
	movedFile   = "moved"
	fillingFile = "filling"
)

// Name implements spool.Movable.
func (s *Spool) Name() string { return "dir:" + s.root }

// moves reads what is known of a spool that is moved.
func (s *Spool) moves() (m spool.Moves, err error) {
	for _, file := range []struct {
		name string
		to   *string
	}{{fillingFile, &m.From}, {movedFile, &m.To}} {
		data, err := os.ReadFile(filepath.Join(s.root, file.name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return m, err
		}
		err = parseHead(file.name, data, func(key, value string) (err error) {
			switch key {
			case "spool":
				*file.to = unescape(value)
			case "at":
				m.At, err = time.Parse(timeFormat, value)
			}
			return err
		})
		if err == nil && *file.to == "" {
			err = damaged("it names no spool")
		}
		if err != nil {
			return m, fmt.Errorf("%s: %w", filepath.Join(s.root, file.name), err)
		}
	}
	return m, nil
}

// mark writes a file that says of a spool.
func (s *Spool) mark(file, other string) error {
	temp, err := s.temp(file)
	if err != nil {
		return err
	}
	h := newHead(file)
	h.add("spool", other)
	h.add("at", time.Now().UTC().Format(timeFormat))
	if err := s.fs.writeFile(temp, h.Bytes()); err != nil {
		return err
	}
	if err := s.fs.rename(temp, filepath.Join(s.root, file)); err != nil {
		return err
	}
	return s.fs.syncDir(s.root)
}

// Recover implements spool.Movable.
func (s *Spool) Recover(ctx context.Context) error {
	var failed error
	err := s.eachPost("", func(n entryName) bool {
		files, err := os.ReadDir(s.postPath(n))
		if failed = ctx.Err(); err == nil && failed == nil && slices.ContainsFunc(files, func(f os.DirEntry) bool { return strings.HasPrefix(f.Name(), entryPrefix) }) {
			failed = s.putEntries(n)
		}
		return failed == nil
	})
	return errors.Join(err, failed)
}

// StoredEntries implements spool.Movable.
func (s *Spool) StoredEntries(ctx context.Context, q spool.Queue) iter.Seq2[spool.StoredEntry, error] {
	return func(yield func(spool.StoredEntry, error) bool) {
		stopped := false
		err := s.eachGroup(q, func(g group) bool {
			if ctx.Err() != nil || !g.exists {
				return ctx.Err() == nil
			}
			e, err := s.stored(q, g)
			if errors.Is(err, os.ErrNotExist) {
				return true // gone meanwhile
			}
			stopped = !yield(e, err)
			return !stopped
		})
		if err = errors.Join(err, ctx.Err()); err != nil && !stopped {
			yield(spool.StoredEntry{}, err)
		}
	}
}

func (s *Spool) stored(q spool.Queue, g group) (out spool.StoredEntry, err error) {
	out.Entry, _, err = s.load(q, g.name, g.st)
	if isDamaged(err) {
		out.Entry, err = s.show(q, g.name, g.st)
		out.Damaged = out.Reason
		return out, err
	}
	if err != nil {
		return out, err
	}
	if q == spool.Held || q == spool.Failed {
		out.Origin = s.origin(q, g.name, out.Entry)
	}
	out.Finished, err = s.isFinished(g.name)
	return out, err
}

// StoredPosts implements spool.Movable.
func (s *Spool) StoredPosts(ctx context.Context) iter.Seq2[spool.StoredPost, error] {
	return func(yield func(spool.StoredPost, error) bool) {
		stopped := false
		err := s.eachPost("", func(n entryName) bool {
			p, err := s.storedPost(n)
			if errors.Is(err, os.ErrNotExist) {
				return ctx.Err() == nil // done
			}
			stopped = !yield(p, err)
			return !stopped && ctx.Err() == nil
		})
		if err = errors.Join(err, ctx.Err()); err != nil && !stopped {
			yield(spool.StoredPost{}, err)
		}
	}
}

func (s *Spool) storedPost(n entryName) (spool.StoredPost, error) {
	p := spool.StoredPost{ID: n.id, Key: n.key, Paused: s.isPaused(n)}
	files, err := os.ReadDir(s.postPath(n))
	if errors.Is(err, unix.ENOTDIR) {
		c, err := s.showChunk(n, smallFile(n))
		if c.Variant != "" { // it is not damaged
			p.Variants = []string{c.Variant}
		}
		return p, err
	}
	for _, f := range files {
		if variant, ok := strings.CutPrefix(f.Name(), contentPrefix); ok {
			p.Variants = append(p.Variants, variant)
		}
	}
	return p, err
}

// StoredChunks implements spool.Movable. A chunk that is damaged is nobody's, and stays.
func (s *Spool) StoredChunks(ctx context.Context, p spool.StoredPost) iter.Seq2[spool.Chunk, error] {
	return func(yield func(spool.Chunk, error) bool) {
		n := entryName{p.ID, p.Key}
		var files []chunkFile
		for g, err := range s.chunkGroups(n) {
			if errors.Is(err, os.ErrNotExist) {
				break // none is left
			}
			if err != nil {
				yield(spool.Chunk{}, err)
				return
			}
			files = append(files, g.newest)
		}
		slices.SortFunc(files, func(a, b chunkFile) int { return strings.Compare(a.name, b.name) }) // a directory has them by key
		for _, file := range files {
			c, _, err := s.loadChunk(n, file)
			if errors.Is(err, os.ErrNotExist) {
				continue // done meanwhile
			}
			if isDamaged(err) {
				s.opts.Log.Error("a chunk is damaged: it stays in the spool", "entry", n.id, "path", s.chunkPath(n, file.String()), "err", err)
				continue
			}
			err = errors.Join(err, ctx.Err())
			if err != nil {
				yield(spool.Chunk{}, err)
				return
			}
			if !yield(*c, nil) {
				return
			}
		}
	}
}

// StoredContent implements spool.Movable.
func (s *Spool) StoredContent(ctx context.Context, p spool.StoredPost, variant string) (spool.Message, error) {
	m, err := s.storedContent(ctx, entryName{p.ID, p.Key}, variant)
	if errors.Is(err, os.ErrNotExist) {
		err = spool.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("content %s of post %s: %w", variant, p.ID, err)
	}
	return m, nil
}

func (s *Spool) storedContent(ctx context.Context, n entryName, variant string) (spool.Message, error) {
	if err := checkVariant(variant); err != nil {
		return nil, err
	}
	f, info, err := s.fs.openRegular(filepath.Join(s.postPath(n), contentPrefix+variant))
	if errors.Is(err, unix.ENOTDIR) {
		return s.smallMessage(ctx, n, variant)
	}
	if err != nil {
		return nil, err
	}
	return newMessage(f, 0, info.Size()), nil
}

// Drop implements spool.Movable.
func (s *Spool) Drop(_ context.Context, p spool.StoredPost) error {
	n := entryName{p.ID, p.Key}
	for _, path := range []string{s.postPath(n), s.pausedPath(n)} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("drop post %s: %w", p.ID, err)
		}
	}
	return nil
}

// Leave implements spool.Movable.
func (s *Spool) Leave(_ context.Context, to string) error {
	if err := s.mark(movedFile, to); err != nil {
		return fmt.Errorf("leave spool %s: %w", s.root, err)
	}
	return nil
}

// Moves implements spool.Movable.
func (s *Spool) Moves(context.Context) (spool.Moves, error) {
	m, err := s.moves()
	if err != nil {
		return m, fmt.Errorf("spool %s: %w", s.root, err)
	}
	return m, nil
}

// Clear implements spool.Movable.
func (s *Spool) Clear(ctx context.Context) error {
	if err := s.clear(ctx); err != nil {
		return fmt.Errorf("clear spool %s: %w", s.root, err)
	}
	return nil
}

func (s *Spool) clear(ctx context.Context) error {
	if m, err := s.moves(); err != nil || m.To == "" {
		return errors.Join(err, errors.New("its mail is nowhere else"))
	}
	for _, q := range []spool.Queue{spool.Incoming, spool.Bounces, spool.Held, spool.Failed} {
		for e, err := range s.StoredEntries(ctx, q) {
			if err != nil {
				return err
			}
			if e.Damaged != "" {
				continue
			}
			if err := s.fs.removeIf(s.path(q, entryName{e.ID, e.Key}.String())); err != nil {
				return err
			}
		}
		for g, err := range groups(s.path(q, ""), func(string) {}) {
			if err != nil {
				return err
			}
			for _, side := range g.sides {
				if g.exists {
					continue // beside what is damaged
				}
				if err := s.fs.removeIf(s.path(q, side)); err != nil {
					return err
				}
			}
		}
	}
	var failed error
	err := s.eachPost("", func(n entryName) bool {
		failed = errors.Join(ctx.Err(), s.clearPost(n))
		return failed == nil
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	for _, q := range spool.Queues {
		if err := s.syncs[q].sync(); err != nil {
			return err
		}
	}
	return nil
}

// clearPost removes a post, but for what is damaged of it.
func (s *Spool) clearPost(n entryName) error {
	for g, err := range s.chunkGroups(n) {
		if errors.Is(err, os.ErrNotExist) {
			break // it has none
		}
		if err != nil {
			return err
		}
		_, _, err := s.loadChunk(n, g.newest)
		if isDamaged(err) {
			return nil
		}
		path := s.chunkPath(n, g.newest.String())
		if g.newest.small {
			path = s.postPath(n)
		}
		for _, other := range g.outdone {
			if err := s.fs.removeIf(s.chunkPath(n, other)); err != nil {
				return err
			}
		}
		if err := s.fs.removeIf(path); err != nil {
			return err
		}
	}
	if err := s.fs.removeIf(s.chunksPath(n)); err != nil && !errors.Is(err, unix.ENOTDIR) {
		return err
	}
	return s.removePost(n)
}
