package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// A post with one small content and one chunk, what most posts to most lists are, is one
// file in outgoing instead of a directory with two files in two directories: header lines,
// the recipients, the content. It has two states, waiting (N) and done (N.done), and a step
// in between costs nothing but a rename. As soon as more is to be said of it, the owner of
// the chunk makes it a directory, and everything goes on as with any other post.

const (
	doneSuffix    = ".done"    // after the name of a small post: its chunk is done
	damagedSuffix = ".damaged" // the same: it was set aside
	// smallContent and smallChunk bound the parts of a small post, which is held in memory
	// while it is prepared, and read whole when its chunk is handed out.
	smallContent = 64 << 10
	smallChunk   = 64 << 10
)

func (s *Spool) donePath(n entryName) string { return s.postPath(n) + doneSuffix }

// smallFile names the one chunk of a small post.
func smallFile(n entryName) chunkFile {
	name := chunkNumber(1)
	return chunkFile{key: segment.KeyOf(string(n.id), name), name: name, small: true}
}

// fitsSmall tells whether a chunk may be that of a small post. One that is sent copy by copy
// would soon become a directory, to have its progress noted.
func fitsSmall(c *spool.Chunk, data []byte) bool {
	return len(data) <= smallChunk && c.ReturnKey == "" && len(c.Slots) == 0
}

// smallBytes is the file of a small post, up to its content.
func smallBytes(c *spool.Chunk, content int) []byte {
	h := newHead(smallKind)
	h.add("content", strconv.Itoa(content))
	return appendLines(nil, h, c)
}

// canExchange tries whether the file system can exchange two names. NFS cannot: small posts
// are directories there, too.
func (s *Spool) canExchange() bool {
	var paths [2]string
	for i := range paths {
		var err error
		if paths[i], err = s.temp("try"); err != nil {
			return false
		}
		f, err := s.fs.create(paths[i])
		if err != nil {
			return false
		}
		defer s.fs.removeIf(paths[i])
		if err := s.fs.close(f); err != nil {
			return false
		}
	}
	return s.fs.exchange(paths[0], paths[1]) == nil
}

// isFinished tells whether the post of an entry is there, or was: in this order it cannot
// slip through between two looks.
func (s *Spool) isFinished(n entryName) (bool, error) {
	for _, path := range []string{s.postPath(n), s.donePath(n), s.postPath(n) + damagedSuffix} {
		if there, err := exists(path); there || err != nil {
			return there, err
		}
	}
	return false, nil
}

// endSmall marks a small post as done, for the owner of its chunk.
func (o *outgoing) endSmall(n entryName) error {
	err := o.s.fs.noReplace(o.s.postPath(n), o.s.donePath(n))
	if errors.Is(err, os.ErrExist) { // an operator was about to remove it
		err = o.s.fs.removeIf(o.s.postPath(n))
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil // an operator removed it
	}
	return err
}

