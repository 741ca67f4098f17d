// Package moderate decides about posts that wait for a moderator. Whoever decides, by mail,
// at the command line or because time is up, does it here.
//
// What waits stands in two places: the bytes in the spool's queue held, and what is said of
// them in the store. The store's transaction decides, so that of two who decide at once one
// does; then the spool does it: the post goes back into incoming, or away. If a process
// dies between the two, Settle does the rest.
package moderate

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk/message"
)

// Store is what moderation needs of the store.
type Store interface {
	List(ctx context.Context, addr address.Address) (*list.List, error)
	Memberships(ctx context.Context, listID int64, addrs []address.Address) ([]list.Membership, error)
	Members(ctx context.Context, listID int64, f store.Filter) iter.Seq2[list.Membership, error]
	DomainRoles(ctx context.Context, domain string) iter.Seq2[store.DomainRole, error]
	store.Moderation
	store.Secrets
}

// Spool is what moderation needs of the spool.
type Spool interface {
	Find(ctx context.Context, id spool.ID) (spool.Entry, error)
	Read(ctx context.Context, e spool.Entry) (spool.Message, error)
	Retry(ctx context.Context, e spool.Entry, flags ...string) error
	Remove(ctx context.Context, e spool.Entry) error
}

// Desk is where posts that are held are filed and decided about.
type Desk struct {
	Store Store
	Spool Spool
}

// Errors that callers tell apart with errors.Is.
var (
	// ErrGone: the post is not there any more, and nobody has decided.
	ErrGone = errors.New("the post is gone")
	// ErrNotHeld: the post is there, and is not held now.
	ErrNotHeld = errors.New("the post is not held")
)

// Limits of what is kept of a post, in octets.
const (
	maxText   = 500
	maxReason = 4000
)

// Describe is what is said of a held post to people.
func (d *Desk) Describe(ctx context.Context, l *list.List, e spool.Entry, h *message.Header) (store.HeldPost, error) {
	p := store.HeldPost{
		ListID: l.ID, Entry: string(e.ID), Author: line(message.DecodeText(h.Get("From"))), Subject: line(h.Text("Subject")),
		Reason: Reasons(e.Reason, e.Notes), Code: line(e.Notes["code"]), Size: e.Size, Held: e.Received,
	}
	var err error
	p.Sender, err = d.sender(ctx, l, h, e.Sender)
	return p, err
}

// sender is whose post it is: of those who say so, in From and the envelope, the first that
// is a member, or else the first.
func (d *Desk) sender(ctx context.Context, l *list.List, h *message.Header, envelope string) (address.Address, error) {
	var senders []address.Address
	for _, box := range h.Mailboxes("From") {
		if a, err := address.Parse(box.Address); err == nil && len(senders) < 4 {
			senders = append(senders, a)
		}
	}
	if a, err := address.Parse(envelope); err == nil {
		senders = append(senders, a)
	}
	if len(senders) == 0 {
		return address.Address{}, nil
	}
	ms, err := d.Store.Memberships(ctx, l.ID, senders)
	if err != nil {
		return address.Address{}, err
	}
	for _, a := range senders {
		for _, m := range ms {
			if m.Role == list.Member && m.Address.Key() == a.Key() {
				return a, nil
			}
		}
	}
	return senders[0], nil
}

// Hit is a rule that hit a post: its code, and a sentence.
type Hit struct {
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

// Hits are the rules that hit a post, in their order, as the stages' notes have them.
func Hits(notes map[string]string) []Hit {
	hits := []Hit{}
	for _, name := range hitNotes {
		for hit := range strings.Lines(notes[name]) {
			code, text, ok := strings.Cut(strings.TrimSpace(hit), ": ")
			if ok && text != "" {
				hits = append(hits, Hit{code, line(text)})
			}
		}
	}
	return hits
}

// hitNotes are the names of the notes with hits.
var hitNotes = []string{"posting.hits", "limits.hits"}

// IsHits tells whether a note has hits.
func IsHits(name string) bool { return slices.Contains(hitNotes, name) }

// Reasons are why a post is held, a line each: the rules that hit it, and what else the stage
// that holds it says.
func Reasons(reason string, notes map[string]string) string {
	var lines []string
	known := false
	for _, hit := range Hits(notes) {
		lines = append(lines, hit.Reason)
		known = known || hit.Code == notes["code"]
	}
	if !known {
		lines = append([]string{line(reason)}, lines...)
	}
	text := strings.Join(lines, "\n")
	for len(text) > maxReason {
		text = text[:strings.LastIndexByte(text[:maxReason], '\n')]
	}
	return text
}

// line is text of strangers as one line without control characters.
func line(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return strings.TrimSpace(s)
}

// Decide decides about a held post, and has the spool do it. first is false if somebody
// else has decided before: then the decision is theirs. A step that is done again has the
// result that it had.
func (d *Desk) Decide(ctx context.Context, step store.Step, l *list.List, id spool.ID, h store.HeldDecision) (dec store.Decision, first bool, err error) {
	held, err := d.held(ctx, l, id)
	if err != nil {
		return dec, false, err
	}
	if !held {
		// An earlier run of this step may have decided, or somebody else.
		p, err := d.Store.HeldPost(ctx, l.ID, string(id), "")
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return dec, false, err
		case p.Verdict == "":
			return dec, false, d.missing(ctx, l, id)
		}
	}
	dec, first, err = d.Store.DecideHeld(ctx, step, string(id), h)
	if held && (errors.Is(err, store.ErrNotFound) || err == nil && !first) {
		dec, first, err = d.decideAgain(ctx, step, l, id, h, dec, err)
	}
	if errors.Is(err, store.ErrNotFound) {
		return dec, false, d.missing(ctx, l, id)
	}
	if err != nil {
		return dec, false, err
	}
	p, err := d.Store.HeldPost(ctx, l.ID, string(id), "")
	if errors.Is(err, store.ErrNotFound) || err == nil && p.Verdict == "" {
		return dec, first, nil // the spool has done it, and the post may be held once more
	}
	if err != nil {
		return dec, false, err
	}
	return dec, first, d.Settle(ctx, p)
}

