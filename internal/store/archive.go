package store

import (
	"context"
	"iter"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
)

// Kept describes a post whose bytes are kept: what a web archive, an index of a digest or a
// person who looks for it needs. Texts are UTF-8.
type Kept struct {
	MessageID string // without angle brackets; "" is none
	Hash      string // of MessageID, as permalinks have it; "" without one
	Date      time.Time
	From      string // address of the author
	FromName  string
	Subject   string   // decoded
	Refs      []string // Message-IDs that it answers, the direct parent last
	Parent    string   // the hash of that
	// Place says where the archive has it, Size and SHA256 what it has there; "" of what is
	// kept for a digest alone.
	Place  string
	Size   int64
	SHA256 []byte
	// DigestPlace is where the form for a digest is, which may be the same, until that has
	// gone out; "" is not for a digest.
	DigestPlace string
	DigestSize  int64
}

// Archived is a post in the archive of a list.
type Archived struct {
	ListID   int64
	Number   int64 // that of the post
	Entry    string
	Received time.Time
	Kept
	Waiting bool      // for the list's next digest
	Issue   Issue     // that it went into; zero is none
	Removed time.Time // zero: it is there; else all that is left is number, hash, date and parent
}

// ArchiveFilter chooses posts; an empty field means any.
type ArchiveFilter struct {
	First, Last  int64 // numbers
	Since, Until time.Time
	Hash         string // of the Message-ID: more than one post may have it
	Unarchived   bool   // also those that are kept for a digest alone
}

// Archive is the index of what is kept of lists' posts.
type Archive interface {
	// Archived yields posts by number, as of one instant, as Members does.
	Archived(ctx context.Context, listID int64, f ArchiveFilter) iter.Seq2[Archived, error]
	// ImportPosts adds posts from elsewhere, each with the list's next number, and
	// returns how many were new: of one entry there is one.
	ImportPosts(ctx context.Context, listID int64, posts []Archived) (int, error)
	// RemoveArchived leaves a tombstone of a post and returns the places of what was kept,
	// for the caller to remove. ErrNotFound if there is none of this number.
	RemoveArchived(ctx context.Context, listID, number int64, at time.Time) (places []string, err error)
	// InArchive tells whether the row of an entry says that something is at this place.
	InArchive(ctx context.Context, entry, place string) (bool, error)
}

// Issue numbers a digest of a list.
type Issue struct{ Volume, Issue int }

// Digest is one issue: which posts are in it is settled.
type Digest struct {
	ListID int64
	List   address.Address // only of UnfiledDigests
	Issue
	Closed time.Time
	Posts  int
	Size   int64     // octets of these
	Filed  time.Time // zero: its messages may not all be in the spool yet
}

// Waiting is what waits for the next digest of a list.
type Waiting struct {
	ListID int64
	List   address.Address
	Posts  int
	Size   int64
	Oldest time.Time // when the first of them came in
}

// CloseDigest is how to close an issue.
type CloseDigest struct {
	At time.Time
	// NewVolume tells whether a new volume starts, when the last issue was closed at last.
	NewVolume func(last time.Time) bool
	// What one issue may have; it has one post at least. More waits for the next.
	MaxPosts int
	MaxSize  int64
}

// Digests keeps what goes out in digests, and who is to get them.
type Digests interface {
	// HasDigestReaders tells whether a member of the list gets digests.
	HasDigestReaders(ctx context.Context, listID int64) (bool, error)
	// WaitingDigests yields every list for whose next digest posts wait.
	WaitingDigests(ctx context.Context) iter.Seq2[Waiting, error]
	// WaitingDigest is that of one list; without posts if none wait.
	WaitingDigest(ctx context.Context, listID int64) (Waiting, error)
	// LastIssue is the last issue's number, and when it was closed; issue 0 of volume 1,
	// and a zero time, before the first.
	LastIssue(ctx context.Context, listID int64) (Issue, time.Time, error)
	// CloseDigest makes an issue of the posts that wait, in one step; ErrNotFound if none
	// do. Those who are owed a last digest are owed this one.
	CloseDigest(ctx context.Context, listID int64, how CloseDigest) (Digest, error)
	// BumpDigest starts a new volume; or makes next the number of the next issue.
	BumpDigest(ctx context.Context, listID int64, at time.Time, next Issue) (Issue, error)
	// Digests yields a list's issues, the newest first.
	Digests(ctx context.Context, listID int64) iter.Seq2[Digest, error]
	// UnfiledDigests yields issues that DigestFiled was not told of, the oldest first.
	UnfiledDigests(ctx context.Context) iter.Seq2[Digest, error]
	// DigestPosts are the posts of an issue, by number.
	DigestPosts(ctx context.Context, listID int64, issue Issue) ([]Archived, error)
	// DigestFiled says that every message of an issue is in the spool. What was kept for it
	// alone is forgotten; the places of that are returned, for the caller to remove.
	DigestFiled(ctx context.Context, listID int64, issue Issue, at time.Time) (places []string, err error)
	// OwedDigest yields who got digests of this mode, and wanted none any more while posts of
	// this issue waited: the last one is theirs.
	OwedDigest(ctx context.Context, listID int64, issue Issue, mode list.Mode) iter.Seq2[address.Address, error]
	// IsFiled tells whether the post of an entry is in the journal.
	IsFiled(ctx context.Context, listID int64, entry string) (bool, error)
}
