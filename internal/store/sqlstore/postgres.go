package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/mlist/mlist/internal/postgres"
)

var postgresDialect = dialect{
	goose:       goose.DialectPostgres,
	migrations:  "postgres",
	countTables: `SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = $1`,
	// nullif: the server may look at the parameter before it knows that it is not wanted.
	hasTopic:    `EXISTS (SELECT 1 FROM json_array_elements_text(nullif($7, '')::json) AS topic WHERE strpos(topics, topic) > 0)`,
	bulkParam:   func(n int) string { return fmt.Sprintf("$%d", n) },
	lockWrites:  `SELECT pg_advisory_xact_lock(` + postgres.Lock(writeLock) + `)`,
	snapshot:    sql.LevelRepeatableRead,
	isDuplicate: func(err error) bool { return isState(err, "23505") }, // unique_violation
	isOrphan:    func(err error) bool { return isState(err, "23503") }, // foreign_key_violation
	isBusy:      func(error) bool { return false },                     // the server waits, as long as lock_timeout says
}

// shareWrites is lockWrites of those who file posts: see Filing.
var shareWrites = `SELECT pg_advisory_xact_lock_shared(` + postgres.Lock(writeLock) + `)`

func isState(err error, code string) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == code
}

const (
	// writeLock is the advisory lock that each transaction that writes holds, and migrateLock
	// the one of who makes tables: "mlist" and a number. With the first, the transactions of
	// all processes on all hosts come one after the other, as SQLite has it, and each sees
	// what the one before it wrote. A write takes well under a millisecond and there are a few
	// for each post, so that the lock is free nearly always; deliveries do not take it,
	// and posts that are filed with the spool's commit share it: see Filing.
	writeLock   = 0x6d6c697374 << 8
	migrateLock = writeLock + 1

	// statementTime ends a statement that takes longer than any write or look-up of mlist's.
	// Streams have no such bound: they last as long as their reader.
	statementTime = postgres.Silence * 3 / 4
	// idleTime is how long a connection that nobody uses stays open.
	idleTime = 5 * time.Minute
)

// openPostgres opens the pools. Tables are made under a lock, so that of several processes
// that start at once, on whichever hosts, one does it.
func (s *Store) openPostgres(ctx context.Context, text string, opts Options) error {
	config, err := pgx.ParseConfig(text)
	if err != nil {
		return err // without the password
	}
	if err := postgres.Prepare(config, text); err != nil {
		return err
	}
	given := config.RuntimeParams
	pool := func(config *pgx.ConnConfig, defaults map[string]string) *sql.DB {
		c := config.Copy()
		for name, value := range defaults {
			if _, ok := given[name]; !ok {
				c.RuntimeParams[name] = value
			}
		}
		db := sql.OpenDB(lazily{stdlib.GetConnector(*c)})
		db.SetConnMaxIdleTime(idleTime)
		return db
	}
	bounded := map[string]string{
		"lock_timeout":      milliseconds(busyTimeout),
		"statement_timeout": milliseconds(statementTime),
	}
	answering := postgres.Within(config, postgres.Silence)
	s.writer = pool(answering, bounded)
	s.writer.SetMaxOpenConns(1)
	s.reader = pool(answering, bounded)
	readers := max(2, min(runtime.GOMAXPROCS(0), 4))
	s.reader.SetMaxOpenConns(readers)
	s.reader.SetMaxIdleConns(readers)
	s.stream = pool(answering, nil)
	s.stream.SetMaxOpenConns(streams)
	s.stream.SetMaxIdleConns(2)

	migrator := pool(config, nil) // it may have large tables to change
	return errors.Join(migratePostgres(ctx, migrator, s.dialect, opts.Migrate), migrator.Close())
}

// migratePostgres is migrate, while no other process does it.
func migratePostgres(ctx context.Context, db *sql.DB, d *dialect, may bool) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() // and with it the lock
	if may {
		if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock(`+postgres.Lock(migrateLock)+`)`); err != nil {
			return fmt.Errorf("wait for another mlist that makes the tables: %w", err)
		}
		defer conn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock(`+postgres.Lock(migrateLock)+`)`) //nolint:errcheck // closing unlocks, too
	}
	return migrate(ctx, db, d, may)
}

func milliseconds(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }
