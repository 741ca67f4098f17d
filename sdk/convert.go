package sdk

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/proto"
)

// The plugin's half of translating between this package and proto; package wire has
// mlist's half.

func readEnvelope(e *proto.Envelope) Envelope {
	env := Envelope{Sender: e.GetSender(), Recipient: e.GetRecipient(), Peer: e.GetPeer(), Flags: e.GetFlags()}
	if us := e.GetReceivedUnixMicros(); us != 0 {
		env.Received = time.UnixMicro(us).UTC()
	}
	return env
}

func readSenders(senders []*proto.Sender) []Sender {
	out := make([]Sender, len(senders))
	for i, s := range senders {
		out[i] = Sender{Address: s.GetAddress(), Source: s.GetSource(), Ban: s.GetBan()}
		for _, m := range s.GetMemberships() {
			out[i].Memberships = append(out[i].Memberships, readMembership(m))
		}
	}
	return out
}

// Limits of a verdict's words; longer ones are cut.
const (
	maxCode   = 64
	maxReason = 4096
)

func writeVerdict(v Verdict) (*proto.Verdict, error) {
	kinds := map[Kind]proto.Verdict_Kind{KindAccept: proto.Verdict_ACCEPT, KindHold: proto.Verdict_HOLD,
		KindReject: proto.Verdict_REJECT, KindDiscard: proto.Verdict_DISCARD}
	kind, ok := kinds[v.Kind]
	if !ok {
		return nil, fmt.Errorf("%q is not a kind of verdict", v.Kind)
	}
	return &proto.Verdict{Kind: kind, Code: clean(v.Code, maxCode), Reason: clean(v.Reason, maxReason)}, nil
}

// clean makes text fit for a log line and a reply: a reason often quotes the post.
func clean(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	if len(text) > limit {
		text = text[:limit]
		for !utf8.ValidString(text) {
			text = text[:len(text)-1]
		}
	}
	return text
}

func writeOps(ops []message.Op) []*proto.HeaderOp {
	out := make([]*proto.HeaderOp, len(ops))
	for i, op := range ops {
		// Strings of the contract are UTF-8; a stage that copies raw bytes of another
		// field must not make the whole reply unsendable.
		out[i] = &proto.HeaderOp{Kind: proto.HeaderOp_Kind(op.Kind), Name: strings.ToValidUTF8(op.Name, "\uFFFD"),
			Value: strings.ToValidUTF8(op.Value, "\uFFFD"), Nth: int32(op.Nth)}
	}
	return out
}

func writeSplices(splices []message.Splice) []*proto.Splice {
	out := make([]*proto.Splice, len(splices))
	for i, s := range splices {
		out[i] = &proto.Splice{Offset: s.Offset, Delete: s.Delete, Insert: s.Insert}
	}
	return out
}

func writeRules(rules []Rule) ([]*proto.RecipientRule, error) {
	out := make([]*proto.RecipientRule, len(rules))
	for i, r := range rules {
		for _, a := range slices.Concat(r.Addresses, r.Lists, r.Topics, r.Authors) {
			if !utf8.ValidString(a) {
				return nil, fmt.Errorf("recipient rule with %q: not UTF-8", a)
			}
		}
		out[i] = &proto.RecipientRule{Kind: proto.RecipientRule_Kind(r.Kind), Roles: r.Roles, Modes: r.Modes,
			Statuses: r.Statuses, Addresses: r.Addresses, Flag: r.Flag, Topics: r.Topics, Lists: r.Lists, Authors: r.Authors}
	}
	return out, nil
}
