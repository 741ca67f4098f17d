package headers

import (
	"context"
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// Bounds of a Reply-To that we write: addresses, and octets of each one's name; and of a Cc
// in octets.
const (
	maxReplyTo = 50
	maxName    = 500
	maxCc      = 64 << 10
)

// replyTo is stage "reply-to". As in Mailman, the field becomes the list's explicit
// address, then the author's own, then the list itself (last, for that is the end
// where people take one away), each once. Where To is to be each member's own, Cc names the
// list, or an answer to all would not reach it.
type replyTo struct{}

// Handle implements sdk.Handler.
func (replyTo) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	set(p)
	l := p.List
	if l.String("personalize") == "full" && l.String("reply_goes_to_list") != "point_to_list" && !l.Bool("anonymous_list") {
		copyList(p)
	}
	return sdk.Accept, nil
}

// set makes Reply-To what the list wants.
func set(p *sdk.Post) {
	goes, strip := p.List.String("reply_goes_to_list"), p.List.Bool("first_strip_reply_to")
	switch goes {
	case "point_to_list", "explicit_header", "explicit_header_only":
	default:
		if strip {
			p.Header.Remove("Reply-To")
		}
		return
	}
	old := p.Header.Mailboxes("Reply-To")
	var field mailboxes
	if explicit := p.List.String("reply_to_address"); goes != "point_to_list" && explicit != "" {
		field.add(explicitMailbox(explicit))
	}
	if !strip && goes != "explicit_header_only" {
		for _, m := range old {
			// The list's own address is wherever this stage puts it.
			if message.AddressKey(m.Address) != message.AddressKey(p.List.Address) {
				field.add(m)
			}
		}
	}
	if goes == "point_to_list" {
		field.list = append(field.list, listMailbox(p.List))
	}
	switch {
	case len(field.list) == 0:
		p.Header.Remove("Reply-To")
	case !sameAddresses(field.list, old):
		p.Header.Replace("Reply-To", field.String())
	}
}

// copyList adds the list to Cc, if it is not there.
func copyList(p *sdk.Post) {
	for _, m := range p.Header.Mailboxes("Cc") {
		if message.AddressKey(m.Address) == message.AddressKey(p.List.Address) {
			return
		}
	}
	var values []string
	for _, v := range p.Header.Values("Cc") {
		if v = strings.TrimRight(v, " \t,"); v != "" {
			values = append(values, v)
		}
	}
	if value := strings.Join(append(values, listMailbox(p.List).String()), ", "); len(value) <= maxCc {
		p.Header.Replace("Cc", value)
	}
}

// explicitMailbox reads the setting: an address, perhaps with a name.
func explicitMailbox(s string) message.Mailbox {
	m := message.Mailbox{Address: s}
	if found := message.ParseMailboxes(s); len(found) > 0 {
		m = found[0]
	}
	m.Address = message.ASCIIAddress(m.Address)
	return m
}

// mailboxes collects addresses, each once.
type mailboxes struct{ list []message.Mailbox }

func (ms *mailboxes) add(m message.Mailbox) {
	if len(ms.list) >= maxReplyTo || !message.IsAddress(m.Address) {
		return
	}
	if len(m.Name) > maxName {
		m.Name = ""
	}
	for _, have := range ms.list {
		if message.AddressKey(have.Address) == message.AddressKey(m.Address) {
			return
		}
	}
	ms.list = append(ms.list, m)
}

func (ms *mailboxes) String() string {
	texts := make([]string, len(ms.list))
	for i, m := range ms.list {
		texts[i] = m.String()
	}
	return strings.Join(texts, ", ")
}

func sameAddresses(a, b []message.Mailbox) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if message.AddressKey(a[i].Address) != message.AddressKey(b[i].Address) {
			return false
		}
	}
	return true
}