// held tells whether the bytes are held, for this list.
func (d *Desk) held(ctx context.Context, l *list.List, id spool.ID) (bool, error) {
	e, err := d.Spool.Find(ctx, id)
	if errors.Is(err, spool.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if e.List != l.Address.Key() { // another list, or this one before it was renamed
		addr, err := address.Parse(e.List)
		if err != nil {
			return false, fmt.Errorf("post %s: %w", id, err)
		}
		owner, err := d.Store.List(ctx, addr)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return false, err
		}
		if err != nil || owner.ID != l.ID {
			return false, fmt.Errorf("post %s is one of %s, not of %s", id, e.List, l.Address)
		}
	}
	return e.Queue == spool.Held, nil
}

// decideAgain decides about a post that is held, but which the store does not know to wait:
// one that came from an older version, or a backup.
func (d *Desk) decideAgain(ctx context.Context, step store.Step, l *list.List, id spool.ID, h store.HeldDecision, dec store.Decision, derr error) (store.Decision, bool, error) {
	if derr == nil {
		if _, err := d.Store.HeldPost(ctx, l.ID, string(id), ""); !errors.Is(err, store.ErrNotFound) {
			return dec, false, err // decided, and the spool is doing it
		}
		if held, err := d.held(ctx, l, id); err != nil || !held {
			return dec, false, err // the spool has done it meanwhile
		}
	}
	e, err := d.Spool.Find(ctx, id)
	if err != nil || e.Queue != spool.Held {
		return dec, false, derr
	}
	p, err := d.describe(ctx, l, e)
	if err != nil {
		return dec, false, err
	}
	if _, err := d.Store.FileHeld(ctx, p); err != nil {
		return dec, false, err
	}
	return d.Store.DecideHeld(ctx, step, string(id), h)
}

// describe is Describe, of what the spool has.
func (d *Desk) describe(ctx context.Context, l *list.List, e spool.Entry) (store.HeldPost, error) {
	msg, err := d.Spool.Read(ctx, e)
	if errors.Is(err, spool.ErrNotFound) {
		return store.HeldPost{}, err
	}
	if err != nil { // damaged: it can be thrown away all the same
		return d.Describe(ctx, l, e, message.ParseHeader(nil))
	}
	defer msg.Close()
	block, _, err := message.Split(msg, msg.Size())
	if err != nil {
		block = nil
	}
	return d.Describe(ctx, l, e, message.ParseHeader(block))
}

// missing says why a post that waits, as the store has it, cannot be decided about.
func (d *Desk) missing(ctx context.Context, l *list.List, id spool.ID) error {
	_, err := d.Spool.Find(ctx, id)
	if errors.Is(err, spool.ErrNotFound) {
		if err := d.Store.ForgetHeld(ctx, l.ID, string(id)); err != nil {
			return err
		}
		return fmt.Errorf("%s: %w", id, ErrGone)
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", id, ErrNotHeld)
}

// Settle has the spool do what was decided about a post, if it has not, and forgets the
// post.
func (d *Desk) Settle(ctx context.Context, p store.HeldPost) error {
	e, err := d.Spool.Find(ctx, spool.ID(p.Entry))
	if err == nil && e.Queue == spool.Held {
		err = d.do(ctx, e, p.Verdict, p.Why)
	}
	if err != nil && !errors.Is(err, spool.ErrNotFound) { // else it is done
		return fmt.Errorf("%s post %s: %w", p.Verdict, p.Entry, err)
	}
	return d.Store.SettleHeld(ctx, p.ListID, p.Entry)
}

func (d *Desk) do(ctx context.Context, e spool.Entry, v store.Verdict, why string) error {
	switch v {
	case store.VerdictAccept:
		return d.Spool.Retry(ctx, e, spool.FlagApproved)
	case store.VerdictReject:
		return d.Spool.Retry(ctx, e, RejectFlags(why)...)
	case store.VerdictDiscard:
		return d.Spool.Remove(ctx, e)
	}
	return fmt.Errorf("no verdict %q", string(v))
}

// DecideStray decides about a held post whose list is gone, which the store knows nothing of.
func (d *Desk) DecideStray(ctx context.Context, e spool.Entry, v store.Verdict, why string) error {
	return d.do(ctx, e, v, why)
}

// SettleAll is Settle of every post that was decided before t: of those whose process died.
func (d *Desk) SettleAll(ctx context.Context, t time.Time) error {
	var unsettled []store.HeldPost
	for p, err := range d.Store.UnsettledHeld(ctx, t) {
		if err != nil {
			return err
		}
		if unsettled = append(unsettled, p); len(unsettled) == 1000 {
			break // the rest next time
		}
	}
	var errs []error
	for _, p := range unsettled {
		if err := d.Settle(ctx, p); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
