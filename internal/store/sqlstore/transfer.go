package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Transferred is what Transfer has copied, or found to be there.
type Transferred struct {
	Tables []TableRows
	// Already: the other store had everything, row by row, and nothing was written.
	Already bool
}

// TableRows is how many rows a table has.
type TableRows struct {
	Name string `json:"name"`
	Rows int64  `json:"rows"`
}

// ErrNotEmpty: a store that another is to be copied to holds something else.
var ErrNotEmpty = errors.New("it has rows already, which are not those of the store to be copied")

// TransferOptions say how to copy a store.
type TransferOptions struct {
	// Quiet: nobody can write to the store that is copied meanwhile. Else it is copied as it was
	// at the beginning.
	Quiet bool
	// Dry has everything copied and compared, and then undone.
	Dry bool
	// Progress is told of each table that is done.
	Progress func(TableRows)
}

// Transfer makes a store what another is, of whichever kinds they are, and compares both row by
// row. It has all of that or nothing, whenever the process is killed: it is one transaction.
//
// The first time the store must be empty. From then on it is being filled: until Filled nobody
// opens it who does not say so (Options.Filling), and Transfer may be repeated, for what has
// changed since then. Where a store that is not being filled has everything already, nothing is
// done, and it says so.
func Transfer(ctx context.Context, from, to *Store, opts TransferOptions) (done Transferred, err error) {
	read := from.snapshot
	if opts.Quiet {
		read = from.update
	}
	for _, anew := range []bool{false, true} {
		err = read(ctx, func(src *sql.Tx) error {
			err := to.update(ctx, func(dst *sql.Tx) (err error) {
				done, err = transfer(ctx, &side{Store: from, tx: src}, &side{Store: to, tx: dst}, anew, opts.Progress)
				if err == nil && opts.Dry {
					err = errUnchanged
				}
				return err
			})
			if err == nil && opts.Quiet {
				err = errUnchanged // of this one nothing was changed
			}
			return err
		})
		if !errors.Is(err, errAnew) {
			break
		}
	}
	if err != nil {
		return Transferred{}, fmt.Errorf("copy store %s to %s: %w", from.url, to.url, err)
	}
	return done, nil
}

// side is one of the two stores.
type side struct {
	*Store
	tx    *sql.Tx
	blobs map[string]bool // "TABLE.COLUMN" whose empty values the driver does not tell from none
}

// tableShape is what must be known of a table to copy it.
type tableShape struct {
	name    string
	columns []string
	key     []string // by which rows are ordered, in both kinds alike
}

func transfer(ctx context.Context, from, to *side, anew bool, progress func(TableRows)) (done Transferred, err error) {
	for _, s := range []*side{from, to} {
		if s.isPostgres() { // a whole table is one statement
			if _, err := s.tx.ExecContext(ctx, `SET LOCAL statement_timeout = 0`); err != nil {
				return done, err
			}
		}
	}
	shapes, err := sameShapes(ctx, from, to)
	if err != nil {
		return done, err
	}
	empty, err := to.isEmpty(ctx, shapes)
	if err != nil {
		return done, err
	}
	source, err := filledFrom(ctx, to.tx, to.dialect)
	if err != nil {
		return done, err
	}
	compare := shapes
	switch {
	case source != "" && source != from.url:
		return done, fmt.Errorf("%w: it was to be a copy of %s", ErrNotEmpty, source)
	case source == "" && !empty:
		done.Already = true
	default:
		if source == "" {
			if err := to.fill(ctx, from.url); err != nil {
				return done, err
			}
		}
		if compare, err = makeSame(ctx, from, to, shapes, empty, anew); err != nil {
			return done, err
		}
	}
	done.Tables, err = compareTables(ctx, from, to, shapes, compare, progress)
	if err != nil && done.Already {
		err = fmt.Errorf("%w: %w", ErrNotEmpty, err)
	}
	return done, err
}

