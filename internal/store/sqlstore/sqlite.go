package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/pressly/goose/v3"
	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

var sqliteDialect = dialect{
	goose:       goose.DialectSQLite3,
	migrations:  "sqlite",
	countTables: `SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = $1`,
	hasTopic:    `EXISTS (SELECT 1 FROM json_each($7) WHERE instr(topics, value) > 0)`,
	// The driver finds each $N by walking all names, which takes time by their square.
	bulkParam: func(int) string { return "?" },
	isDuplicate: func(err error) bool {
		return isCode(err, lib.SQLITE_CONSTRAINT_UNIQUE, lib.SQLITE_CONSTRAINT_PRIMARYKEY)
	},
	isOrphan: func(err error) bool { return isCode(err, lib.SQLITE_CONSTRAINT_FOREIGNKEY) },
	isBusy: func(err error) bool {
		var e *sqlite.Error
		return errors.As(err, &e) && e.Code()&0xff == lib.SQLITE_BUSY
	},
}

func isCode(err error, codes ...int) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range codes {
		if e.Code() == c {
			return true
		}
	}
	return false
}

const (
	// busyTimeout is how long a write waits for those of other processes.
	busyTimeout = 10 * time.Second
	// busyRetry is the time between two tries. SQLite's own waits grow to 100 ms, and so
	// would hardly ever find the gap between two transactions of an import.
	busyRetry = 4 * time.Millisecond
	// Page caches, in KiB: the operating system caches the file, too, and all of
	// mlist shares a small budget. The writer's holds what an import touches.
	readerCache = 1024
	writerCache = 4096
	// walLimit cuts the write-ahead log down again after an import, in octets.
	walLimit = 16 << 20
	// streams is how many iterators may be under way; the next waits.
	streams = 8
	// streamIdle is how long an iterator's connection, with its cache, outlives it.
	streamIdle = 30 * time.Second
)

// openSQLite opens the pools. Making the file and its tables happens under a lock, so
// that of several processes that start at once one does it.
func (s *Store) openSQLite(ctx context.Context, path string, opts Options) error {
	// An absolute path also keeps SQLite from giving names like ":memory:" a meaning.
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return fmt.Errorf("no directory %s: make it, owned by the user that mlist runs as", dir)
	} else if err != nil {
		return err
	}
	if opts.Migrate {
		unlock, err := lockDir(ctx, dir)
		if err != nil {
			return err
		}
		defer unlock()
		if err := createFile(path, opts.FileMode); err != nil {
			return err
		}
	} else if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return &SchemaError{Want: latestSchema(s.dialect)}
	}
	for _, p := range []string{dir, path} { // SQLite would not say which, nor why
		if err := unix.Access(p, unix.R_OK|unix.W_OK); errors.Is(err, fs.ErrPermission) {
			return &fs.PathError{Op: "read and write", Path: p, Err: err}
		}
	}
	if err := migrateSQLite(ctx, path, s.dialect, opts.Migrate); err != nil {
		return err
	}
	if s.writer, err = sql.Open("sqlite", dsn(path, writerCache, writing+"&_pragma=busy_timeout(1)")); err != nil {
		return err
	}
	s.writer.SetMaxOpenConns(1)
	if s.reader, err = sql.Open("sqlite", dsn(path, readerCache, "&_query_only=1")); err != nil {
		return err
	}
	readers := max(2, min(runtime.GOMAXPROCS(0), 4))
	s.reader.SetMaxOpenConns(readers)
	s.reader.SetMaxIdleConns(readers)
	if s.stream, err = sql.Open("sqlite", dsn(path, readerCache, "&_query_only=1")); err != nil {
		return err
	}
	s.stream.SetMaxOpenConns(streams)
	s.stream.SetMaxIdleConns(2)
	s.stream.SetConnMaxIdleTime(streamIdle)
	if s.back, err = sql.Open("sqlite", dsn(path, readerCache, "&_query_only=1")); err != nil {
		return err
	}
	s.back.SetMaxOpenConns(twoEnds)
	s.back.SetMaxIdleConns(1)
	s.back.SetConnMaxIdleTime(streamIdle)
	s.ends = make(chan struct{}, twoEnds)
	return nil
}

// migrateSQLite is migrate, over a connection that waits for its turn by itself.
func migrateSQLite(ctx context.Context, path string, d *dialect, may bool) error {
	db, err := sql.Open("sqlite", dsn(path, writerCache, writing))
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	if err := migrate(ctx, db, d, may); err != nil {
		db.Close()
		return err
	}
	return db.Close()
}

// writing is what a connection that writes adds to dsn. A transaction takes the lock when
// it begins: one that read first could not wait for it any more.
var writing = "&_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)" +
	"&_pragma=journal_size_limit(" + strconv.Itoa(walLimit) + ")" +
	"&_pragma=secure_delete(fast)" // of what goes, nothing stays in its page

// dsn names the database to the driver. It never creates it: that would be with
// permissions from the umask.
func dsn(path string, cacheKiB int, more string) string {
	u := url.URL{Scheme: "file", Path: path}
	return fmt.Sprintf("%s?mode=rw&_error_rc=1&_dqs=0&_busy_timeout=%d&_pragma=cache_size(-%d)%s",
		u.String(), busyTimeout.Milliseconds(), cacheKiB, more)
}

// createFile makes an empty database file if there is none, and syncs its directory.
// SQLite gives its log files the same permissions.
func createFile(path string, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil { // the umask does not know better
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
