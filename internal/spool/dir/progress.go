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
		f, err := o.openJournal(h)
		if err != nil {
			return err
		}
		h.log = &journal{file: f, synced: time.Now()}
		o.mu.Lock()
		o.out[c.ID()] = h
		o.mu.Unlock()
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
