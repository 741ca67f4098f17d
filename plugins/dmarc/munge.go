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

// munge puts the list into From. The author stays in sight, and a reply gets to the same
// people as before (the three goals of Mailman's): in Reply-To where the list leaves that to
// the author, else in Cc.
func munge(p *sdk.Post) {
	from := p.Header.Get("From")
	author := authorOf(p)
	p.Header.Replace("From", message.Mailbox{Name: nameFor(p.List, author), Address: message.ASCIIAddress(p.List.Address)}.String())
	if from != "" && len(from) <= maxField {
		p.Header.Replace("X-Original-From", from)
	}
	if !message.IsAddress(author.Address) {
		return
	}
	field := "Reply-To"
	if goes := p.List.String("reply_goes_to_list"); goes != "" && goes != "no_munging" {
		field = "Cc"
	}
	addTo(p.Header, field, author)
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

// authorOf is who wrote the post: the one mailbox in From, or, if there are none or several,
// the first of them, or the envelope sender.
func authorOf(p *sdk.Post) message.Mailbox {
	for _, m := range p.Header.Mailboxes("From") {
		return m
	}
	return message.Mailbox{Address: p.Envelope.Sender}
}

// inName is an address in a display name: receivers take one of another domain for a trick.
var inName = regexp.MustCompile(`@[^\s@<>"]+\.[^\s@<>"]+`)

// nameFor is the display name for From.
func nameFor(l sdk.List, author message.Mailbox) string {
	local, domain, _ := cutLast(author.Address)
	name := strings.TrimSpace(inName.ReplaceAllString(author.Name, ""))
	if name == "" {
		name = local
	}
	form := l.String("dmarc_from_name")
	if form == addressViaList && domain != "" {
		name = local + " at " + domain
	}
	name = strings.Join(strings.Fields(name), " ")
	if len(name) > maxName {
		name = strings.ToValidUTF8(name[:maxName], "")
	}
	if form == nameOnly {
		return name
	}
	if end := strings.TrimLeft(via(l, ""), " "); end != "" && strings.HasSuffix(name, " "+end) {
		return name // it went through the list before
	}
	return via(l, name)
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
