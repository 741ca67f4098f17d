package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/jackc/pgx/v5/stdlib"
)

// lazily connects to PostgreSQL without sending a statement there before it is used: pgx then
// prepares it, and keeps it with the connection. There are more than two hundred, each a way to
// the server and back, of which a command uses a few.
type lazily struct{ driver.Connector }

// Connect implements driver.Connector.
func (l lazily) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := l.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*stdlib.Conn)
	if !ok {
		c.Close()
		return nil, errors.New("the driver is another one") // any test on PostgreSQL finds this
	}
	return lazyConn{conn}, nil
}

type lazyConn struct{ *stdlib.Conn }

// PrepareContext implements driver.ConnPrepareContext.
func (c lazyConn) PrepareContext(_ context.Context, query string) (driver.Stmt, error) {
	return lazyStmt{c.Conn, query}, nil
}

// Prepare implements driver.Conn.
func (c lazyConn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

type lazyStmt struct {
	conn *stdlib.Conn
	text string
}

// QueryContext implements driver.StmtQueryContext.
func (s lazyStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.QueryContext(ctx, s.text, args)
}

// ExecContext implements driver.StmtExecContext.
func (s lazyStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.conn.ExecContext(ctx, s.text, args)
}

// Close implements driver.Stmt: what is prepared ends with its connection.
func (lazyStmt) Close() error { return nil }

// NumInput implements driver.Stmt: the server knows.
func (lazyStmt) NumInput() int { return -1 }

var errNoContext = errors.New("a statement is run with a context")

// Exec implements driver.Stmt.
func (lazyStmt) Exec([]driver.Value) (driver.Result, error) { return nil, errNoContext }

// Query implements driver.Stmt.
func (lazyStmt) Query([]driver.Value) (driver.Rows, error) { return nil, errNoContext }
