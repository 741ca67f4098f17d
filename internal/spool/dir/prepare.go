package dir

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

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

// prepared is a spool.Prepared: a directory in tmp that Commit renames.
type prepared struct {
	o        *owner
	it       *item
	dir      string
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
	if p.dir, err = o.s.temp("post-" + it.name.String()); err == nil {
		if err = o.s.fs.mkdir(p.dir); err == nil {
			err = o.s.fs.mkdir(filepath.Join(p.dir, chunksDir))
		}
	}
	if err != nil {
		_ = os.RemoveAll(p.dir)
		return nil, fmt.Errorf("prepare entry %s: %w", e.ID, err)
	}
	return p, nil
}

// content writes a variant's file.
type content struct {
	p *prepared
	f *os.File
	w *bufio.Writer
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
	f, err := p.o.s.fs.create(filepath.Join(p.dir, contentPrefix+variant))
	if err != nil {
		return nil, p.wrap(err)
	}
	p.variants[variant] = true
	p.writing++
	c := &content{p: p, f: f}
	c.w = bufio.NewWriterSize(fileWriter{p.o.s, f}, 64<<10)
	return c, nil
}

// fileWriter writes through the seam.
type fileWriter struct {
	s *Spool
	f *os.File
}

func (w fileWriter) Write(b []byte) (int, error) { return w.s.fs.write(w.f, b) }

func (c *content) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	return n, c.p.wrap(err)
}

func (c *content) Close() error {
	if c.f == nil {
		return nil
	}
	err := c.w.Flush()
	c.p.writing--
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
	name := fmt.Sprintf("%06d", p.chunks+1)
	if err := p.pack.add(chunkFile{key: segment.KeyOf(string(p.it.name.id), name), name: name}, &c); err != nil {
		return p.wrap(err)
	}
	p.chunks++
	if !p.variants[c.Variant] {
		p.variants[c.Variant] = false // it is needed
	}
	// The first is synced while the journal is written; most posts have no other.
	if p.chunks == 1 || p.pack.full() {
		return p.wrap(p.unpack())
	}
	return nil
}

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
	f, err := p.o.s.fs.create(filepath.Join(p.dir, entryPrefix+name.String()))
	if err != nil {
		return "", p.wrap(err)
	}
	p.entries++
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
	err := p.commit(ctx)
	_ = os.RemoveAll(p.dir) // gone if it was renamed
	if err != nil {
		return fmt.Errorf("commit entry %s: %w", p.it.name.id, err)
	}
	return nil
}

func (p *prepared) commit(ctx context.Context) error {
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
	if err := p.complete(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := p.o.enter(); err != nil {
		return err
	}
	defer p.o.life.RUnlock()
	return p.o.publish(p.it, p.dir, p.chunks, p.entries)
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

// publish is the one step: a rename. What follows it is done again after a crash,
// because Finished sees the post until outbound has made sure that the entry is gone.
func (o *owner) publish(it *item, dir string, chunks, entries int) error {
	s, entry := o.s, o.s.path(o.q, it.name.String())
	if there, err := exists(entry); err != nil {
		return err
	} else if !there {
		return fmt.Errorf("%s: %w", entry, spool.ErrNotFound)
	}
	visible := chunks+entries > 0
	if visible {
		err := s.fs.renameNew(dir, s.postPath(it.name))
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		if err := s.syncs[spool.Outgoing].sync(); err != nil {
			return err
		}
	}
	if entries > 0 {
		if err := s.putEntries(it.name); err != nil {
			return err
		}
	}
	if err := s.fs.removeIf(entry); err != nil {
		return err
	}
	s.removeSide(o.q, it.name, it.st)
	if !visible {
		if err := s.syncs[o.q].sync(); err != nil {
			return err
		}
	}
	o.gone(it)
	return nil
}

// putEntries moves the new entries of a post to where they belong. None of them is handed
// out before the entry that they were made of is gone, which has the same key: so they are
// gone from here for good, too, before anything becomes of them.
func (s *Spool) putEntries(n entryName) error {
	files, err := os.ReadDir(s.postPath(n))
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
	return p.wrap(os.RemoveAll(p.dir))
}

// Finished implements spool.Owner.
func (o *owner) Finished(_ context.Context, e spool.Entry) (bool, error) {
	it, err := o.handed(e)
	if err != nil {
		return false, fmt.Errorf("look for the post of entry %s: %w", e.ID, err)
	}
	defer o.life.RUnlock()
	there, err := exists(o.s.postPath(it.name))
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
