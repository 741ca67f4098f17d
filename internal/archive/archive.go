// Package archive keeps messages for good: raw, each once, compressed, by list and month.
//
// What is kept is described by rows in the store, which say where each message is; here are
// only the bytes. A message is put here first and gets its row after, in the transaction that
// makes the post count. So a message without a row is one whose post did not come so far, or
// one that was removed: Places finds it, and whoever sweeps takes it away when it is old. A
// row without a message is damage.
//
// The interface is Archive; package dir keeps messages in a directory, and package
// archivetest is the suite that every implementation passes. Threads puts what is kept
// into the order of its discussions.
package archive

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrNotFound: there is no message at a place.
	ErrNotFound = errors.New("no such message in the archive")
	// ErrDamaged: what is stored is not what was put.
	ErrDamaged = errors.New("damaged in the archive")
)

// Archive keeps messages. Its methods may be called at once, also from several processes.
type Archive interface {
	// Put keeps the message that write writes, and returns when it is on stable storage. If
	// there is a message of this key already, that one stays, and is what Put describes: a
	// second run of the same post changes nothing. After an error nothing is left but,
	// perhaps, a message that nobody refers to.
	Put(ctx context.Context, key Key, write func(io.Writer) error) (Message, error)
	// Open reads a message. What it returns ends with ErrDamaged if the stored bytes are
	// not what was put. ErrNotFound if there is none.
	Open(ctx context.Context, place string) (io.ReadCloser, error)
	// Remove takes a message away, for good; none there is no error.
	Remove(ctx context.Context, place string) error
	// Places yields every message, in no order.
	Places(ctx context.Context) iter.Seq2[Place, error]
}

// Key names a message before it is kept. No two messages have the same.
type Key struct {
	List string    // the list's address
	At   time.Time // which month it belongs to
	Name string    // letters, digits and hyphens: the entry's id, and what tells variants apart
}

// Message is what is kept of one.
type Message struct {
	Place  string // what Open takes
	Size   int64  // octets, as they were written
	SHA256 []byte // of these
}

// Place is where a message is, and since when.
type Place struct {
	Name    string // what Open takes
	Key     string // the Name of its Key
	Changed time.Time
}
