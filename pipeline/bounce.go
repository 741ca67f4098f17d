package pipeline

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mlist/mlist/bounce"
	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/internal/verp"
	"github.com/mlist/mlist/sdk/message"
)

// bounceMemory is for how long bounces and the history of members are kept.
const bounceMemory = 180 * 24 * time.Hour

// bounce does all that is to be done with an entry of bounces: what it says is filed, and
// moves scores, keyed by the entry. What cannot be understood goes to the owners.
func (d *Daemon) bounce(ctx context.Context, owner spool.Owner, e spool.Entry) error {
	finished, err := owner.Finished(ctx, e)
	if err != nil {
		return err
	}
	if finished {
		return owner.Done(ctx, e)
	}
	p, err := d.open(ctx, owner, e)
	if err != nil {
		return err
	}
	defer p.msg.Close()

	report, err := bounce.Parse(io.NewSectionReader(p.msg, 0, p.msg.Size()))
	if err != nil && !errors.Is(err, bounce.ErrNoReport) {
		return err
	}
	warnRefused(p, report)
	to, rerr := d.returnPath(ctx, p)
	if rerr != nil {
		return rerr
	}
	if to.Kind == verp.Probe {
		return d.probeCameBack(ctx, p, to.Token, report)
	}
	if errors.Is(err, bounce.ErrReceipt) || errors.Is(err, bounce.ErrAutoReply) || err != nil && report.Unnamed.Action == "" && message.Word(p.header.Get("Auto-Submitted")) == "auto-replied" {
		p.log.Info("automatic reply to the bounce address, dropped")
		d.note(p, trace.Done, "reason", "an automatic reply to the bounce address")
		return owner.Done(ctx, e)
	}
	if hasFlag(p.entry.Flags, spool.FlagOutbound) && onlyDelayed(report) {
		return d.delayed(ctx, p, report)
	}
	if len(report.Complaints) > 0 && len(report.Recipients) == 0 {
		return d.complaint(ctx, p, report, to)
	}
	events, err := d.bounceEvents(ctx, p, report, to)
	if err != nil {
		return err
	}
	if len(events) == 0 && len(report.Recipients) == 0 {
		return d.unrecognized(ctx, p)
	}
	if len(events) > 0 {
		if err := d.store.RecordBounces(ctx, bounceRules(&p.list.Settings), events); err != nil {
			return storeFailed("file bounces", err)
		}
		for _, e := range events {
			d.meter.Bounce(e.Class)
		}
		d.tellBounces()
	}
	p.log.Info("bounce filed", "recipients", len(events))
	d.noteFiled(p, report, events)
	return owner.Done(ctx, e)
}

// unrecognized passes on what nobody here understands.
func (d *Daemon) unrecognized(ctx context.Context, p *post) error {
	p.log.Info("bounce is in no form known here")
	if p.list.Settings.ForwardUnrecognizedBouncesTo == "discard" {
		d.note(p, trace.Done, "reason", "no bounce that mlist knows")
		return p.owner.Done(ctx, p.entry)
	}
	return d.forward(ctx, p)
}

// returnPath reads what the address proves that the bounce came to.
func (d *Daemon) returnPath(ctx context.Context, p *post) (verp.Return, error) {
	sent := p.sentAs()
	key, err := d.verpKey(ctx, sent)
	if err != nil {
		return verp.Return{}, err
	}
	return verp.Decode(key, sent, p.entry.Detail, p.entry.Received), nil
}

// sentAs is the list's address when it sent what came back: another one if it was renamed
// since.
func (p *post) sentAs() address.Address {
	if a, err := address.Parse(p.entry.Recipient); err == nil {
		for _, c := range address.Candidates(a) {
			if c.Role == address.RoleBounces && c.Detail == p.entry.Detail {
				return c.List
			}
		}
	}
	return p.list.Address
}

// verpKey is the key of a list's return paths.
func (d *Daemon) verpKey(ctx context.Context, l address.Address) (verp.Key, error) {
	secret, err := d.verpSecret.get(ctx, d.store, store.SecretVERP)
	if err != nil {
		return verp.Key{}, storeFailed("read the key of return paths", err)
	}
	return verp.Derive(secret, l), nil
}

// secret is one of the store's, which is asked for once.
type secret struct{ value atomic.Pointer[[]byte] }

