package dir

import (
	"iter"
	"os"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/spool"
)

// eachPost calls f for the posts in outgoing after a name, oldest first.
func (s *Spool) eachPost(after string, f func(entryName) bool) error {
	for name, err := range sortedNames(s.path(spool.Outgoing, ""), after, window) {
		if err != nil {
			return err
		}
		if strings.HasSuffix(name, pokeSuffix) {
			s.sweepPoke(name)
			continue
		}
		n, st, err := parseName(name)
		if err != nil || st.side {
			s.foreign(spool.Outgoing, name)
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

// sweepPoke removes what a poke left that was killed.
func (s *Spool) sweepPoke(name string) {
	path := s.path(spool.Outgoing, name)
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > time.Minute {
		_ = s.fs.removeIf(path) // else the next scan does it
	}
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
