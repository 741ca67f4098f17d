package digest

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mlist/mlist/sdk/htmltext"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/text"
)

// The lines between the parts of a plain digest (RFC 1153), each with an empty line around.
var (
	afterPreamble = strings.Repeat("-", 70)
	between       = strings.Repeat("-", 30)
)

// Limits in octets: of what a post says in a plain digest, of what all say, and of a digest
// that is one text, with all that is around. It may have to be encoded, which takes three
// times as much, and mlist takes 8 MiB of insertions.
const (
	maxPost  = 256 << 10
	maxTexts = 2 << 20
	maxWhole = 5 << 19
)

// plain makes the digest one text.
func (d *digest) plain() error {
	var b strings.Builder
	b.WriteString(guard(d.masthead()+"\n"+d.contents()) + "\n\n" + afterPreamble + "\n\n")
	for i := range d.posts {
		text, err := d.text(i, min(maxPost, maxTexts-b.Len()))
		if err != nil {
			return err
		}
		b.WriteString(d.fields(i, text) + "\n" + text + "\n" + between + "\n\n")
	}
	if footer := d.footer(); footer != "" {
		b.WriteString("Subject: " + d.say("digest_footer_title") + "\n\n" + guard(footer) + "\n" + between + "\n\n")
	}
	end := d.say("digest_end")
	b.WriteString(end + "\n" + strings.Repeat("*", len([]rune(end))) + "\n")
	return d.become(b.String())
}

// become replaces the body by a text. More than any reader reads is cut.
func (d *digest) become(text string) error {
	if len(text) > maxWhole {
		text = strings.ToValidUTF8(text[:maxWhole], "") + "\n\n" + d.say("digest_too_large") + "\n"
	}
	kind, coding, octets := encodeText(text)
	d.Header.Replace("Content-Type", kind)
	d.Header.Replace("Content-Transfer-Encoding", coding)
	return d.splice(0, d.Body.Size(), octets)
}

// fields are those that a plain digest shows of a post, decoded. Content-Type is that of the
// text which stands below them: the post's own is not.
func (d *digest) fields(i int, text string) string {
	var b strings.Builder
	for _, name := range d.config.PlainHeaders {
		switch strings.ToLower(name) {
		case "message":
			fmt.Fprintf(&b, "Message: %d\n", i+1)
			continue
		case "content-type":
			if strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) {
				b.WriteString(name + ": text/plain; charset=utf-8\n")
			}
			continue
		}
		for _, value := range d.posts[i].header.Values(name) {
			decode := message.DecodeText
			if hasAddresses[strings.ToLower(name)] {
				decode = people
			}
			if text := oneLine(decode(value)); text != "" {
				b.WriteString(wrap(name+": "+text, 8))
			}
		}
	}
	return b.String()
}

// hasAddresses are the fields of people.
var hasAddresses = map[string]bool{"from": true, "to": true, "cc": true, "reply-to": true, "sender": true}

// people are the mailboxes of a field, with names that cannot be taken for addresses.
func people(value string) string {
	all := message.ParseMailboxes(value)
	if len(all) == 0 {
		return message.DecodeText(value)
	}
	out := make([]string, len(all))
	for i, m := range all {
		switch name := oneLine(m.Name); {
		case name == "":
			out[i] = m.Address
		case strings.ContainsAny(name, `()<>[]:;@\,."`):
			out[i] = `"` + quotes.Replace(name) + `" <` + m.Address + ">"
		default:
			out[i] = name + " <" + m.Address + ">"
		}
	}
	return strings.Join(out, ", ")
}

var quotes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// text is what a post says, with a word about what it has beside. limit is in octets.
func (d *digest) text(i, limit int) (string, error) {
	p := d.posts[i]
	root, _, err := message.ParseEmbedded(d.Body, p.part)
	if err != nil {
		return "", err
	}
	if root == nil {
		return d.say("digest_header_too_long") + "\n", nil
	}
	t := &texts{digest: d, room: limit}
	if err := t.add(root); err != nil {
		return "", err
	}
	out := withoutBlank(t.text.String())
	if out == "" && len(t.beside) == 0 {
		out = d.say("digest_no_text")
	}
	if t.cut {
		rest := d.say("digest_rest")
		if url := d.permalink(p); url != "" {
			rest = d.say("digest_rest_at", "url", url)
		}
		out += "\n\n" + rest
	}
	if len(t.beside) > 0 {
		out = strings.TrimLeft(out+"\n\n", "\n") + strings.Join(t.beside, "\n")
	}
	return guard(out + "\n"), nil
}

