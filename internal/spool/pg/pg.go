// Package pg is the spool in PostgreSQL: for daemons on several machines that share their
// queues by a database.
//
// Every change of state is one transaction. Segments are owned by lease: an owner renews its
// row well before it ends, by the server's clock, and the number of the row, the epoch, is in
// each of its transactions, so that an owner that hung or was cut off changes nothing once
// another may have taken its place. What an owner may do at an MTA, it does only while it knows,
// by its own clock, that the lease lasts. Owners that share segments keep to the same: a plan
// (package balance) says what each is to have, and no key changes hands but by an owner that
// gives it up, or whose lease is out.
//
// Putting an entry tells owners of it: those in this process at once, others by NOTIFY, no
// more often than every few milliseconds, since a NOTIFY makes commits wait for each other.
// It is a hint. Owners also look by themselves.
package pg

import (
	"context"
	"crypto/rand"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/mlist/mlist/internal/balance"
	"github.com/mlist/mlist/internal/postgres"
	"github.com/mlist/mlist/internal/spool"
)

// Options of Open. The zero value opens a spool that is there and up to date.
type Options struct {
	// Migrate makes a spool that is not there, and brings an older one up to date.
	Migrate bool
	// Lease is how long an owner that is not heard of keeps its segments. Default 10 s.
	Lease time.Duration
	// Answer is how long a change may take altogether. A server that hangs, or from which this
	// machine was cut off, is an error before that. Default 1 min.
	Answer time.Duration
	// Host names this machine where segments are shared. Default: os.Hostname.
	Host string
	// Rescan is how often an owner looks, whatever it was told. Default 2 s.
	Rescan time.Duration
	// Temp is where messages that are open are kept as files. Default: os.TempDir.
	Temp string
	// Moving opens a spool whose mail was moved elsewhere, or is on its way here.
	Moving bool
	// Log is told of what nobody else is. Default slog.Default().
	Log *slog.Logger

	policy  balance.Policy // balance.Default
	silence time.Duration  // postgres.Silence
}

// Spool is a spool in a schema of a database. It implements spool.Spool.
type Spool struct {
	url     string // without a password
	opts    Options
	pool    *pgxpool.Pool
	soon    *pgxpool.Pool   // of what need not wait for the disk
	keep    *pgxpool.Pool   // of leases: however busy the others are, these are renewed
	patient *pgx.ConnConfig // of what may take its time
	temp    string          // a directory of this process
	lock    *os.File        // on it

	lastID atomic.Int64 // microseconds in the newest id

	work context.Context // of what goes on between calls: ends with Close
	quit context.CancelFunc
	busy sync.WaitGroup // one for each goroutine

	mu      sync.Mutex
	closed  bool
	owners  map[io.Closer]struct{}
	bells   map[spool.Queue]map[chan struct{}]struct{} // of owners in this process
	pending map[spool.Queue]bool                       // a NOTIFY is about to be sent
	hears   bool                                       // somebody listens for NOTIFY
}

var (
	_ spool.Spool   = (*Spool)(nil)
	_ spool.Sharing = (*Spool)(nil)
)

const (
	defaultLease  = 10 * time.Second
	defaultRescan = 2 * time.Second
	defaultAnswer = time.Minute
	// hangs is how long a change may wait for its client, at least.
	hangs = 2 * time.Second
	// quiet is the least time between two NOTIFYs for one queue.
	quiet = 10 * time.Millisecond
	// connections is how many each process has at most.
	connections     = 16
	soonConnections = 4
	keepConnections = 3 // a lease for each queue
	// migrateLock is the advisory lock of who makes tables: "mlist" and a number.
	migrateLock = 0x6d6c697374<<8 + 2
	// leaseLock is that of who takes segments.
	leaseLock = migrateLock + 1
)

// Open opens the spool at url, "postgres://USER@HOST/DATABASE" with what else libpq takes
// there.
func Open(ctx context.Context, url string, opts Options) (*Spool, error) {
	s := &Spool{
		url: postgres.WithoutPassword(url), opts: opts,
		owners: map[io.Closer]struct{}{}, bells: map[spool.Queue]map[chan struct{}]struct{}{}, pending: map[spool.Queue]bool{},
	}
	if s.opts.Lease <= 0 {
		s.opts.Lease = defaultLease
	}
	if s.opts.Rescan <= 0 {
		s.opts.Rescan = defaultRescan
	}
	if s.opts.Answer <= 0 {
		s.opts.Answer = defaultAnswer
	}
	if s.opts.silence <= 0 {
		s.opts.silence = postgres.Silence
	}
	if s.opts.Host == "" {
		s.opts.Host, _ = os.Hostname() // a machine without a name is one of its own all the same
	}
	s.opts.Host = strings.ToValidUTF8(s.opts.Host, "?") // the database takes no other
	if s.opts.policy == (balance.Policy{}) {
		s.opts.policy = balance.Default
	}
	if s.opts.Log == nil {
		s.opts.Log = slog.Default()
	}
	s.work, s.quit = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.open(ctx, url); err != nil {
		s.Close()
		return nil, fmt.Errorf("open spool %s: %w", s.url, err)
	}
	return s, nil
}

