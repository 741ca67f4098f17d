package headers

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// unwanted are the fields that no list passes on.
var unwanted = []string{
	// Passwords of moderators.
	"Approved", "Approve", "X-Approved", "X-Approve", "Urgent",
	// Requests that every member's mail program would answer.
	"Return-Receipt-To", "Disposition-Notification-To", "X-Confirm-Reading-To", "X-PMRQC",
	// Traces of the delivery to the list. Postfix takes a Delivered-To that names a
	// member for a mail loop.
	"Delivered-To", "X-Original-To", "Return-Path",
	// Whom the author did not want to name.
	"Bcc", "Resent-Bcc",
	// Where another archive has the post.
	"Archived-At",
}

// needed are the fields that the setting remove_headers may not take out: without
// them a message is none, its body cannot be read, or a loop is not seen.
var needed = []string{"From", "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "X-BeenThere"}

// cleanse is stage "cleanse". DKIM signatures stay, broken or not: receivers ignore
// those that fail, and ARC may need them.
type cleanse struct{}

// Handle implements sdk.Handler.
func (cleanse) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	for _, name := range unwanted {
		p.Header.Remove(name)
	}
	for _, name := range p.List.Lines("remove_headers") {
		name = strings.TrimSuffix(strings.TrimSpace(name), ":")
		if !contains(needed, name) {
			p.Header.Remove(name)
		}
	}
	if p.List.Bool("anonymous_list") && !anonymise(p) {
		return sdk.Reject("not-anonymous", "The post's header is so damaged that it could give its author away, and this list is anonymous."), nil
	}
	complete(p)
	return sdk.Accept, nil
}

// complete adds the fields that a message must have (RFC 5322 3.6) and that an MTA
// might add later, in each copy anew. Both come from the entry: a second run of the
// same post gives the same.
func complete(p *sdk.Post) {
	if p.Header.Get("Message-ID") == "" {
		p.Header.Replace("Message-ID", messageID(p))
	}
	if p.Header.Get("Date") == "" && !p.Envelope.Received.IsZero() {
		p.Header.Replace("Date", p.Envelope.Received.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	}
}

func messageID(p *sdk.Post) string {
	return "<" + p.Entry + "." + p.List.ID() + "@" + idDomain(p.List) + ">"
}

// idDomain is the list's domain in ASCII.
func idDomain(l sdk.List) string {
	m := l.Mark()
	return m[strings.LastIndexByte(m, '@')+1:]
}

// anonymous are the fields that stay on an anonymous list whatever it says: without them the
// text cannot be read, or somebody's autoresponder answers.
var anonymous = []string{"From", "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "X-BeenThere", "Auto-Submitted", "Precedence"}

// telling are the fields that go from an anonymous list whatever it says.
var telling = []string{
	"Sender", "Reply-To", "Author", "Organization", "Received", "Return-Path", "Message-ID", "DKIM-Signature", "Autocrypt",
	"Resent-From", "Resent-Sender", "Resent-Reply-To", "Resent-Message-ID",
	"X-Sender", "X-Original-From", "X-Originating-IP", "X-Originating-Email", "X-Google-Original-From", "X-X-Sender",
}

// maxGone is how many different fields an anonymous list takes out of one post: each
// costs a walk over the header block.
const maxGone = 500

// anonymise takes away who wrote the post; false if it cannot. The message's id goes
// too: mail programs put the author's host into it.
func anonymise(p *sdk.Post) bool {
	stays := keeper(p)
	gone := map[string]bool{}
	octets := 0
	for f := range p.Header.Fields() {
		octets += len(f.Raw)
		if !stays(f.Name) {
			gone[strings.ToLower(f.Name)] = true
		}
	}
	// Lines that are no field, such as mbox's "From ann@example.org", cannot be taken out.
	if octets != len(p.Header.Bytes()) || len(gone) > maxGone {
		return false
	}
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		p.Header.Remove(name)
	}
	p.Header.Replace("From", listMailbox(p.List).String())
	return true
}

// keeper tells which fields stay on an anonymous list. By default those do that say nothing of
// the author that the author did not write for all to read; every other field could, the
// signatures and traces of their mail system first.
func keeper(p *sdk.Post) func(name string) bool {
	keep := slices.Clone(anonymous)
	if p.Notes["topics.hits"] != "" { // then it is what stage topics wrote
		keep = append(keep, "X-Topics")
	}
	var patterns []*regexp.Regexp
	for _, line := range p.List.Lines("anonymous_list_keep_headers") {
		if !strings.HasPrefix(line, "^") {
			keep = append(keep, strings.TrimSuffix(line, ":"))
		} else if re, err := regexp.Compile("(?i)" + line); err == nil { // the setting was checked when it was made
			patterns = append(patterns, re)
		}
	}
	return func(name string) bool {
		return !contains(telling, name) &&
			(contains(keep, name) || slices.ContainsFunc(patterns, func(re *regexp.Regexp) bool { return re.MatchString(name) }))
	}
}

// listMailbox is the list as an author.
func listMailbox(l sdk.List) message.Mailbox {
	return message.Mailbox{Name: l.Name(), Address: message.ASCIIAddress(l.Address)}
}

// contains tells whether names has name; case does not matter.
func contains(names []string, name string) bool {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}
