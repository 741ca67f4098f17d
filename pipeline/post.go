package pipeline

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/describe"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/moderate"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// duplicateWindow is for how long a second copy of a post is recognised.
const duplicateWindow = 7 * 24 * time.Hour

// post is one entry of incoming in work.
type post struct {
	entry  spool.Entry
	owner  spool.Owner
	list   *list.List
	msg    spool.Message
	header *message.Header
	body   *message.Body
	bodyAt int64 // where the body starts in msg
	// author is the envelope sender, if personal: a person who can be answered. That is
	// found out before the stages put a list's own marks into the header.
	author   address.Address
	personal bool
	started  time.Time
	log      *slog.Logger
	train    *train // in which it came
	ready    bool   // it waits for its commit, which closes it
}

// incoming does all that is to be done with an entry of incoming.
func (d *Daemon) incoming(ctx context.Context, t *train, e spool.Entry) error {
	owner := t.owner
	if isAlone(e) {
		if err := t.drain(); err != nil {
			return err
		}
	}
	finished, err := owner.Finished(ctx, e)
	if err != nil {
		return fmt.Errorf("look for a finished post: %w", err)
	}
	if finished {
		d.log.Info("post was already done", "entry", e.ID, "list", e.List)
		return owner.Done(ctx, e)
	}
	p, err := d.open(ctx, owner, e)
	if err != nil {
		return err
	}
	p.train = t
	defer func() {
		if !p.ready {
			p.msg.Close()
		}
	}()

	switch reason, rejected := moderate.Rejection(e.Flags); {
	case rejected:
		return d.reject(ctx, p, sdk.Reject("moderator", cmp.Or(reason, rejectedByModerator)))
	case e.Role == roleNotice:
		return d.sendNotice(ctx, p)
	case e.Role == roleHeld:
		return d.sendHeld(ctx, p)
	case e.Role == roleWaiting:
		return d.sendWaiting(ctx, p)
	case e.Role == roleProbe:
		return d.sendProbe(ctx, p)
	case e.Role == roleInvite:
		return d.sendInvitation(ctx, p)
	case e.Role == roleDecision:
		return d.decide(ctx, p)
	case e.Role == string(address.RoleConfirm):
		return d.confirm(ctx, p)
	case e.Role == string(address.RoleJoin):
		return d.joinOrLeave(ctx, p, store.WantJoin)
	case e.Role == string(address.RoleLeave):
		return d.joinOrLeave(ctx, p, store.WantLeave)
	case e.Role == string(address.RoleSite):
		return d.site(ctx, p)
	case e.Role == string(address.RoleRequest):
		return d.request(ctx, p)
	case e.Role == string(address.RolePost):
		return d.post(ctx, p)
	default:
		return d.forward(ctx, p)
	}
}

// open reads what is needed to work on an entry: its list and its header block.
func (d *Daemon) open(ctx context.Context, owner spool.Owner, e spool.Entry) (*post, error) {
	p := &post{entry: e, owner: owner, started: d.now(), log: d.log.With("entry", e.ID, "list", e.List)}
	addr, err := address.Parse(e.List)
	if err != nil {
		return nil, permanentError{err}
	}
	if e.Role == string(address.RoleSite) {
		p.list = siteList(addr)
	} else {
		p.list, err = d.store.List(ctx, addr)
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, permanentError{fmt.Errorf("list %s is gone", e.List)}
	}
	if err != nil {
		return nil, storeFailed("look the list up", err)
	}
	if p.msg, err = owner.Open(ctx, e); err != nil {
		return nil, err
	}
	if err := p.read(); err != nil {
		p.msg.Close()
		return nil, permanentError{err}
	}
	if p.personal && e.Role != string(address.RolePost) {
		// No list here asks for anything. Of a post this is found out if it is to be answered.
		is, err := d.isList(ctx, p.author)
		if err != nil {
			p.msg.Close()
			return nil, err
		}
		p.personal = !is
	}
	return p, nil
}

// read takes the message apart.
func (p *post) read() error {
	m, err := describe.Split(p.entry, p.msg)
	if err != nil {
		return err
	}
	p.header, p.body, p.bodyAt = m.Header, m.Body, m.BodyAt
	p.author, p.personal = personal(p.entry.Sender, p.header)
	return nil
}

