package dir

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/spool"
)

// journal is the end of a chunk's file, where progress is noted.
type journal struct {
	file   *os.File
	synced time.Time
	torn   bool // the last write failed: part of a line may be there
}

// syncProgress is how often progress is synced: what a power cut may repeat.
const syncProgress = time.Second

// Progress implements spool.OutgoingOwner: one write to the end of the chunk's file, which
// the death of a process leaves in force. It is for one goroutine at a time of each chunk.
func (o *outgoing) Progress(c *spool.Chunk, i int) error {
	h, err := o.handed(c)
	if err == nil {
		defer o.life.RUnlock()
		err = o.progress(c, h, i)
	}
	if err != nil {
		return fmt.Errorf("progress of chunk %s: %w", c.ID(), err)
	}
	return nil
}

func (o *outgoing) progress(c *spool.Chunk, h handed, i int) error {
	if h.log == nil {
		var err error
		if h, err = o.spread(c, h); err != nil {
			return err
		}
		if h.file.to > 0 {
			if h.file, err = o.detach(h); err != nil {
				return err
			}
			o.keep(c, h)
		}
		f, err := o.openJournal(h)
		if err != nil {
			return err
		}
		h.log = &journal{file: f, synced: time.Now()}
		o.keep(c, h)
	}
	if gone, err := unlinked(h.log.file); err != nil {
		return err
	} else if gone {
		return spool.ErrNotFound // an operator removed the post
	}
	if h.index != nil {
		i = h.index[i]
	}
	line := progressLine(i)
	if h.log.torn {
		line = append([]byte{'\n'}, line...)
	}
	if _, err := o.s.fs.write(h.log.file, line); err != nil {
		h.log.torn = true
		return err
	}
	h.log.torn = false
	if now := time.Now(); now.Sub(h.log.synced) >= syncProgress {
		h.log.synced = now
		return o.s.fs.sync(h.log.file)
	}
	return nil
}

// keep notes what has changed of a chunk that is handed out.
func (o *outgoing) keep(c *spool.Chunk, h handed) {
	o.mu.Lock()
	o.out[c.ID()] = h
	o.mu.Unlock()
}

// openJournal opens a chunk's file, which an operator's retry may have renamed meanwhile.
func (o *outgoing) openJournal(h handed) (*os.File, error) {
	const flags = os.O_WRONLY | os.O_APPEND | unix.O_NOFOLLOW
	f, err := o.s.fs.open(o.s.chunkPath(h.post.name, h.file.String()), flags)
	if errors.Is(err, os.ErrNotExist) && h.file.due != 0 {
		file := h.file
		file.due = 0
		f, err = o.s.fs.open(o.s.chunkPath(h.post.name, file.String()), flags)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil, spool.ErrNotFound
	}
	return f, err
}

// detach gives a chunk that shares its file one of its own, to whose end something can be
// added. Both are there for a moment, and the chunk's own outdoes its part in the other.
func (o *outgoing) detach(h handed) (chunkFile, error) {
	file := h.file
	file.from, file.to = 0, 0
	part := o.s.chunkPath(h.post.name, h.file.String())
	src, _, err := o.s.fs.openRegular(part)
	if errors.Is(err, os.ErrNotExist) {
		err = spool.ErrNotFound // an operator removed the post
	}
	if err != nil {
		return h.file, err
	}
	defer src.Close()
	temp, err := o.s.temp("chunk")
	if err != nil {
		return h.file, err
	}
	dst, err := o.s.fs.create(temp)
	if err != nil {
		return h.file, err
	}
	if err := o.s.fs.finish(dst, o.s.fs.copy(dst, src, h.file.from, h.file.to-h.file.from)); err != nil {
		return h.file, err
	}
	own := o.s.chunkPath(h.post.name, file.String())
	if err := o.s.fs.rename(temp, own); err != nil {
		_ = o.s.fs.removeIf(temp)
		if errors.Is(err, os.ErrNotExist) {
			err = spool.ErrNotFound
		}
		return h.file, err
	}
	err = o.s.fs.syncDir(o.s.chunksPath(h.post.name))
	if err == nil {
		err = o.s.fs.removeIf(part)
	}
	if err == nil {
		return file, nil
	}
	if undo := o.s.fs.removeIf(own); undo != nil {
		err = errors.Join(err, undo)
		o.mu.Lock()
		h.post.doubled = true
		o.mu.Unlock()
	}
	return h.file, err
}

// unlinked tells whether an open file has no name any more.
func unlinked(f *os.File) (bool, error) {
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Nlink == 0, nil
}

// namesOf are the display names of some of a chunk's recipients.
func namesOf(c *spool.Chunk, some []string) []string {
	if len(c.Names) == 0 {
		return nil
	}
	all := make(map[string]string, len(c.Recipients))
	for i, r := range c.Recipients {
		all[r] = c.Names[i]
	}
	names := make([]string, len(some))
	for i, r := range some {
		names[i] = all[r]
	}
	return names
}
