// Package spool keeps messages on stable storage between daemons.
//
// There are three queues, incoming, bounces and outgoing, and two resting places,
// held and failed. An entry is in exactly one of them, whatever crashes and when:
// every change of state is one atomic step, and docs/spool.md has the table.
// A method that puts, moves or removes an entry returns only after the change is on
// stable storage.
//
// incoming, bounces, held and failed hold messages ([Entry]). outgoing holds posts
// that are ready to go: each post's content once per variant, and chunks of
// recipients ([Chunk]) that refer to it.
//
// All methods may be called at once from any goroutine.
package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"github.com/mlist/mlist/internal/segment"
)

// Queue names one of the five places in a spool.
type Queue string

// The queues and resting places.
const (
	Incoming Queue = "incoming"
	Outgoing Queue = "outgoing"
	Bounces  Queue = "bounces"
	Held     Queue = "held"
	Failed   Queue = "failed"
)

// Queues are all five.
var Queues = []Queue{Incoming, Outgoing, Bounces, Held, Failed}

// ID names an entry for its whole life: 16 characters of lower-case base32, the
// first of them from the time, so that IDs sort by age.
type ID string

// Digits come before letters in ASCII: ids sort as text as they do by time.
const alphabet = "234567abcdefghijklmnopqrstuvwxyz"

// MakeID makes an ID of 55 bits of a time in microseconds and 25 bits of something else.
func MakeID(us uint64, more uint32) ID {
	var b [16]byte
	for i := 10; i >= 0; i, us = i-1, us>>5 {
		b[i] = alphabet[us&31]
	}
	for i := 15; i > 10; i, more = i-1, more>>5 {
		b[i] = alphabet[more&31]
	}
	return ID(b[:])
}

// CheckID refuses text that is not an ID, so that it may be used in a path.
func CheckID(s string) (ID, error) {
	if len(s) != 16 {
		return "", fmt.Errorf("entry id %.40q: want 16 characters", s)
	}
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '2' || r > '7') {
			return "", fmt.Errorf("entry id %q: character %q", s, r)
		}
	}
	return ID(s), nil
}

// Errors that callers tell apart with errors.Is.
var (
	// ErrNotFound: there is no such entry (any more).
	ErrNotFound = errors.New("no such entry")
	// ErrOwned: another live daemon owns one of the segments asked for.
	ErrOwned = errors.New("segment has an owner")
	// ErrFenced: the caller's ownership of the entry's segment has ended; nothing was done.
	ErrFenced = errors.New("no longer the owner")
	// ErrDown: what the spool is kept in cannot be reached, or cannot do its work. No entry can help it.
	ErrDown = errors.New("the spool is down")
	// ErrPinned: a pin overlaps with one that is there.
	ErrPinned = errors.New("a part of the range is pinned")
)

// Envelope is what is known of a message beside its bytes. No field may contain a
// line break.
type Envelope struct {
	List      string      // the list's address in canonical form (address.Address.Key)
	Role      string      // what part of the list it was for: an address.Role
	Detail    string      // what followed '+' in the recipient
	Key       segment.Key // of incoming and bounces: segment.KeyOf(List)
	Sender    string      // envelope sender; "" is the null reverse-path
	Recipient string      // as the client gave it
	Received  time.Time   // microseconds are kept
	Peer      string      // who handed it in
	Flags     []string    // words without spaces: see the Flag constants
	Notes     map[string]string
}

// Flags of an envelope.
const (
	FlagSMTPUTF8  = "smtputf8"  // the client asked for SMTPUTF8 (RFC 6531)
	Flag8BitMIME  = "8bitmime"  // the client declared BODY=8BITMIME
	FlagOwnPaths  = "own-paths" // return paths are not left to the MTA (XVERP), whose prove nothing about a member
	FlagMalformed = "malformed" // the header block or MIME structure has defects
	FlagApproved  = "approved"  // a moderator let it through: posting rules do not apply again
	FlagBy        = "by="       // before a stage's name: it submitted the post, or one that led to it
	FlagDigest    = "digest"    // made of many posts by the pipeline: only stages that know digests see it
	FlagOutbound  = "outbound"  // in bounces: made by outbound from an SMTP reply, in the form of a DSN
)