func (s *Spool) open(ctx context.Context, url string) error {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return err // without the password
	}
	if s.temp, s.lock, err = makeTemp(s.opts.Temp); err != nil {
		return fmt.Errorf("a directory for messages that are open: %w", err)
	}
	if err := postgres.Prepare(config.ConnConfig, url); err != nil {
		return err
	}
	s.patient = config.ConnConfig.Copy()
	if err := migrate(ctx, s.patient, s.opts.Migrate); err != nil {
		return err
	}
	config.ConnConfig = postgres.Within(config.ConnConfig, s.opts.silence)
	for name, limit := range map[string]time.Duration{
		// A process that hangs in the middle of a change must not keep others from its segments.
		"idle_in_transaction_session_timeout": max(s.opts.Lease/2, hangs),
		// Nor must a statement whose client has gone.
		"statement_timeout": s.opts.silence,
	} {
		if _, given := config.ConnConfig.RuntimeParams[name]; !given {
			config.ConnConfig.RuntimeParams[name] = strconv.FormatInt(limit.Milliseconds(), 10)
		}
	}
	config.MaxConns = connections
	if s.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return err
	}
	if m, err := moves(ctx, s.pool); err != nil {
		return err
	} else if err := m.Check(); err != nil && !s.opts.Moving {
		return err
	}
	soon := config.Copy()
	soon.MaxConns = soonConnections
	if s.soon, err = pgxpool.NewWithConfig(ctx, soon); err != nil {
		return err
	}
	keep := config.Copy()
	keep.MaxConns = keepConnections
	s.keep, err = pgxpool.NewWithConfig(ctx, keep)
	return err
}

//go:embed migrations
var migrations embed.FS

// schemaTable is where the migrations that were made are recorded.
const schemaTable = "spool_version"

// ErrSchema: the tables are not there, or of another version.
var ErrSchema = errors.New("no spool of this version of mlist")

func schemaError(have, want int64) error {
	if have < want {
		return fmt.Errorf("%w: it has schema %d, older than this mlist's %d: start mlist's daemons again, which brings it up to date", ErrSchema, have, want)
	}
	return fmt.Errorf("%w: it has schema %d, newer than this mlist's %d: install the version of mlist that it was last used with", ErrSchema, have, want)
}

func migrate(ctx context.Context, config *pgx.ConnConfig, may bool) error {
	db := stdlib.OpenDB(*config)
	defer db.Close() // nothing is under way by then
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, dir, goose.WithTableName(schemaTable),
		goose.WithDisableGlobalRegistry(true), goose.WithSlog(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	if !may {
		var there bool
		if err := db.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, schemaTable).Scan(&there); err != nil {
			return err
		}
		if !there {
			return fmt.Errorf("%w: mlist's daemons make it", ErrSchema)
		}
		have, want, err := p.GetVersions(ctx)
		if err == nil && have != want {
			err = schemaError(have, want)
		}
		return err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() // and with it the lock
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock(`+postgres.Lock(migrateLock)+`)`); err != nil {
		return fmt.Errorf("wait for another mlist that makes the tables: %w", err)
	}
	have, want, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read its schema: %w", err)
	}
	if have > want {
		return schemaError(have, want)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("make the tables: %w", err)
	}
	return nil
}

// Close implements spool.Spool. Owners that are open give their segments up.
func (s *Spool) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	owners := s.owners
	s.owners = nil
	s.mu.Unlock()
	var errs []error
	for o := range owners {
		errs = append(errs, o.Close())
	}
	s.quit()
	s.busy.Wait()
	for _, pool := range []*pgxpool.Pool{s.pool, s.soon, s.keep} {
		if pool != nil {
			pool.Close()
		}
	}
	if s.lock != nil {
		errs = append(errs, os.RemoveAll(s.temp), s.lock.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close spool %s: %w", s.url, err)
	}
	return nil
}

// change runs f in a transaction.
func (s *Spool) change(ctx context.Context, f func(tx pgx.Tx) error) error {
	return s.changeBy(ctx, s.pool, f)
}

func (s *Spool) changeBy(ctx context.Context, pool *pgxpool.Pool, f func(tx pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Answer)
	defer cancel()
	return down(pgx.BeginFunc(ctx, pool, f))
}

// newID makes an id that is later than all that this process made before.
func (s *Spool) newID() spool.ID {
	now := time.Now().UnixMicro()
	for {
		last := s.lastID.Load()
		us := max(now, last+1)
		if s.lastID.CompareAndSwap(last, us) {
			var r [4]byte
			rand.Read(r[:]) // never fails
			return spool.MakeID(uint64(us), binary.BigEndian.Uint32(r[:]))
		}
	}
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// channel is where NOTIFY tells of a queue: schemas of one database do not wake each other.
const channel = `'mlist_spool_' || current_schema()::regnamespace::oid`

// querier is a pool, a connection or a transaction.
type querier interface {
	QueryRow(ctx context.Context, text string, args ...any) pgx.Row
}
