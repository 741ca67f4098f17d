package pipeline

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/store"
	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
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
// variant with recipients of its own. So they go out when the post does, by the same
// commit, and a second run cannot send them again.
func (d *Daemon) submit(ctx context.Context, p *post, prep spool.Prepared, submissions []sdk.Submission) (sum written, err error) {
	for i, s := range submissions {
		h, b, err := d.submission(p, i+1, s)
		if err != nil {
			return sum, fmt.Errorf("submission %d: %w", i+1, err)
		}
		rules := ownersAndModerators
		if s.To != "" {
			rules = []sdk.Rule{{Kind: sdk.RuleAdd, Addresses: []string{s.To}}}
		}
		w, err := d.writeVariant(ctx, p, prep, fmt.Sprintf("submission-%d", i+1), h, b, rules, "")
		if err != nil {
			return sum, fmt.Errorf("submission %d: %w", i+1, err)
		}
		sum.recipients += w.recipients
		sum.chunks += w.chunks
		p.log.Info("message of a handler goes out with the post", "to", s.To, "recipients", w.recipients)
	}
	return sum, nil
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
	if s.To == "" {
		// An owner may be a list: it must not come back as mail for the owners.
		h.Append(loopField, address.Sub(p.list.Address, address.RoleOwner).String())
	}
	return h, message.NewBody(file, bodyAt, size-bodyAt), nil
}