// Entry is a message in a queue.
type Entry struct {
	ID    ID
	Queue Queue
	Envelope
	Size   int64     // of the message, in bytes
	Tries  int       // attempts that failed
	Due    time.Time // not before this; zero is at once
	Reason string    // in held and failed, or after a failed try: why
}

// Message reads the bytes of an entry. The file holds them from offset on to its end.
type Message interface {
	io.ReaderAt
	io.Closer
	Size() int64
	// File is where the bytes can be read by another process while the Message is open.
	File() (file *os.File, offset int64)
}

// Putter takes in new messages.
type Putter interface {
	// Create starts a draft, of which nothing is visible until Put.
	Create(ctx context.Context) (Draft, error)
}

// Draft is a message being written. Close throws away what was not put; it must
// always be called.
type Draft interface {
	io.Writer
	// Put makes an entry of all that was written, in Incoming or Bounces (or Held or
	// Failed), and returns when it is on stable storage. It may be called again, for
	// another list; nothing may be written after the first call. After an error
	// nothing is left of that entry. An id of "" makes a new one; putting an id that
	// the queue already has for that list changes nothing and is no error. (One id must
	// not be used for two lists.)
	Put(ctx context.Context, q Queue, id ID, env Envelope) (ID, error)
	Close() error
}

// Spool is everything that a storage of messages must do. Callers should ask for
// the part of it that they need.
type Spool interface {
	Putter
	Admin
	// Own claims the segments of Incoming or Bounces for this process until Close or
	// the process's end. name, such as "pipeline on host", is what another
	// daemon that asks for the same segments is told, with ErrOwned.
	Own(ctx context.Context, q Queue, segments segment.Set, name string) (Owner, error)
	// OwnOutgoing is Own for Outgoing.
	OwnOutgoing(ctx context.Context, segments segment.Set, name string) (OutgoingOwner, error)
	Close() error
}

// Sharing is a spool whose segments daemons on several machines can share: each has a part of
// them that fits what it does, and which changes while it works.
type Sharing interface {
	// Share is Own without segments of one's own.
	Share(ctx context.Context, q Queue, who Partner) (Owner, error)
	// ShareOutgoing is Share for Outgoing.
	ShareOutgoing(ctx context.Context, who Partner) (OutgoingOwner, error)
}

// Partner is a daemon that shares segments.
type Partner struct {
	Name string
	Load func() Load // is asked every second or so; without it all count the same
}

// Load is what a daemon has done since it started.
type Load struct {
	Done int64 // recipients
	// Busy is how long that took: the time of each transaction that has ended, as the part of
	// all the connections there may be that it kept.
	Busy    time.Duration
	Failing bool // the MTA takes nothing
}

// Owner takes entries of the segments it owns, from Incoming or Bounces.
type Owner interface {
	// Segments are those of which entries may be handed out now.
	Segments() segment.Set
	// Next waits for an entry that is due and hands it out. Entries with one key are
	// handed out one at a time, oldest first (one that was deferred may be
	// overtaken); those with different keys together. Each entry handed out must be
	// given back through exactly one of the methods below, or Release. After an error
	// of one of them it is still handed out.
	Next(ctx context.Context) (Entry, error)
	// Following hands out the next entry of e's key, although e is handed out still, and does
	// not wait: ok is false if none is due, or e has been given back. So several posts of one
	// list can be committed at once, in their order. Next hands out none of their key before
	// all are given back.
	Following(ctx context.Context, e Entry) (next Entry, ok bool, err error)
	Open(ctx context.Context, e Entry) (Message, error)
	// Done removes the entry.
	Done(ctx context.Context, e Entry) error
	// Defer puts the entry back until due, with one more try and the reason.
	Defer(ctx context.Context, e Entry, due time.Time, reason string) error
	// Park moves the entry to Held or Failed, with the reason and notes.
	Park(ctx context.Context, e Entry, q Queue, reason string, notes map[string]string) error
	// Release gives the entry back unchanged, to be handed out again: for shutdown.
	Release(e Entry)
	// Prepare starts the one commit that turns the entry into an outgoing post.
	Prepare(ctx context.Context, e Entry) (Prepared, error)
	// Commit commits posts that this owner prepared, in this order, and ends them all. It
	// returns how many were committed, from the first; the error is that of the one after
	// them. Each post is a step of its own, but they share what makes them last.
	Commit(ctx context.Context, posts ...Prepared) (int, error)
	// Finished tells whether e was already committed to Outgoing by an earlier run
	// that was killed before it could remove e.
	Finished(ctx context.Context, e Entry) (bool, error)
	// Close gives the segments up. Entries still handed out can no longer be changed.
	Close() error
}

