package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/mlist/mlist/internal/segment"
)

// Movable is a spool whose mail can be moved to one of another kind (package transfer), with all
// that is known of it. While mail moves nobody else may change the spool it goes to, and at the
// end nobody the one it comes from.
type Movable interface {
	Spool

	// Name says which spool it is, as a URL without a password.
	Name() string
	// Recover ends what a crash has left half done. It is for who owns all segments.
	Recover(ctx context.Context) error
	// StoredEntries yields what is in a queue other than Outgoing, by id.
	StoredEntries(ctx context.Context, q Queue) iter.Seq2[StoredEntry, error]
	// StoredPosts yields the posts in Outgoing, by id. One of which nothing is left to be sent
	// may be among them.
	StoredPosts(ctx context.Context) iter.Seq2[StoredPost, error]
	// StoredChunks yields the chunks of a post, by name, with those recipients who are left.
	StoredChunks(ctx context.Context, p StoredPost) iter.Seq2[Chunk, error]
	// StoredContent opens a content of a post.
	StoredContent(ctx context.Context, p StoredPost, variant string) (Message, error)

	// Fill begins to fill an empty spool with the mail of another, or goes on: until Filled
	// nobody opens it who does not say that he is filling it. A spool that has mail, or is being
	// filled with that of yet another one, is refused with ErrNotEmpty.
	Fill(ctx context.Context, from string) error
	// RestoreEntry makes an entry as it is in another spool, in the place of one of its queue
	// and id. It may be on stable storage only after Filled.
	RestoreEntry(ctx context.Context, e StoredEntry, message io.Reader) error
	// RestorePost is RestoreEntry for a post, with the contents that content opens.
	RestorePost(ctx context.Context, p StoredPost, content func(variant string) (Message, error), chunks iter.Seq2[Chunk, error]) error
	// Drop removes a post, as if there had never been one.
	Drop(ctx context.Context, p StoredPost) error
	// Filled ends Fill. All that was restored is on stable storage then.
	Filled(ctx context.Context) error

	// Leave says for good that the mail is in another spool now: whoever opens this one is told.
	Leave(ctx context.Context, to string) error
	// Moves is what Fill and Leave have said, as long as that holds.
	Moves(ctx context.Context) (Moves, error)
	// Clear removes all mail of a spool after Leave. What is damaged stays.
	Clear(ctx context.Context) error
}

// StoredEntry is an entry with what Admin does not tell.
type StoredEntry struct {
	Entry
	Origin   Queue  // of one in Held or Failed: the queue that it goes back to
	Finished bool   // its post was made; see Owner.Finished
	Damaged  string // it cannot be read, for this reason; else ""
}

// StoredPost is a post in Outgoing.
type StoredPost struct {
	ID       ID
	Key      segment.Key // of the entry that it was made of
	Paused   bool
	Variants []string // sorted
}

// Errors of a spool that is moved, or was.
var (
	// ErrNotEmpty: a spool that is to be filled has mail of its own.
	ErrNotEmpty = errors.New("it has mail of its own")
	// ErrMoved: the mail of a spool is elsewhere.
	ErrMoved = errors.New("its mail was moved elsewhere")
	// ErrFilling: the mail of another spool is not all there yet.
	ErrFilling = errors.New("it is being filled with the mail of another spool")
)

// Moves is what is known of a spool that is moved, or was.
type Moves struct {
	To   string // after Leave: where the mail is
	From string // until Filled: where it comes from
	At   time.Time
}

// Check refuses a spool that must not be used as it is.
func (m Moves) Check() error {
	switch {
	case m.To != "":
		return fmt.Errorf("%w, to %s, on %s: spool.url is to say so", ErrMoved, m.To, m.At.Format(time.DateTime))
	case m.From != "":
		return fmt.Errorf("%w, %s, since %s: `mlist store migrate` was cut short, or is at work", ErrFilling, m.From, m.At.Format(time.DateTime))
	}
	return nil
}
