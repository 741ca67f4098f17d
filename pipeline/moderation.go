package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/command"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/moderate"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/sdk"
)

// Roles of entries that mlist put into incoming itself, for moderators. They are empty: what
// they say is made when they go out, by one commit.
const (
	roleHeld    = "held"    // Detail is the id of a post that waits
	roleWaiting = "waiting" // Detail is the minute until which all that waits is listed
)

// How often the pipeline looks what moderators are to be told, and what has expired. What
// is held is told at once.
const moderateEvery = 15 * time.Second

const (
	// noticesPerHour is how many posts of a list are told one by one. In a wave of spam the
	// others come together, in a list at the end of the hour.
	noticesPerHour = 10
	// decisionMemory is for how long it is remembered who decided what.
	decisionMemory = 180 * 24 * time.Hour
	// unsettled is how long a decision may take until the spool has done it: then whoever
	// decided is taken for dead.
	unsettled = time.Minute
	// summaryHour is when the day's list goes out, where the server is.
	summaryHour = 8
)

// desk is where the pipeline decides about held posts.
func (d *Daemon) desk() *moderate.Desk { return &moderate.Desk{Store: d.store, Spool: d.spool} }

// fileHeld enters a post that is about to be held.
func (d *Daemon) fileHeld(ctx context.Context, p *post, v sdk.Verdict, notes map[string]string) error {
	e := p.entry
	e.Reason, e.Notes = v.Reason, notes
	h, err := d.desk().Describe(ctx, p.list, e, p.header)
	if err != nil {
		return storeFailed("describe a held post", err)
	}
	h.Held = p.started
	if p.noticeCameBack() {
		h.Told, h.Reminded = h.Held, true // it would come back again and again
	}
	if _, err := d.store.FileHeld(ctx, h); err != nil {
		return storeFailed("file a held post", err)
	}
	return nil
}

// tellModerators makes moderation look now.
func (d *Daemon) tellModerators() {
	select {
	case d.waits <- struct{}{}:
	default: // it looks for all that waits
	}
}

// moderation tells moderators what waits, and ends the wait of what has expired, until ctx
// ends.
func (d *Daemon) moderation(ctx context.Context) error {
	tick := time.NewTicker(moderateEvery)
	defer tick.Stop()
	for {
		if err := d.moderationRound(ctx); err != nil && ctx.Err() == nil {
			d.log.Error("look after what waits for moderators", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-d.waits:
		}
	}
}

// moderationRound is one look.
func (d *Daemon) moderationRound(ctx context.Context) error {
	errs := []error{d.desk().SettleAll(ctx, d.now().Add(-unsettled))}
	var lists []store.Moderated
	for m, err := range d.store.Moderated(ctx) {
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		if d.mine(m.List) {
			lists = append(lists, m)
		}
	}
	for _, m := range lists {
		if err := d.moderateList(ctx, m); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.List, err))
		}
	}
	return errors.Join(errs...)
}

func (d *Daemon) moderateList(ctx context.Context, m store.Moderated) error {
	l, err := d.store.List(ctx, m.List)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := d.expireHeld(ctx, l); err != nil {
		return err
	}
	if err := d.expireRequests(ctx, l); err != nil {
		return err
	}
	before, err := d.store.Telling(ctx, l.ID)
	if err != nil {
		return err
	}
	told := store.Told{Telling: before}
	if err := d.tellAll(ctx, l, &told); err != nil {
		return err
	}
	if err := d.tellEach(ctx, l, &told); err != nil {
		return err
	}
	if len(told.Entries) == 0 && told.Telling == before {
		return nil
	}
	return d.store.TellHeld(ctx, l.ID, d.now(), told)
}

// undecided is why something waits no longer.
func undecided(days int) string {
	if days == 1 {
		return "No moderator has decided within a day."
	}
	return fmt.Sprintf("No moderator has decided within %d days.", days)
}

