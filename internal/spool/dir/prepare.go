package dir

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

const (
	chunksDir     = "chunks"   // in a post's directory
	contentPrefix = "content." // of a variant's file there
	damagedPrefix = "damaged." // of a chunk that was set aside there
	entryPrefix   = "entry."   // of a new entry there, until it is put
	parallelSyncs = 8          // more gain nothing on the disks tried
)

func (s *Spool) postPath(n entryName) string { return s.path(spool.Outgoing, n.String()) }

func (s *Spool) chunksPath(n entryName) string { return filepath.Join(s.postPath(n), chunksDir) }

func (s *Spool) chunkPath(n entryName, file string) string {
	return filepath.Join(s.postPath(n), chunksDir, file)
}

// checkVariant makes sure that a variant's name may be part of a file's.
func checkVariant(v string) error {
	ok := len(v) > 0 && len(v) <= 64
	for _, r := range v {
		ok = ok && (r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}
	if !ok {
		return fmt.Errorf("variant %.70q: want up to 64 of a-z, 0-9, - and _", v)
	}
	return nil
}

// prepared is a spool.Prepared: a directory in tmp that Commit renames. As long as it may
// become a small post it is in memory alone, and what Commit renames is one file.
type prepared struct {
	o        *owner
	it       *item
	dir      string         // "" as long as it may be small
	first    *content       // the content of a small post
	chunk    spool.Chunk    // and its chunk, which is in pack, too
	syncs    errgroup.Group // files are synced while the next are written
	writing  int            // contents not closed
	variants map[string]bool
	chunks   int
	pack     pack // chunks that have no file yet
	shared   bool // some have one together
	entries  int
}

// Prepare implements spool.Owner.
func (o *owner) Prepare(ctx context.Context, e spool.Entry) (spool.Prepared, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("prepare entry %s: %w", e.ID, err)
	}
	it, err := o.handed(e)
	if err != nil {
		return nil, fmt.Errorf("prepare entry %s: %w", e.ID, err)
	}
	defer o.life.RUnlock()
	p := &prepared{o: o, it: it, variants: map[string]bool{}}
	p.syncs.SetLimit(parallelSyncs)
	if !o.small {
		if err := p.spread(); err != nil {
			_ = os.RemoveAll(p.dir)
			return nil, fmt.Errorf("prepare entry %s: %w", e.ID, err)
		}
	}
	return p, nil
}

// spread makes a directory of what is in memory: the post is not small.
func (p *prepared) spread() error {
	if p.dir != "" {
		return nil
	}
	dir, err := p.o.s.temp("post-" + p.it.name.String())
	if err != nil {
		return err
	}
	p.dir = dir
	for _, d := range []string{dir, filepath.Join(dir, chunksDir)} {
		if err := p.o.s.fs.mkdir(d); err != nil {
			return err
		}
	}
	if p.first != nil {
		if err := p.first.spread(); err != nil {
			return err
		}
	}
	return p.unpack()
}

// content writes a variant's file.
type content struct {
	p       *prepared
	variant string
	small   []byte // as long as there is no file
	closed  bool
	f       *os.File
	w       *bufio.Writer
}

func (p *prepared) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("prepare entry %s: %w", p.it.name.id, err)
}

// Content implements spool.Prepared.
func (p *prepared) Content(variant string) (io.WriteCloser, error) {
	err := checkVariant(variant)
	if err == nil && p.variants[variant] {
		err = fmt.Errorf("variant %s was written before", variant)
	}
	if err != nil {
		return nil, p.wrap(err)
	}
	c := &content{p: p, variant: variant}
	if p.dir == "" && p.first == nil {
		p.first = c
	} else if err = p.spread(); err == nil {
		err = c.spread()
	}
	if err != nil {
		return nil, p.wrap(err)
	}
	p.variants[variant] = true
	p.writing++
	return c, nil
}

