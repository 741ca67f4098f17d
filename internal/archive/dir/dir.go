// Package dir keeps an archive in a directory: DOMAIN/LOCAL/YYYY-MM/NAME.eml.gz, each file
// one message as gzip, so that zcat and zgrep read it.
//
// A file is written under a name that starts with a dot and renamed; then it and its
// directory are synced. A crash leaves a file with a dot, which Places removes when it is a
// day old, or one that may be cut, which gzip's checksum tells.
package dir

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/archive"
)

const (
	suffix   = ".eml.gz"
	dirMode  = 0o750 // archives can be private
	fileMode = 0o640
	// leftover is after how long a temporary file is nobody's any more.
	leftover = 24 * time.Hour
)

// Archive is an archive in a directory.
type Archive struct {
	root string
	now  func() time.Time

	mu    sync.Mutex
	known map[string]bool // directories that are there, and synced
	zips  sync.Pool       // of *gzip.Writer
}

var _ archive.Archive = (*Archive)(nil)

// New returns the archive at root, which need not be there yet.
func New(root string) *Archive {
	return &Archive{root: filepath.Clean(root), now: time.Now, known: map[string]bool{}}
}

// Make makes the archive's directory if it is not there, and tells whether it can be used.
func (a *Archive) Make() error {
	err := a.makeDir(a.root)
	if err == nil {
		err = unix.Access(a.root, unix.W_OK|unix.X_OK)
	}
	if err != nil {
		return fmt.Errorf("archive %s: %w", a.root, err)
	}
	return nil
}

// Put implements archive.Archive.
func (a *Archive) Put(ctx context.Context, key archive.Key, write func(io.Writer) error) (archive.Message, error) {
	place, err := placeOf(key)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return archive.Message{}, fmt.Errorf("archive %s: %w", key.Name, err)
	}
	m, err := a.describe(place)
	if errors.Is(err, archive.ErrNotFound) || errors.Is(err, archive.ErrDamaged) {
		m, err = a.put(place, write)
	}
	if err != nil {
		return archive.Message{}, fmt.Errorf("archive %s: %w", key.Name, err)
	}
	return m, nil
}

func (a *Archive) put(place string, write func(io.Writer) error) (archive.Message, error) {
	path := a.path(place)
	if err := a.makeDir(filepath.Dir(path)); err != nil {
		return archive.Message{}, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		a.forget()
		return archive.Message{}, err
	}
	sum, err := a.fill(f, write)
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return archive.Message{}, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	// The file is synced under its last name, which takes the name along on most file systems:
	// then syncing the directory costs nothing. A crash before may leave a file that is cut,
	// and has no row; its checksum tells, and the next run writes it anew.
	if err := errors.Join(f.Sync(), f.Close(), syncDir(filepath.Dir(path))); err != nil {
		return archive.Message{}, err
	}
	return sum.message(place), nil
}

// fill writes the file.
func (a *Archive) fill(f *os.File, write func(io.Writer) error) (*sum, error) {
	zip, _ := a.zips.Get().(*gzip.Writer)
	if zip == nil {
		zip, _ = gzip.NewWriterLevel(f, gzip.BestSpeed) // the level exists
	} else {
		zip.Reset(f)
	}
	defer a.zips.Put(zip)
	s := &sum{to: zip, hash: sha256.New()}
	err := write(s)
	if err == nil {
		err = zip.Close()
	}
	if err == nil {
		err = f.Chmod(fileMode)
	}
	if err == nil {
		err = a.own(f.Name())
	}
	return s, err
}

// sum counts and hashes what goes to a writer.
type sum struct {
	to   io.Writer
	hash hash.Hash
	size int64
}

func (s *sum) Write(p []byte) (int, error) {
	n, err := s.to.Write(p)
	s.hash.Write(p[:n])
	s.size += int64(n)
	return n, err
}

func (s *sum) message(place string) archive.Message {
	return archive.Message{Place: place, Size: s.size, SHA256: s.hash.Sum(nil)}
}

