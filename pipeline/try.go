package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/internal/describe"
	"github.com/mlist/mlist/internal/host"
	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/sdk"
)

// tryEntry stands for the id of an entry that is not there.
const tryEntry = "aaaaaaaaaaaaaaaa"

// Trial is what would become of a message, were it posted now.
type Trial struct {
	Number   int64  // that the post would get
	CopyOf   string // the entry of which it is a copy: it would be dropped; the stages are asked all the same
	Senders  []sdk.Sender
	Result   host.Result
	Variants []Variant // if it is accepted
}

// Variant is one form of an accepted post, and who gets it.
type Variant struct {
	Name       string
	Sender     string // envelope sender
	Recipients int64
}

// Try runs the stages on a message for a list as for a post that has just come in, and
// finds out who would receive it, without changing anything. Each recipient is handed to
// recipient.
func Try(ctx context.Context, st Store, texts *templates.Set, stages Stages, l *list.List, msg spool.Message, env spool.Envelope, recipient func(variant, addr string) error) (*Trial, error) {
	d := &Daemon{store: st, describer: describe.New(st), stages: stages, tracer: noTracer{}, log: slog.New(slog.DiscardHandler), now: time.Now}
	d.cfg.Store(&Config{Texts: texts})
	env.List, env.Key = l.Address.Key(), segment.KeyOf(l.Address.Key())
	p := &post{entry: spool.Entry{ID: tryEntry, Queue: spool.Incoming, Envelope: env, Size: msg.Size()}, list: l, msg: msg, started: d.now(), log: d.log}
	if err := p.read(); err != nil {
		return nil, err
	}
	digest, err := p.digest()
	if err != nil {
		return nil, err
	}
	record, err := d.peek(ctx, p.filing(digest))
	if err != nil {
		return nil, err
	}
	hp, err := d.hostPost(ctx, p, record.Number)
	if err != nil {
		return nil, err
	}
	result, refused := p.refusal()
	switch {
	case refused:
	case d.responds(p) == respondAndDiscard:
		result = host.Result{Stage: responder, Verdict: sdk.Discard(responder, respondsAlone)}
	default:
		if result, err = d.stages.Run(ctx, hp); err != nil {
			return nil, err
		}
	}
	t := &Trial{Number: record.Number, Senders: hp.Senders, Result: result}
	if record.Duplicate {
		t.CopyOf = record.Entry
	}
	if result.Verdict.Kind != sdk.KindAccept {
		return t, nil
	}
	v := Variant{Name: plain, Sender: address.Sub(l.Address, address.RoleBounces).String()}
	err = d.choose(ctx, l.ID, hp.Rules, func(addr string) error {
		v.Recipients++
		return recipient(plain, addr)
	})
	if err != nil {
		return nil, fmt.Errorf("find the recipients: %w", err)
	}
	t.Variants = []Variant{v}
	return t, nil
}
