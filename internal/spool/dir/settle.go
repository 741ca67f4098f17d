package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/mlist/mlist/internal/spool"
)

// handed finds what was handed out, and begins a change to it.
func (o *outgoing) handed(c *spool.Chunk) (handed, error) {
	if err := o.enter(); err != nil {
		return handed{}, err
	}
	o.mu.Lock()
	h, ok := o.out[c.ID()]
	o.mu.Unlock()
	if !ok {
		o.life.RUnlock()
		return h, fmt.Errorf("not handed out: %w", spool.ErrNotFound)
	}
	return h, nil
}

// Content implements spool.OutgoingOwner.
func (o *outgoing) Content(ctx context.Context, c *spool.Chunk) (spool.Message, error) {
	m, err := o.content(ctx, c)
	if errors.Is(err, os.ErrNotExist) {
		err = spool.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("content of chunk %s: %w", c.ID(), err)
	}
	return m, nil
}

func (o *outgoing) content(ctx context.Context, c *spool.Chunk) (spool.Message, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkVariant(c.Variant); err != nil {
		return nil, err
	}
	h, err := o.handed(c)
	if err != nil {
		return nil, err
	}
	defer o.life.RUnlock()
	if h.file.small {
		return o.s.smallMessage(ctx, h.post.name, c.Variant)
	}
	f, err := o.open(&h.post.text, filepath.Join(o.s.postPath(h.post.name), contentPrefix+c.Variant))
	if err != nil {
		return nil, err
	}
	return &sharedMessage{io.NewSectionReader(f, 0, f.info.Size()), f, o}, nil
}

// Settle implements spool.OutgoingOwner. A deferral is synced before it returns. The
// removal of a chunk is one unlink, which the death of any process leaves in force;
// its sync follows within syncDelay, so that only a power cut before that repeats
// the chunk.
func (o *outgoing) Settle(_ context.Context, c *spool.Chunk, r spool.Settlement) error {
	h, err := o.handed(c)
	if err != nil {
		return fmt.Errorf("settle chunk %s: %w", c.ID(), err)
	}
	defer o.life.RUnlock()
	var due int64
	if len(r.Deferred) > 0 {
		if h, err = o.spread(c, h); errors.Is(err, spool.ErrNotFound) {
			err = nil // an operator removed the post
		} else if err == nil {
			due, err = o.replace(h, c, r)
		}
	} else if err = o.removeChunk(h); err == nil {
		o.reaper.wrote(h.post.name)
	}
	if err != nil {
		return fmt.Errorf("settle chunk %s: %w", c.ID(), err)
	}
	o.forgetChunk(c)
	o.finished(h.post, h.file, due)
	return nil
}

func (o *outgoing) forgetChunk(c *spool.Chunk) {
	o.mu.Lock()
	h := o.out[c.ID()]
	delete(o.out, c.ID())
	o.mu.Unlock()
	if h.log != nil {
		_ = h.log.file.Close() // what was to last was synced
	}
}

// removeChunk unlinks the file, which an operator's retry may have renamed meanwhile.
func (o *outgoing) removeChunk(h handed) error {
	if h.file.small {
		return o.endSmall(h.post.name)
	}
	if h.file.to > 0 && o.isDoubled(h.post) {
		own := h.file
		own.from, own.to = 0, 0
		if err := o.s.fs.removeIf(o.s.chunkPath(h.post.name, own.String())); err != nil {
			return err
		}
	}
	err := o.s.fs.remove(o.s.chunkPath(h.post.name, h.file.String()))
	if errors.Is(err, os.ErrNotExist) && h.file.due != 0 {
		file := h.file
		file.due = 0
		return o.s.fs.removeIf(o.s.chunkPath(h.post.name, file.String()))
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil // an operator removed the post
	}
	return err
}

func (o *outgoing) isDoubled(p *post) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return p.doubled
}

// replace puts a chunk of the deferred recipients in the place of one. The step is
// the rename: from then on the new file outdoes the old.
func (o *outgoing) replace(h handed, c *spool.Chunk, r spool.Settlement) (int64, error) {
	next := *c
	next.Recipients, next.Reason = r.Deferred, r.Reason
	next.Names = namesOf(c, r.Deferred)
	file := h.file
	file.state = stateAt(h.file.tries+1, r.Due)
	temp, err := o.s.temp("chunk")
	if err != nil {
		return 0, err
	}
	if err := o.s.fs.writeFile(temp, chunkBytes(&next)); err != nil {
		return 0, err
	}
	path := o.s.chunkPath(h.post.name, file.String())
	if err := o.s.fs.rename(temp, path); err != nil {
		_ = o.s.fs.removeIf(temp)
		if there, _ := exists(o.s.chunksPath(h.post.name)); !there && errors.Is(err, os.ErrNotExist) {
			return 0, nil // an operator removed the post
		}
		return 0, err
	}
	// From here on the settlement is in force, whatever fails: the old file is outdone,
	// and the next look at the directory removes it if this does not.
	removeErr := o.removeChunk(h)
	if err := o.s.fs.syncDir(o.s.chunksPath(h.post.name)); err != nil || removeErr != nil {
		o.s.opts.Log.Error("a deferral may be undone by a power cut", "entry", h.post.name.id, "err", errors.Join(removeErr, err))
		o.reaper.wrote(h.post.name) // which syncs once more
	}
	return max(file.due, 1), nil
}

// Release implements spool.OutgoingOwner.
func (o *outgoing) Release(c *spool.Chunk, due time.Time) {
	h, err := o.handed(c)
	if err != nil {
		return
	}
	defer o.life.RUnlock()
	o.forgetChunk(c)
	o.back(h.post, h.file, due)
}
