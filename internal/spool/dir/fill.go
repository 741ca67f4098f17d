package dir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// Fill implements spool.Movable.
func (s *Spool) Fill(ctx context.Context, from string) error {
	if err := s.fill(ctx, from); err != nil {
		return fmt.Errorf("fill spool %s: %w", s.root, err)
	}
	return nil
}

func (s *Spool) fill(ctx context.Context, from string) error {
	m, err := s.moves()
	if err != nil {
		return err
	}
	if m.From == from {
		return nil
	}
	if m.From != "" {
		return fmt.Errorf("%w: %s was to be moved here, and was in part", spool.ErrNotEmpty, m.From)
	}
	if m.To == from { // what was not cleared here went there, and comes back from there
		if err := s.clear(ctx); err != nil {
			return err
		}
	}
	for _, q := range spool.Queues {
		for name, err := range sortedNames(s.path(q, ""), "", 1) {
			if err != nil {
				return err
			}
			return fmt.Errorf("%w: %s", spool.ErrNotEmpty, s.path(q, name))
		}
	}
	if err := s.mark(fillingFile, from); err != nil {
		return err
	}
	// Its own mail was moved away before, and comes back.
	if err := s.fs.removeIf(filepath.Join(s.root, movedFile)); err != nil {
		return err
	}
	return s.fs.syncDir(s.root)
}

// restore writes a file that has its name when it is whole. It is on stable storage only
// after Filled, which is one sync for all of them.
func (s *Spool) restore(path string, parts ...io.Reader) error {
	temp, err := s.temp("restored")
	if err != nil {
		return err
	}
	f, err := s.fs.create(temp)
	if err != nil {
		return err
	}
	_, err = io.Copy(fileWriter{s, f}, io.MultiReader(parts...))
	if err = errors.Join(err, s.fs.close(f)); err == nil {
		err = s.fs.rename(temp, path)
	}
	if err != nil {
		return errors.Join(err, s.fs.removeIf(temp))
	}
	return nil
}

// RestoreEntry implements spool.Movable.
func (s *Spool) RestoreEntry(_ context.Context, e spool.StoredEntry, message io.Reader) error {
	if err := s.restoreEntry(e, message); err != nil {
		return fmt.Errorf("restore entry %s of %s: %w", e.ID, e.Queue, err)
	}
	return nil
}

func (s *Spool) restoreEntry(e spool.StoredEntry, message io.Reader) error {
	n, err := s.check(e.Entry)
	if err != nil {
		return err
	}
	// Its key is that of its list, which is what its name has, too.
	n.key = segment.KeyOf(e.List)
	if err := s.removeEntry(e.Queue, n); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	h := entryHead(e.Queue, e.Envelope, e.Size)
	if h.Len() > maxHead-1 {
		return fmt.Errorf("an envelope of %d bytes: more than %d", h.Len(), maxHead-1)
	}
	h.WriteByte('\n')
	st, nt := stateAt(e.Tries, e.Due), note{reason: e.Reason}
	parked := e.Queue == spool.Held || e.Queue == spool.Failed
	if parked {
		nt.queue, nt.tries = e.Origin, e.Tries
	}
	if parked || e.Tries > 0 || !e.Due.IsZero() || e.Reason != "" {
		if err := s.restore(s.sidePath(e.Queue, n, st), bytes.NewReader(nt.bytes())); err != nil {
			return err
		}
	}
	if err := s.restore(s.path(e.Queue, n.String()), h, message); err != nil {
		return err
	}
	there, err := s.isFinished(n)
	switch {
	case err != nil:
		return err
	case e.Finished && !there:
		return s.restore(s.donePath(n), strings.NewReader(""))
	case !e.Finished && there:
		return s.fs.removeIf(s.donePath(n))
	}
	return nil
}

// RestorePost implements spool.Movable. The post is a directory, whatever it was.
func (s *Spool) RestorePost(ctx context.Context, p spool.StoredPost, content func(string) (spool.Message, error), chunks iter.Seq2[spool.Chunk, error]) error {
	if err := s.restorePost(ctx, p, content, chunks); err != nil {
		return fmt.Errorf("restore post %s: %w", p.ID, err)
	}
	return nil
}

func (s *Spool) restorePost(ctx context.Context, p spool.StoredPost, content func(string) (spool.Message, error), chunks iter.Seq2[spool.Chunk, error]) (err error) {
	if _, err := spool.CheckID(string(p.ID)); err != nil {
		return err
	}
	n := entryName{p.ID, p.Key}
	temp, err := s.temp("post-" + n.String())
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(temp) // else it is swept with tmp
		}
	}()
	for _, d := range []string{temp, filepath.Join(temp, chunksDir)} {
		if err := s.fs.mkdir(d); err != nil {
			return err
		}
	}
	for _, variant := range p.Variants {
		if err := s.restoreContent(filepath.Join(temp, contentPrefix+variant), variant, content); err != nil {
			return err
		}
	}
	for c, err := range chunks {
		if err = errors.Join(err, ctx.Err(), checkChunk(&c, p.Variants)); err != nil {
			return err
		}
		file := chunkFile{key: c.Key, name: c.Name}
		if c.Tries > 0 || !c.Due.IsZero() {
			file.state = stateAt(c.Tries, c.Due)
		}
		if err := s.restore(filepath.Join(temp, chunksDir, file.String()), bytes.NewReader(chunkBytes(&c))); err != nil {
			return err
		}
	}
	if p.Paused {
		if err := s.pause(n); err != nil {
			return err
		}
	}
	if err := s.fs.removeIf(s.donePath(n)); err != nil {
		return err
	}
	return s.fs.renameNew(temp, s.postPath(n))
}

func (s *Spool) restoreContent(path, variant string, content func(string) (spool.Message, error)) error {
	if err := checkVariant(variant); err != nil {
		return err
	}
	m, err := content(variant)
	if err != nil {
		return err
	}
	defer m.Close()
	return s.restore(path, io.NewSectionReader(m, 0, m.Size()))
}

// checkChunk refuses a chunk that could not be read back.
func checkChunk(c *spool.Chunk, variants []string) error {
	if c.Name == "" || strings.Trim(c.Name, "0123456789") != "" {
		return fmt.Errorf("chunk %.40q: want digits", c.Name)
	}
	if !slices.Contains(variants, c.Variant) {
		return fmt.Errorf("chunk %s refers to variant %.70q, which is missing", c.Name, c.Variant)
	}
	return checkPersonal(c)
}

// Filled implements spool.Movable.
func (s *Spool) Filled(context.Context) error {
	if err := s.filled(); err != nil {
		return fmt.Errorf("fill spool %s: %w", s.root, err)
	}
	return nil
}

func (s *Spool) filled() error {
	root, err := os.Open(s.root)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := unix.Syncfs(int(root.Fd())); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	if err := s.fs.removeIf(filepath.Join(s.root, fillingFile)); err != nil {
		return err
	}
	return s.fs.syncDir(s.root)
}

// stays is asked after each put, by those who have not heard that the mail is moving. What was put before
// Leave is found by who moves the mail, and what was put later than that is not acknowledged.
func (s *Spool) stays() error {
	there, err := exists(filepath.Join(s.root, movedFile))
	if err != nil || !there {
		return err
	}
	m, err := s.moves()
	if err != nil {
		return err
	}
	return m.Check()
}
