package pipeline

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/sdk/message"
)

// mayAnswer tells whether the sender of an entry may get an automatic reply: a person
// may, so often a day; a machine never (RFC 3834 section 2).
func (d *Daemon) mayAnswer(ctx context.Context, p *post) (bool, error) {
	if !p.personal {
		return false, nil
	}
	if is, err := d.isList(ctx, p.author); is || err != nil {
		return false, err
	}
	return d.mayWrite(ctx, p, p.author)
}

// mayWrite tells whether an automatic reply about the entry may go to an address: so
// often a day.
func (d *Daemon) mayWrite(ctx context.Context, p *post, to address.Address) (bool, error) {
	return d.mayWriteAs(ctx, string(p.entry.ID), to)
}

// mayWriteAs is mayWrite of what has a name of its own.
func (d *Daemon) mayWriteAs(ctx context.Context, what string, to address.Address) (bool, error) {
	allowed, err := d.store.AllowNotice(ctx, to, what, d.now(), d.cfg.Load().NoticesPerDay, 24*time.Hour)
	if err != nil {
		return false, storeFailed("count a notice", err)
	}
	return allowed, nil
}

// othersPerNotice is how many notices one address may have sent to others, for each that it may
// get itself. It bounds who asks for all the world, and leaves room for a web form that asks
// for its visitors.
const othersPerNotice = 10

// mayAsk tells whether an address may have another one written to, so often a day.
func (d *Daemon) mayAsk(ctx context.Context, what string, author address.Address) (bool, error) {
	asker := address.Address{Local: author.Local + " asks", Domain: author.Domain} // a count of its own
	allowed, err := d.store.AllowNotice(ctx, asker, what, d.now(), othersPerNotice*d.cfg.Load().NoticesPerDay, 24*time.Hour)
	if err != nil {
		return false, storeFailed("count what an address asks for", err)
	}
	return allowed, nil
}

// machineFields are what only programs write, beside the fields of lists.
var machineFields = map[string]bool{
	"mailing-list": true, "x-auto-response-suppress": true, "x-loop": true, "feedback-id": true,
	"x-autoreply": true, "x-autorespond": true, "x-autoresponder": true, "x-vacation": true, "x-mail-autoreply": true,
}

// personal tells whether a message with this envelope sender and header was written
// by a person who can be answered.
func personal(sender string, h *message.Header) (address.Address, bool) {
	to, err := address.Parse(sender)
	if err != nil {
		return to, false // the null reverse-path among others
	}
	says := func(field string, machine func(word string) bool) bool {
		return slices.ContainsFunc(h.Values(field), func(v string) bool { return machine(message.Word(v)) })
	}
	switch {
	case says("Auto-Submitted", func(w string) bool { return w != "" && w != "no" }),
		says("Precedence", func(w string) bool { return w == "bulk" || w == "list" || w == "junk" || w == "auto_reply" }),
		says("X-Ack", func(w string) bool { return w == "no" }),
		says("Content-Type", func(w string) bool { // some give these a sender
			return w == "multipart/report" || w == "message/disposition-notification" || w == "message/delivery-status"
		}):
		return to, false
	}
	for f := range h.Fields() {
		if name := strings.ToLower(f.Name); strings.HasPrefix(name, "list-") || machineFields[name] {
			return to, false
		}
	}
	return to, !robot(to.Local)
}

// awaySubjects are what subjects of autoresponders start with that do not mark their mail.
var awaySubjects = []string{
	"auto:", "autoreply", "auto reply", "auto-reply", "automatic reply", "automatic response", "out of office", "out of the office", "away from", "on vacation", "vacation",
	"automatische antwort", "abwesend", "abwesenheit", "réponse automatique", "absence", "respuesta automática", "fuera de la oficina", "risposta automatica", "automatisch antwoord",
	"resposta automática", "автоответ", "自動返信", "自动回复",
}

// away tells whether a message says in its subject that nobody has written it. It is asked
// where a mere answer does something.
func away(h *message.Header) bool {
	subject := strings.ToLower(strings.Trim(h.Text("Subject"), " *!:[]-\t"))
	for _, s := range awaySubjects {
		if strings.HasPrefix(subject, s) {
			return true
		}
	}
	return false
}

// robot tells whether a local part is one behind which no person reads.
func robot(local string) bool {
	local = strings.ToLower(local)
	switch local {
	case "#", "mailer-daemon", "postmaster", "listserv", "majordomo", "nobody", "root", "daemon":
		return true
	}
	for _, suffix := range []string{"-request", "-bounces", "-owner", "-relay"} {
		if strings.HasSuffix(local, suffix) {
			return true
		}
	}
	if words := strings.NewReplacer("-", "", "_", "", ".", "").Replace(local); strings.Contains(words, "noreply") || strings.Contains(words, "donotreply") {
		return true
	}
	return strings.HasPrefix(local, "owner-") || strings.Contains(local, "-bounces+") || strings.Contains(local, "-return-") || strings.HasPrefix(local, "bounce")
}
