package pipeline

import (
	"context"
	"fmt"
	"io"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/archive"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// SetArchive says where posts are kept; it is called before Run. Without an archive none
// are, and there are no digests.
func (d *Daemon) SetArchive(a archive.Archive) { d.archive = a }

// keep puts what stages want kept of the post into the archive, and describes it for the
// journal; nil if nothing is kept. The bytes come first: a row without them would be damage,
// and bytes without a row are swept away some time later.
func (d *Daemon) keep(ctx context.Context, p *post, hp *host.Post) (*store.Kept, error) {
	if d.archive == nil {
		return nil, nil
	}
	var out *store.Kept
	for _, k := range hp.Kept {
		uses, err := d.needed(ctx, p, k.For)
		if err != nil {
			return nil, err
		}
		if len(uses) == 0 {
			continue
		}
		h, b, err := k.Message(hp.Body)
		if err != nil {
			return nil, err
		}
		key := archive.Key{List: p.list.Address.String(), At: p.entry.Received, Name: string(p.entry.ID)}
		forArchive := slices.Contains(uses, sdk.KeepArchive)
		if !forArchive {
			key.Name += digestSuffix
		}
		m, err := d.archive.Put(ctx, key, func(w io.Writer) error {
			_, err := writeMessage(w, h, b)
			return err
		})
		if err != nil {
			return nil, storeFailed("keep the post", err) // nothing that the post can help
		}
		if out == nil {
			kept := Describe(h, p.entry.Received)
			out = &kept
		}
		if forArchive {
			out.Place, out.Size, out.SHA256 = m.Place, m.Size, m.SHA256
		}
		if slices.Contains(uses, sdk.KeepDigest) {
			out.DigestPlace, out.DigestSize = m.Place, m.Size
		}
	}
	return out, nil
}

// digestSuffix tells what is kept for a digest alone from what the archive has of the same
// entry.
const digestSuffix = "-digest"

// needed are the uses for which a post is really kept: without anybody who reads digests,
// none is made.
func (d *Daemon) needed(ctx context.Context, p *post, uses []sdk.Use) ([]sdk.Use, error) {
	if !slices.Contains(uses, sdk.KeepDigest) {
		return uses, nil
	}
	has, err := d.store.HasDigestReaders(ctx, p.list.ID)
	if err != nil {
		return nil, storeFailed("look for readers of digests", err)
	}
	if has {
		return uses, nil
	}
	return slices.DeleteFunc(slices.Clone(uses), func(u sdk.Use) bool { return u == sdk.KeepDigest }), nil
}

// Limits of what the index has of a post.
const (
	maxSubject = 500 // octets
	maxRefs    = 50
	maxRefSize = 250 // octets of one
)

// Describe is what an archive's index has of a message that was received then.
func Describe(h *message.Header, received time.Time) store.Kept {
	k := store.Kept{MessageID: bounded(h.ID(), maxSubject), Date: dateOf(h, received), Subject: bounded(h.Text("Subject"), maxSubject)}
	k.Hash = message.IDHash(h.ID())
	for _, m := range message.ParseMailboxes(h.Get("From")) {
		k.From, k.FromName = bounded(m.Address, maxSubject), bounded(m.Name, maxSubject)
		break
	}
	refs := h.IDs("References")
	if len(refs) == 0 {
		refs = h.IDs("In-Reply-To")
	}
	refs = slices.DeleteFunc(refs, func(id string) bool { return id == h.ID() || len(id) > maxRefSize })
	if len(refs) > maxRefs {
		refs = slices.Concat(refs[:1], refs[len(refs)-maxRefs+1:])
	}
	if len(refs) > 0 {
		k.Refs, k.Parent = refs, message.IDHash(refs[len(refs)-1])
	}
	return k
}

// bounded cuts text, at a character.
func bounded(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.ToValidUTF8(s, "")
}

// Arrived is when a message of an mbox came: at the date of the line above it, unless that cannot
// be. Some programs write the beginning of Unix time or of git's there, and clocks are wrong; then
// it is what the last Received says, or Date.
func Arrived(h *message.Header, line, now time.Time) time.Time {
	can := func(t time.Time) bool { return !t.Before(firstMail) && !t.After(now.Add(24*time.Hour)) }
	if can(line) && !line.Equal(gitTime) {
		return line
	}
	received := h.Get("Received")
	for _, value := range []string{received[strings.LastIndexByte(received, ';')+1:], h.Get("Date")} {
		if t, err := mail.ParseDate(value); err == nil && can(t) {
			return t.UTC()
		}
	}
	if can(line) {
		return line
	}
	return now.UTC()
}

// gitTime is the date above every message that git format-patch writes.
var gitTime = time.Date(2001, 9, 17, 0, 0, 0, 0, time.UTC)

// dateOf is the date that the author gave, if it can be true: a post of the year 1904, or of
// the next, would stand in the archive where nobody looks for it.
func dateOf(h *message.Header, received time.Time) time.Time {
	t, err := mail.ParseDate(h.Get("Date"))
	if err != nil || t.Before(firstMail) || t.After(received.Add(24*time.Hour)) {
		return received.UTC()
	}
	return t.UTC()
}

var firstMail = time.Date(1971, 1, 1, 0, 0, 0, 0, time.UTC)

// sweepAge is for how long a message in the archive may wait for its row: longer than its
// post may be tried.
const sweepAge = patience + 2*24*time.Hour

// sweep removes what is in the archive and that no row refers to: left by posts that were
// never accepted in the end, by removals that a crash cut short, by lists that are gone.
func (d *Daemon) sweep(ctx context.Context) error {
	removed := 0
	for p, err := range d.archive.Places(ctx) {
		if err != nil {
			return err
		}
		if d.now().Sub(p.Changed) < sweepAge {
			continue
		}
		is, err := d.store.InArchive(ctx, strings.TrimSuffix(p.Key, digestSuffix), p.Name)
		if err != nil {
			return err
		}
		if is {
			continue
		}
		if err := d.archive.Remove(ctx, p.Name); err != nil {
			return fmt.Errorf("sweep the archive: %w", err)
		}
		removed++
	}
	if removed > 0 {
		d.log.Info("archive swept", "removed", removed)
	}
	return nil
}

// sweeps sweeps once a day, not at once: a start has other things to do.
func (d *Daemon) sweeps(ctx context.Context) error {
	for next := time.Hour; ; next = 24 * time.Hour {
		if wait(ctx, next); ctx.Err() != nil {
			return ctx.Err()
		}
		if err := d.sweep(ctx); err != nil && ctx.Err() == nil {
			d.log.Error("sweep the archive", "err", err)
		}
	}
}
