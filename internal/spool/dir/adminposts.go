package dir

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/spool"
)

// Chunks implements spool.Admin.
func (s *Spool) Chunks(ctx context.Context, recipients bool) iter.Seq2[spool.Chunk, error] {
	return func(yield func(spool.Chunk, error) bool) {
		err := s.eachPost("", func(n entryName) bool {
			paused := s.isPaused(n)
			for g, err := range s.chunkGroups(n) {
				if errors.Is(err, os.ErrNotExist) {
					return true // done meanwhile
				}
				if err == nil {
					err = ctx.Err()
				}
				if err != nil {
					yield(spool.Chunk{}, fmt.Errorf("chunks: %w", err))
					return false
				}
				c, err := s.showChunk(n, g.newest)
				if errors.Is(err, os.ErrNotExist) {
					continue
				}
				if err != nil {
					err = fmt.Errorf("chunks: %w", err)
				}
				if !recipients {
					c.Recipients = nil
				}
				c.Paused = paused
				if !yield(c, err) {
					return false
				}
			}
			return true
		})
		if err != nil {
			yield(spool.Chunk{}, fmt.Errorf("chunks: %w", err))
		}
	}
}

func (s *Spool) showChunk(n entryName, file chunkFile) (spool.Chunk, error) {
	c, _, err := s.loadChunk(n, file)
	if err == nil {
		return *c, nil
	}
	damage := spool.Chunk{Post: n.id, Name: file.name, Key: file.key, Tries: file.tries, Due: file.dueTime(), Reason: err.Error()}
	if isDamaged(err) {
		err = nil
	}
	return damage, err
}

// findPost finds the name of a post's directory.
func (s *Spool) findPost(id spool.ID) (entryName, error) {
	if _, err := spool.CheckID(string(id)); err != nil {
		return entryName{}, err
	}
	var found entryName
	err := s.eachPost(string(id), func(n entryName) bool {
		if n.id == id {
			found = n
		}
		return false
	})
	if err == nil && found.id == "" {
		err = spool.ErrNotFound
	}
	return found, err
}

// RetryChunks implements spool.Admin.
func (s *Spool) RetryChunks(_ context.Context, id spool.ID) error {
	if err := s.retryChunks(id); err != nil {
		return fmt.Errorf("retry post %s: %w", id, err)
	}
	return nil
}

func (s *Spool) retryChunks(id spool.ID) error {
	n, err := s.findPost(id)
	if err != nil {
		return err
	}
	for g, err := range s.chunkGroups(n) {
		if errors.Is(err, os.ErrNotExist) {
			return spool.ErrNotFound
		}
		if err != nil {
			return err
		}
		if g.newest.due == 0 {
			continue
		}
		now := g.newest
		now.due = 0
		err := s.fs.rename(s.chunkPath(n, g.newest.String()), s.chunkPath(n, now.String()))
		if err != nil && !errors.Is(err, os.ErrNotExist) { // settled meanwhile
			return err
		}
	}
	if err := s.fs.syncDir(s.chunksPath(n)); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
		return err
	}
	return s.poke(n)
}

// bury removes a post that has no chunks, and whose entry is gone.
func (s *Spool) bury(n entryName) error {
	// The entry must not come back after a power cut when its post does not.
	if err := errors.Join(s.syncs[spool.Incoming].sync(), s.syncs[spool.Bounces].sync()); err != nil {
		return err
	}
	return s.removePost(n)
}

// RemovePost implements spool.Admin. The post's directory goes with it, or if its entry
// is still there, after that.
func (s *Spool) RemovePost(_ context.Context, id spool.ID) error {
	if err := s.removeChunks(id); err != nil {
		return fmt.Errorf("remove post %s: %w", id, err)
	}
	return nil
}

func (s *Spool) removeChunks(id spool.ID) error {
	n, err := s.findPost(id)
	if err != nil {
		return err
	}
	// A settlement under way may put one more chunk there, but each chunk only one.
	for range 100 {
		for name, err := range sortedNames(s.chunksPath(n), "", window) {
			if errors.Is(err, unix.ENOTDIR) {
				small, err := s.removeSmall(n)
				if small && err == nil {
					return s.removed(n)
				}
				if err != nil {
					return err
				}
				break // it has become a directory
			}
			if errors.Is(err, os.ErrNotExist) {
				return spool.ErrNotFound
			}
			if err != nil {
				return err
			}
			if err := s.fs.removeIf(s.chunkPath(n, name)); err != nil {
				return err
			}
		}
		if err = s.fs.removeIf(s.chunksPath(n)); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	if err := s.fs.syncDir(s.postPath(n)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return s.removed(n)
}

// removed takes away what is left of a post whose chunks an operator has removed.
func (s *Spool) removed(n entryName) error {
	// With an owner at rest nobody else would.
	if s.entryGone(n) {
		return s.bury(n)
	}
	return s.poke(n)
}