// expireHeld ends the wait of posts that nobody has decided about in time.
func (d *Daemon) expireHeld(ctx context.Context, l *list.List) error {
	days := l.Settings.MaxDaysToHold
	if days == 0 {
		return nil
	}
	now := d.now()
	h := store.HeldDecision{Verdict: store.VerdictDiscard, By: "mlist", Why: undecided(days)}
	if l.Settings.ExpiredHeldAction == "reject" {
		h.Verdict = store.VerdictReject
	}
	expired, err := d.waiting(ctx, l, store.HeldFilter{Until: now.AddDate(0, 0, -days), Limit: 200})
	if err != nil {
		return err
	}
	for _, p := range expired {
		dec, first, err := d.desk().Decide(ctx, store.Step{ListID: l.ID, At: now}, l, spool.ID(p.Entry), h)
		if errors.Is(err, moderate.ErrGone) || errors.Is(err, moderate.ErrNotHeld) {
			continue
		}
		if err != nil {
			return err
		}
		if first {
			d.log.Info("held post has expired", "entry", p.Entry, "list", l.Address, "verdict", dec.Verdict)
			d.noteDecision(l, dec)
		}
	}
	return nil
}

// expireRequests ends the wait of requests that nobody has decided about in time. Each is
// decided like any other, by an entry whose id follows from it.
func (d *Daemon) expireRequests(ctx context.Context, l *list.List) error {
	now := d.now()
	var expired []store.Request
	for r, err := range d.store.Requests(ctx, l.ID, time.Time{}) {
		if err != nil {
			return err
		}
		if r.Phase == store.PhaseModerate && !r.Expires.After(now) {
			expired = append(expired, r)
		}
		if len(expired) == 200 {
			break // the others next time
		}
	}
	for _, r := range expired {
		dec := command.Decision{Verb: command.Discard}
		if l.Settings.ExpiredHeldAction == "reject" {
			dec = command.Decision{Verb: command.Reject, Reason: undecided(l.Settings.MaxDaysForRequests)}
		}
		env := spool.Envelope{Received: now, Peer: peerExpiry}
		if _, err := putDecision(ctx, d.spool, l.Address, r.Token, dec, env, idOf(r.Expires, l.Address.Key(), peerExpiry, r.Token)); err != nil {
			return err
		}
		d.log.Info("a request has expired", "list", l.Address, "want", r.Want, "address", r.Address, "verdict", dec.Verb)
	}
	return nil
}

