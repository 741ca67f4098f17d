package digest

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/text"
)

func section(b *message.Body, p *message.Part) *io.SectionReader {
	return io.NewSectionReader(b, p.Start, p.End-p.Start)
}

// width is how wide text is set; RFC 1153 has lines of 70 dashes.
const width = 70

// masthead tells newcomers what this is. Lines end in LF, as everywhere here.
func (d *digest) masthead() string {
	return d.expand(d.List.String("digest_header")) + d.expand(d.List.Text("digest_masthead"))
}

// say writes one of the sentences that mlist has for digests; values are names and what they
// stand for in turn.
func (d *digest) say(name string, values ...string) string {
	return strings.TrimSpace(d.List.Fill(d.List.Text(name), func(name string) (string, bool) {
		for i := 0; i+1 < len(values); i += 2 {
			if values[i] == name {
				return values[i+1], true
			}
		}
		return d.name, name == "digest_name"
	}))
}

func (d *digest) footer() string { return d.expand(d.List.String("digest_footer")) }

// expand fills in the placeholders of a text, without the lines that would name the reader: a
// digest is the same for all. One of nothing but white space is none.
func (d *digest) expand(source string) string {
	source = text.Without(source, text.Personal...)
	text := strings.TrimRight(d.List.Fill(source, func(name string) (string, bool) { return d.name, name == "digest_name" }), " \t\n")
	if text == "" {
		return ""
	}
	return text + "\n"
}

// contents is the table of contents.
func (d *digest) contents() string {
	var b strings.Builder
	b.WriteString(d.say("digest_topics") + "\n\n")
	for i, p := range d.posts {
		b.WriteString(wrap(fmt.Sprintf("%4d. %s (%s)", i+1, d.subject(p), d.author(p)), 6))
	}
	return b.String()
}

// prefixForms are what a list's prefix has in place of what subject fills in.
var prefixForms = regexp.MustCompile(`%\\\(display_name\\\)s|%\\\(list_name\\\)s|%\d*d`)

// subject is a post's subject without the list's prefix, which would stand there every time.
func (d *digest) subject(p post) string {
	text := oneLine(p.header.Text("Subject"))
	if prefix := strings.TrimSpace(d.List.String("subject_prefix")); prefix != "" {
		pattern := prefixForms.ReplaceAllStringFunc(regexp.QuoteMeta(prefix), func(form string) string {
			switch {
			case strings.HasSuffix(form, "d"):
				return `\d+`
			case strings.Contains(form, "display"):
				return regexp.QuoteMeta(d.List.Name())
			}
			return regexp.QuoteMeta(d.List.Local())
		})
		if re, err := regexp.Compile(`(?i)` + pattern + `\s*`); err == nil {
			if at := re.FindStringIndex(text); at != nil {
				text = text[:at[0]] + text[at[1]:]
			}
		}
	}
	if text == "" {
		return d.say("no_subject")
	}
	return text
}

// author is who wrote a post, for people.
func (d *digest) author(p post) string {
	from := message.ParseMailboxes(p.header.Get("From"))
	if len(from) == 0 {
		return d.say("digest_nobody")
	}
	return oneLine(cmp.Or(from[0].Name, from[0].Address))
}

// maxLine is the longest text that is taken of one header field, in octets.
const maxLine = 500

func oneLine(s string) string {
	s = strings.Join(strings.Fields(text.Clean(s)), " ")
	if len(s) > maxLine {
		s = strings.ToValidUTF8(s[:maxLine], "") + "\u2026"
	}
	return s
}

// wrap sets text in lines, all but the first indented. Its own spaces at the start stay.
func wrap(text string, indent int) string {
	var b strings.Builder
	line := text[:len(text)-len(strings.TrimLeft(text, " "))]
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
			line += word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
			b.WriteString(line + "\n")
			line = strings.Repeat(" ", indent) + word
		default:
			line += " " + word
		}
	}
	return b.String() + line + "\n"
}