// spread makes a file of what is in memory.
func (c *content) spread() error {
	f, err := c.p.o.s.fs.create(filepath.Join(c.p.dir, contentPrefix+c.variant))
	if err != nil {
		return err
	}
	if c.closed {
		_, err = c.p.o.s.fs.write(f, c.small)
		c.p.finish(f, err)
		return err
	}
	c.f, c.w = f, bufio.NewWriterSize(fileWriter{c.p.o.s, f}, 64<<10)
	_, err = c.w.Write(c.small)
	c.small = nil
	return err
}

// fileWriter writes through the seam.
type fileWriter struct {
	s *Spool
	f *os.File
}

func (w fileWriter) Write(b []byte) (int, error) { return w.s.fs.write(w.f, b) }

func (c *content) Write(b []byte) (int, error) {
	if c.f == nil && len(c.small)+len(b) <= smallContent {
		c.small = append(c.small, b...)
		return len(b), nil
	}
	if c.f == nil {
		if err := c.p.spread(); err != nil {
			return 0, c.p.wrap(err)
		}
	}
	n, err := c.w.Write(b)
	return n, c.p.wrap(err)
}

func (c *content) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	c.p.writing--
	if c.f == nil {
		return nil
	}
	err := c.w.Flush()
	c.p.finish(c.f, err)
	c.f = nil
	return c.p.wrap(err)
}

// finish syncs a file in the background; Commit has the outcome.
func (p *prepared) finish(f *os.File, err error) {
	p.syncs.Go(func() error { return p.o.s.fs.finish(f, err) })
}

// AddChunk implements spool.Prepared. A chunk without recipients is nothing.
func (p *prepared) AddChunk(ctx context.Context, c spool.Chunk) error {
	if err := ctx.Err(); err != nil {
		return p.wrap(err)
	}
	if len(c.Recipients) == 0 {
		return nil
	}
	if err := errors.Join(checkVariant(c.Variant), checkPersonal(&c)); err != nil {
		return p.wrap(err)
	}
	c.Reason = ""
	small := p.dir == "" && p.chunks == 0
	if !small {
		if err := p.spread(); err != nil {
			return p.wrap(err)
		}
	}
	name := chunkNumber(p.chunks + 1)
	if err := p.pack.add(chunkFile{key: segment.KeyOf(string(p.it.name.id), name), name: name}, &c); err != nil {
		return p.wrap(err)
	}
	p.chunks++
	if !p.variants[c.Variant] {
		p.variants[c.Variant] = false // it is needed
	}
	if small && fitsSmall(&c, p.pack.data) {
		p.chunk = c
		p.chunk.Recipients = slices.Clone(c.Recipients) // they are the caller's
		return nil
	}
	if err := p.spread(); err != nil {
		return p.wrap(err)
	}
	// The first is synced while the journal is written; most posts have no other.
	if p.chunks == 1 || p.pack.full() {
		return p.wrap(p.unpack())
	}
	return nil
}

// chunkNumber names the n-th chunk of a post.
func chunkNumber(n int) string { return fmt.Sprintf("%06d", n) }

// AddEntry implements spool.Prepared. The entry is a file beside the contents, which
// publish moves to where it belongs.
func (p *prepared) AddEntry(ctx context.Context, env spool.Envelope, message ...[]byte) (spool.ID, error) {
	if err := ctx.Err(); err != nil {
		return "", p.wrap(err)
	}
	name := entryName{p.o.s.newID(), segment.KeyOf(env.List)}
	if name.key != p.it.name.key {
		// It would belong to another owner, who could take it before this commit is through.
		return "", p.wrap(fmt.Errorf("a new entry for %s, which is not this entry's list", env.List))
	}
	var size int64
	for _, part := range message {
		size += int64(len(part))
	}
	h := entryHead(spool.Incoming, env, size)
	if h.Len() > maxHead-1 {
		return "", p.wrap(fmt.Errorf("an envelope of %d bytes: more than %d", h.Len(), maxHead-1))
	}
	h.WriteByte('\n')
	if err := p.spread(); err != nil {
		return "", p.wrap(err)
	}
	f, err := p.o.s.fs.create(filepath.Join(p.dir, entryPrefix+name.String()))
	if err != nil {
		return "", p.wrap(err)
	}
	p.entries++
	p.o.mu.Lock()
	p.o.table.last(p.it)
	p.o.mu.Unlock()
	for _, part := range append([][]byte{h.Bytes()}, message...) {
		if err == nil {
			_, err = p.o.s.fs.write(f, part)
		}
	}
	p.finish(f, err)
	return name.id, p.wrap(err)
}

