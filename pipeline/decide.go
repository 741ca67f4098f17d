package pipeline

import (
	"context"
	"fmt"
	"strings"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/command"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/trace"
)

// roleDecision is the role of an entry by which an operator decides about a request: its
// Detail is the request's token, and its text what a moderator would write. No mail from
// outside gets this role.
const roleDecision = "decision"

// PutDecision has the pipeline decide about the request of a list with this token, and
// tell people so.
func PutDecision(ctx context.Context, sp spool.Putter, l address.Address, token string, d command.Decision, env spool.Envelope) (spool.ID, error) {
	return putDecision(ctx, sp, l, token, d, env, "")
}

// peerExpiry is whom a decision comes from that is made because time is up.
const peerExpiry = "expiry"

func putDecision(ctx context.Context, sp spool.Putter, l address.Address, token string, d command.Decision, env spool.Envelope, id spool.ID) (spool.ID, error) {
	draft, err := sp.Create(ctx)
	if err != nil {
		return "", fmt.Errorf("write a decision: %w", err)
	}
	defer draft.Close()
	text := strings.TrimSpace(string(d.Verb) + " " + oneLine(d.Reason))
	if _, err := fmt.Fprintf(draft, "Subject: decision\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s\r\n", text); err != nil {
		return "", fmt.Errorf("write a decision: %w", err)
	}
	env.List, env.Role, env.Detail, env.Key = l.Key(), roleDecision, token, segment.KeyOf(l.Key())
	env.Recipient = address.Sub(l, address.RoleRequest).String()
	id, err = draft.Put(ctx, spool.Incoming, id, env)
	if err != nil {
		return "", fmt.Errorf("put a decision: %w", err)
	}
	return id, nil
}

// decide does what PutDecision left.
func (d *Daemon) decide(ctx context.Context, p *post) error {
	text, err := p.commandText()
	if err != nil {
		return err
	}
	c, err := d.commander(ctx, p)
	if err != nil {
		return err
	}
	c.quiet, c.decision = true, command.ParseDecision(text)
	known, err := c.confirm(ctx, p.entry.Detail)
	if err != nil {
		return err
	}
	if !known {
		p.log.Warn("decision about a request that somebody has decided already, or that has expired")
		d.note(p, trace.Done, "reason", "the request was gone")
		return p.owner.Done(ctx, p.entry)
	}
	return c.send(ctx)
}