// sameShapes are the tables, if both stores have the same.
func sameShapes(ctx context.Context, from, to *side) ([]tableShape, error) {
	shapes, err := to.shapes(ctx)
	if err != nil {
		return nil, err
	}
	theirs, err := from.shapes(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range shapes {
		i := slices.IndexFunc(theirs, func(o tableShape) bool { return o.name == s.name })
		if i < 0 || len(theirs) != len(shapes) {
			return nil, fmt.Errorf("they do not have the same tables: %s", s.name)
		}
		if a, b := slices.Sorted(slices.Values(s.columns)), slices.Sorted(slices.Values(theirs[i].columns)); !slices.Equal(a, b) {
			return nil, fmt.Errorf("table %s: the columns are %v here and %v there", s.name, b, a)
		}
	}
	return shapes, nil
}

// makeSame writes what is missing, and tells which tables are to be compared after that.
func makeSame(ctx context.Context, from, to *side, shapes []tableShape, empty, anew bool) ([]tableShape, error) {
	if err := to.deferReferences(ctx); err != nil {
		return nil, err
	}
	compare := shapes
	if !empty && !anew {
		changed, err := follow(ctx, from, to, shapes)
		if err != nil {
			return nil, err
		}
		compare = changed
	} else {
		for _, s := range slices.Backward(shapes) {
			if _, err := to.tx.ExecContext(ctx, `DELETE FROM `+s.name); err != nil {
				return nil, fmt.Errorf("table %s: %w", s.name, err)
			}
		}
		for _, s := range shapes {
			if err := copyTable(ctx, from, to, s); err != nil {
				return nil, fmt.Errorf("table %s: %w", s.name, err)
			}
		}
	}
	for _, s := range shapes {
		if err := copySequence(ctx, from, to, s); err != nil {
			return nil, fmt.Errorf("table %s: the next id: %w", s.name, err)
		}
	}
	return compare, nil
}

// compareTables compares some of the tables, and counts the rows of all.
func compareTables(ctx context.Context, from, to *side, shapes, compare []tableShape, progress func(TableRows)) (out []TableRows, err error) {
	for _, s := range shapes {
		t := TableRows{Name: s.name}
		if slices.ContainsFunc(compare, func(o tableShape) bool { return o.name == s.name }) {
			t.Rows, err = compareTable(ctx, from, to, s)
		} else {
			err = to.tx.QueryRowContext(ctx, `SELECT count(*) FROM `+s.name).Scan(&t.Rows)
		}
		if err != nil {
			return out, fmt.Errorf("table %s: %w", s.name, err)
		}
		if out = append(out, t); progress != nil {
			progress(t)
		}
	}
	return out, nil
}

// texts reads a column of texts.
func (s *side) texts(ctx context.Context, query string, args ...any) (out []string, err error) {
	rows, err := s.tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	err = eachRow(ctx, rows, func(rows *sql.Rows) error {
		var text string
		err := rows.Scan(&text)
		out = append(out, text)
		return err
	})
	return out, err
}

// shapes are the tables, those first that others refer to.
func (s *side) shapes(ctx context.Context) ([]tableShape, error) {
	tables, columns, key := `SELECT name FROM sqlite_schema WHERE type = 'table' AND substr(name, 1, 7) <> 'sqlite_' AND name NOT IN ($1, $2)`,
		`SELECT name FROM pragma_table_info($1)`, `SELECT name FROM pragma_table_info($1) WHERE pk > 0 ORDER BY pk`
	if s.isPostgres() {
		// Tables are numbered as they are made, and a reference needs its table.
		tables = `SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND NOT starts_with(relname, 'spool_') AND relname NOT IN ($1, $2) ORDER BY oid`
		columns = `SELECT attname::text FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum`
		key = `SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::smallint[])
			WHERE i.indrelid = $1::text::regclass AND i.indisprimary ORDER BY array_position(i.indkey::smallint[], a.attnum)`
	}
	names, err := s.texts(ctx, tables, schemaTable, fillingTable)
	if err != nil {
		return nil, err
	}
	out := make([]tableShape, len(names))
	for i, name := range names {
		out[i].name = name
		if out[i].columns, err = s.texts(ctx, columns, name); err != nil {
			return nil, err
		}
		if out[i].key, err = s.texts(ctx, key, name); err != nil {
			return nil, err
		}
		if !s.isPostgres() {
			blobs, err := s.texts(ctx, `SELECT name FROM pragma_table_info($1) WHERE type = 'BLOB'`, name)
			if err != nil {
				return nil, err
			}
			if s.blobs == nil {
				s.blobs = map[string]bool{}
			}
			for _, column := range blobs {
				s.blobs[name+"."+column] = true
			}
		}
		if len(out[i].key) == 0 {
			return nil, fmt.Errorf("table %s has no primary key", name)
		}
	}
	return out, nil
}

func (s *side) isPostgres() bool { return s.dialect == &postgresDialect }

// deferReferences lets rows come before those that they refer to, where tables have no order.
func (s *side) deferReferences(ctx context.Context) error {
	if s.isPostgres() {
		return nil
	}
	_, err := s.tx.ExecContext(ctx, `PRAGMA defer_foreign_keys = ON`)
	return err
}

func (s *side) isEmpty(ctx context.Context, shapes []tableShape) (bool, error) {
	for _, t := range shapes {
		var some bool
		if err := s.tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM `+t.name+`)`).Scan(&some); err != nil || some {
			return false, err
		}
	}
	return true, nil
}

// all reads a table in the order of its key.
func (s *side) all(ctx context.Context, t tableShape) (*sql.Rows, error) {
	columns := slices.Clone(t.columns)
	for i, c := range columns {
		if s.blobs[t.name+"."+c] {
			columns[i] = `CASE WHEN length(` + c + `) = 0 THEN '' ELSE ` + c + ` END`
		}
	}
	return s.tx.QueryContext(ctx, `SELECT `+strings.Join(columns, ", ")+` FROM `+t.name+` ORDER BY `+strings.Join(t.key, ", "))
}

// scanRow reads a row that all yields.
func (s *side) scanRow(rows *sql.Rows, t tableShape) ([]any, error) {
	row, to := make([]any, len(t.columns)), make([]any, len(t.columns))
	for i := range row {
		to[i] = &row[i]
	}
	if err := rows.Scan(to...); err != nil {
		return nil, err
	}
	for i, c := range t.columns {
		if row[i] == "" && s.blobs[t.name+"."+c] {
			row[i] = []byte{}
		}
	}
	return row, nil
}

// transferParams bounds the parameters of a statement, as both databases do.
const transferParams = 6000

func copyTable(ctx context.Context, from, to *side, t tableShape) error {
	rows, err := from.all(ctx, t)
	if err != nil {
		return err
	}
	most := transferParams / len(t.columns)
	full, err := to.tx.PrepareContext(ctx, to.insertRows(t, most))
	if err != nil {
		rows.Close()
		return err
	}
	defer full.Close()
	var waiting []any
	if err := eachRow(ctx, rows, func(rows *sql.Rows) error {
		row, err := from.scanRow(rows, t)
		if err != nil {
			return err
		}
		if waiting = append(waiting, row...); len(waiting) < most*len(t.columns) {
			return nil
		}
		_, err = full.ExecContext(ctx, waiting...)
		waiting = waiting[:0]
		return err
	}); err != nil || len(waiting) == 0 {
		return err
	}
	_, err = to.tx.ExecContext(ctx, to.insertRows(t, len(waiting)/len(t.columns)), waiting...)
	return err
}

// insertRows is a statement that adds so many rows, with the ids that they have.
func (s *side) insertRows(t tableShape, rows int) string {
	var b strings.Builder
	b.WriteString(`INSERT INTO ` + t.name + ` (` + strings.Join(t.columns, ", ") + `)`)
	if s.isPostgres() {
		b.WriteString(` OVERRIDING SYSTEM VALUE`)
	}
	b.WriteString(` VALUES `)
	for param := range rows * len(t.columns) {
		switch {
		case param%len(t.columns) != 0:
			b.WriteString(", ")
		case param == 0:
			b.WriteByte('(')
		default:
			b.WriteString("), (")
		}
		b.WriteString(s.dialect.bulkParam(param + 1))
	}
	b.WriteByte(')')
	return b.String()
}

// copySequence has the other store number new rows after all that there ever were in this one.
func copySequence(ctx context.Context, from, to *side, t tableShape) error {
	if len(t.key) != 1 || t.key[0] != "id" {
		return nil
	}
	last, err := from.lastID(ctx, t.name)
	if err != nil || last == 0 {
		return err
	}
	if to.isPostgres() {
		_, err = to.tx.ExecContext(ctx, `SELECT setval(pg_get_serial_sequence($1, 'id'), $2)`, t.name, last)
		return err
	}
	tag, err := to.tx.ExecContext(ctx, `UPDATE sqlite_sequence SET seq = max(seq, $2) WHERE name = $1`, t.name, last)
	if err != nil {
		return err
	}
	if n, err := tag.RowsAffected(); err != nil || n > 0 {
		return err
	}
	_, err = to.tx.ExecContext(ctx, `INSERT INTO sqlite_sequence (name, seq) VALUES ($1, $2)`, t.name, last)
	return err
}

func (s *side) lastID(ctx context.Context, table string) (last int64, err error) {
	if !s.isPostgres() {
		err = s.tx.QueryRowContext(ctx, `SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = $1`, table).Scan(&last)
		return last, err
	}
	var sequence string
	if err := s.tx.QueryRowContext(ctx, `SELECT pg_get_serial_sequence($1, 'id')`, table).Scan(&sequence); err != nil {
		return 0, err
	}
	err = s.tx.QueryRowContext(ctx, `SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM `+sequence).Scan(&last)
	return last, err
}

// compareTable tells how many rows there are, if they are the same in both.
func compareTable(ctx context.Context, from, to *side, t tableShape) (n int64, err error) {
	ours, err := from.all(ctx, t)
	if err != nil {
		return 0, err
	}
	defer ours.Close()
	theirs, err := to.all(ctx, t)
	if err != nil {
		return 0, err
	}
	defer theirs.Close()
	for {
		a, b := ours.Next(), theirs.Next()
		if err := errors.Join(ours.Err(), theirs.Err()); err != nil {
			return n, err
		}
		if a != b {
			return n, fmt.Errorf("one has no row after %d, and the other has", n)
		}
		if !a {
			return n, nil
		}
		x, err1 := from.scanRow(ours, t)
		y, err2 := to.scanRow(theirs, t)
		if err := errors.Join(err1, err2); err != nil {
			return n, err
		}
		n++
		for i := range x {
			if !sameValue(x[i], y[i]) {
				return n, fmt.Errorf("row %d differs in column %s", n, t.columns[i])
			}
		}
	}
}

// sameValue compares what two drivers return.
func sameValue(a, b any) bool {
	x, isBytes := a.([]byte)
	y, areBytes := b.([]byte)
	if isBytes && areBytes {
		return bytes.Equal(x, y)
	}
	return isBytes == areBytes && a == b
}