// Commit implements spool.Prepared.
func (p *prepared) Commit(ctx context.Context) error {
	_, err := p.o.Commit(ctx, p)
	return err
}

// Commit implements spool.Owner. What the posts are made of is written and synced at once,
// nothing of which is visible; the steps follow one another, and share their syncs.
func (o *owner) Commit(ctx context.Context, posts ...spool.Prepared) (int, error) {
	group := make([]*prepared, len(posts))
	failed := make([]error, len(posts))
	var written sync.WaitGroup
	for i, post := range posts {
		p, ok := post.(*prepared)
		if !ok || p.o != o {
			return 0, fmt.Errorf("commit a post that another owner has prepared: %T", post)
		}
		group[i] = p
		write := func() { failed[i] = p.write(ctx) }
		if i == len(posts)-1 {
			write() // this goroutine has nothing else to do
		} else {
			written.Go(write)
		}
	}
	written.Wait()
	n, err := o.publish(ctx, group, failed)
	for i, p := range group {
		if p.dir != "" && (i >= n || !p.visible()) {
			_ = os.RemoveAll(p.dir) // gone if it was renamed
		}
	}
	if err != nil {
		return n, fmt.Errorf("commit entry %s: %w", group[n].it.name.id, err)
	}
	return n, nil
}

// write writes and syncs what is not yet, and makes sure that nothing is missing.
func (p *prepared) write(ctx context.Context) error {
	if !p.visible() && p.dir == "" {
		return ctx.Err() // just the removal
	}
	if p.first == nil && p.dir == "" {
		return fmt.Errorf("a chunk refers to variant %s, which has no content", p.chunk.Variant)
	}
	if p.dir != "" {
		if err := p.unpack(); err != nil {
			return err
		}
		if p.shared {
			if err := p.syncs.Wait(); err != nil { // only then have all chunks a name
				return err
			}
		}
		// The directories' entries are complete, so that all can be synced together:
		// nothing is visible before the rename.
		for _, d := range []string{p.dir, filepath.Join(p.dir, chunksDir)} {
			p.syncs.Go(func() error { return p.o.s.fs.syncDir(d) })
		}
	}
	if err := p.syncs.Wait(); err != nil {
		return err
	}
	if p.writing > 0 {
		return errors.New("a content is not closed")
	}
	for v, written := range p.variants {
		if !written {
			return fmt.Errorf("a chunk refers to variant %s, which has no content", v)
		}
	}
	if p.dir == "" {
		return p.writeSmall()
	}
	if err := p.complete(); err != nil {
		return err
	}
	return ctx.Err()
}

// visible tells whether there is anything to see after the commit.
func (p *prepared) visible() bool { return p.chunks+p.entries > 0 }

// writeSmall writes the one file of a small post.
func (p *prepared) writeSmall() (err error) {
	content := p.first.small
	p.dir, err = p.o.s.writeNew("small-"+p.it.name.String(), smallBytes(&p.chunk, len(content)), content)
	return err
}

// complete makes sure that all that was written is still there: another program may
// have tidied up in tmp.
func (p *prepared) complete() error {
	for path, want := range map[string]int{p.dir: len(p.variants) + p.entries + 1, filepath.Join(p.dir, chunksDir): p.chunks} {
		files, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		if len(files) != want {
			return fmt.Errorf("%s has %d files, want %d: did another program remove some?", path, len(files), want)
		}
	}
	return nil
}

