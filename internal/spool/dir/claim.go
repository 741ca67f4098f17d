package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// claim is a file in owners/ that tells who owns which segments of a queue. It is
// locked while the owner lives; without the lock it means nothing.
type claim struct {
	path string
	file *os.File
}

// claim claims segments, or fails with spool.ErrOwned.
func (s *Spool) claim(ctx context.Context, q spool.Queue, set segment.Set, name string) (*claim, error) {
	if len(set) == 0 {
		return nil, fmt.Errorf("own %s: no segments", q)
	}
	unlock, err := s.lockAll(ctx)
	if err != nil {
		return nil, fmt.Errorf("own %s: %w", q, err)
	}
	defer unlock()
	if err := s.checkClaims(q, set); err != nil {
		return nil, fmt.Errorf("own %s %s: %w", q, set, err)
	}
	path := filepath.Join(s.root, ownersDir, fmt.Sprintf("%s-%s", q, s.newID()))
	f, err := s.fs.create(path)
	if err != nil {
		return nil, fmt.Errorf("own %s: %w", q, err)
	}
	h := newHead("owner")
	h.add("queue", string(q))
	h.add("segments", set.String())
	h.add("name", name)
	h.add("pid", strconv.Itoa(os.Getpid()))
	_, err = s.fs.write(f, h.Bytes())
	if err == nil {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		f.Close()
		_ = os.Remove(path)
		return nil, fmt.Errorf("own %s: write %s: %w", q, path, err)
	}
	return &claim{path, f}, nil
}

// checkClaims removes the claims of the dead and refuses those of the living.
func (s *Spool) checkClaims(q spool.Queue, set segment.Set) error {
	dir := filepath.Join(s.root, ownersDir)
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, d := range files {
		if !isClaim(d) {
			continue
		}
		if err := s.checkClaim(filepath.Join(dir, d.Name()), q, set); err != nil {
			return err
		}
	}
	return nil
}

// isClaim tells whether a file in owners/ is ours: QUEUE-ID. Others stay.
func isClaim(d os.DirEntry) bool {
	q, id, _ := strings.Cut(d.Name(), "-")
	_, err := spool.CheckID(id)
	return err == nil && d.Type().IsRegular() && slices.Contains(spool.Queues, spool.Queue(q))
}

func (s *Spool) checkClaim(path string, q spool.Queue, set segment.Set) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // given up just now
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		return s.fs.removeIf(path)
	} else if err != unix.EWOULDBLOCK {
		return fmt.Errorf("lock %s: %w", path, err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxHead))
	if err != nil {
		return err
	}
	other, err := parseClaim(data)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if other.Queue != q {
		return nil
	}
	if r, overlap := other.Segments.Overlap(set); overlap {
		return fmt.Errorf("%s belongs to %s (pid %d): %w", r, other.Name, other.PID, spool.ErrOwned)
	}
	return nil
}

// parseClaim reads the file of a claim.
func parseClaim(data []byte) (o spool.Ownership, err error) {
	err = parseHead("owner", data, func(key, value string) (err error) {
		switch key {
		case "queue":
			o.Queue = spool.Queue(value)
		case "segments":
			o.Segments, err = segment.Parse(value)
		case "name":
			o.Name = strings.TrimSpace(unescape(value))
		case "pid":
			o.PID, err = strconv.Atoi(value)
		}
		return err
	})
	return o, err
}

// end gives the claim up. The file goes before the lock does.
func (c *claim) end() error {
	err := os.Remove(c.path)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, c.file.Close())
}
