package pg

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mlist/mlist/internal/postgres"
	"github.com/mlist/mlist/internal/spool"
)

// down marks an error that lies in the server, or on the way to it, as spool.ErrDown: else a
// post that could not be committed would be to blame, and after some tries go to failed.
func down(err error) error {
	if err == nil || errors.Is(err, spool.ErrDown) || !isDown(err) {
		return err
	}
	return downError{err}
}

type downError struct{ error }

func (e downError) Unwrap() error        { return e.error }
func (e downError) Is(target error) bool { return target == spool.ErrDown }

// downStates are the classes of states in which a server is that cannot do what it else would:
// connections, roll-back (deadlocks), resources (disk, memory), locks, operators, its system, itself.
var downStates = []string{"08", "40", "53", "55", "57", "58", "XX"}

// readOnly is the state of one that takes no writes: a standby.
const readOnly = "25006"

func isDown(err error) bool {
	var said *pgconn.PgError
	if errors.As(err, &said) {
		return said.Code == readOnly || len(said.Code) == 5 && slices.Contains(downStates, said.Code[:2])
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.SafeToRetry(err) ||
		slices.ContainsFunc([]error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, context.DeadlineExceeded, postgres.ErrSilent}, func(is error) bool { return errors.Is(err, is) })
}