// publish takes the one step of each post, a rename, up to the first that fails or was not
// written. What follows the step is done again after a crash, because Finished sees the
// post until outbound has made sure that the entry is gone.
func (o *owner) publish(ctx context.Context, group []*prepared, failed []error) (int, error) {
	if err := o.enter(); err != nil {
		return 0, err
	}
	defer o.life.RUnlock()
	var stop error
	n, appear, vanish := 0, false, false
	for ; n < len(group) && stop == nil; n++ {
		p := group[n]
		if stop = errors.Join(failed[n], ctx.Err()); stop == nil {
			stop = o.step(p)
		}
		if stop != nil {
			break
		}
		appear, vanish = appear || p.visible(), vanish || !p.visible()
	}
	if appear {
		if err := o.s.syncs[spool.Outgoing].sync(); err != nil {
			return 0, err
		}
	}
	for i, p := range group[:n] {
		if err := o.leave(p); err != nil {
			n, stop = i, err
			break
		}
	}
	if vanish {
		if err := o.s.syncs[o.q].sync(); err != nil {
			return 0, err
		}
	}
	for _, p := range group[:n] {
		o.gone(p.it)
	}
	return n, stop
}

// step makes a post visible.
func (o *owner) step(p *prepared) error {
	entry := o.s.path(o.q, p.it.name.String())
	if there, err := exists(entry); err != nil {
		return err
	} else if !there {
		return fmt.Errorf("%s: %w", entry, spool.ErrNotFound)
	}
	if !p.visible() {
		return nil
	}
	// A small post that is done would not be in the way of another of its name.
	there, err := o.s.isFinished(p.it.name)
	if err != nil || there {
		return err
	}
	if err := o.s.fs.renameNew(p.dir, o.s.postPath(p.it.name)); !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// leave takes a post's entry out of the queue.
func (o *owner) leave(p *prepared) error {
	if p.entries > 0 {
		if err := o.s.putEntries(p.it.name); err != nil {
			return err
		}
	}
	entry := o.s.path(o.q, p.it.name.String())
	remove := o.s.fs.removeIf
	if p.it.size <= maxSpareSize {
		remove = func(path string) error { return o.s.discard(o.q, path) }
	}
	if err := remove(entry); err != nil {
		return err
	}
	o.s.removeSide(o.q, p.it.name, p.it.st)
	return nil
}

// putEntries moves the new entries of a post to where they belong. None of them is handed
// out before the entry that they were made of is gone, which has the same key: so they are
// gone from here for good, too, before anything becomes of them.
func (s *Spool) putEntries(n entryName) error {
	files, err := os.ReadDir(s.postPath(n))
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, os.ErrNotExist) {
		return nil // a small post, which has none
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		name, ok := strings.CutPrefix(f.Name(), entryPrefix)
		if !ok {
			continue
		}
		from, to := filepath.Join(s.postPath(n), f.Name()), s.path(spool.Incoming, name)
		if err = s.fs.renameNew(from, to); errors.Is(err, os.ErrExist) {
			err = s.fs.removeIf(from) // a run that was cut short had come as far as that
		}
		if err != nil {
			return err
		}
	}
	// Also if there is none: the run before may not have come that far.
	if err := s.syncs[spool.Incoming].sync(); err != nil {
		return err
	}
	return s.fs.syncDir(s.postPath(n))
}

// Abort implements spool.Prepared.
func (p *prepared) Abort() error {
	_ = p.syncs.Wait() // nobody cares for these files any more
	if p.dir == "" {
		return nil
	}
	return p.wrap(os.RemoveAll(p.dir))
}

// Finished implements spool.Owner.
func (o *owner) Finished(_ context.Context, e spool.Entry) (bool, error) {
	it, err := o.handed(e)
	if err != nil {
		return false, fmt.Errorf("look for the post of entry %s: %w", e.ID, err)
	}
	defer o.life.RUnlock()
	there, err := o.s.isFinished(it.name)
	if err == nil && there {
		err = o.s.syncs[spool.Outgoing].sync() // the run before may not have come that far
		if err == nil {
			err = o.s.putEntries(it.name)
		}
	}
	if err != nil {
		return false, fmt.Errorf("look for the post of entry %s: %w", e.ID, err)
	}
	return there, nil
}

var _ spool.Owner = (*owner)(nil)
