package pipeline

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/describe"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/internal/trace"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/wire"
)

// stateEdits are what the stages want changed in what they keep, as the store takes it.
func stateEdits(edits []host.StateEdit) []store.StateEdit {
	out := make([]store.StateEdit, len(edits))
	for i, e := range edits {
		out[i] = store.StateEdit{Plugin: e.Plugin, Key: e.Key, Kind: store.StateKind(e.Kind), Value: e.Value, Delta: e.Delta}
	}
	return out
}

// submit writes the messages that stages submitted into the outgoing post: each is a
// variant with recipients of its own, or if it is a post, a new entry. So they go out when
// the post does, by the same commit, and a second run cannot send them again.
func (d *Daemon) submit(ctx context.Context, p *post, prep spool.Prepared, submissions []wire.Submission) (sum written, err error) {
	for i, s := range submissions {
		h, b, err := d.submission(p, i+1, s.Submission)
		if err != nil {
			return sum, fmt.Errorf("submission %d: %w", i+1, err)
		}
		if s.Post {
			if err := d.submitPost(ctx, p, prep, s, h, b, &sum); err != nil {
				return sum, fmt.Errorf("submission %d: %w", i+1, err)
			}
			continue
		}
		if s.To != "" && isReply(h) {
			may, err := d.mayReply(ctx, p, s.To)
			if err != nil {
				return sum, err
			}
			if !may {
				d.note(p, trace.Dropped, "stage", s.Stage, "reason", "a machine is not answered, nor a person too often")
				continue
			}
		}
		rules := []sdk.Rule{{Kind: sdk.RuleAdd, Addresses: []string{s.To}}}
		if s.To == "" {
			if rules, err = d.lookers(ctx, p.list); err != nil {
				return sum, err
			}
		}
		w, err := d.write(ctx, p, prep, mailing{fmt.Sprintf("submission-%d", i+1), h, b, rules, "", d.ownMail(p, h)})
		if err != nil {
			return sum, fmt.Errorf("submission %d: %w", i+1, err)
		}
		sum.recipients += w.recipients
		sum.chunks += w.chunks
		p.log.Info("message of a handler goes out with the post", "stage", s.Stage, "to", s.To, "recipients", w.recipients)
	}
	return sum, nil
}

// isReply tells whether a submitted message says of itself that it is an automatic reply.
func isReply(h *message.Header) bool { return message.Word(h.Get("Auto-Submitted")) == "auto-replied" }

// mayReply tells whether a handler's automatic reply may go out: handlers answer whom
// mlist itself would answer, and together no more often.
func (d *Daemon) mayReply(ctx context.Context, p *post, to string) (bool, error) {
	if !p.personal {
		return false, nil
	}
	a, err := address.Parse(to)
	if err != nil || robot(a.Local) { // From may name one, whoever sent the post
		return false, nil
	}
	if is, err := d.isList(ctx, a); is || err != nil {
		return false, err
	}
	return d.mayWrite(ctx, p, a)
}

// maxDepth is how many posts that stages submitted lead to one another.
const maxDepth = 3

// submitPost adds a post that a stage submitted to the commit. One that is too far from any
// mail is dropped, or two handlers could answer each other for ever.
func (d *Daemon) submitPost(ctx context.Context, p *post, prep spool.Prepared, s wire.Submission, h *message.Header, b *message.Body, sum *written) error {
	by := append(describe.SubmittedBy(p.entry.Flags), s.Stage)
	if len(by) > maxDepth {
		p.log.Warn("post of a handler dropped: too many have led to one another", "stage", s.Stage, "by", by)
		d.note(p, trace.Dropped, "stage", s.Stage, "by", by, "reason", fmt.Sprintf("more than %d posts of handlers would lead to one another", maxDepth))
		return nil
	}
	// Sender is the null one: nobody is told of what becomes of it.
	env := spool.Envelope{List: p.entry.List, Role: string(address.RolePost), Recipient: p.list.Address.String(), Key: p.entry.Key,
		Received: p.entry.Received, Peer: "pipeline"}
	for _, stage := range by {
		env.Flags = append(env.Flags, spool.FlagBy+stage)
	}
	if s.Approved {
		env.Flags = append(env.Flags, spool.FlagApproved)
	}
	var text bytes.Buffer
	if _, err := writeMessage(&text, h, b); err != nil {
		return err
	}
	id, err := prep.AddEntry(ctx, env, text.Bytes())
	if err != nil {
		return err
	}
	sum.entries = append(sum.entries, newEntry{id: id, env: env, size: text.Len(), messageID: h.Get("Message-ID")})
	p.log.Info("post of a handler comes with the post", "stage", s.Stage, "new", id)
	return nil
}

// submission reads a submitted message, and adds what every message has. A second run
// makes the same.
func (d *Daemon) submission(p *post, number int, s sdk.Submission) (*message.Header, *message.Body, error) {
	file, size := bytes.NewReader(s.Message), int64(len(s.Message))
	block, bodyAt, err := message.Split(file, size)
	if err != nil {
		return nil, nil, err
	}
	h := message.ParseHeader(block)
	for _, field := range [][2]string{
		{"Date", p.entry.Received.UTC().Format(time.RFC1123Z)},
		{"Message-ID", fmt.Sprintf("<submission-%d.%s@%s>", number, p.entry.ID, p.list.Address.Domain)},
		{"Auto-Submitted", "auto-generated"},
	} {
		if !h.Has(field[0]) {
			h.Append(field[0], field[1])
		}
	}
	if s.To == "" && !s.Post {
		// An owner may be a list: it must not come back as mail for the owners.
		h.Append(loopField, address.Sub(p.list.Address, address.RoleOwner).String())
	}
	return h, message.NewBody(file, bodyAt, size-bodyAt), nil
}