// describe reads what is there. The file's time becomes now, so that nobody takes it for one
// that was left behind.
func (a *Archive) describe(place string) (archive.Message, error) {
	r, err := a.open(place)
	if err != nil {
		return archive.Message{}, err
	}
	defer r.Close()
	now := a.now()
	if err := os.Chtimes(a.path(place), now, now); err != nil {
		return archive.Message{}, err
	}
	s := &sum{to: io.Discard, hash: sha256.New()}
	if _, err := io.Copy(s, r); err != nil {
		return archive.Message{}, err
	}
	return s.message(place), nil
}

// Open implements archive.Archive.
func (a *Archive) Open(ctx context.Context, place string) (io.ReadCloser, error) {
	err := ctx.Err()
	var r io.ReadCloser
	if err == nil {
		r, err = a.open(place)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", place, err)
	}
	return r, nil
}

func (a *Archive) open(place string) (io.ReadCloser, error) {
	if err := checkPlace(place); err != nil {
		return nil, err
	}
	f, err := os.Open(a.path(place))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, archive.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	zip, err := gzip.NewReader(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%w: %w", archive.ErrDamaged, err)
	}
	return &reader{zip: zip, file: f}, nil
}

type reader struct {
	zip  *gzip.Reader
	file *os.File
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.zip.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%w: %w", archive.ErrDamaged, err)
	}
	return n, err
}

func (r *reader) Close() error { return r.file.Close() }

// Remove implements archive.Archive.
func (a *Archive) Remove(_ context.Context, place string) error {
	err := checkPlace(place)
	if err == nil {
		err = os.Remove(a.path(place))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = syncDir(filepath.Dir(a.path(place)))
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", place, err)
	}
	return nil
}

// Places implements archive.Archive. It removes what a crash left on the way.
func (a *Archive) Places(ctx context.Context) iter.Seq2[archive.Place, error] {
	return func(yield func(archive.Place, error) bool) {
		err := filepath.WalkDir(a.root, func(path string, e fs.DirEntry, err error) error {
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case errors.Is(err, fs.ErrNotExist): // removed meanwhile, or there is no archive yet
				return nil
			case err != nil:
				return err
			case !e.Type().IsRegular():
				return nil
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if strings.HasPrefix(e.Name(), ".new-") {
				if a.now().Sub(info.ModTime()) > leftover {
					return os.Remove(path)
				}
				return nil
			}
			place, err := filepath.Rel(a.root, path)
			if err != nil || checkPlace(place) != nil {
				return err // another's file
			}
			if !yield(archive.Place{Name: filepath.ToSlash(place), Key: strings.TrimSuffix(e.Name(), suffix), Changed: info.ModTime()}, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(archive.Place{}, fmt.Errorf("look through the archive %s: %w", a.root, err))
		}
	}
}

// Path is the file of a message: gzip, and never changed once it is there.
func (a *Archive) Path(place string) string { return a.path(place) }

func (a *Archive) path(place string) string { return filepath.Join(a.root, filepath.FromSlash(place)) }

// maxKnown bounds what is remembered of directories.
const maxKnown = 10_000

// makeDir makes a directory, and those above it, and syncs what is new.
func (a *Archive) makeDir(dir string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known[dir] {
		return nil
	}
	var above []string // from the root down
	for d := dir; len(d) >= len(a.root) && d != filepath.Dir(d); d = filepath.Dir(d) {
		above = append(above, d)
	}
	for i := len(above) - 1; i >= 0; i-- {
		err := os.Mkdir(above[i], dirMode)
		if err == nil {
			err = a.own(above[i])
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := syncDir(filepath.Dir(above[i])); err != nil {
			return err
		}
	}
	if len(a.known) >= maxKnown {
		clear(a.known)
	}
	a.known[dir] = true
	return nil
}

// forget looks for all directories anew: somebody removed one.
func (a *Archive) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.known)
}

// own gives what root has made to whoever has the archive: an administrator's import must
// not leave what the daemons cannot read.
func (a *Archive) own(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(a.root)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	return os.Lchown(path, int(owner.Uid), int(owner.Gid))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
