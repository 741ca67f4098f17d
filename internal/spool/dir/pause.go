package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/spool"
)

// pausedSuffix is that of a file beside a post that an operator has paused.
const pausedSuffix = ".paused"

func (s *Spool) pausedPath(n entryName) string { return s.postPath(n) + pausedSuffix }

// pauseLook is how often an owner looks whether a paused post is to go on.
const pauseLook = 2 * time.Second

// PausePost implements spool.Admin.
func (s *Spool) PausePost(_ context.Context, id spool.ID) error {
	n, err := s.findRunning(id)
	if err == nil {
		err = s.pause(n)
	}
	if err != nil {
		return fmt.Errorf("pause post %s: %w", id, err)
	}
	return nil
}

// findRunning finds a post of which something is left to be sent.
func (s *Spool) findRunning(id spool.ID) (entryName, error) {
	n, err := s.findPost(id)
	if err != nil {
		return n, err
	}
	there, err := exists(s.chunksPath(n))
	if errors.Is(err, unix.ENOTDIR) {
		return n, nil // a small one
	}
	if err == nil && !there {
		err = spool.ErrNotFound
	}
	return n, err
}

func (s *Spool) pause(n entryName) error {
	f, err := s.fs.create(s.pausedPath(n))
	switch {
	case errors.Is(err, os.ErrExist):
	case err != nil:
		return err
	default:
		if err := s.fs.finish(f, nil); err != nil {
			return err
		}
	}
	return s.syncs[spool.Outgoing].sync()
}

// ResumePost implements spool.Admin.
func (s *Spool) ResumePost(_ context.Context, id spool.ID) error {
	n, err := s.findRunning(id)
	if err == nil {
		err = s.fs.removeIf(s.pausedPath(n))
	}
	if err == nil {
		err = s.syncs[spool.Outgoing].sync()
	}
	if err == nil {
		err = s.poke(n)
	}
	if err != nil {
		return fmt.Errorf("resume post %s: %w", id, err)
	}
	return nil
}

// isPaused tells whether an operator has paused a post.
func (s *Spool) isPaused(n entryName) bool {
	there, err := exists(s.pausedPath(n))
	return err == nil && there
}

// rest gives a chunk of a paused post back, and has the whole post wait.
func (o *outgoing) rest(p *post, file chunkFile) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p.out--
	delete(p.busy, file.base())
	o.turns.loaded -= len(p.ready)
	p.ready, p.stale, p.hold = nil, true, time.Now().Add(pauseLook).UnixMicro()
	o.turns.settle(p)
	o.look()
}

// Owners implements spool.Admin.
func (s *Spool) Owners(ctx context.Context) ([]spool.Ownership, error) {
	out, err := s.listClaims(ctx)
	if err != nil {
		return nil, fmt.Errorf("list owners: %w", err)
	}
	return out, nil
}

func (s *Spool) listClaims(ctx context.Context) ([]spool.Ownership, error) {
	unlock, err := s.lockAll(ctx) // or a daemon that starts could take us for an owner
	if err != nil {
		return nil, err
	}
	defer unlock()
	dir := filepath.Join(s.root, ownersDir)
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []spool.Ownership
	for _, d := range files {
		if !isClaim(d) {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, d.Name()), os.O_RDWR|unix.O_NOFOLLOW, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue // given up just now
		}
		if err != nil {
			return nil, err
		}
		var data []byte
		dead := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
		if !dead {
			data, err = io.ReadAll(io.LimitReader(f, maxHead))
		}
		f.Close()
		if dead {
			continue
		}
		if err != nil {
			return nil, err
		}
		o, err := parseClaim(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Name(), err)
		}
		out = append(out, o)
	}
	return out, nil
}