func (s *secret) get(ctx context.Context, from store.Secrets, name string) ([]byte, error) {
	if known := s.value.Load(); known != nil {
		return *known, nil
	}
	value, err := from.Secret(ctx, name)
	if err == nil {
		s.value.Store(&value)
	}
	return value, err
}

// probeCameBack disables the delivery of the member whose probe this is.
func (d *Daemon) probeCameBack(ctx context.Context, p *post, token string, report bounce.Report) error {
	undelivered := report.Undelivered()
	if report.Unnamed.Failed() {
		undelivered = append(undelivered, report.Unnamed)
	}
	why := ""
	for _, r := range undelivered {
		if r.Action == "failed" && !r.Class.Blameless() {
			why = strings.TrimSpace(r.Status + " " + r.Diagnostic)
		}
	}
	if why == "" {
		// It was answered, or is late, or was refused for what it is: that tells nothing.
		p.log.Info("a probe came back, without a word on the recipient")
		d.note(p, trace.Done, "reason", "a probe came back, without a word on the recipient")
		return p.owner.Done(ctx, p.entry)
	}
	found, err := d.store.ProbeBounced(ctx, bounceRules(&p.list.Settings), p.list.ID, token, p.entry.Received, why)
	if err != nil {
		return storeFailed("record a probe that bounced", err)
	}
	p.log.Info("probe bounced", "known", found, "reason", why)
	d.note(p, trace.Done, "reason", "a probe bounced")
	d.tellBounces()
	return p.owner.Done(ctx, p.entry)
}

// bounceRules are how the list counts.
func bounceRules(s *list.Settings) store.BounceRules {
	const day = 24 * time.Hour
	return store.BounceRules{
		Process: s.ProcessBounces, Threshold: s.BounceScoreThreshold, StaleAfter: time.Duration(s.BounceInfoStaleAfter) * day,
		Probe: s.VERPProbes, ProbeWait: time.Duration(s.BounceProbeDays) * day,
		Warnings: s.BounceYouAreDisabledWarnings, WarnEvery: time.Duration(s.BounceYouAreDisabledWarningsInterval) * day,
		BlameAbove: s.BounceBlameMessageAbove, TellIncrement: s.BounceNotifyOwnerOnBounceIncrement,
	}
}

// maxFiled is how many recipients of one bounce the trace names.
const maxFiled = 20

// noteFiled traces a bounce, as made for the post if it says for which.
func (d *Daemon) noteFiled(p *post, r bounce.Report, events []store.BounceEvent) {
	var named []trace.Reply
	for _, e := range events[:min(len(events), maxFiled)] {
		outcome := "deferred"
		if e.Hard {
			outcome = "refused"
		}
		named = append(named, trace.Reply{Recipient: e.Recipient.String(), Outcome: outcome, Reply: e.Text})
	}
	args := []any{"recipients", len(events), "replies", named}
	if of := entryOf(r); of != "" {
		args = append([]any{trace.KeyOf, string(of)}, args...)
	}
	d.note(p, trace.Filed, args...)
	d.note(p, trace.Done, "reason", "the bounce is filed")
}

// entryOf is the post that the report is about, if it says so in our own words.
func entryOf(r bounce.Report) spool.ID {
	postID, _, _ := strings.Cut(r.EnvelopeID, "/")
	if of, err := spool.CheckID(postID); err == nil {
		return of
	}
	return ""
}

// refusal is one recipient of a report, as a member's.
type refusal struct {
	address address.Address
	bounce.Recipient
	proven bool
}

// bounceEvents are the refusals and delays that a bounce tells of. For whom an address with
// a key was is surer than whom the report names: that one alone counts then.
func (d *Daemon) bounceEvents(ctx context.Context, p *post, r bounce.Report, to verp.Return) ([]store.BounceEvent, error) {
	refusals, err := d.refusals(ctx, p, r, to)
	if err != nil || len(refusals) == 0 {
		return nil, err
	}
	names := string(entryOf(r))
	if names == "" && r.MessageID != "" {
		names = r.MessageID
	}
	var out []store.BounceEvent
	for _, x := range refusals {
		e := store.BounceEvent{
			ListID: p.list.ID, Recipient: x.address, Entry: string(p.entry.ID), At: p.entry.Received, Status: x.Status, Text: x.Diagnostic,
			Class: string(x.Class), Post: names, Proven: x.proven,
		}
		e.Blameless = x.Class.Blameless() && x.Action == "failed"
		if x.Message || r.Scope == bounce.ScopeMessage {
			// The MTA did not like the post: the member missed it, and is not to blame.
			e.Blameless, e.Text = true, "the post was refused: "+e.Text
		}
		e.Hard = x.Failed() && !e.Blameless
		e.Points = points(&p.list.Settings, x, e)
		out = append(out, e)
	}
	return out, nil
}

