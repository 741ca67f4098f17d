package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/mlist/mlist/internal/spool"
)

// message is a spool.Message: a file from an offset on.
type message struct {
	*io.SectionReader
	f      *os.File
	offset int64
}

func (m *message) Close() error            { return m.f.Close() }
func (m *message) File() (*os.File, int64) { return m.f, m.offset }

func newMessage(f *os.File, offset, size int64) spool.Message {
	return &message{io.NewSectionReader(f, offset, size), f, offset}
}

// sharedMessage is a spool.Message whose file others read, too.
type sharedMessage struct {
	*io.SectionReader
	f *opened // nil when it is closed
	o *outgoing
}

func (m *sharedMessage) File() (*os.File, int64) { return m.f.File, 0 }

func (m *sharedMessage) Close() error {
	if m.f == nil {
		return os.ErrClosed
	}
	m.o.left(m.f)
	m.f = nil
	return nil
}

// Read implements spool.Admin. Of an entry that is damaged it gives the whole file.
func (s *Spool) Read(ctx context.Context, e spool.Entry) (spool.Message, error) {
	m, err := s.read(ctx, e)
	if errors.Is(err, os.ErrNotExist) {
		err = spool.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read entry %s: %w", e.ID, err)
	}
	return m, nil
}

func (s *Spool) read(ctx context.Context, e spool.Entry) (spool.Message, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	name, err := s.check(e)
	if err != nil {
		return nil, err
	}
	f, info, err := s.fs.openRegular(s.path(e.Queue, name.String()))
	if err != nil {
		return nil, err
	}
	_, _, offset, size, err := readEntry(f, info)
	if isDamaged(err) {
		offset, size, err = 0, info.Size(), nil
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return newMessage(f, offset, size), nil
}

// check makes sure that an entry's fields may be used in a path.
func (s *Spool) check(e spool.Entry) (entryName, error) {
	if _, err := spool.CheckID(string(e.ID)); err != nil {
		return entryName{}, err
	}
	if e.Queue == spool.Outgoing || s.syncs[e.Queue] == nil {
		return entryName{}, fmt.Errorf("queue %q: not a queue of messages", e.Queue)
	}
	return entryName{e.ID, e.Key}, nil
}
