package outbound

import (
	"unicode/utf8"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/outbound/sender"
)

// plan picks the recipients of the next transaction. before are those that an earlier
// transaction of this chunk saw deferred, and whose destination is left alone for now.
func (d *Daemon) plan(c *spool.Chunk) (now, rest []string, before []refusal) {
	now = c.Recipients
	d.mu.Lock()
	p := d.partial[c.ID()]
	d.mu.Unlock()
	if p != nil && p.tries == c.Tries && len(p.deferred) > 0 {
		now = nil
		for _, r := range c.Recipients {
			if ref, ok := p.deferred[r]; ok {
				before = append(before, ref)
			} else {
				now = append(now, r)
			}
		}
	}
	now, aside := d.setAside(c, now)
	before = append(before, aside...)
	if !has(c.Flags, spool.FlagSMTPUTF8) {
		now, rest = splitUTF8(now)
	}
	if limit := d.cfg.Load().RecipientsPerTransaction; len(now) > limit {
		rest = append(append([]string(nil), now[limit:]...), rest...)
		now = now[:limit]
	}
	return now, rest, before
}

// splitUTF8 keeps internationalised addresses apart from the others, if there are both:
// a transaction that asks for SMTPUTF8 for them could make the message undeliverable to
// the rest.
func splitUTF8(all []string) (now, rest []string) {
	for i, a := range all {
		if ascii(a) {
			continue
		}
		now = append(now, all[:i]...)
		for _, a := range all[i:] {
			if ascii(a) {
				now = append(now, a)
			} else {
				rest = append(rest, a)
			}
		}
		if len(now) == 0 {
			return rest, nil
		}
		return now, rest
	}
	return all, nil
}

func ascii(s string) bool {
	for ; len(s) >= 8; s = s[8:] { // eight octets at once, which is what most of an address is
		if (s[0]|s[1]|s[2]|s[3]|s[4]|s[5]|s[6]|s[7])&utf8.RuneSelf != 0 {
			return false
		}
	}
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// add takes over the results of a transaction, and tells whether the MTA gave any. When
// the reply to the content did not come, those it was for are deferred: sent again at
// once, and once more, they could get any number of copies.
func (o *outcome) add(recipients []string, res sender.Result, e *sender.Error) bool {
	o.accepted += res.Accepted
	if res.Accepted == len(recipients) && len(recipients) > 0 {
		return true
	}
	progress := false
	var again []string
	for i, a := range recipients {
		r := sender.Recipient{}
		if i < len(res.Recipients) {
			r = res.Recipients[i]
		}
		switch r.Outcome {
		case sender.Unsent, sender.Carried:
			if e != nil && e.Kind == sender.Unknown {
				o.deferred = append(o.deferred, refusal{recipient: a, reply: noReply(unknownReason + e.Error()), message: true})
			} else {
				again = append(again, a)
			}
			continue
		case sender.Deferred:
			o.deferred = append(o.deferred, refusal{recipient: a, reply: r.Reply, message: r.Message})
		case sender.Refused:
			o.refused = append(o.refused, refusal{recipient: a, reply: r.Reply, message: r.Message})
		}
		progress = true
	}
	if len(again) > 0 {
		o.rest = append(again, o.rest...)
	}
	return progress
}

func has(flags []string, flag string) bool {
	for _, f := range flags {
		if f == flag {
			return true
		}
	}
	return false
}
