package pipeline

import (
	"cmp"
	"strings"

	"github.com/mlist/mlist/internal/templates"
)

// say tells the author a phrase in their language; values are the names of placeholders and
// what stands there in turn.
func (c *commander) say(phrase string, values ...string) { c.line(c.phrase(phrase, values...)) }

// voice is the language in which the author is told.
func (c *commander) voice() string { return cmp.Or(c.reader, c.site) }

// phrase is what say says.
func (c *commander) phrase(name string, values ...string) string {
	v := templates.Values{}
	for i := 0; i+1 < len(values); i += 2 {
		v[values[i]] = values[i+1]
	}
	return c.d.texts().Phrase(c.p.list, c.voice(), name, v)
}

// text is a text of several lines in the author's language.
func (c *commander) text(name string) string {
	return strings.TrimRight(c.d.texts().Text(c.p.list, c.voice(), name, nil), "\n")
}

// line tells the author something that has no language.
func (c *commander) line(s string) { c.report = append(c.report, s) }