// Prepared is an outgoing post being written: nothing of it is visible before
// Commit. Its methods are called by one goroutine. Exactly one of Commit and Abort
// ends it.
type Prepared interface {
	// Content writes the content of a variant, once; the caller closes it.
	Content(variant string) (io.WriteCloser, error)
	// AddChunk adds a chunk. Its Post, Name, Key, Tries and Due are filled in by the spool.
	// One without recipients is ignored.
	AddChunk(ctx context.Context, c Chunk) error
	// AddEntry adds a new entry of Incoming, made of the entry that is being committed and
	// for the same list, with an id of its own. It is there when Commit has been, once: a
	// commit that was cut short puts it there when Finished is asked.
	AddEntry(ctx context.Context, env Envelope, message ...[]byte) (ID, error)
	// Commit makes all chunks and new entries visible and removes the incoming entry, in one
	// step, as Owner.Commit does for several posts. After an error the entry is still handed out, and Finished tells whether that
	// step was taken. A post without chunks and entries is just the removal.
	Commit(ctx context.Context) error
	// Abort leaves the incoming entry handed out, and nothing else.
	Abort() error
}

// Chunk is some recipients of a post that one SMTP transaction can serve.
type Chunk struct {
	Post       ID          // the incoming entry that it came from
	Name       string      // unique within the post
	Key        segment.Key // segment.KeyOf(Post, Name)
	List       string      // address of the list
	Variant    string      // which content
	Sender     string      // envelope sender; "" is the null reverse-path
	Flags      []string    // FlagSMTPUTF8, Flag8BitMIME, FlagOwnPaths
	Created    time.Time   // when the post came in: deferral ends at an age
	Recipients []string
	Tries      int
	Due        time.Time
	Reason     string // of the last deferral
	Paused     bool   // its post is paused; only Admin tells

	// ReturnKey is a key of package verp, in its text form: each recipient's copy has a
	// return path of its own, made with it. "" if Sender serves all.
	ReturnKey string
	// UnsubscribeKey is a key of package oneclick, in its text form, where a slot has a token
	// made with it.
	UnsubscribeKey string
	// Slots are the places of the content that differ from copy to copy, in rising order and
	// apart from each other. With any, each recipient gets a transaction of its own.
	Slots []Slot
	Names []string // display names, one beside each of Recipients, or none at all
	Sign  []SignKey
}

// Slot is a place in a content where each copy has something of its recipient's.
type Slot struct {
	Offset, Length int64  // of the placeholder that stands there
	Field          string // what: a word that outbound knows
	Encoding       string // how: a word that outbound knows
}

// SignKey tells outbound to sign each copy, since nothing that was signed before could hold.
type SignKey struct{ Domain, Selector, File string }

// ID names a chunk: post/name.
func (c *Chunk) ID() string { return string(c.Post) + "/" + c.Name }

// OutgoingOwner takes chunks of the segments it owns.
type OutgoingOwner interface {
	// Next waits for a chunk that is due and hands it out. Posts take turns, so that a
	// large one does not block small ones. Each chunk handed out must be given back
	// through Settle or Release.
	Next(ctx context.Context) (*Chunk, error)
	// Others tells whether a chunk of another post waits to be handed out, as far as is
	// known without looking at the disk.
	Others(c *Chunk) bool
	// Content opens the content of the chunk's variant.
	Content(ctx context.Context, c *Chunk) (Message, error)
	// Holds returns nil while nobody else can have the segments, for some moments at least, and
	// else ErrFenced. Ask before something is begun at the MTA, and again before it can no
	// longer be taken back.
	Holds() error
	// Settle records what came of the chunk: recipients in neither list were accepted
	// by the MTA or have become bounce entries, and are never handed out again. It is
	// one atomic step. When nothing is deferred the chunk is removed, and with the
	// last one, soon after, the post. No death of a process undoes a settlement; a power
	// cut may undo those of the last moments in which nothing was deferred, unlike all
	// else here. After an error the chunk is still handed out.
	Settle(ctx context.Context, c *Chunk, r Settlement) error
	// Progress records that the MTA has accepted the chunk for one recipient, the i-th as it
	// was handed out, who is then not handed out again. No death of a process undoes it; a
	// power cut may undo that of the last second. The chunk stays handed out, and Settle
	// counts all the same.
	Progress(c *Chunk, i int) error
	// Release gives the chunk back unchanged, to be handed out again not before due
	// (kept in memory only): for shutdown, or when the MTA could not be reached.
	Release(c *Chunk, due time.Time)
	Close() error
}

