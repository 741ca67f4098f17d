package dir

import (
	"errors"
	"iter"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/spool"
)

// eachPost calls f for the posts in outgoing after a name, oldest first, those that are done
// included.
func (s *Spool) eachPost(after string, f func(entryName) bool) error {
	for name, err := range sortedNames(s.path(spool.Outgoing, ""), after, window) {
		if err != nil {
			return err
		}
		n, beside, err := parsePost(name)
		if err != nil {
			s.foreign(spool.Outgoing, name)
			continue
		}
		switch beside {
		case pokeSuffix, pausedSuffix:
			s.sweepBeside(n, beside)
			continue
		case damagedSuffix:
			continue
		}
		if !f(n) {
			return nil
		}
	}
	return nil
}

// poke has the owners of a post look at it again.
func (s *Spool) poke(n entryName) error {
	path := s.path(spool.Outgoing, n.String()+pokeSuffix)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	return s.fs.removeIf(path)
}

// sweepBeside removes what a poke left that was killed, or a pause of a post that was just
// about to go.
func (s *Spool) sweepBeside(n entryName, suffix string) {
	path := s.postPath(n) + suffix
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || time.Since(info.ModTime()) < time.Minute {
		return
	}
	if suffix == pausedSuffix {
		if there, err := exists(s.postPath(n)); there || err != nil {
			return
		}
	}
	_ = s.fs.removeIf(path) // else the next scan does it
}

// chunkGroup is a chunk: its newest file, and those that it outdoes.
type chunkGroup struct {
	newest  chunkFile
	outdone []string
}

// chunkGroups yields the chunks of a post.
func (s *Spool) chunkGroups(n entryName) iter.Seq2[chunkGroup, error] {
	return func(yield func(chunkGroup, error) bool) {
		var g chunkGroup
		open := false
		for name, err := range sortedNames(s.chunksPath(n), "", window) {
			if errors.Is(err, unix.ENOTDIR) {
				yield(chunkGroup{newest: smallFile(n)}, nil)
				return
			}
			if err != nil {
				yield(chunkGroup{}, err)
				return
			}
			c, ok := parseChunkFile(name)
			if !ok {
				s.foreign(spool.Outgoing, n.String()+"/"+chunksDir+"/"+name)
				continue
			}
			switch {
			case !open || c.base() != g.newest.base():
				if open && !yield(g, nil) {
					return
				}
				g, open = chunkGroup{newest: c}, true
			case c.newer(g.newest.state):
				g.outdone = append(g.outdone, g.newest.String())
				g.newest = c
			default:
				g.outdone = append(g.outdone, c.String())
			}
		}
		if open {
			yield(g, nil)
		}
	}
}