// removeSmall marks a small post as done, for an operator: its owner may be about to make it
// a directory. It returns false if that is what it is by now.
func (s *Spool) removeSmall(n entryName) (small bool, err error) {
	err = s.fs.link(s.postPath(n), s.donePath(n)) // which cannot be done to a directory
	switch {
	case errors.Is(err, os.ErrNotExist):
		return true, spool.ErrNotFound
	case errors.Is(err, unix.EPERM):
		return false, nil
	case err != nil && !errors.Is(err, os.ErrExist):
		return true, err
	}
	info, err := os.Lstat(s.postPath(n))
	if err == nil && !info.IsDir() {
		if err = unix.Unlink(s.postPath(n)); errors.Is(err, unix.EISDIR) {
			err = nil
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if there, lookErr := exists(s.postPath(n)); there || lookErr != nil || err != nil {
		return false, errors.Join(err, lookErr, s.fs.removeIf(s.donePath(n)))
	}
	return true, s.syncs[spool.Outgoing].sync()
}

// spread makes the post of a chunk that was handed out a directory, if it is small, and
// returns how the chunk is handed out now.
func (o *outgoing) spread(c *spool.Chunk, h handed) (handed, error) {
	if h.file.small {
		if err := o.exchange(h.post.name); err != nil {
			return h, err
		}
		h.file.small, h.fresh = false, true
		o.keep(c, h)
	}
	if h.fresh {
		// A power cut must not bring back a file that knows nothing of what comes now.
		if err := o.s.syncs[spool.Outgoing].sync(); err != nil {
			return h, err
		}
		h.fresh = false
		o.keep(c, h)
	}
	return h, nil
}

// exchange puts a directory in the place of a small post, in one step.
func (o *outgoing) exchange(n entryName) error {
	temp, err := o.s.temp("post")
	if err != nil {
		return err
	}
	if err = o.s.unfold(n, temp); err == nil {
		err = o.s.fs.exchange(temp, o.s.postPath(n))
	}
	_ = os.RemoveAll(temp) // the directory, or what it took the place of
	if errors.Is(err, os.ErrNotExist) {
		return spool.ErrNotFound // an operator removed the post
	}
	return err
}

// unfold writes a small post as a directory, and syncs it.
func (s *Spool) unfold(n entryName, dir string) error {
	f, info, err := s.fs.openRegular(s.postPath(n))
	if err != nil {
		return err
	}
	defer f.Close()
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return err
	}
	c, _, content, err := parseChunkOf(smallKind, data)
	if err != nil {
		return err
	}
	chunks := filepath.Join(dir, chunksDir)
	for _, d := range []string{dir, chunks} {
		if err := s.fs.mkdir(d); err != nil {
			return err
		}
	}
	if err := s.fs.writeFile(filepath.Join(dir, contentPrefix+c.Variant), data[len(data)-content:]); err != nil {
		return err
	}
	if err := s.fs.writeFile(filepath.Join(chunks, smallFile(n).String()), chunkBytes(c)); err != nil {
		return err
	}
	return errors.Join(s.fs.syncDir(chunks), s.fs.syncDir(dir))
}

// smallMessage opens the content of a small post.
func (s *Spool) smallMessage(ctx context.Context, n entryName, variant string) (spool.Message, error) {
	f, info, err := s.fs.openRegular(s.postPath(n))
	if err != nil {
		return nil, err
	}
	size := int64(-1)
	lines, _, err := readHead(f, maxHead)
	if err == nil {
		err = parseHead(smallKind, lines, func(key, value string) (err error) {
			switch {
			case key == "content":
				size, err = strconv.ParseInt(value, 10, 64)
			case key == "variant" && value != variant:
				err = fmt.Errorf("want variant %s: %w", variant, os.ErrNotExist)
			}
			return err
		})
	}
	if err == nil && (size < 0 || size > info.Size()) {
		err = damaged("a content of %d octets", size)
	}
	if err = errors.Join(err, ctx.Err()); err != nil {
		f.Close()
		return nil, err
	}
	return newMessage(f, info.Size()-size, size), nil
}

// setAsideSmall moves a small post that cannot be read out of the way.
func (s *Spool) setAsideSmall(n entryName, why error) {
	to := s.postPath(n) + damagedSuffix
	s.opts.Log.Error("a post is damaged: set aside", "entry", n.id, "path", to, "err", why)
	if err := s.fs.rename(s.postPath(n), to); err != nil {
		s.opts.Log.Error("cannot set the post aside", "entry", n.id, "err", err)
	}
}

// besides are the suffixes of what may lie beside a post in outgoing.
var besides = []string{pokeSuffix, pausedSuffix, doneSuffix, damagedSuffix}

// parsePost reads the name of a post, or of what lies beside one.
func parsePost(s string) (n entryName, beside string, err error) {
	name := s
	for _, suffix := range besides {
		if cut, ok := strings.CutSuffix(s, suffix); ok {
			name, beside = cut, suffix
		}
	}
	n, st, err := parseName(name)
	if err == nil && st.side {
		err = fmt.Errorf("name %.60q: not a post's", s)
	}
	return n, beside, err
}
