package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/sdk"
)

// maxReport bounds what answers a message, in octets.
const maxReport = 64 << 10

// letter is a message that a command leads to.
type letter struct {
	to      address.Address
	owners  bool // to the owners and moderators instead
	decide  bool // of them, only to the moderators, if there are any
	replyTo string
	text    string        // its name
	about   store.Request // the request that it is about, if it is
	values  templates.Values
	by      *commander // whose it is, where commands are about several lists
	// certain: the address has asked for it by a token, so that no limit is needed.
	certain bool
}

// same tells whether two letters say the same to the same people.
func (l letter) same(other letter) bool {
	return (l.by == nil) == (other.by == nil) && (l.by == nil || l.by.p.list.ID == other.by.p.list.ID) &&
		l.to == other.to && l.owners == other.owners && l.replyTo == other.replyTo && l.text == other.text && l.about.Address == other.about.Address && maps.Equal(l.values, other.values)
}

func (c *commander) write(l letter) {
	// Two commands of one entry may ask for the same.
	if !slices.ContainsFunc(c.letters, l.same) {
		c.letters = append(c.letters, l)
	}
}

func (c *commander) owner() string { return address.Sub(c.p.list.Address, address.RoleOwner).String() }

// send makes all that people are to be told the outgoing post of the entry: one commit.
func (c *commander) send(ctx context.Context) error {
	d, p := c.d, c.p
	if text := strings.TrimSpace(strings.Join(c.report, "\n")); text != "" && p.personal {
		if len(text) > maxReport {
			text = strings.ToValidUTF8(text[:maxReport], "") + "\n[...]"
		}
		c.letters = append(c.letters, letter{to: p.author, text: c.resultsText(), certain: c.certain, values: templates.Values{"recipient": c.to().String(), "report": text}})
	}
	var letters []letter
	for i, l := range c.letters {
		if !l.owners && !l.certain {
			may, err := d.mayWriteAs(ctx, c.noticeKey(i), l.to)
			if err == nil && may && p.personal && l.to.Key() != p.author.Key() {
				may, err = d.mayAsk(ctx, fmt.Sprintf("%s.%d", p.entry.ID, i), p.author)
			}
			if err != nil {
				return err
			}
			if !may {
				p.log.Info("not told: too much was sent there today", "to", l.to, "kind", l.text)
				d.note(p, trace.Dropped, "stage", "command", "reason", fmt.Sprintf("%s was sent enough today", l.to))
				continue
			}
		}
		letters = append(letters, l)
	}
	response, err := d.response(ctx, p)
	if err != nil {
		return err
	}
	prep, err := p.owner.Prepare(ctx, p.entry)
	if err != nil {
		return err
	}
	var sum written
	for i, l := range letters {
		by := cmp.Or(l.by, c)
		n, err := by.compose(ctx, l, i+1)
		var rules []sdk.Rule
		if err == nil {
			rules, err = by.readers(ctx, l)
		}
		if err == nil {
			var w written
			h := n.fields()
			w, err = d.write(ctx, by.p, prep, mailing{fmt.Sprintf("letter-%d", i+1), h, n.body(), rules, "", d.ownMail(by.p, h)})
			sum.recipients += w.recipients
			sum.chunks += w.chunks
		}
		if err != nil {
			prep.Abort()
			return err
		}
	}
	w, err := d.submit(ctx, p, prep, response)
	if err != nil {
		prep.Abort()
		return err
	}
	if sum.recipients += w.recipients; sum.recipients == 0 {
		prep.Abort()
		d.note(p, trace.Done, "reason", "done, and nobody is told")
		return p.owner.Done(ctx, p.entry)
	}
	sum.chunks += w.chunks
	d.notePrepared(p, roleNotice, 0, "", sum)
	if err := prep.Commit(ctx); err != nil {
		return err
	}
	d.noteCommitted(p)
	return nil
}

// readers are whom a letter goes to.
func (c *commander) readers(ctx context.Context, l letter) ([]sdk.Rule, error) {
	switch {
	case l.decide:
		who, err := c.d.desk().Moderators(ctx, c.p.list)
		if err != nil {
			return nil, storeFailed("read the moderators", err)
		}
		return addOnly(who...), nil
	case l.owners:
		return c.d.lookers(ctx, c.p.list)
	}
	return addOnly(l.to.String()), nil
}

// to is where the message came to, as the list calls it.
func (c *commander) to() address.Address {
	if c.p.isSite() {
		return c.p.list.Address
	}
	return address.Sub(c.p.list.Address, address.Role(c.p.entry.Role))
}

// compose writes a letter. A second run writes the same.
func (c *commander) compose(ctx context.Context, l letter, number int) (*notice, error) {
	to, reader := l.to.String(), ""
	if l.owners {
		to = c.owner()
	} else {
		var err error
		if reader, err = c.d.language(ctx, c.p.list, l.to); err != nil {
			return nil, err
		}
		reader = cmp.Or(l.about.Language, reader, c.reader)
	}
	v := templates.Values{}
	if l.about.Want != "" {
		v["user_address"], v["wish"] = l.about.Address.String(), c.wish(reader, l.about)
	}
	maps.Copy(v, l.values)
	if reason, ok := v["reason"]; ok {
		v["reason"] = c.d.texts().Reason(c.p.list, reader, reason)
	}
	text := c.d.texts().Letter(c.p.list, reader, l.text, v)
	h := c.d.noticeHeader(c.p, fmt.Sprintf("command-%d", number), to, text.Subject)
	if l.owners || l.to.Key() != c.p.author.Key() {
		// It is no answer to who receives it, who gets nothing that a stranger wrote.
		h.Remove("In-Reply-To")
		h.Remove("References")
	}
	if l.replyTo != "" {
		h.Append("Reply-To", l.replyTo)
	}
	return textNotice(h, text), nil
}