// Settlement is what remains of a chunk after a transaction.
type Settlement struct {
	Deferred []string  // recipients to try again
	Due      time.Time // when
	Reason   string    // of the deferral
}

// Ownership is what a daemon owns.
type Ownership struct {
	Queue    Queue
	Segments segment.Set
	Name     string // as given to Own
	PID      int

	// Of a spool that machines share:
	Host    string
	Epoch   int64       // of the lease
	Since   time.Time   // when it was taken
	Auto    bool        // its segments are a share
	Rate    float64     // recipients a second that it can drain, as measured
	Failing bool        // its MTA takes nothing
	Done    int64       // recipients since then
	Flow    float64     // recipients a second, of late
	Coming  segment.Set // what it is to have as soon as another gives it up
}

// SharedSegments is what operators see and want of segments that daemons share.
type SharedSegments interface {
	// Waiting counts the chunks that wait, by their keys.
	Waiting(ctx context.Context) ([]Waiting, error)
	// Wants are the pins and the drained hosts.
	Wants(ctx context.Context) (pins []Pin, drained []string, err error)
	// Drain has a host give up its segments, of all queues, and take none; or ends that. It
	// returns false if that was so before.
	Drain(ctx context.Context, host string, drained bool) (bool, error)
	// Pin has a range of Outgoing served by a host, while that has a daemon that shares.
	// Pins do not overlap: another one's is refused.
	Pin(ctx context.Context, p Pin) error
	// Unpin ends all pins within a range, and returns them.
	Unpin(ctx context.Context, r segment.Range) ([]Pin, error)
}

// Counting is a spool that tells how much is in a queue without reading it.
type Counting interface {
	Count(ctx context.Context, q Queue) (Count, error)
}

// Count is how much is in a queue.
type Count struct {
	Entries    int64 // of Outgoing: posts
	Chunks     int64
	Recipients int64     // of Outgoing, that are left
	Deferred   int64     // that wait for a time; of Outgoing, chunks
	Paused     int64     // posts
	Oldest     time.Time // when what came first of it came in; zero: there is nothing
}

// Waiting is what waits in Outgoing with one key.
type Waiting struct {
	Key      segment.Key
	Chunks   int
	Deferred int // of those
	Since    time.Time
}

// Pin is a range that an operator wants on a host.
type Pin struct {
	segment.Range
	Host string
}

// Admin is what an operator's tools do, from any process and without owning
// segments, while daemons run.
type Admin interface {
	// Entries yields what is in a queue other than Outgoing, oldest first.
	Entries(ctx context.Context, q Queue) iter.Seq2[Entry, error]
	// Chunks yields the chunks in Outgoing; their Recipients too if asked.
	Chunks(ctx context.Context, recipients bool) iter.Seq2[Chunk, error]
	// Find looks for an entry in every queue but Outgoing.
	Find(ctx context.Context, id ID) (Entry, error)
	Read(ctx context.Context, e Entry) (Message, error)
	// Retry makes an entry due now: one in Incoming or Bounces that was deferred, one
	// in Held or Failed by moving it back to the queue it came from, its tries set to
	// none, with the added flags.
	Retry(ctx context.Context, e Entry, flags ...string) error
	// RetryChunks makes the deferred chunks of a post due now.
	RetryChunks(ctx context.Context, post ID) error
	// Remove removes an entry that is in Held or Failed, or not handed out.
	Remove(ctx context.Context, e Entry) error
	// PausePost has no more chunks of a post handed out until ResumePost; what is handed out
	// goes on. Owners see either within seconds. It lasts, whoever is killed.
	PausePost(ctx context.Context, post ID) error
	ResumePost(ctx context.Context, post ID) error
	// Owners are the daemons that live and own segments.
	Owners(ctx context.Context) ([]Ownership, error)
	// RemovePost removes a post's remaining chunks from Outgoing.
	RemovePost(ctx context.Context, post ID) error
}
