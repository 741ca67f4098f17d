// Package store is list state: which lists there are, how they are set, who is on
// them, and what has been counted. It is transactional: a method either did all it
// says, on stable storage, or nothing.
//
// The interfaces are what callers need, each caller a few of them; package sqlstore
// implements them all over SQL, and package storetest is the suite that every
// implementation passes. Several processes may use one store at once. Nothing here
// loads a whole membership into memory.
package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
)

// Errors that callers tell apart with errors.Is. Anything else is temporary: the
// store is down, busy or broken.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("already exists")
	ErrTooMany  = errors.New("too many of one person's addresses")
	ErrNoSender = errors.New("the post does not say who sent it")
)

// Target is what an address stands for.
type Target struct {
	List   address.Address // the list's own, also where the address that was asked for is another one of it
	Role   address.Role
	Detail string
	// State and Why are the list's: whether it takes posts.
	State list.State
	Why   string
}

// Resolver finds out what an address stands for: lmtpd asks at every RCPT.
type Resolver interface {
	// Resolve returns the first candidate of addr whose list exists, by one indexed
	// look-up; or the site's own address, in a domain that has lists; or ErrNotFound.
	Resolve(ctx context.Context, addr address.Address) (Target, error)
}

// Arrivals tells of posts that are about to come: the milter asks at every RCPT.
type Arrivals interface {
	// Arrival answers in one look-up what List, Standings, MatchBans and OpenApprovals would say of a
	// post to addr at this time, and of its envelope sender, who may be the zero Address. ErrNotFound if
	// addr is not the posting address of a list.
	Arrival(ctx context.Context, addr, sender address.Address, at time.Time) (list.Arrival, error)
}

// Lists administers lists.
type Lists interface {
	// CreateList stores l and sets its ID, State and Created; its domain comes to be with its
	// first list. ErrExists if there is one with this address, or if its address is a
	// role address of a list that exists (dev-owner of dev), or the reverse. Aliases count
	// as addresses of lists.
	CreateList(ctx context.Context, l *list.List) error
	// CopyList is CreateList, with the memberships in these roles that the list from has, in one
	// transaction: they are on the new list from now on. It counts them. ErrNotFound if from is
	// not there.
	CopyList(ctx context.Context, from address.Address, l *list.List, roles []list.Role) (int64, error)
	// List finds a list by its address, or one of its aliases.
	List(ctx context.Context, addr address.Address) (*list.List, error)
	// AllLists yields lists by domain and then local part; of one domain if domain is
	// not "".
	AllLists(ctx context.Context, domain string) iter.Seq2[*list.List, error]
	// ChangeList sets settings from their text form; nil goes back to what the list's style
	// has. One that the style has locked is an error. All of them are changed, or none with an error that names the first bad one.
	ChangeList(ctx context.Context, addr address.Address, changes map[string]*string) (*list.List, error)
	// DeleteList removes the list and everything of it. The list is gone at one instant;
	// if removing its rows is cut short, that is an error, and Prune does the rest.
	DeleteList(ctx context.Context, addr address.Address) error
	Lives
	Applier
}

// Filter chooses members; an empty field means any.
type Filter struct {
	Roles    []list.Role
	Modes    []list.Mode
	Statuses []list.Status
	Address  address.Address
	// Topics are those of a post: of members who chose topics, the ones with one of
	// these. The topic "" stands for posts that have none.
	Topics []string
}

// Source is where recipients come from: what the filter chooses on a list.
type Source struct {
	ListID int64
	Filter Filter
	// Except: the source takes its addresses away, whichever other source has them.
	Except bool
}

// MaxSources is how many sources Recipients takes, each role of a filter counted.
const MaxSources = 200

// Recipient is a membership as far as delivering to it goes.
type Recipient struct {
	Address                  string // as the member spelled it, ready for RCPT TO
	NoOwnPosts, NoDuplicates bool
}

// AddResult counts what became of an import.
type AddResult struct{ Added, Existing int64 }

// MemberChange is what SetMember changes; nil leaves a field alone.
type MemberChange struct {
	DisplayName      *string
	Mode             *list.Mode
	Status           *list.Status
	Until            *time.Time // beside Status: list.ByUser; without it there is no end
	Action           *list.Action
	NoOwnPosts       *bool
	NoDuplicates     *bool
	AcknowledgePosts *bool
	Topics           *string
	Nonmatching      *bool
	Language         *string
	// By and Why go into the member's history when Status changes.
	By, Why string
}

