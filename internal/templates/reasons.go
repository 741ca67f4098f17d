package templates

import (
	"regexp"
	"slices"
	"strings"

	"github.com/mlist/mlist/internal/list"
)

// reasonPhrases is what the names of phrases begin with that are reasons of verdicts.
const reasonPhrases = "reason_"

// reasonForm is how a reason is known.
type reasonForm struct {
	name   string
	form   *regexp.Regexp
	values []string // the placeholders that its groups stand for; "" is one of the list
}

// readReasons makes forms of the English reasons, the longest first.
func (c *catalog) readReasons() {
	for name := range c.phrases {
		if !strings.HasPrefix(name, reasonPhrases) {
			continue
		}
		body := c.files[key{language: English, name: name}].body
		f := reasonForm{name: name}
		var form strings.Builder
		at := 0
		for _, m := range placeholderForm.FindAllStringSubmatchIndex(body, -1) {
			form.WriteString(regexp.QuoteMeta(body[at:m[0]]) + "(.+)")
			f.values = append(f.values, body[m[2]:m[3]])
			at = m[1]
		}
		form.WriteString(regexp.QuoteMeta(body[at:]))
		f.form = regexp.MustCompile("^" + form.String() + "$")
		c.reasons = append(c.reasons, f)
	}
	slices.SortFunc(c.reasons, func(a, b reasonForm) int {
		if d := len(b.form.String()) - len(a.form.String()); d != 0 {
			return d
		}
		return strings.Compare(a.name, b.name)
	})
}

// Reason says the reason of a verdict in the reader's language. Handlers give theirs as an
// English sentence. Those of the handlers that ship with mlist are phrases, and are known
// again by their English form; any other stays as it is.
func (s *Set) Reason(l *list.List, reader, reason string) string {
	if len(reason) > 4*maxValue {
		return reason
	}
	for _, f := range builtIn().reasons {
		m := f.form.FindStringSubmatch(reason)
		if m == nil {
			continue
		}
		v := Values{}
		for i, name := range f.values {
			v[name] = m[i+1]
		}
		return s.Phrase(l, reader, f.name, v)
	}
	return reason
}
