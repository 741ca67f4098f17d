package pipeline

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/trace"
)

// A digest comes to be in three steps, each safe to run again:
//
//  1. An issue is closed: one transaction settles its number and which posts are in it.
//  2. It is filed: a message for each form that has readers is put into incoming, under an id
//     that follows from the issue.
//  3. Each of these goes through the stages like a post, and out.
//
// After a crash, issues that are closed and not filed are filed again: a message that is in
// incoming is not put a second time, and one that was taken up is in the journal.

// Limits of one issue; more posts make more issues. A digest must stay below what MTAs take
// for one message, and what a stage may insert into one.
const (
	maxIssuePosts = 500
	maxIssueSize  = 7 << 20
)

// How often the pipeline looks for issues that somebody else has closed, and for lists whose
// time has come.
const (
	fileEvery = 5 * time.Second
	dueEvery  = time.Minute
)

// NextIssue is how the list closes an issue now, for CloseDigest.
func NextIssue(l *list.List, now time.Time) store.CloseDigest {
	return store.CloseDigest{At: now, MaxPosts: maxIssuePosts, MaxSize: maxIssueSize, NewVolume: func(last time.Time) bool {
		return list.NewVolume(l.Settings.DigestVolumeFrequency, last, now)
	}}
}

// digests closes and files issues until ctx ends.
func (d *Daemon) digests(ctx context.Context) error {
	tick := time.NewTicker(fileEvery)
	defer tick.Stop()
	for due := (time.Time{}); ; {
		if now := d.now(); now.Sub(due) >= dueEvery {
			due = now
			if err := d.closeDue(ctx); err != nil && ctx.Err() == nil {
				d.log.Error("look for digests that are due", "err", err)
			}
		}
		if err := d.fileAll(ctx); err != nil && ctx.Err() == nil {
			d.log.Error("look for digests to send", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-d.closed:
		}
	}
}

// mine tells whether this pipeline serves the list.
func (d *Daemon) mine(a address.Address) bool {
	set := d.cfg.Load().Segments
	if o := d.serves.Load(); o != nil {
		set = (*o).Segments()
	}
	return set.Contains(segment.KeyOf(a.Key()))
}

// closeDue closes an issue of every list for which it is time. One of which that fails does not
// keep the others.
func (d *Daemon) closeDue(ctx context.Context) error {
	var waiting []store.Waiting // lists whose readers wait: not all lists
	for w, err := range d.store.WaitingDigests(ctx) {
		if err != nil {
			return err
		}
		if d.mine(w.List) {
			waiting = append(waiting, w)
		}
	}
	for _, w := range waiting {
		l, err := d.store.List(ctx, w.List)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err == nil && due(l, w, d.now()) {
			err = d.closeIssue(ctx, l)
		}
		if err != nil && ctx.Err() == nil {
			d.log.Error("close a digest", "list", w.List, "err", err)
		}
	}
	return ctx.Err()
}

// due tells whether what waits is to go out now.
func due(l *list.List, w store.Waiting, now time.Time) bool {
	s := &l.Settings
	if !s.DigestsEnabled || w.Posts == 0 {
		return false
	}
	return full(s, w) || s.DigestSendPeriodic && w.Oldest.Before(s.DigestHour(now))
}

// full tells whether so much waits that no time has to come.
func full(s *list.Settings, w store.Waiting) bool {
	return s.DigestSizeThreshold > 0 && w.Size >= int64(s.DigestSizeThreshold)<<10 ||
		s.DigestCountThreshold > 0 && w.Posts >= s.DigestCountThreshold
}

// closeIssue closes issues until nothing of the list waits; most often that is one.
func (d *Daemon) closeIssue(ctx context.Context, l *list.List) error {
	now := d.now()
	for {
		issue, err := d.store.CloseDigest(ctx, l.ID, NextIssue(l, now))
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		d.log.Info("digest closed", "list", l.Address, "volume", issue.Volume, "issue", issue.Issue.Issue, "posts", issue.Posts)
		select {
		case d.closed <- struct{}{}:
		default: // it looks for all of them
		}
	}
}

// forDigest tells whether a post was kept for a digest.
func forDigest(k *store.Kept) bool { return k != nil && k.DigestPlace != "" }

// digestGrew sends a digest when the post that has just been kept for it was the last that it
// waited for. If that fails, the next look at the clock does it.
func (d *Daemon) digestGrew(ctx context.Context, p *post) {
	if !p.list.Settings.DigestsEnabled {
		return
	}
	w, err := d.store.WaitingDigest(ctx, p.list.ID)
	if err == nil && full(&p.list.Settings, w) {
		err = d.closeIssue(ctx, p.list)
	}
	if err != nil && ctx.Err() == nil {
		p.log.Error("close a digest", "err", err)
	}
}

// fileAll files every issue that is closed. One that cannot be filed does not keep the others.
func (d *Daemon) fileAll(ctx context.Context) error {
	var closed []store.Digest
	for issue, err := range d.store.UnfiledDigests(ctx) {
		if err != nil {
			return err
		}
		if d.mine(issue.List) {
			closed = append(closed, issue)
		}
	}
	for _, issue := range closed {
		if err := d.file(ctx, issue); err != nil && ctx.Err() == nil {
			d.log.Error("send a digest", "list", issue.List, "volume", issue.Volume, "issue", issue.Issue.Issue, "err", err)
		}
	}
	return nil
}

// forms are the forms of a digest, by the delivery mode of those who get it.
var forms = []struct {
	mode list.Mode
	name string
}{{list.MIMEDigest, "mime"}, {list.PlaintextDigest, "plain"}, {list.SummaryDigest, "summary"}}

// Notes of a digest, for the stages.
const (
	noteForm   = "digest.form"
	noteVolume = "digest.volume"
	noteIssue  = "digest.issue"
)

// file puts the messages of an issue into incoming.
func (d *Daemon) file(ctx context.Context, issue store.Digest) error {
	l, err := d.store.List(ctx, issue.List)
	if errors.Is(err, store.ErrNotFound) {
		return nil // and the issue with it
	}
	if err != nil {
		return err
	}
	posts, err := d.store.DigestPosts(ctx, l.ID, issue.Issue)
	if err != nil {
		return err
	}
	for _, f := range forms {
		wanted, err := d.wanted(ctx, issue, f.mode)
		if err == nil && wanted {
			err = d.fileForm(ctx, l, issue, posts, f.name)
		}
		if err != nil {
			return fmt.Errorf("form %s: %w", f.name, err)
		}
	}
	places, err := d.store.DigestFiled(ctx, l.ID, issue.Issue, d.now())
	if err != nil {
		return err
	}
	for _, place := range places {
		if err := d.archive.Remove(ctx, place); err != nil {
			d.log.Warn("remove what was kept for a digest", "err", err) // it is swept later
		}
	}
	return nil
}

// wanted tells whether anybody gets the issue in this mode.
func (d *Daemon) wanted(ctx context.Context, issue store.Digest, mode list.Mode) (bool, error) {
	for _, err := range d.store.Recipients(ctx, store.Source{ListID: issue.ListID, Filter: digestReaders(mode)}) {
		return err == nil, err
	}
	for _, err := range d.store.OwedDigest(ctx, issue.ListID, issue.Issue, mode) {
		return err == nil, err
	}
	return false, nil
}

func digestReaders(mode list.Mode) store.Filter {
	return store.Filter{Roles: []list.Role{list.Member}, Modes: []list.Mode{mode}, Statuses: []list.Status{list.Enabled}}
}

// issueID is the id of the entry that an issue in a form becomes: always the same, also if the
// list gets another name before the issue is filed again.
func issueID(issue store.Digest, form string) spool.ID {
	h := fnv.New32a()
	fmt.Fprintf(h, "%d %d %d %s", issue.ListID, issue.Volume, issue.Issue.Issue, form)
	sum := h.Sum32()
	return spool.MakeID(uint64(issue.Closed.UnixMicro()), sum^sum>>25)
}

// fileForm puts one message into incoming, unless it is or was there.
func (d *Daemon) fileForm(ctx context.Context, l *list.List, issue store.Digest, posts []store.Archived, form string) error {
	id := issueID(issue, form)
	if filed, err := d.store.IsFiled(ctx, l.ID, string(id)); err != nil || filed {
		return err
	}
	draft, err := d.spool.Create(ctx)
	if err != nil {
		return err
	}
	defer draft.Close()
	m := digestMail{list: l, issue: issue, form: form, id: id, texts: d.texts()}
	if err := d.writeDigest(ctx, draft, m, posts); err != nil {
		return err
	}
	// Who takes the message up files it first: so it is either still in incoming, and is not
	// put again, or in the journal.
	d.issues.Lock()
	defer d.issues.Unlock()
	if filed, err := d.store.IsFiled(ctx, l.ID, string(id)); err != nil || filed {
		return err
	}
	key := l.Address.Key()
	_, err = draft.Put(ctx, spool.Incoming, id, spool.Envelope{
		List: key, Role: string(address.RolePost), Recipient: l.Address.String(), Key: segment.KeyOf(key), Received: issue.Closed, Peer: "pipeline",
		Flags: []string{spool.FlagDigest, spool.FlagApproved},
		Notes: map[string]string{noteForm: form, noteVolume: fmt.Sprint(issue.Volume), noteIssue: fmt.Sprint(issue.Issue.Issue)},
	})
	if err != nil {
		return err
	}
	d.tracer.Trace(string(id), key, trace.Kept, "queue", string(spool.Incoming), "role", "digest", "recipient", l.Address.String(), "peer", "pipeline")
	d.log.Info("digest filed", "entry", id, "list", l.Address, "volume", issue.Volume, "issue", issue.Issue.Issue, "form", form, "posts", len(posts))
	return nil
}

// chooseOwed yields those who are owed the digest as their last one: members who get no
// digests of this form any more.
func (d *Daemon) chooseOwed(ctx context.Context, p *post, yield func(addr string) error) error {
	issue, mode, err := p.issue()
	if err != nil {
		return permanentError{err}
	}
	var batch []address.Address
	flush := func() error {
		memberships, err := d.store.Memberships(ctx, p.list.ID, batch)
		if err != nil {
			return storeFailed("look up who is owed a digest", err)
		}
		for _, m := range memberships {
			if m.Role != list.Member || m.Status != list.Enabled || m.Mode == mode {
				continue
			}
			if err := yield(m.Address.String()); err != nil {
				return err
			}
		}
		batch = batch[:0]
		return nil
	}
	for a, err := range d.store.OwedDigest(ctx, p.list.ID, issue, mode) {
		if err != nil {
			return storeFailed("read who is owed a digest", err)
		}
		if batch = append(batch, a); len(batch) == lookupBatch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// issue reads of a digest which one it is, and for whom.
func (p *post) issue() (store.Issue, list.Mode, error) {
	volume, err1 := strconv.Atoi(p.entry.Notes[noteVolume])
	number, err2 := strconv.Atoi(p.entry.Notes[noteIssue])
	for _, f := range forms {
		if f.name == p.entry.Notes[noteForm] && err1 == nil && err2 == nil {
			return store.Issue{Volume: volume, Issue: number}, f.mode, nil
		}
	}
	return store.Issue{}, "", fmt.Errorf("entry %s is no digest: its notes are %v", p.entry.ID, p.entry.Notes)
}
