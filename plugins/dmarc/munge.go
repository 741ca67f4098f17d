package dmarc

import (
	"cmp"
	"regexp"
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// Forms of the name in From: the words of the setting dmarc_from_name.
const (
	nameViaList    = "name_via_list"    // "Ann Smith via Dev"
	addressViaList = "address_via_list" // "ann at example.org via Dev"
	nameOnly       = "name"             // "Ann Smith"
)

// Bounds of what is written into From, Reply-To and Cc.
const (
	maxName  = 200
	maxField = 64 << 10
)

// munge puts the list into From. The authors stay in sight, and a reply gets to the same
// people as before (the three goals of Mailman's): in Reply-To where the list leaves that to
// the author, else in Cc.
func munge(p *sdk.Post) {
	authors := authorsOf(p)
	before := original(p.Header)
	p.Header.Replace("From", message.Mailbox{Name: nameFor(p.List, authors), Address: message.ASCIIAddress(p.List.Address)}.String())
	if before != "" && len(before) <= maxField {
		p.Header.Replace("X-Original-From", before)
	}
	field := "Reply-To"
	if goes := p.List.String("reply_goes_to_list"); goes != "" && goes != "no_munging" {
		field = "Cc"
	}
	for _, a := range authors {
		if message.IsAddress(a.Address) {
			addTo(p.Header, field, a)
		}
	}
}

// original is From as it was. What is not ASCII is written so that no address gets into an
// encoded word.
func original(h *message.Header) string {
	from := strings.Join(h.Values("From"), ", ")
	if isASCII(from) {
		return from
	}
	boxes := h.Mailboxes("From")
	written := make([]string, len(boxes))
	for i, m := range boxes {
		m.Address = message.ASCIIAddress(m.Address)
		written[i] = m.String()
	}
	return cmp.Or(strings.Join(written, ", "), from)
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}

// addTo adds a mailbox to a field, if no field that is answered has it.
func addTo(h *message.Header, field string, m message.Mailbox) {
	seen := []string{field}
	if field == "Cc" {
		seen = []string{"Cc", "To", "Reply-To"}
	}
	for _, have := range h.Mailboxes(seen...) {
		if message.AddressKey(have.Address) == message.AddressKey(m.Address) {
			return
		}
	}
	if len(m.Name) > maxName {
		m.Name = ""
	}
	m.Address = message.ASCIIAddress(m.Address)
	var values []string
	for _, v := range h.Values(field) {
		if v = strings.TrimRight(v, " \t,"); v != "" {
			values = append(values, v)
		}
	}
	if value := strings.Join(append(values, m.String()), ", "); len(value) <= maxField {
		h.Replace(field, value)
	}
}

// authorsOf is who wrote the post: the mailboxes in From but the list's own, each once, and the
// first few if there are many; or, if From names nobody, the envelope sender.
func authorsOf(p *sdk.Post) []message.Mailbox {
	var out []message.Mailbox
	seen := map[string]bool{message.AddressKey(p.List.Address): true}
	boxes := p.Header.Mailboxes("From")
	if len(boxes) == 0 && p.Envelope.Sender != "" {
		boxes = []message.Mailbox{{Address: p.Envelope.Sender}}
	}
	for _, m := range boxes {
		if key := message.AddressKey(m.Address); !seen[key] && len(out) < maxAuthors {
			seen[key] = true
			out = append(out, m)
		}
	}
	return out
}

// alone tells whether From is nobody but the list itself already.
func alone(p *sdk.Post) bool {
	own := message.AddressKey(p.List.Address)
	for _, m := range p.Header.Mailboxes("From") {
		if message.AddressKey(m.Address) != own {
			return false
		}
	}
	return message.AddressKey(p.Author()) == own
}

// inName is an address in a display name: receivers take one of another domain for a trick.
var inName = regexp.MustCompile(`@[^\s@<>"]+\.[^\s@<>"]+`)

// nameFor is the display name for From.
func nameFor(l sdk.List, authors []message.Mailbox) string {
	form := l.String("dmarc_from_name")
	var names []string
	for _, a := range authors {
		if n := nameOf(a, form); n != "" {
			names = append(names, n)
		}
	}
	name := strings.Join(names, ", ")
	if len(name) > maxName {
		name = strings.TrimRight(strings.ToValidUTF8(name[:maxName], ""), ", ")
	}
	if name == "" {
		return l.String("display_name")
	}
	if form == nameOnly {
		return name
	}
	if end := strings.TrimLeft(via(l, ""), " "); end != "" && strings.HasSuffix(name, " "+end) {
		return name // it went through the list before
	}
	return via(l, name)
}

// nameOf is what one author is called.
func nameOf(author message.Mailbox, form string) string {
	local, domain, _ := cutLast(author.Address)
	name := strings.TrimSpace(inName.ReplaceAllString(author.Name, ""))
	if name == "" {
		name = local
	}
	if form == addressViaList && domain != "" {
		name = local + " at " + domain
	}
	return strings.Join(strings.Fields(name), " ")
}

// via is the name of somebody who writes through the list, in the list's language.
func via(l sdk.List, name string) string {
	form := cmp.Or(l.Text("dmarc_via"), "%(from)s via %(display_name)s")
	full := l.Fill(form, func(placeholder string) (string, bool) { return name, placeholder == "from" })
	return strings.TrimRight(strings.ReplaceAll(full, "\n", " "), " ")
}

func cutLast(addr string) (local, domain string, ok bool) {
	at := strings.LastIndexByte(addr, '@')
	if at < 0 {
		return addr, "", false
	}
	return addr[:at], addr[at+1:], true
}
