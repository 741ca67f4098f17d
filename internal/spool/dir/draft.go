package dir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

const (
	// inMemory is how much of a draft is held in memory; more goes to a file in tmp.
	inMemory = 128 << 10
	// reserve is the room that such a file leaves for the header of the first entry
	// made of it, so that a large message is not copied for one list.
	reserve = 1024
)

// draft is a spool.Draft.
type draft struct {
	s    *Spool
	size int64

	mu     sync.Mutex
	buf    []byte
	file   *os.File // nil as long as all is in buf
	path   string   // of file, until it became an entry
	sealed bool     // Put was called
	err    error    // what was written cannot be trusted
}

var errSealed = errors.New("write to a draft after its first Put")

// Create implements spool.Putter.
func (s *Spool) Create(ctx context.Context) (spool.Draft, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("create a draft: %w", err)
	}
	return &draft{s: s}, nil
}

// Write implements io.Writer.
func (d *draft) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sealed && d.err == nil {
		d.err = errSealed
	}
	if d.err == nil && d.file == nil && len(d.buf)+len(p) > inMemory {
		d.err = d.spill()
	}
	if d.err != nil {
		return 0, d.err
	}
	if d.file == nil {
		d.buf = append(d.buf, p...)
		d.size += int64(len(p))
		return len(p), nil
	}
	n, err := d.s.fs.write(d.file, p)
	d.size += int64(n)
	if err != nil {
		d.err = fmt.Errorf("write a draft: %w", err)
	}
	return n, d.err
}

// spill moves what is in memory to a file.
func (d *draft) spill() error {
	path, err := d.s.temp("draft")
	if err != nil {
		return fmt.Errorf("write a draft: %w", err)
	}
	if d.file, err = d.s.fs.create(path); err != nil {
		return fmt.Errorf("write a draft: %w", err)
	}
	d.path = path
	if _, err = d.file.Seek(reserve, 0); err == nil {
		_, err = d.s.fs.write(d.file, d.buf)
	}
	if err != nil {
		return fmt.Errorf("write a draft: %w", err)
	}
	d.buf = nil
	return nil
}

// Put implements spool.Draft. It may be called at once for several lists.
func (d *draft) Put(ctx context.Context, q spool.Queue, id spool.ID, env spool.Envelope) (spool.ID, error) {
	given := id != ""
	if !given {
		id = d.s.newID()
	}
	err := d.put(ctx, q, id, given, env)
	if err == nil {
		err = d.s.stays()
	}
	if err != nil {
		return "", fmt.Errorf("put entry %s: %w", id, err)
	}
	return id, nil
}

func (d *draft) put(ctx context.Context, q spool.Queue, id spool.ID, given bool, env spool.Envelope) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if q == spool.Outgoing || d.s.syncs[q] == nil {
		return fmt.Errorf("in %s: not a queue of messages", q)
	}
	if _, err := spool.CheckID(string(id)); err != nil {
		return err
	}
	if q == spool.Incoming {
		if err := d.s.room(d.size); err != nil {
			return err
		}
	}
	name := entryName{id, segment.KeyOf(env.List)}
	final := d.s.path(q, name.String())
	if given {
		if there, err := exists(final); err != nil || there {
			if err == nil {
				err = d.s.syncs[q].sync() // whoever put it may not be that far
			}
			return err
		}
	}
	temp, err := d.stage(entryHead(q, env, d.size))
	if err != nil {
		return err
	}
	if err := d.s.fs.renameNew(temp, final); err != nil {
		_ = d.s.fs.removeIf(temp)
		if errors.Is(err, os.ErrExist) {
			return d.s.syncs[q].sync()
		}
		return err
	}
	if err := d.s.syncs[q].sync(); err != nil {
		// Thrown away, unless an owner was quicker and has done with it already.
		if removeErr := d.s.fs.remove(final); !errors.Is(removeErr, os.ErrNotExist) {
			return errors.Join(err, removeErr)
		}
	}
	return nil
}

// stage makes a synced temporary file of header and message.
func (d *draft) stage(h *head) (string, error) {
	if h.Len() > maxHead-1 {
		return "", fmt.Errorf("an envelope of %d bytes: more than %d", h.Len(), maxHead-1)
	}
	d.mu.Lock()
	d.sealed = true
	if d.err != nil {
		d.mu.Unlock()
		return "", d.err
	}
	path := d.path
	if d.file != nil && path != "" && h.Len()+len("pad: \n\n") <= reserve {
		defer d.mu.Unlock()
		d.path = ""
		d.err = d.claimFile(h)
		if d.err != nil {
			_ = d.s.fs.removeIf(path)
		}
		return path, d.err
	}
	d.mu.Unlock()
	return d.copyOut(h)
}

// claimFile makes the draft's own file an entry's: the header goes into the room that
// was left for it. After a failed sync the file cannot be trusted any more, so the
// draft is lost with it.
func (d *draft) claimFile(h *head) error {
	h.WriteString("pad: ")
	for h.Len() < reserve-2 {
		h.WriteByte(' ')
	}
	h.WriteString("\n\n")
	if _, err := d.file.Seek(0, 0); err != nil {
		return err
	}
	if _, err := d.s.fs.write(d.file, h.Bytes()); err != nil {
		return fmt.Errorf("write %s: %w", d.file.Name(), err)
	}
	if err := d.s.fs.sync(d.file); err != nil {
		return fmt.Errorf("sync %s: %w", d.file.Name(), err)
	}
	return nil
}

func (d *draft) copyOut(h *head) (string, error) {
	h.WriteByte('\n')
	if d.file == nil {
		return d.s.writeNew("entry", h.Bytes(), d.buf)
	}
	path, err := d.s.temp("entry")
	if err != nil {
		return "", err
	}
	f, err := d.s.fs.create(path)
	if err != nil {
		return "", err
	}
	if _, err = d.s.fs.write(f, h.Bytes()); err == nil {
		err = d.s.fs.copy(f, d.file, reserve, d.size)
	}
	return path, d.s.fs.finish(f, err)
}

// Close implements spool.Draft.
func (d *draft) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sealed = true
	if d.err == nil {
		d.err = os.ErrClosed
	}
	d.buf = nil
	if d.file == nil {
		return nil
	}
	err := d.file.Close()
	if d.path != "" {
		err = errors.Join(err, d.s.fs.removeIf(d.path))
	}
	d.file, d.path = nil, ""
	return err
}