// waiting reads some of what waits: not an iterator, since it is used while the store is.
func (d *Daemon) waiting(ctx context.Context, l *list.List, f store.HeldFilter) ([]store.HeldPost, error) {
	var out []store.HeldPost
	for p, err := range d.store.Held(ctx, l.ID, f) {
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// tellAll puts the list of all that waits on its way, if it is time.
func (d *Daemon) tellAll(ctx context.Context, l *list.List, told *store.Told) error {
	s, now := &l.Settings, d.now()
	if !s.AdminImmedNotify && s.ModerationSummary == "none" {
		return nil
	}
	until, due := time.Time{}, false
	if s.ModerationSummary != "none" {
		boundary, period := lastBoundary(s.ModerationSummary, now)
		lag := time.Duration(0)
		if s.AdminImmedNotify {
			lag = period
		}
		fresh, err := d.fresh(ctx, l, told.Summary.Add(-lag), boundary.Add(-lag))
		if err != nil {
			return err
		}
		until, due = boundary, boundary.After(told.Summary) && fresh
	}
	if hour, _ := lastBoundary("hourly", now); !due && s.AdminImmedNotify && told.Notices >= noticesPerHour && told.Hour.Before(hour) {
		// An hour with more posts than are told one by one is over.
		n, err := d.store.CountHeld(ctx, l.ID, store.HeldFilter{Untold: true, Until: hour})
		if err != nil {
			return err
		}
		until, due = hour, n > 0
	}
	if s.MaxDaysToHold > 0 {
		half := now.Add(-time.Duration(s.MaxDaysToHold) * 12 * time.Hour)
		n, err := d.store.CountHeld(ctx, l.ID, store.HeldFilter{Unreminded: true, Until: half})
		if err != nil {
			return err
		}
		if n > 0 {
			told.Remind = half
			if !due {
				until, due = now.Truncate(time.Minute), true
			}
		}
	}
	half := now.Add(-time.Duration(s.MaxDaysForRequests) * 12 * time.Hour)
	old, err := d.overlooked(ctx, l, half)
	if err != nil {
		return err
	}
	if old {
		told.RemindRequests = half
		if !due {
			until, due = now.Truncate(time.Minute), true
		}
	}
	if !due {
		return nil
	}
	told.Summary, told.Until = until, until
	return d.putForModerators(ctx, l, roleWaiting, moderate.Minute(until), until, "")
}

// tellEach puts notices of single posts on their way, of those that no list is about.
func (d *Daemon) tellEach(ctx context.Context, l *list.List, told *store.Told) error {
	if !l.Settings.AdminImmedNotify {
		return nil
	}
	if hour := d.now().UTC().Truncate(time.Hour); !told.Hour.Equal(hour) {
		told.Hour, told.Notices = hour, 0
	}
	if told.Notices >= noticesPerHour {
		return nil
	}
	untold, err := d.waiting(ctx, l, store.HeldFilter{Untold: true, After: told.Until, Limit: 4 * noticesPerHour})
	if err != nil {
		return err
	}
	for _, p := range untold {
		e, err := d.spool.Find(ctx, spool.ID(p.Entry))
		switch {
		case errors.Is(err, spool.ErrNotFound):
			if err := d.store.ForgetHeld(ctx, l.ID, p.Entry); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		case e.Queue != spool.Held:
			continue // on its way there
		}
		if err := d.putForModerators(ctx, l, roleHeld, p.Entry, p.Held, p.Handle); err != nil {
			return err
		}
		told.Entries = append(told.Entries, p.Entry)
		if told.Notices++; told.Notices == noticesPerHour {
			break
		}
	}
	return nil
}

// fresh tells whether something has come to wait after one time and until another.
func (d *Daemon) fresh(ctx context.Context, l *list.List, after, until time.Time) (bool, error) {
	if !until.After(after) {
		return false, nil
	}
	n, err := d.store.CountHeld(ctx, l.ID, store.HeldFilter{After: after, Until: until})
	if err != nil || n > 0 {
		return n > 0, err
	}
	for r, err := range d.store.Requests(ctx, l.ID, d.now()) {
		if err != nil {
			return false, err
		}
		if r.Phase == store.PhaseModerate && r.Created.After(after) && !r.Created.After(until) {
			return true, nil
		}
	}
	return false, nil
}

// overlooked tells whether a request from before t waits of which moderators were not reminded.
func (d *Daemon) overlooked(ctx context.Context, l *list.List, t time.Time) (bool, error) {
	for r, err := range d.store.Requests(ctx, l.ID, d.now()) {
		if err != nil {
			return false, err
		}
		if r.Created.After(t) {
			break // they come oldest first
		}
		if r.Phase == store.PhaseModerate && !r.Reminded {
			return true, nil
		}
	}
	return false, nil
}

// lastBoundary is when the last summary of a kind was due, and how far apart they are.
func lastBoundary(how string, now time.Time) (time.Time, time.Duration) {
	if how == "hourly" {
		return now.Truncate(time.Hour), time.Hour
	}
	t := time.Date(now.Year(), now.Month(), now.Day(), summaryHour, 0, 0, 0, now.Location())
	if t.After(now) {
		t = time.Date(now.Year(), now.Month(), now.Day()-1, summaryHour, 0, 0, 0, now.Location())
	}
	return t, 24 * time.Hour
}

// putForModerators puts an entry into incoming that becomes mail to moderators, under an id
// that follows from what it is about.
func (d *Daemon) putForModerators(ctx context.Context, l *list.List, role, detail string, at time.Time, handle string) error {
	draft, err := d.spool.Create(ctx)
	if err != nil {
		return fmt.Errorf("write a notice: %w", err)
	}
	defer draft.Close()
	if _, err := fmt.Fprintf(draft, "Subject: %s\r\n\r\n", role); err != nil {
		return fmt.Errorf("write a notice: %w", err)
	}
	env := spool.Envelope{List: l.Address.Key(), Role: role, Detail: detail, Recipient: address.Sub(l.Address, address.RoleOwner).String(),
		Key: segment.KeyOf(l.Address.Key()), Received: d.now(), Peer: "pipeline"}
	id, err := draft.Put(ctx, spool.Incoming, idOf(at, env.List, role, detail, handle), env)
	if err != nil {
		return fmt.Errorf("put a notice: %w", err)
	}
	args := []any{"queue", string(spool.Incoming), "role", role, "recipient", "moderators", "peer", "pipeline"}
	if role == roleHeld {
		args = append(args, trace.KeyOf, detail)
	}
	d.tracer.Trace(string(id), env.List, trace.Kept, args...)
	return nil
}

// noteDecision traces what was decided about a post.
func (d *Daemon) noteDecision(l *list.List, dec store.Decision) {
	d.tracer.Trace(dec.Entry, l.Address.Key(), trace.Decided, "decision", dec.Verdict.Done(), "by", dec.By)
}