// withoutBlank takes lines of nothing but white space from the start and the end of a text.
func withoutBlank(s string) string {
	s = strings.TrimRightFunc(s, unicode.IsSpace)
	for {
		line, rest, more := strings.Cut(s, "\n")
		if !more || strings.TrimSpace(line) != "" {
			return s
		}
		s = rest
	}
}

// guard keeps lines of a text from being taken for those between posts.
func guard(text string) string {
	if !strings.Contains(text, between) {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		if dashes := strings.TrimRight(line, " \t\n"); dashes == between || dashes == afterPreamble {
			b.WriteByte(' ')
		}
		b.WriteString(line)
	}
	return b.String()
}

// texts gathers what people read of a message.
type texts struct {
	digest *digest
	room   int // octets left
	text   strings.Builder
	cut    bool
	beside []string // a line for each part that is no text
}

// maxBeside is how many parts are named.
const maxBeside = 50

func (t *texts) add(p *message.Part) error {
	switch {
	case p.Type == "multipart/alternative":
		return t.add(best(p))
	case strings.HasPrefix(p.Type, "multipart/") && len(p.Parts) > 0:
		for _, child := range p.Parts {
			if err := t.add(child); err != nil {
				return err
			}
		}
		return nil
	case isText(p):
		return t.read(p)
	}
	t.name(p)
	return nil
}

// best is the form of an alternative that is shown: the first plain text, or else the last
// one that is text in some form.
func best(p *message.Part) *message.Part {
	for _, child := range p.Parts {
		if isText(child) && child.Type == "text/plain" {
			return child
		}
	}
	for i := len(p.Parts) - 1; i >= 0; i-- {
		if c := p.Parts[i]; isText(c) || strings.HasPrefix(c.Type, "multipart/") {
			return c
		}
	}
	return &message.Part{Header: p.Header, Type: "multipart/mixed", Parts: p.Parts, Start: p.Start, End: p.End}
}

func isText(p *message.Part) bool {
	return p.Disposition != "attachment" && (p.Type == "text/plain" || p.Type == "text/html")
}

func (t *texts) read(p *message.Part) error {
	if t.room <= 0 {
		t.cut = true
		return nil
	}
	said, cut, err := p.Text(t.digest.Body, int64(t.room))
	if err != nil {
		return err
	}
	if p.Type == "text/html" {
		whole := false
		said, whole = htmltext.Render(said, t.room)
		cut = cut || !whole
	}
	said = withoutBlank(text.Clean(said))
	if len(said) > t.room {
		said, cut = strings.ToValidUTF8(said[:t.room], ""), true
	}
	t.cut = t.cut || cut
	if said != "" && t.text.Len() > 0 {
		t.text.WriteString("\n\n")
	}
	t.room -= len(said)
	t.text.WriteString(said)
	return nil
}

// name notes a part that is not shown.
func (t *texts) name(p *message.Part) {
	switch n := len(t.beside); {
	case n == maxBeside:
		t.beside = append(t.beside, t.digest.say("digest_and_more"))
		return
	case n > maxBeside:
		return
	}
	what := "digest_part"
	if p.Disposition == "attachment" || len(p.FileNames()) > 0 {
		what = "digest_attachment"
	}
	name := ""
	if names := p.FileNames(); len(names) > 0 {
		what, name = what+"_named", oneLine(names[0])
	}
	t.beside = append(t.beside, t.digest.say(what, "file", name, "type", oneLine(p.Type), "size", octets(p.End-p.Start)))
}

func octets(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d octets", n)
	case n < 1<<20:
		return fmt.Sprintf("%d KB", n>>10)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
}