// Members administers who is on a list.
type Members interface {
	// AddMembers adds memberships in batches, each a transaction; those that exist
	// (same list, role and address) are counted and left as they are. The first error
	// of members, or of the store, ends it; what was added before stays. progress, if
	// not nil, is called after each batch with the counts so far. Batches are not in the
	// order of members. ErrNotFound if there is no such list.
	AddMembers(ctx context.Context, listID int64, members iter.Seq2[list.Membership, error], progress func(AddResult)) (AddResult, error)
	// ResumeMembers enables delivery to those whose Until has come, and counts them.
	ResumeMembers(ctx context.Context, now time.Time) (int64, error)
	// SetMember changes one membership; ErrNotFound if there is none.
	SetMember(ctx context.Context, listID int64, role list.Role, addr address.Address, c MemberChange) error
	// RemoveMembers removes memberships in batches; it counts those that were there.
	RemoveMembers(ctx context.Context, listID int64, role list.Role, addrs iter.Seq2[address.Address, error]) (int64, error)
	// Members yields memberships that the filter chooses, by role (in the order of
	// list.Roles), domain and local part, as of one instant, reading as the caller
	// consumes. The caller may use the store meanwhile, but should not wait for anything
	// else: only a few iterators can be open at once, and further ones wait.
	Members(ctx context.Context, listID int64, f Filter) iter.Seq2[list.Membership, error]
	// Recipients is Members for delivery: only what is needed to send, as fast as can be.
	// It merges sources: each address comes once, as the first source has it (and its first
	// role, in the order of list.Roles). They come in batches, which are the caller's; those
	// of one stand by domain and local part, but batches come in any order, so that a store
	// can read a large list at several places at once.
	Recipients(ctx context.Context, sources ...Source) iter.Seq2[[]Recipient, error]
	// Memberships returns every role that each of the addresses has on the list.
	Memberships(ctx context.Context, listID int64, addrs []address.Address) ([]list.Membership, error)
	// CountMembers counts what the filter chooses.
	CountMembers(ctx context.Context, listID int64, f Filter) (int64, error)
}

// Post is a post that has been taken up by the pipeline.
type Post struct {
	ListID int64
	Entry  string // the incoming entry's id: a second run of the same entry changes nothing
	Digest []byte // of envelope sender and bytes: the same post delivered twice has the same
	At     time.Time
	// State is changes of what handlers keep for the list. FilePost makes them in the same
	// transaction as it gives the post its number, and so once.
	State []StateEdit
	// StateLimits bound what one plugin keeps for one list: FilePost files nothing, and
	// returns a *StateFullError, if a change makes it more, and too much.
	StateLimits StateLimits
	// Approval is the hash of the one-time password that the post used, if it did: FilePost
	// uses it up, or files nothing and returns ErrApprovalGone.
	Approval string
	// Kept describes what is kept of the post; FilePost enters it in the same transaction,
	// under the post's number. nil is nothing.
	Kept *Kept
}

// StateLimits is how much one plugin may keep for one list; 0 is no limit.
type StateLimits struct {
	Keys  int64
	Bytes int64 // of keys and values
}

// StateFullError says that a plugin would keep too much for a list. The post is as it was:
// it can be filed when the limits are others, or the plugin has become more modest.
type StateFullError struct {
	Plugin      string
	Keys, Bytes int64 // that it would keep
	Limits      StateLimits
}

// Error implements error.
func (e *StateFullError) Error() string {
	if e.Limits.Keys > 0 && e.Keys > e.Limits.Keys {
		return fmt.Sprintf("plugin %s would keep state under %d keys, at most %d are allowed", e.Plugin, e.Keys, e.Limits.Keys)
	}
	return fmt.Sprintf("plugin %s would keep %d bytes of state, at most %d are allowed", e.Plugin, e.Bytes, e.Limits.Bytes)
}

// StateEdit changes one value that a plugin keeps for a list.
type StateEdit struct {
	Plugin, Key string
	Kind        StateKind
	Value       []byte // of StateSet
	Delta       int64  // of StateAdd
}

// StateKind says what a StateEdit does.
type StateKind int

// Kinds of state edit.
const (
	StateSet    StateKind = iota + 1 // the value becomes this one
	StateAdd                         // Delta is added to the value, a decimal number; another counts as 0
	StateDelete                      // the key goes
)