// post runs the stages on a post and does what they decide.
func (d *Daemon) post(ctx context.Context, p *post) error {
	digest, err := p.digest()
	if err != nil {
		return err
	}
	filing := p.filing(digest)
	record, err := p.train.peek(p, filing)
	if err != nil {
		return err
	}
	if record.Duplicate {
		p.log.Info("duplicate dropped", "first", record.Entry)
		d.meter.Entry(p.entry.List, "duplicate")
		d.note(p, trace.Done, "reason", "a copy of entry "+record.Entry)
		return p.owner.Done(ctx, p.entry)
	}
	if p.isDigest() {
		record.Number = 0 // it is no post of the list, only of its posts
	}
	refusal, refused := p.refusal()
	if !refused && d.responds(p) == respondAndDiscard {
		if err := p.train.drain(); err != nil {
			return err
		}
		return d.respondAlone(ctx, p, &filing)
	}
	hp, err := d.hostPost(ctx, p, record.Number)
	if err != nil {
		return err
	}
	p.personalize(hp)
	hp.BeforeState = func(context.Context) error { return p.train.drain() }
	result := refusal
	if !refused {
		if result, err = d.stages.Run(ctx, hp); err != nil {
			return err
		}
	}
	d.noteStages(p, result, hp.Notes)
	d.countStages(result.Stages)
	if result.Verdict.Kind != sdk.KindAccept {
		if err := p.train.drain(); err != nil {
			return err
		}
		// Filed without a number, so that a second copy does not ask or answer twice.
		if _, err := d.fileAs(ctx, p, filing, false); err != nil {
			return err
		}
	}
	switch result.Verdict.Kind {
	case sdk.KindAccept:
		response, err := d.response(ctx, p)
		if err != nil {
			return err
		}
		hp.Submissions = append(hp.Submissions, response...)
		return d.deliver(ctx, p, hp, filing, record.Number, result)
	case sdk.KindHold:
		return d.hold(ctx, p, result, hp.Notes)
	case sdk.KindReject:
		return d.reject(ctx, p, result.Verdict)
	case sdk.KindDiscard:
		p.log.Info("post discarded", "stage", result.Stage, "code", result.Verdict.Code, "reason", result.Verdict.Reason)
		d.meter.Entry(p.entry.List, "discarded")
		d.note(p, trace.Discarded, "stage", result.Stage, "code", result.Verdict.Code, "reason", result.Verdict.Reason)
		d.note(p, trace.Done, "reason", "discarded")
		return p.owner.Done(ctx, p.entry)
	}
	return fmt.Errorf("stage %s: unknown verdict %q", result.Stage, result.Verdict.Kind)
}

// filing is what the journal knows a post by.
func (p *post) filing(digest []byte) store.Post {
	return store.Post{ListID: p.list.ID, Entry: string(p.entry.ID), Digest: digest, At: p.entry.Received}
}

// peek tells which number the post would get, and whether it is a copy.
func (d *Daemon) peek(ctx context.Context, filing store.Post) (store.PostRecord, error) {
	record, err := d.store.PeekPost(ctx, filing, duplicateWindow)
	if err != nil {
		return record, storeFailed("look for a copy of the post", err)
	}
	return record, nil
}

// digest is the same for two deliveries of one post by the MTA, whatever list
// address they came to.
func (p *post) digest() ([]byte, error) {
	h := sha256.New()
	if p.isDigest() { // two forms of an issue may be the same octets
		io.WriteString(h, "digest "+string(p.entry.ID))
		return h.Sum(nil), nil
	}
	io.WriteString(h, p.entry.Sender)
	h.Write([]byte{0})
	if _, err := io.Copy(h, io.NewSectionReader(p.msg, 0, p.msg.Size())); err != nil {
		return nil, fmt.Errorf("read the message: %w", err)
	}
	return h.Sum(nil), nil
}

// hostPost is the post as the stages see it.
func (d *Daemon) hostPost(ctx context.Context, p *post, number int64) (*host.Post, error) {
	m := &describe.Message{Entry: p.entry, Text: p.msg, Header: p.header, Body: p.body, BodyAt: p.bodyAt}
	hp, err := d.describer.Post(ctx, d.texts(), p.list, m, number)
	if err != nil {
		return nil, outage{err}
	}
	if p.isDigest() {
		hp.Notes = maps.Clone(p.entry.Notes) // what it is
	}
	return hp, nil
}

// stateStage stands for a stage where the list's state decides.
const stateStage = "state"

// refusal is the verdict on a post to a list that takes none, at RCPT and here alike. What
// was accepted before still goes out: a digest of posts from then, and what a moderator
// lets through.
func (p *post) refusal() (host.Result, bool) {
	code, reason := p.list.Refusal()
	if code == "" || p.isDigest() || hasFlag(p.entry.Flags, spool.FlagApproved) {
		return host.Result{}, false
	}
	return host.Result{Stage: stateStage, Verdict: sdk.Reject(code, reason)}, true
}

// isDigest tells whether the post is one that file put here.
func (p *post) isDigest() bool { return hasFlag(p.entry.Flags, spool.FlagDigest) }

// fileAs enters the post into the journal.
func (d *Daemon) fileAs(ctx context.Context, p *post, filing store.Post, numbered bool) (store.PostRecord, error) {
	if p.isDigest() {
		d.issues.Lock()
		defer d.issues.Unlock()
	}
	record, err := d.store.FilePost(ctx, filing, numbered, duplicateWindow)
	return record, filingFailed(p, err)
}

// filingFailed tells whose doing it is that posts could not be filed.
func filingFailed(p *post, err error) error {
	if full := new(store.StateFullError); errors.As(err, &full) {
		return fmt.Errorf("list %s: %w", p.list.Address, full) // the plugin's, not the store's
	}
	if errors.Is(err, store.ErrApprovalGone) {
		return err // it is judged anew
	}
	if err != nil {
		return storeFailed("file the post", err)
	}
	return nil
}

func hasFlag(flags []string, flag string) bool {
	for _, f := range flags {
		if f == flag {
			return true
		}
	}
	return false
}
