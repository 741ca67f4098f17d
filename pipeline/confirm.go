package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/command"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/moderate"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/sdk/text"
)

// enableStep is the number of enabling delivery among what is done because of an entry: not
// one of a command's.
const enableStep = -1

// maxMissed is how many posts a member is told of who receives the list again.
const maxMissed = 20

// dateSlack is by how much the date that an author gave a post, which the archive is searched
// by, may be before the one on which it came.
const dateSlack = 7 * 24 * time.Hour

// missed lists the newest posts in the archive that came while delivery to the member was
// disabled: one a line, and where it is on the web if that is known.
func (d *Daemon) missed(ctx context.Context, p *post, member address.Address) (string, error) {
	history, err := d.store.MemberHistory(ctx, p.list.ID, member, 100)
	if err != nil {
		return "", storeFailed("read the member's history", err)
	}
	var since time.Time
	for _, h := range history {
		if h.What == "disabled" && h.At.Before(p.entry.Received) {
			since = h.At
		}
	}
	if since.IsZero() {
		return "", nil
	}
	var lines []string
	for a, err := range d.store.Archived(ctx, p.list.ID, store.ArchiveFilter{Since: since.Add(-dateSlack)}) {
		if err != nil {
			return "", storeFailed("read the archive", err)
		}
		if !a.Removed.IsZero() || a.Received.Before(since) || a.Received.After(p.entry.Received) {
			continue
		}
		line := fmt.Sprintf("  %s  %s: %s", a.Received.UTC().Format(time.DateOnly), text.Line(cmp.Or(a.FromName, a.From), 60), text.Line(a.Subject, 120))
		if url := strings.TrimSuffix(p.list.Settings.ArchiveURL, "/"); url != "" && a.Hash != "" {
			line += "\n    " + url + "/message/" + a.Hash + "/"
		}
		lines = append(lines, line)
		if len(lines) > maxMissed {
			lines = lines[1:] // the newest are told of
		}
	}
	return strings.Join(lines, "\n"), nil
}

// isToken tells whether it looks like a token, which strangers do not think of.
func isToken(s string) bool {
	return len(s) == moderate.TokenLen && !strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '2' || r > '7') })
}

// confirm does what a token stands for that comes back to the address it was sent from.
// Whoever has it has read the mail to the address that it is about; where the answer comes
// from does not matter, since people have many addresses.
func (d *Daemon) confirm(ctx context.Context, p *post) error {
	if !p.personal || away(p.header) {
		// An autoresponder, or a bounce: nobody has decided anything.
		p.log.Info("no person confirms, dropped")
		d.note(p, trace.Done, "reason", "a confirmation that no person wrote")
		return p.owner.Done(ctx, p.entry)
	}
	token := strings.ToLower(p.entry.Detail)
	member, err := d.store.EnableByToken(ctx, store.Step{ListID: p.list.ID, Entry: string(p.entry.ID), Number: enableStep, At: p.entry.Received}, token)
	if errors.Is(err, store.ErrNotFound) {
		c, err := d.commander(ctx, p)
		if err != nil {
			return err
		}
		c.quiet = true
		text, err := p.commandText()
		if err != nil {
			return err
		}
		c.decision = command.ParseDecision(text)
		known, err := c.confirm(ctx, token)
		if err != nil {
			return err
		}
		if !known {
			known, err = c.answerInvitation(ctx, token, command.ParseInvitation(p.header.Text("Subject"), text))
		}
		if err == nil && !known {
			known, err = c.decidePosts(ctx, token, text)
		}
		if err == nil && !known { // the second of two moderators is told so
			known, err = c.decidedBefore(ctx, token)
		}
		if err != nil {
			return err
		}
		if known {
			return c.send(ctx)
		}
		ms, err := c.roles(ctx)
		switch {
		case err != nil:
			return err
		case c.decision.Verb != command.Unknown && has(ms, list.Owner, list.Moderator):
			c.say("decided_already") // the token is older than the memory of decisions
		case isToken(token):
			c.say("token_unknown") // it was used, or has expired: who answers late wants to know
		default: // what a stranger writes is a letter
			return d.forward(ctx, p)
		}
		return c.send(ctx)
	}
	if err != nil {
		return storeFailed("enable delivery", err)
	}
	p.log.Info("delivery enabled by the member", "member", member)
	d.note(p, trace.Done, "reason", fmt.Sprintf("delivery to %s is enabled again", member))
	posts, err := d.missed(ctx, p, member)
	if err != nil {
		return err
	}
	to := p.author.String()
	n, err := d.memberNotice(ctx, p.list, bounceNotice{kind: "enabled", id: string(p.entry.ID), to: to, text: "bounce_enabled", member: member, at: p.entry.Received,
		values: templates.Values{"user_address": member.String(), "missed": posts}})
	if err != nil {
		return err
	}
	return d.commitNotice(ctx, p, n, "", addOnly(to))
}
