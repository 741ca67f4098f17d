package outbound

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/mlist/mlist/internal/spool"
)

// summaries adds up what the chunks of a post came to, and logs it once no chunk of the
// post has been under way for a second. (How many chunks a post has, only the spool
// knows.)
type summaries struct {
	log   *slog.Logger
	mu    sync.Mutex
	posts map[spool.ID]*summary
	some  chan struct{} // wakes run
}

type summary struct {
	list                        string
	accepted, deferred, refused int
	first, last                 time.Time
	jobs                        int
}

const summaryQuiet = time.Second

func (s *summaries) begin(c *spool.Chunk) {
	s.mu.Lock()
	p := s.posts[c.Post]
	if p == nil {
		if s.posts == nil {
			s.posts = map[spool.ID]*summary{}
		}
		p = &summary{list: c.List, first: time.Now()}
		s.posts[c.Post] = p
	}
	p.jobs++
	s.mu.Unlock()
}

func (s *summaries) end(c *spool.Chunk, out outcome) {
	s.mu.Lock()
	p := s.posts[c.Post]
	p.jobs--
	p.last = time.Now()
	p.accepted += out.accepted
	if len(out.rest) == 0 { // else they are counted when the chunk is through
		p.deferred += len(out.deferred)
	}
	p.refused += len(out.refused)
	s.mu.Unlock()
	wake(s.some)
}

// run logs until ctx ends. It sleeps while nothing is delivered.
func (s *summaries) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.some:
		}
		for s.flush(summaryQuiet) && sleep(ctx, summaryQuiet) {
		}
	}
}

// flush logs the posts that have been quiet, and tells whether others are left.
func (s *summaries) flush(quiet time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, p := range s.posts {
		if p.jobs > 0 || time.Since(p.last) < quiet {
			continue
		}
		delete(s.posts, id)
		if p.accepted+p.deferred+p.refused == 0 {
			continue
		}
		s.log.Info("outbound: post", "entry", id, "list", p.list, "accepted", p.accepted,
			"deferred", p.deferred, "refused", p.refused, "ms", p.last.Sub(p.first).Milliseconds())
	}
	return len(s.posts) > 0
}
