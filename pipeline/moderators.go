package pipeline

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/command"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/moderate"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/sdk/message"
)

// Bounds of what moderators are sent.
const (
	maxFirstLines = 20
	maxListed     = 50 // posts, and requests, of a summary
)

// moderatorMail is mail to a moderator: whose it is, in which language, and how it writes.
type moderatorMail struct {
	d         *Daemon
	list      *list.List
	moderator address.Address
	reader    string // the moderator's language
	tokens    moderate.Tokens
}

func (a *moderatorMail) phrase(name string, v templates.Values) string {
	return a.d.texts().Phrase(a.list, a.reader, name, v)
}

// way is a word that decides, and the name of the phrase that says what it does.
type way struct {
	verb command.Verb
	text string
}

var (
	allWays = []way{
		{verb: command.Accept, text: "way_accept"}, {verb: command.AcceptSender, text: "way_accept_sender"}, {verb: command.Reject, text: "way_reject"},
		{verb: command.Discard, text: "way_discard"}, {verb: command.Ban, text: "way_ban"},
	}
	mainWays = []way{{verb: command.Accept}, {verb: command.Reject}, {verb: command.Discard}}
)

// ways are the words that decide, each with a link that makes a mail of it.
func (a *moderatorMail) ways(to address.Address, ways []way) string {
	var b strings.Builder
	for _, w := range ways {
		if w.text == "" {
			fmt.Fprintf(&b, "  %-8s %s\n", w.verb, mailto(to, string(w.verb)))
		} else {
			fmt.Fprintf(&b, "  %-8s %s\n           %s\n", w.verb, a.phrase(w.text, nil), mailto(to, string(w.verb)))
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

// ends says when a post waits no longer: one that was held then, or if that is zero any.
func (a *moderatorMail) ends(held time.Time) string {
	days := a.list.Settings.MaxDaysToHold
	switch {
	case days == 0:
		return ""
	case held.IsZero():
		return a.phrase("ends_"+a.list.Settings.ExpiredHeldAction+"_days", templates.Values{"days": strconv.Itoa(days)})
	}
	return a.phrase("ends_"+a.list.Settings.ExpiredHeldAction, templates.Values{"date": moment(held.AddDate(0, 0, days))})
}

func (a *moderatorMail) subject(h store.HeldPost) string {
	if h.Subject == "" {
		return a.phrase("no_subject", nil)
	}
	return oneLine(h.Subject)
}

// confirm is where the moderator's answer about a post goes.
func (a *moderatorMail) confirm(h store.HeldPost) address.Address {
	return a.list.TokenAddress(address.RoleConfirm, a.tokens.Post(a.moderator, h.Handle))
}

// item is a post in a summary.
func (a *moderatorMail) item(h store.HeldPost) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n", h.Handle, a.phrase("waiting_since", templates.Values{"date": moment(h.Held), "size": strconv.FormatInt(h.Size, 10)}))
	fmt.Fprintf(&b, "  %s %s\n  %s %s\n", a.phrase("waiting_from", nil), oneLine(h.Author), a.phrase("waiting_subject", nil), a.subject(h))
	for reason := range strings.Lines(h.Reason) {
		fmt.Fprintf(&b, "  %s %s\n", a.phrase("waiting_reason", nil), oneLine(reason))
	}
	return b.String() + a.ways(a.confirm(h), mainWays) + "\n"
}

// request is a request in a summary.
func (a *moderatorMail) request(r store.Request) string {
	return fmt.Sprintf("%s  %s\n%s\n", r.Address, a.phrase("waiting_request", templates.Values{"date": moment(r.Created), "wish": a.d.wish(a.list, a.reader, r)}),
		a.ways(a.list.TokenAddress(address.RoleConfirm, r.Token), mainWays))
}

// indented is text as lines that stand out.
func indented(lines []string, mark string) string {
	return mark + strings.Join(lines, "\n"+mark)
}

// mailto is a link to a mail whose text is a word. A '+' in an address is written as %2B,
// since some programs take it for a blank.
func mailto(to address.Address, word string) string {
	escape := func(s string) string { return strings.ReplaceAll(url.PathEscape(s), "+", "%2B") }
	return fmt.Sprintf("mailto:%s@%s?subject=%s&body=%[3]s", escape(to.Local), escape(to.Domain), escape(word))
}

// moderatorHeader is the header block of what moderators are told.
func (d *Daemon) moderatorHeader(p *post, kind string, number int, to address.Address, replyTo address.Address, subject string, marks []string) *message.Header {
	owner := address.Sub(p.list.Address, address.RoleOwner)
	h := message.ParseHeader(nil)
	h.Append("From", message.Mailbox{Name: p.list.Name(), Address: owner.String()}.String())
	h.Append("To", to.String())
	h.Append("Reply-To", replyTo.String())
	h.Append("Subject", message.EncodeText(subject))
	h.Append("Date", p.entry.Received.UTC().Format(time.RFC1123Z))
	h.Append("Message-ID", fmt.Sprintf("<%s-%d.%s@%s>", kind, number, p.entry.ID, p.list.Address.Domain))
	h.Append("Auto-Submitted", "auto-generated")
	h.Append("Precedence", "bulk")
	for _, mark := range append(marks, owner.String()) {
		h.Append(loopField, mark)
	}
	h.Append("MIME-Version", "1.0")
	return h
}

// sendHeld tells each moderator of one post, with a token of their own.
func (d *Daemon) sendHeld(ctx context.Context, p *post) error {
	nothing := func(reason string) error {
		d.note(p, trace.Done, "reason", reason)
		return p.owner.Done(ctx, p.entry)
	}
	h, err := d.store.HeldPost(ctx, p.list.ID, p.entry.Detail, "")
	if errors.Is(err, store.ErrNotFound) || err == nil && h.Verdict != "" {
		return nothing("the post waits no longer")
	}
	if err != nil {
		return storeFailed("look a held post up", err)
	}
	e, err := d.spool.Find(ctx, spool.ID(h.Entry))
	if errors.Is(err, spool.ErrNotFound) || err == nil && e.Queue != spool.Held {
		return nothing("the post is held no longer")
	}
	if err != nil {
		return err
	}
	held := &post{entry: e, list: p.list, log: p.log}
	held.msg, err = d.spool.Read(ctx, e)
	if errors.Is(err, spool.ErrNotFound) {
		return nothing("the post is held no longer")
	}
	if err != nil {
		return err
	}
	defer held.msg.Close()
	if err := held.read(); err != nil {
		return permanentError{err}
	}
	original, kind, err := held.quote()
	if err != nil {
		return err
	}
	text, err := held.commandText()
	if err != nil {
		return err
	}
	var reasons []string
	for reason := range strings.Lines(h.Reason) {
		reasons = append(reasons, oneLine(reason))
	}
	values := templates.Values{"entry": h.Entry, "from": h.Author, "date": held.header.Get("Date"), "size": strconv.FormatInt(h.Size, 10),
		"reasons": indented(reasons, "  "), "beginning": indented(firstLines(text), "  | ")}
	return d.toModerators(ctx, p, func(n int, a *moderatorMail) (*notice, error) {
		confirm := a.confirm(h)
		values["subject"], values["ways"], values["ends"] = a.subject(h), a.ways(confirm, allWays), a.ends(h.Held)
		letter := d.texts().Letter(p.list, a.reader, "held_moderators", values)
		head := d.moderatorHeader(p, "held", n, a.moderator, confirm, letter.Subject, held.loopMarks())
		return withAttachment(head, "=_mlist_"+string(p.entry.ID), letter, original, kind), nil
	})
}

// moment is a time as notices say it.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// firstLines are the first lines of a text that have something on them, each one line.
func firstLines(text string) []string {
	var out []string
	for l := range strings.Lines(text) {
		if l = strings.TrimSpace(oneLine(l)); l == "" {
			continue
		}
		if len(out) == maxFirstLines {
			return append(out, "[...]")
		}
		if len(l) > 200 {
			l = strings.ToValidUTF8(l[:200], "") + "…"
		}
		out = append(out, l)
	}
	return out
}

// toModerators makes one outgoing post of a message to each moderator.
func (d *Daemon) toModerators(ctx context.Context, p *post, compose func(n int, a *moderatorMail) (*notice, error)) error {
	moderators, err := d.desk().Moderators(ctx, p.list)
	if err != nil {
		return storeFailed("read the moderators", err)
	}
	tokens, err := d.desk().Tokens(ctx, p.list)
	if err != nil {
		return storeFailed("read the key of moderators' tokens", err)
	}
	prep, err := p.owner.Prepare(ctx, p.entry)
	if err != nil {
		return err
	}
	var sum written
	for i, m := range moderators {
		reader, err := d.language(ctx, p.list, m)
		var n *notice
		if err == nil {
			n, err = compose(i+1, &moderatorMail{d, p.list, m, reader, tokens})
		}
		if err == nil {
			var w written
			h := n.fields()
			w, err = d.write(ctx, p, prep, mailing{fmt.Sprintf("moderator-%d", i+1), h, n.body(), addOnly(m.String()), "", d.ownMail(p, h)})
			sum.recipients += w.recipients
			sum.chunks += w.chunks
		}
		if err != nil {
			prep.Abort()
			return err
		}
	}
	if sum.recipients == 0 {
		prep.Abort()
		p.log.Warn("a post waits, and the list has neither moderators nor owners")
		d.note(p, trace.Done, "reason", "there is nobody to tell")
		return p.owner.Done(ctx, p.entry)
	}
	d.notePrepared(p, roleNotice, 0, "", sum)
	if err := prep.Commit(ctx); err != nil {
		return err
	}
	d.noteCommitted(p)
	return nil
}

// sendWaiting tells each moderator of all that waits.
func (d *Daemon) sendWaiting(ctx context.Context, p *post) error {
	until, ok := moderate.ParseMinute(p.entry.Detail)
	if !ok {
		return permanentError{fmt.Errorf("%q is no time", p.entry.Detail)}
	}
	posts, all, err := d.listed(ctx, p.list, until)
	if err != nil {
		return err
	}
	requests, asked, err := d.requested(ctx, p.list)
	if err != nil {
		return err
	}
	if all+asked == 0 {
		d.note(p, trace.Done, "reason", "nothing waits any more")
		return p.owner.Done(ctx, p.entry)
	}
	unlisted := all - int64(len(posts)) + asked - int64(len(requests))
	return d.toModerators(ctx, p, func(n int, a *moderatorMail) (*notice, error) {
		var items []string
		for _, h := range posts {
			items = append(items, a.item(h))
		}
		for _, r := range requests {
			items = append(items, a.request(r))
		}
		if unlisted > 0 {
			items = append(items, a.phrase("and_more", templates.Values{"number": strconv.FormatInt(unlisted, 10)}))
		}
		confirm := p.list.TokenAddress(address.RoleConfirm, a.tokens.Summary(a.moderator, until))
		letter := d.texts().Letter(p.list, a.reader, "held_summary", templates.Values{"posts": strconv.FormatInt(all, 10), "requests": strconv.FormatInt(asked, 10),
			"ends": a.ends(time.Time{}), "report": strings.Join(items, "\n")})
		return textNotice(d.moderatorHeader(p, "waiting", n, a.moderator, confirm, letter.Subject, nil), letter), nil
	})
}

// listed are the posts of a summary, and how many there are in all. What the spool has no
// longer is forgotten.
func (d *Daemon) listed(ctx context.Context, l *list.List, until time.Time) (posts []store.HeldPost, all int64, err error) {
	waiting, err := d.waiting(ctx, l, store.HeldFilter{Until: until, Limit: 2 * maxListed})
	if err != nil {
		return nil, 0, storeFailed("read what waits", err)
	}
	for _, h := range waiting {
		if len(posts) == maxListed {
			break
		}
		_, err := d.spool.Find(ctx, spool.ID(h.Entry))
		switch {
		case errors.Is(err, spool.ErrNotFound):
			if err := d.store.ForgetHeld(ctx, l.ID, h.Entry); err != nil {
				return nil, 0, storeFailed("forget a post", err)
			}
		case err != nil:
			return nil, 0, err
		default:
			posts = append(posts, h)
		}
	}
	if all, err = d.store.CountHeld(ctx, l.ID, store.HeldFilter{Until: until}); err != nil {
		return nil, 0, storeFailed("count what waits", err)
	}
	return posts, max(all, int64(len(posts))), nil
}

// requested are the requests of a summary, and how many there are in all.
func (d *Daemon) requested(ctx context.Context, l *list.List) (requests []store.Request, all int64, err error) {
	for r, err := range d.store.Requests(ctx, l.ID, d.now()) {
		if err != nil {
			return nil, 0, storeFailed("read the requests", err)
		}
		if r.Phase != store.PhaseModerate {
			continue
		}
		if all++; all <= maxListed {
			requests = append(requests, r)
		}
	}
	return requests, all, nil
}
