package sqlstore

import (
	"database/sql"
	"embed"

	"github.com/pressly/goose/v3"
)

// dialect is what differs between databases. Queries are the same for all: $N
// placeholders, ON CONFLICT, RETURNING, no functions that only one has. A row that a
// transaction reads in order to change it is locked by an UPDATE that changes nothing,
// which all understand.
type dialect struct {
	goose      goose.Dialect
	migrations string // folder within migrations

	// countTables counts the tables named $1.
	countTables string

	// hasTopic tells whether the column topics has one of those in parameter $7, a JSON
	// array of texts.
	hasTopic string

	// bulkParam is the placeholder of parameter n in a statement that has many, in order.
	bulkParam func(n int) string

	// lockWrites begins a transaction that writes, where beginning does not lock; "" for none.
	lockWrites string
	// snapshot is the isolation that shows all of a transaction one instant.
	snapshot sql.IsolationLevel

	// These tell from other errors: a broken unique constraint; a row whose list is not
	// there; a lock that another process holds.
	isDuplicate func(error) bool
	isOrphan    func(error) bool
	isBusy      func(error) bool
}

//go:embed migrations
var migrations embed.FS
