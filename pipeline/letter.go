package pipeline

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"strings"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/trace"
)

//go:embed notices/help.txt
var helpText string

// maxReport bounds what answers a message, in octets.
const maxReport = 64 << 10

// letter is a message that a command leads to.
type letter struct {
	to      address.Address
	owners  bool // to the owners and moderators instead
	replyTo string
	subject string
	text    string // of notices/command-*.txt
	data    letterData
	// certain: the address has asked for it by a token, so that no limit is needed.
	certain bool
}

// letterData is what the texts in notices/command-*.txt may use.
type letterData struct {
	List, Name, Owner, Request, Leave string
	Address, Want, Wish               string
	Confirm, Token                    string
	DisplayName, Reason               string
	Description, Report               string
	Days                              int
}

// send makes all that people are to be told the outgoing post of the entry: one commit.
func (c *commander) send(ctx context.Context) error {
	d, p := c.d, c.p
	if text := strings.TrimSpace(strings.Join(c.report, "\n")); text != "" && p.personal {
		if len(text) > maxReport {
			text = strings.ToValidUTF8(text[:maxReport], "") + "\n[...]"
		}
		c.letters = append(c.letters, letter{to: p.author, subject: fmt.Sprintf("Your message to %s", c.to()), text: "results", data: letterData{Report: text}})
	}
	var letters []letter
	for _, l := range c.letters {
		if !l.owners && !l.certain {
			may, err := d.mayWrite(ctx, p, l.to)
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
		n, err := c.compose(l, i+1)
		if err == nil {
			rules := ownersAndModerators
			if !l.owners {
				rules = addOnly(l.to.String())
			}
			var w written
			w, err = d.write(ctx, p, prep, mailing{variant: fmt.Sprintf("letter-%d", i+1), header: n.fields(), body: n.body(), rules: rules})
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

// to is where the message came to, as the list calls it.
func (c *commander) to() address.Address {
	return address.Sub(c.p.list.Address, address.Role(c.p.entry.Role))
}

// compose writes a letter. A second run writes the same.
func (c *commander) compose(l letter, number int) (*notice, error) {
	p := c.p
	l.data.List, l.data.Name, l.data.Owner = p.list.Address.String(), oneLine(p.list.Name()), c.owner()
	l.data.Request, l.data.Leave = address.Sub(p.list.Address, address.RoleRequest).String(), address.Sub(p.list.Address, address.RoleLeave).String()
	to := l.to.String()
	if l.owners {
		to = c.owner()
	}
	h := c.d.noticeHeader(p, fmt.Sprintf("command-%d", number), to, l.subject)
	if l.owners || l.to.Key() != p.author.Key() {
		// It is no answer to who receives it, who gets nothing that a stranger wrote.
		h.Remove("In-Reply-To")
		h.Remove("References")
	}
	if l.replyTo != "" {
		h.Append("Reply-To", l.replyTo)
	}
	h.Append("Content-Type", "text/plain; charset=utf-8")
	h.Append("Content-Transfer-Encoding", "8bit")
	var text bytes.Buffer
	if err := noticeTexts.ExecuteTemplate(&text, "command-"+l.text+".txt", l.data); err != nil {
		return nil, fmt.Errorf("write the letter %s: %w", l.text, err)
	}
	return &notice{h.Bytes(), crlf(text.Bytes())}, nil
}