// points are what a refusal counts.
func points(s *list.Settings, x refusal, e store.BounceEvent) float64 {
	switch {
	case e.Blameless, x.Action != "failed", !x.proven && s.BounceUnkeyed == "ignore":
		return 0
	case !x.Failed(), x.Class == bounce.ClassFull:
		return s.BounceSoftWeight
	}
	return 1
}

// refusals are the members, or at least recipients, whom the bounce is about.
func (d *Daemon) refusals(ctx context.Context, p *post, r bounce.Report, to verp.Return) ([]refusal, error) {
	undelivered := r.Undelivered()
	ours := hasFlag(p.entry.Flags, spool.FlagOutbound)
	if to.Kind == verp.Recipient && !ours {
		a, err := d.behind(ctx, p, to, undelivered)
		if err != nil || a.IsZero() {
			return nil, err
		}
		worst := r.Unnamed
		for _, x := range undelivered {
			if worst.Action == "" || x.Failed() && !worst.Failed() {
				worst = x
			}
		}
		if !worst.Failed() && !worst.Delayed() {
			return nil, nil
		}
		return []refusal{{a, worst, true}}, nil
	}
	var out []refusal
	proven := ours || p.list.Settings.BounceUnkeyed == "count"
	for _, x := range undelivered {
		a, err := address.Parse(x.Address)
		if err != nil {
			continue
		}
		if len(undelivered) == 1 && !to.Address.IsZero() {
			a = to.Address // where the mail was sent; it may have been forwarded from there
		}
		out = append(out, refusal{a, x, proven})
	}
	if len(out) == 0 && !to.Address.IsZero() && (r.Unnamed.Failed() || r.Unnamed.Delayed()) {
		out = append(out, refusal{to.Address, r.Unnamed, proven})
	}
	if ours {
		return out, nil
	}
	return d.known(ctx, p, out)
}

// known leaves out those who are nothing to the list: anybody can write bounces about them.
func (d *Daemon) known(ctx context.Context, p *post, in []refusal) ([]refusal, error) {
	var out []refusal
	for start := 0; start < len(in); start += lookupBatch {
		batch := in[start:min(start+lookupBatch, len(in))]
		addrs := make([]address.Address, len(batch))
		for i := range batch {
			addrs[i] = batch[i].address
		}
		memberships, err := d.store.Memberships(ctx, p.list.ID, addrs)
		if err != nil {
			return nil, storeFailed("look up who bounced", err)
		}
		is := map[string]bool{}
		for _, m := range memberships {
			is[m.Address.Key()] = true
		}
		for _, x := range batch {
			if is[x.address.Key()] {
				out = append(out, x)
			}
		}
	}
	return out, nil
}

// behind finds the recipient of a return path. Of an address that is too long the path has
// a hash only: then it is one whom the report names, or else some member.
func (d *Daemon) behind(ctx context.Context, p *post, to verp.Return, undelivered []bounce.Recipient) (address.Address, error) {
	if !to.Hashed() {
		return to.Address, nil
	}
	for _, x := range undelivered {
		for _, text := range []string{x.Address, x.Final} {
			if a, err := address.Parse(text); err == nil && to.Names(a) {
				return a, nil
			}
		}
	}
	for some, err := range d.store.Recipients(ctx, store.Source{ListID: p.list.ID}) {
		if err != nil {
			return address.Address{}, storeFailed("look for who bounced", err)
		}
		for _, r := range some {
			if a, err := address.Parse(r.Address); err == nil && to.Names(a) {
				return a, nil
			}
		}
	}
	return address.Address{}, nil
}

// warnRefused tells the operator of a post that the MTA did not like as it is, which no
// member can mend.
func warnRefused(p *post, r bounce.Report) {
	count, reason := 0, ""
	for _, rcpt := range r.Recipients {
		if (rcpt.Message || r.Scope == bounce.ScopeMessage) && (rcpt.Failed() || rcpt.Delayed()) {
			count, reason = count+1, rcpt.Diagnostic
		}
	}
	if count > 0 {
		p.log.Warn("the MTA refused a post as it is", "recipients", count, "reason", reason, "chunk", r.EnvelopeID)
	}
}
