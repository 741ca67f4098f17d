package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"

	"github.com/pressly/goose/v3"
)

// schemaTable is where the migrations that were made are recorded.
const schemaTable = "schema_version"

// SchemaError says that a store's tables are not those of this version of mlist.
type SchemaError struct {
	Have int64 // 0: there is no store yet
	Want int64
}

func (e *SchemaError) Error() string {
	switch {
	case e.Have == 0:
		return "there is no store yet: start mlist's daemons once, or create a list, which makes it"
	case e.Have < e.Want:
		return fmt.Sprintf("its schema is %d, older than this mlist's %d: stop every mlist and start its daemons again, which brings it up to date", e.Have, e.Want)
	}
	return fmt.Sprintf("its schema is %d, newer than this mlist's %d: install the version of mlist that it was last used with", e.Have, e.Want)
}

// latestSchema is the schema that this version knows: the number of the last migration.
func latestSchema(d *dialect) int64 {
	names, err := fs.Glob(migrations, "migrations/"+d.migrations+"/*.sql")
	if err != nil || len(names) == 0 {
		panic("sqlstore: no migrations in the program") // any test finds this
	}
	last := names[len(names)-1]
	digits, _, _ := strings.Cut(last[strings.LastIndexByte(last, '/')+1:], "_")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		panic("sqlstore: migration " + last + ": " + err.Error())
	}
	return n
}

// schemaVersion returns the number of the last migration that was made; 0 for none.
func schemaVersion(ctx context.Context, db *sql.DB, d *dialect) (int64, error) {
	var tables int
	if err := db.QueryRowContext(ctx, d.countTables, schemaTable).Scan(&tables); err != nil || tables == 0 {
		return 0, err
	}
	var v int64
	err := db.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM `+schemaTable+` WHERE is_applied`).Scan(&v)
	return v, err
}

// migrate brings the tables up to date, or, unless it may, checks that they are. The
// caller sees to it that no other process does so at the same time.
func migrate(ctx context.Context, db *sql.DB, d *dialect, may bool) error {
	have, err := schemaVersion(ctx, db, d)
	if err != nil {
		return fmt.Errorf("read its schema: %w", err)
	}
	want := latestSchema(d)
	if have == want {
		return nil
	}
	if have > want || !may {
		return &SchemaError{Have: have, Want: want}
	}
	dir, err := fs.Sub(migrations, "migrations/"+d.migrations)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(d.goose, db, dir, goose.WithTableName(schemaTable),
		goose.WithDisableGlobalRegistry(true), goose.WithSlog(slog.New(slog.DiscardHandler)))
	if err != nil {
		return fmt.Errorf("migrate from schema %d to %d: %w", have, want, err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate from schema %d to %d: %w", have, want, err)
	}
	return nil
}
