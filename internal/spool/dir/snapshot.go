package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/spool"
)

// Snapshot is what a spool held while it was taken, under second names in this process's
// directory of tmp: links, which cost no room and keep the bytes while mail goes on.
//
// Every entry and every chunk that was there when Take began, and is not done when it ends,
// is in it. What is in it is a state that a crash could have left (docs/spool.md): an entry
// may be there beside the post that was made of it, and a chunk in two states.
type Snapshot struct {
	s     *Spool
	root  string
	begun spool.ID
	has   map[entryName]spool.Queue // where each entry was seen first
}

// maxRounds bounds how often everything is looked through. Two are enough unless an operator
// moves entries between queues meanwhile.
const maxRounds = 8

// Take takes a snapshot. Nothing waits for it.
func (s *Spool) Take(ctx context.Context) (*Snapshot, error) {
	root, err := s.temp("snapshot")
	if err != nil {
		return nil, fmt.Errorf("snapshot of the spool: %w", err)
	}
	sn := &Snapshot{s: s, root: root, begun: spool.MakeID(uint64(time.Now().UnixMicro()), 0), has: map[entryName]spool.Queue{}}
	if err := sn.take(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("snapshot of the spool: %w", err), sn.Close())
	}
	return sn, nil
}

// Close removes the second names.
func (sn *Snapshot) Close() error { return os.RemoveAll(sn.root) }

func (sn *Snapshot) take(ctx context.Context) error {
	for _, d := range append([]string{""}, names(spool.Queues)...) {
		if err := sn.s.fs.mkdir(filepath.Join(sn.root, d)); err != nil {
			return err
		}
	}
	// Mail moves on while we look: from a queue that we have yet to see into one that we have
	// seen, it would slip through. Posts come after what they are made of, for which one look
	// in this order is enough. Entries also come back from held and failed: hence the rounds.
	for range maxRounds {
		more := 0
		for _, q := range []spool.Queue{spool.Incoming, spool.Bounces, spool.Held, spool.Failed} {
			n, err := sn.queue(ctx, q)
			if err != nil {
				return err
			}
			more += n
		}
		n, err := sn.outgoing(ctx)
		if err != nil {
			return err
		}
		if more+n == 0 {
			break
		}
	}
	return nil
}

func names(queues []spool.Queue) []string {
	out := make([]string, len(queues))
	for i, q := range queues {
		out[i] = string(q)
	}
	return out
}

// queue links what a queue holds, and tells how many entries it has that are older than the
// snapshot and were not seen before.
func (sn *Snapshot) queue(ctx context.Context, q spool.Queue) (older int, err error) {
	for name, err := range sortedNames(sn.s.path(q, ""), "", window) {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return older, err
		}
		n, st, err := parseName(name)
		if err != nil {
			continue // not ours
		}
		where, known := sn.has[n]
		if known != st.side || known && where != q {
			continue // it is in the snapshot, or what lies beside it has no entry here
		}
		linked, err := sn.link(string(q), name)
		if err != nil {
			return older, err
		}
		if linked && !st.side {
			sn.has[n] = q
			if n.id < sn.begun {
				older++
			}
		}
	}
	return older, nil
}

// outgoing does the same for posts.
func (sn *Snapshot) outgoing(ctx context.Context) (older int, err error) {
	const q = string(spool.Outgoing)
	for name, err := range sortedNames(sn.s.path(spool.Outgoing, ""), "", window) {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return older, err
		}
		n, beside, err := parsePost(name)
		if err != nil || beside == pokeSuffix {
			continue
		}
		there, err := exists(filepath.Join(sn.root, q, n.String()))
		if err != nil {
			return older, err
		}
		if beside != "" {
			if beside == doneSuffix && there {
				continue // it was not done when we saw it
			}
			if _, err := sn.link(q, name); err != nil {
				return older, err
			}
			continue
		}
		info, err := os.Lstat(sn.s.postPath(n))
		if errors.Is(err, os.ErrNotExist) {
			continue // it is done
		}
		if err != nil {
			return older, err
		}
		linked := false
		if info.IsDir() {
			linked, err = sn.post(ctx, n)
		} else if !there {
			linked, err = sn.link(q, name)
		}
		if err != nil {
			return older, err
		}
		if linked && n.id < sn.begun {
			older++
		}
	}
	return older, nil
}

// post links a post that is a directory, its contents first: they are there as long as a
// chunk is. It tells whether there was anything new. One without chunks is kept, too: it says
// that its entry is done with.
func (sn *Snapshot) post(ctx context.Context, n entryName) (more bool, err error) {
	dir := filepath.Join(string(spool.Outgoing), n.String())
	if info, err := os.Lstat(filepath.Join(sn.root, dir)); err == nil && !info.IsDir() {
		return false, nil // a small post when we saw it, which says all
	}
	for _, d := range []string{dir, filepath.Join(dir, chunksDir)} {
		if err := sn.s.fs.mkdir(filepath.Join(sn.root, d)); err != nil && !errors.Is(err, os.ErrExist) {
			return false, err
		}
	}
	for _, d := range []string{dir, filepath.Join(dir, chunksDir)} {
		for name, err := range sortedNames(filepath.Join(sn.s.root, d), "", window) {
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
				break // done
			}
			if err = errors.Join(err, ctx.Err()); err != nil {
				return more, err
			}
			if name == chunksDir {
				continue
			}
			linked, err := sn.link(d, name)
			if err != nil {
				return more, err
			}
			more = more || linked
		}
	}
	return more, nil
}

// link gives a file of the spool a second name; false if it went before, or has it already.
func (sn *Snapshot) link(dir, name string) (bool, error) {
	err := sn.s.fs.link(filepath.Join(sn.s.root, dir, name), filepath.Join(sn.root, dir, name))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrExist) || errors.Is(err, unix.ENOTDIR) {
		return false, nil
	}
	return err == nil, err
}

// Entries is how many messages are in the snapshot, and Posts how many posts.
func (sn *Snapshot) Entries() int { return len(sn.has) }

// File is a file of a snapshot.
type File struct {
	Name string // below the spool's directory, with slashes
	Size int64

	path string
	from int64
}

// Open reads it: Size octets.
func (f File) Open() (io.ReadCloser, error) {
	o, err := os.OpenFile(f.path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	return section{io.NewSectionReader(o, f.from, f.Size), o}, nil
}

type section struct {
	*io.SectionReader
	file *os.File
}

func (s section) Close() error { return s.file.Close() }

// Files yields the files of the snapshot. A spool that has them, and directories for its
// queues, is this one as it was. A chunk that shares its file has one of its own.
func (sn *Snapshot) Files() iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		err := filepath.WalkDir(sn.root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() { // a link is damage, as it is to whoever reads the queue
				return err
			}
			f, err := sn.file(path, e)
			if err == nil && f.path == "" {
				return nil
			}
			if !yield(f, err) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(File{}, fmt.Errorf("snapshot of the spool: %w", err))
		}
	}
}

func (sn *Snapshot) file(path string, e fs.DirEntry) (File, error) {
	info, err := e.Info()
	if err != nil {
		return File{}, err
	}
	name, err := filepath.Rel(sn.root, path)
	if err != nil {
		return File{}, err
	}
	f := File{Name: filepath.ToSlash(name), Size: info.Size(), path: path}
	if c, ok := parseChunkFile(e.Name()); ok && c.to > 0 && filepath.Base(filepath.Dir(path)) == chunksDir {
		own := filepath.Join(filepath.Dir(path), c.base())
		if there, err := exists(own); there || err != nil {
			return File{}, err // which is newer
		}
		f.Name = strings.TrimSuffix(f.Name, e.Name()) + c.base()
		f.from, f.Size = c.from, c.to-c.from
	}
	return f, nil
}

// CheckFile refuses a name that no File of a snapshot has: what is put back into a spool must
// be of the spool.
func CheckFile(name string) error {
	parts := strings.Split(name, "/")
	bad := fmt.Errorf("%.200q is no file of a spool", name)
	if len(parts) < 2 || !slices.Contains(names(spool.Queues), parts[0]) {
		return bad
	}
	if parts[0] != string(spool.Outgoing) {
		if _, _, err := parseName(parts[1]); err != nil || len(parts) != 2 {
			return bad
		}
		return nil
	}
	_, beside, err := parsePost(parts[1])
	if err != nil {
		return bad
	}
	switch len(parts) {
	case 2:
		return nil
	case 3:
		for _, prefix := range []string{contentPrefix, entryPrefix, damagedPrefix} {
			if beside == "" && strings.HasPrefix(parts[2], prefix) {
				return nil
			}
		}
	case 4:
		if _, ok := parseChunkFile(parts[3]); ok && beside == "" && parts[2] == chunksDir {
			return nil
		}
	}
	return bad
}
