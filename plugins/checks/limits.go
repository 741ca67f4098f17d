package checks

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/mlist/mlist/sdk"
)

// The rules on what may be posted, whoever sent it.

// badFrom wants one From field (RFC 5322 3.6) with an address, and no more names of who sent the
// post than are looked up. Otherwise what the checks read and what a mail program shows could be
// different people; so it is asked even of what passes for its author's sake.
func badFrom(_ context.Context, v *view) (finding, error) {
	if n := countFields(v.Header, "From"); n > 1 {
		return decided(sdk.Hold("bad-from", fmt.Sprintf("The post has %d From fields, where one is allowed.", n))), nil
	}
	if !slices.ContainsFunc(v.Senders, func(s sdk.Sender) bool { return s.Source == "from" }) {
		return decided(sdk.Hold("bad-from", "The post has no address in From.")), nil
	}
	for _, name := range []string{"From", "Sender", "Reply-To"} {
		if n := len(v.Header.Mailboxes(name)); n > sdk.MaxSenders {
			return decided(sdk.Hold("bad-from", fmt.Sprintf("The post has %d addresses in %s; no more than %d are looked up.", n, name, sdk.MaxSenders))), nil
		}
	}
	return finding{}, nil
}

func tooBig(_ context.Context, v *view) (finding, error) {
	limit := int64(v.List.Int("max_message_size")) * 1024
	if limit == 0 {
		return finding{}, nil
	}
	octets := int64(len(v.Header.Bytes()))
	if v.Body != nil {
		octets += v.Body.Size()
	}
	if octets <= limit {
		return finding{}, nil
	}
	return decided(sdk.Hold("too-big", fmt.Sprintf("The post has %d KB; this list takes up to %d KB.", (octets+1023)/1024, limit/1024))), nil
}

func tooManyRecipients(_ context.Context, v *view) (finding, error) {
	limit := v.List.Int("max_num_recipients")
	if limit == 0 {
		return finding{}, nil
	}
	n := len(v.Header.Mailboxes("To", "Cc"))
	if n < limit {
		return finding{}, nil
	}
	return decided(sdk.Hold("too-many-recipients", fmt.Sprintf("The post names %d recipients; this list takes fewer than %d.", n, limit))), nil
}

func (p *patterns) implicitDest(_ context.Context, v *view) (finding, error) {
	if !v.List.Bool("require_explicit_destination") {
		return finding{}, nil
	}
	for _, m := range v.Header.Mailboxes("To", "Cc", "Resent-To", "Resent-Cc") {
		if v.List.Is(m.Address) || p.match(v.List, "acceptable_aliases", m.Address) {
			return finding{}, nil
		}
	}
	return decided(sdk.Hold("implicit-dest", "The post does not name the list in To or Cc.")), nil
}

func noSubject(_ context.Context, v *view) (finding, error) {
	if strings.TrimSpace(v.Header.Text("Subject")) != "" {
		return finding{}, nil
	}
	return decided(sdk.Hold("no-subject", "The post has no subject.")), nil
}

// commands are the words that people send to a list when they mean mlist, and how many
// words may follow each. They are Mailman's.
var commands = map[string]struct{ least, most int }{
	"confirm": {1, 1}, "help": {0, 0}, "info": {0, 0}, "lists": {0, 0}, "options": {0, 0}, "password": {2, 2},
	"remove": {0, 0}, "set": {3, 3}, "subscribe": {0, 3}, "unsubscribe": {0, 1}, "who": {0, 1},
}

// maxCommandLines is how many lines of the text may be commands.
const maxCommandLines = 10

func administrivia(_ context.Context, v *view) (finding, error) {
	if !v.List.Bool("administrivia") {
		return finding{}, nil
	}
	lines, err := v.text()
	if err != nil {
		return finding{}, err
	}
	lines = append([]string{v.Header.Text("Subject")}, lines[:min(len(lines), maxCommandLines)]...)
	for _, line := range lines {
		words := strings.Fields(strings.ToLower(line))
		if len(words) == 0 {
			continue
		}
		if c, ok := commands[words[0]]; ok && c.least <= len(words)-1 && len(words)-1 <= c.most {
			return decided(sdk.Hold("administrivia", fmt.Sprintf("The post has the line %.60q, which looks like a command; those go to %s.", line, v.List.Sub("request")))), nil
		}
	}
	return finding{}, nil
}

// defaultMasthead is Mailman's masthead_threshold.
const defaultMasthead = 4

// digestSubject is what replies to a digest have for a subject.
var digestSubject = regexp.MustCompile(`(?i)\bdigest,? vol(?:ume)?\.? \d+,? issue \d+`)

// digestReply finds replies to a whole digest. They start a thread of their own, and
// quote what everybody has read.
func digestReply(_ context.Context, v *view) (finding, error) {
	if subject := v.Header.Text("Subject"); digestSubject.MatchString(subject) || ofDigest(v.List, subject) {
		return decided(sdk.Hold("digest-reply", "The post has the subject of a digest.")), nil
	}
	lines, err := v.text()
	if err != nil {
		return finding{}, err
	}
	quoted := 0
	for _, line := range lines {
		if text := strings.TrimLeft(line, "> \t"); text != line && masthead(v.List, text) {
			quoted++
		}
	}
	if quoted < v.config.MastheadLines {
		return finding{}, nil
	}
	return decided(sdk.Hold("digest-reply", fmt.Sprintf("The post quotes %d lines of a digest's masthead.", quoted))), nil
}

// ofDigest tells whether a subject has the name of a digest in the list's language.
func ofDigest(l sdk.List, subject string) bool {
	const any = "0123456789"
	name := l.Fill(l.Text("digest_name"), func(name string) (string, bool) { return any, name == "volume" || name == "issue" })
	if !strings.Contains(name, any) {
		return false
	}
	re, err := regexp.Compile(`(?i)` + strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(name)), any, `\d+`))
	return err == nil && re.MatchString(subject)
}

// minMasthead is how long a line of a masthead is that nobody writes by chance, in octets.
const minMasthead = 15

// masthead tells whether a line is of a digest's masthead: what stands above its posts,
// in words that digests of mlist and Mailman have.
func masthead(l sdk.List, line string) bool {
	line = strings.ToLower(strings.TrimSpace(line))
	for own := range strings.Lines(l.Fill(l.Text("digest_masthead"), nil)) {
		own, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(own)), "%(")
		if len(own) >= minMasthead && strings.HasPrefix(line, own) {
			return true
		}
	}
	for _, start := range []string{
		"posts for this list go to", "to join it, or to leave it, write to", "the people who look after it are at",
		"when you answer, please give a subject that says more than",
		"send " + strings.ToLower(l.Name()) + " mailing list submissions to", "to subscribe or unsubscribe",
		"you can reach the person managing the list at", "when replying, please edit your subject line", "than \"re: contents of", "today's topics:",
	} {
		if strings.HasPrefix(line, start) {
			return true
		}
	}
	for _, addr := range []string{l.Address, l.Sub("request"), l.Sub("owner"), l.Sub("join"), l.Sub("leave")} {
		if strings.EqualFold(line, addr) {
			return true
		}
	}
	return false
}
