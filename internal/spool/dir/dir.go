// Package dir is a spool in a directory, on a local disk or NFS.
//
// Every change of state is one rename or one unlink; docs/spool.md lists the
// states, the steps between them, and what a crash after each step leaves. An entry
// is one file, header lines above the message, that a person can read with less.
//
// A method that puts or moves an entry returns after the files and directories
// concerned are synced. Callers at work at once share the syncs of a directory. The
// one exception is told at OutgoingOwner.Settle.
//
// Each owner has two goroutines (three for outgoing), which its Close waits for.
package dir

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mlist/mlist/internal/spool"
)

// Options tune a spool. The zero value is right for production.
type Options struct {
	// Rescan is how often an owner looks at the directory in case an event was
	// missed (on NFS, those of other hosts always are). Default 30 s.
	Rescan time.Duration
	// MaxReady bounds how many entries (or posts) each owner knows by name at a time.
	// Default 16384. The rest stay on disk until there is room.
	MaxReady int
	// Moving opens a spool whose mail was moved elsewhere, or is on its way here.
	Moving bool
	// Log is told of foreign and damaged files. Default slog.Default().
	Log *slog.Logger
}

// Directories that are not queues.
const (
	tempDir   = "tmp"    // a directory for each process that writes
	ownersDir = "owners" // a file for each owner, and the lock
)

// Spool is a spool in a directory. It implements spool.Spool.
type Spool struct {
	root  string
	opts  Options
	fs    files
	syncs map[spool.Queue]*syncer

	lastID atomic.Int64 // microseconds in the newest id
	serial atomic.Int64 // of temporary files
	spares spares
	reads  sync.Pool // of *[]byte, for files of chunks

	mu      sync.Mutex
	closed  bool
	session *session // nil until something is written
	owners  map[io.Closer]struct{}
	odd     map[string]struct{} // foreign names already told of
}

var _ spool.Spool = (*Spool)(nil)

// Open opens the spool at path and makes its directories, for this user alone,
// where they are missing.
func Open(path string, opts Options) (*Spool, error) { return open(path, opts, system) }

func open(path string, opts Options, fs files) (*Spool, error) {
	if opts.Rescan <= 0 {
		opts.Rescan = 30 * time.Second
	}
	if opts.MaxReady <= 0 {
		opts.MaxReady = 16384
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	root, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open spool %s: %w", path, err)
	}
	s := &Spool{root: root, opts: opts, fs: fs,
		syncs:  map[spool.Queue]*syncer{},
		owners: map[io.Closer]struct{}{}, odd: map[string]struct{}{}}
	if err := s.layout(); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	m, err := s.moves()
	if err == nil && !opts.Moving {
		err = m.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("open spool %s: %w", s.Name(), err)
	}
	return s, nil
}

// layout makes the directories, and refuses a tree over several file systems:
// nothing could be renamed there.
func (s *Spool) layout() error {
	dirs := []string{tempDir, ownersDir}
	for _, q := range spool.Queues {
		dirs = append(dirs, string(q))
		s.syncs[q] = &syncer{path: s.path(q, ""), fs: &s.fs}
	}
	parents := []string{filepath.Dir(s.root)}
	for p := parents[0]; ; p = filepath.Dir(p) {
		if there, err := exists(p); err != nil || there || p == filepath.Dir(p) {
			break
		}
		parents = append(parents, filepath.Dir(p))
	}
	if err := os.MkdirAll(s.root, 0o700); err != nil {
		return err
	}
	var dev uint64
	for i, d := range dirs {
		p := filepath.Join(s.root, d)
		err := os.Mkdir(p, 0o700)
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		on, err := s.fs.device(p)
		if err != nil {
			return err
		}
		if i == 0 {
			dev = on
		} else if on != dev {
			return fmt.Errorf("%s is on another file system than %s: a spool must be on one", p, filepath.Join(s.root, dirs[0]))
		}
	}
	// Every time, for they may have been made by a start that was killed before this.
	if err := s.fs.syncDir(s.root); err != nil {
		return err
	}
	for _, p := range parents {
		if err := s.fs.syncDir(p); err != nil && !errors.Is(err, os.ErrPermission) {
			return err
		}
	}
	return nil
}

// path is where a file of a queue lies.
func (s *Spool) path(q spool.Queue, name string) string {
	return filepath.Join(s.root, string(q), name)
}

// Close closes the owners that are still open and removes this process's temporary files.
func (s *Spool) Close() error {
	s.mu.Lock()
	s.closed = true
	owners, session := s.owners, s.session
	s.owners, s.session = map[io.Closer]struct{}{}, nil
	s.mu.Unlock()
	var errs []error
	for o := range owners {
		errs = append(errs, o.Close())
	}
	if session != nil {
		errs = append(errs, session.end())
	}
	return errors.Join(errs...)
}

var errClosed = errors.New("the spool is closed")

// adopt has Close close o too.
func (s *Spool) adopt(o io.Closer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.owners[o] = struct{}{}
	return nil
}

func (s *Spool) forget(o io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.owners, o)
}

// foreign tells once of a name that is not ours. Such files are left alone.
func (s *Spool) foreign(q spool.Queue, name string) {
	s.mu.Lock()
	_, told := s.odd[name]
	if told || len(s.odd) >= 1000 {
		s.mu.Unlock()
		return
	}
	s.odd[name] = struct{}{}
	s.mu.Unlock()
	s.opts.Log.Warn("a file in the spool is not mlist's: ignored", "path", s.path(q, name))
}