// State reads what handlers keep for lists.
type State interface {
	// PluginState returns the value of a key, and whether there is one, as a run of the
	// post of entry may see it: if that post's edits were made already, what was there
	// before them. So a post that is run again after a crash is judged as the first time.
	PluginState(ctx context.Context, listID int64, entry, plugin, key string) (value []byte, ok bool, err error)
}

// Secrets keeps what nobody else may know.
type Secrets interface {
	// Secret returns the site's secret of this name: 32 random octets, made when it is
	// first asked for, and the same ever after.
	Secret(ctx context.Context, name string) ([]byte, error)
}

// SecretVERP is the secret from which the keys of return paths are derived (package verp).
const SecretVERP = "verp"

// SecretOneClick is the secret from which the keys of one-click unsubscription are derived
// (package oneclick).
const SecretOneClick = "one-click"

// SecretModeration is the secret from which moderators' tokens are derived (package moderate).
const SecretModeration = "moderation"

// PostRecord is what the store knows of a post.
type PostRecord struct {
	Number    int64  // the post's number on the list, from 1; 0 if filed without
	Duplicate bool   // another entry was filed with this digest before
	Entry     string // that entry
	Filed     bool   // only of PeekPost: this very entry was filed before
}

// MaxGrace is for how long responses are remembered at least.
const MaxGrace = 366 * 24 * time.Hour

// Journal keeps what the pipeline counts, each by an entry's id, so that a second
// run changes nothing.
type Journal interface {
	// PeekPost tells, without changing anything, what FilePost would: the number that
	// the post has or would get, and whether it is a duplicate of another one filed
	// since window before p.At.
	PeekPost(ctx context.Context, p Post, window time.Duration) (PostRecord, error)
	// FilePost files a post's digest, and if numbered gives it the list's next number,
	// unless it is a duplicate. Filing the same entry again changes nothing, except
	// that one filed without a number (a held post) gets one when asked for.
	FilePost(ctx context.Context, p Post, numbered bool, window time.Duration) (PostRecord, error)
	// FilePosts is FilePost with a number for posts that are not filed yet, in this order, as
	// one transaction. It returns what was filed: with an error, those before the one that it
	// is about.
	FilePosts(ctx context.Context, posts []Post, window time.Duration) ([]PostRecord, error)
	// AllowNotice tells whether an automatic reply about entry may go to addr: at most
	// limit of them within window. The same entry gets the same answer again.
	AllowNotice(ctx context.Context, addr address.Address, entry string, at time.Time, limit int, window time.Duration) (bool, error)
	// AllowResponse tells whether a list's automatic response of a kind may go to addr: once
	// within grace. The same entry gets the same answer again.
	AllowResponse(ctx context.Context, listID int64, kind string, addr address.Address, entry string, at time.Time, grace time.Duration) (bool, error)
	// Prune forgets posts' entries and digests (not that their numbers are taken), notices and
	// one-time passwords that ended, from before t, requests that expired before it and results of steps, responses
	// from MaxGrace before that, and what is left of deleted lists whose time has come. An entry that may still
	// be filed again must not be older than t.
	Prune(ctx context.Context, t time.Time) error
}

// Bans keeps who is kept off lists.
type Bans interface {
	// AddBan adds a ban; ErrExists if it is there, ErrNotFound if its list is not.
	AddBan(ctx context.Context, b list.Ban) error
	// RemoveBan lifts a ban; ErrNotFound if there is none.
	RemoveBan(ctx context.Context, scope list.Scope, what string) error
	// Bans yields the bans of a scope, by what they ban, or with nil those of all scopes: the
	// site's first.
	Bans(ctx context.Context, scope *list.Scope) iter.Seq2[list.Ban, error]
	// MatchBans returns, by its Key, the ban that holds for each of the addresses on a list
	// of the domain: the list's own, or else the domain's, or else the site's. It costs one
	// indexed look-up, and matching the patterns.
	MatchBans(ctx context.Context, listID int64, domain string, addrs []address.Address) (map[string]list.Ban, error)
}

// Store is everything.
type Store interface {
	Approvals
	Bans
	Resolver
	Arrivals
	Lists
	Members
	Syncer
	Mover
	Journal
	State
	Secrets
	Bounces
	Archive
	Digests
	Requests
	Invitations
	People
	Moderation
	// Ping tells whether the store answers.
	Ping(ctx context.Context) error
	Close() error
}
