package pg

import (
	"context"
	"errors"
	"os"
	"sync"

	"github.com/mlist/mlist/internal/spool"
)

// contents are the contents of posts that chunks are being sent of, and of some before. The
// chunks of a post have the same, and each is read from the database once.
type contents struct {
	mu     sync.Mutex
	known  map[contentName]*shared
	idle   []*shared // that nobody reads, the one used last at the end
	closed bool
}

// contentName names a content in the database.
type contentName struct {
	post    int64
	variant string
}

// idleContents is how many contents that nobody reads stay open.
const idleContents = 16

// shared is a content, and how many have it.
type shared struct {
	*message
	name  contentName
	users int
	ready chan struct{} // closed when message is there, or err
	err   error
}

// open returns a content, which is to be closed as if it were the caller's own. Only the first
// who wants it reads it.
func (c *contents) open(ctx context.Context, name contentName, read func() (*message, error)) (spool.Message, error) {
	c.mu.Lock()
	have := c.known[name]
	if have == nil {
		if c.known == nil {
			c.known = map[contentName]*shared{}
		}
		have = &shared{name: name, ready: make(chan struct{})}
		c.known[name] = have
		c.mu.Unlock()
		have.message, have.err = read()
		close(have.ready)
		c.mu.Lock()
	}
	have.users++
	c.wake(have)
	c.mu.Unlock()
	select {
	case <-have.ready:
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), c.done(have))
	}
	if have.err != nil {
		return nil, errors.Join(have.err, c.done(have))
	}
	return &reading{shared: have, of: c}, nil
}

// knows tells whether a content of a post is open.
func (c *contents) knows(post int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.known {
		if name.post == post {
			return true
		}
	}
	return false
}

// wake takes a content off the idle ones.
func (c *contents) wake(it *shared) {
	for i, other := range c.idle {
		if other == it {
			c.idle = append(c.idle[:i], c.idle[i+1:]...)
			return
		}
	}
}

// done ends the use of a content by one. One that could not be read is forgotten.
func (c *contents) done(it *shared) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if it.users--; it.users > 0 {
		return nil
	}
	select {
	case <-it.ready:
	default:
		return nil // whoever reads it has not got it yet
	}
	if it.message != nil && !c.closed {
		if c.idle = append(c.idle, it); len(c.idle) <= idleContents {
			return nil
		}
		it, c.idle = c.idle[0], c.idle[1:]
	}
	return c.end(it)
}

func (c *contents) end(it *shared) error {
	if c.known[it.name] == it {
		delete(c.known, it.name)
	}
	if it.message == nil {
		return nil
	}
	return it.message.Close()
}

// close ends what nobody reads, and has the rest end with its last reader.
func (c *contents) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	var errs []error
	for _, it := range c.idle {
		errs = append(errs, c.end(it))
	}
	c.idle = nil
	return errors.Join(errs...)
}

// reading is a content as one of its readers has it.
type reading struct {
	*shared
	of   *contents
	once sync.Once
}

func (r *reading) Close() (err error) {
	r.once.Do(func() { err = r.of.done(r.shared) })
	return err
}

// readContent reads a content into a file.
func (s *Spool) readContent(ctx context.Context, name contentName) (*message, error) {
	var body, size int64
	var first []byte
	err := s.pool.QueryRow(ctx, `SELECT b.id, b.size, `+firstPart+` FROM spool_contents c JOIN spool_bodies b ON b.id = c.body
		`+joinedParts+` WHERE c.post = $1 AND c.variant = $2`, name.post, name.variant).Scan(&body, &size, &first)
	if err != nil {
		return nil, err
	}
	return s.readBody(ctx, body, size, first)
}

// readBody is a body as a file: plugins are handed one. first is its first part.
func (s *Spool) readBody(ctx context.Context, id, size int64, first []byte) (*message, error) {
	f, err := os.CreateTemp(s.temp, "message-*")
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(first); err == nil {
		err = s.copyBody(ctx, f, id, int64(len(first)), size)
	}
	if err != nil {
		return nil, errors.Join(err, closeAndRemove(f))
	}
	return &message{f, size}, nil
}
