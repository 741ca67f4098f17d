package mailauth

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mlist/mlist/sdk/message"
)

// AuthResults is an Authentication-Results field (RFC 8601).
type AuthResults struct {
	ID      string // the authserv-id: who says so
	Results []MethodResult
}

// MethodResult is what one method found.
type MethodResult struct {
	Method string // lower case, such as "dkim"
	Result Result // lower case
	Reason string
	Props  []Prop
}

// Prop is a property, such as header.d and example.org.
type Prop struct{ Name, Value string }

// Prop returns a property's value; "" if there is none.
func (m MethodResult) Prop(name string) string {
	for _, p := range m.Props {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// maxResults bounds what is read of one field.
const maxResults = 100

// ParseAuthResults reads a field's value. Comments may stand anywhere, values may be quoted;
// a result that makes no sense is left out, and those after it are read. So is what is of a
// later version than 1, the field's or the method's: nobody knows yet what that says.
func ParseAuthResults(value string) (AuthResults, error) {
	p := resultParser{in: value}
	var a AuthResults
	p.space()
	a.ID = strings.ToLower(p.word(""))
	if a.ID == "" {
		return a, errors.New("Authentication-Results without a name")
	}
	p.space()
	if v := p.word(""); v != "1" && isVersion(v) {
		return a, nil
	}
	for p.toSemicolon() && len(a.Results) < maxResults {
		if m, ok := p.result(); ok {
			a.Results = append(a.Results, m)
		}
	}
	return a, nil
}

func isVersion(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// resultParser goes over the value once.
type resultParser struct {
	in  string
	pos int
}

// space skips white space and comments. A comment that does not end takes the rest.
func (p *resultParser) space() {
	depth := 0
	for ; p.pos < len(p.in); p.pos++ {
		switch c := p.in[p.pos]; {
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == '\\' && depth > 0:
			p.pos++
		case depth > 0, c == ' ', c == '\t', c == '\r', c == '\n':
		default:
			return
		}
	}
	p.pos = min(p.pos, len(p.in))
}

// word reads a token, a quoted string, or several of them without space between; it ends
// before what separates, and before the characters of stop.
func (p *resultParser) word(stop string) string {
	var b strings.Builder
	for p.pos < len(p.in) {
		c := p.in[p.pos]
		if c == '"' {
			p.quoted(&b)
			continue
		}
		if strings.IndexByte(" \t\r\n;()", c) >= 0 || strings.IndexByte(stop, c) >= 0 {
			break
		}
		b.WriteByte(c)
		p.pos++
	}
	return b.String()
}

func (p *resultParser) quoted(b *strings.Builder) {
	for p.pos++; p.pos < len(p.in); p.pos++ {
		switch c := p.in[p.pos]; {
		case c == '"':
			p.pos++
			return
		case c == '\\' && p.pos+1 < len(p.in):
			p.pos++
			b.WriteByte(p.in[p.pos])
		default:
			b.WriteByte(c)
		}
	}
}

// toSemicolon goes behind the next semicolon that is in no quoted string and no comment.
func (p *resultParser) toSemicolon() bool {
	for {
		p.space()
		if p.pos >= len(p.in) {
			return false
		}
		if p.in[p.pos] == ';' {
			p.pos++
			return true
		}
		if p.word("") == "" {
			p.pos++ // a stray parenthesis
		}
	}
}

// pair reads NAME = VALUE; on false the position is where it was.
func (p *resultParser) pair() (name, value string, ok bool) {
	start := p.pos
	p.space()
	name = strings.ToLower(p.word("="))
	p.space()
	if name != "" && p.pos < len(p.in) && p.in[p.pos] == '=' {
		p.pos++
		p.space()
		return name, p.word(""), true
	}
	p.pos = start
	return "", "", false
}

// method reads METHOD[/VERSION]=RESULT, in which a comment may stand around the slash, too.
func (p *resultParser) method() (method, result string, ok bool) {
	p.space()
	for p.pos < len(p.in) && p.in[p.pos] != '=' {
		word := p.word("=")
		if word == "" {
			return "", "", false
		}
		method += strings.ToLower(word)
		p.space()
		if atSlash := p.pos < len(p.in) && p.in[p.pos] == '/'; !atSlash && !strings.HasSuffix(method, "/") {
			break
		}
	}
	if p.pos >= len(p.in) || p.in[p.pos] != '=' {
		return "", "", false
	}
	p.pos++
	p.space()
	return method, p.word(""), true
}

// result reads METHOD[/VERSION]=RESULT and what goes with it.
func (p *resultParser) result() (MethodResult, bool) {
	method, word, ok := p.method()
	if !ok {
		return MethodResult{}, false
	}
	method, version, versioned := strings.Cut(method, "/")
	m := MethodResult{Method: method, Result: Result(strings.ToLower(word))}
	for good := method != "" && word != "" && (!versioned || version == "1"); ; {
		name, value, ok := p.pair()
		switch {
		case !ok:
			return m, good
		case name == "reason":
			m.Reason = value
		case len(m.Props) < maxResults:
			m.Props = append(m.Props, Prop{name, value})
		}
	}
}

// String writes the field's value. Words that are none are quoted, and control characters
// left out.
func (a AuthResults) String() string {
	var b strings.Builder
	b.WriteString(pvalue(a.ID))
	if len(a.Results) == 0 {
		b.WriteString("; none")
	}
	for _, m := range a.Results {
		fmt.Fprintf(&b, "; %s=%s", pvalue(m.Method), pvalue(string(m.Result)))
		if m.Reason != "" {
			b.WriteString(" reason=" + quote(m.Reason))
		}
		for _, p := range m.Props {
			b.WriteString(" " + pvalue(p.Name) + "=" + pvalue(p.Value))
		}
	}
	return b.String()
}

// pvalue writes a word as it is, if it can stand so: a token, perhaps with an @.
func pvalue(s string) string {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>,;:\"[]?=`, c) >= 0 {
			return quote(s)
		}
	}
	if s == "" {
		return `""`
	}
	return s
}

func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"', c == '\\':
			b.Write([]byte{'\\', c})
		case c < ' ', c >= 0x7f:
			b.WriteByte(' ')
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// AuthResults is what was found, as the field that names us would say it.
func (v Verdict) AuthResults(id string) AuthResults {
	a := AuthResults{ID: id}
	for _, s := range v.DKIM {
		m := MethodResult{Method: "dkim", Result: s.Result, Reason: s.Reason}
		if isDomain(s.Domain, 1) {
			m.Props = append(m.Props, Prop{"header.d", s.Domain})
		}
		if isDomain(s.Selector, 1) {
			m.Props = append(m.Props, Prop{"header.s", s.Selector})
		}
		a.Results = append(a.Results, m)
	}
	if v.ARC.Result != None {
		m := MethodResult{Method: "arc", Result: v.ARC.Result, Reason: v.ARC.Reason}
		a.Results = append(a.Results, m)
	}
	return a
}

// ResultsField is a field of a message, and where it stands.
type ResultsField struct {
	AuthResults
	Nth      int // among the fields Authentication-Results, from 1
	Received int // Received fields above it
}

// ResultFields reads a message's Authentication-Results, from the top down. One that cannot
// be read has no ID.
func ResultFields(h *message.Header) []ResultsField {
	var out []ResultsField
	received := 0
	for f := range h.Fields() {
		switch {
		case strings.EqualFold(f.Name, "Received"):
			received++
		case strings.EqualFold(f.Name, "Authentication-Results"):
			r := ResultsField{Nth: len(out) + 1, Received: received}
			if a, err := ParseAuthResults(value(f)); err == nil {
				r.AuthResults = a
			}
			out = append(out, r)
		}
	}
	return out
}
