// Package htmltext makes text of HTML, for those who read no other form of a post.
package htmltext

import (
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// maxNesting is how deep quotes and lists are shown.
const maxNesting = 8

// Render makes HTML text that people can read: paragraphs, lists, quotes, links with
// where they lead to, the rows of tables. It goes over the HTML once and keeps no tree of
// it. ok is false if the text is over limit octets: then it is
// the beginning, of so many.
func Render(source string, limit int) (text string, ok bool) {
	r := renderer{page: page{limit: limit}}
	z := html.NewTokenizer(strings.NewReader(source))
	for !r.full {
		switch z.Next() {
		case html.ErrorToken:
			r.link()
			return r.finish()
		case html.TextToken:
			if r.skip == 0 {
				r.text(string(z.Text()))
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			name, more := z.TagName()
			tag := atom.Lookup(name)
			attrs := map[string]string{}
			for more && len(attrs) < 50 {
				var key, value []byte
				key, value, more = z.TagAttr()
				switch string(key) {
				case "href", "alt", "start":
					attrs[string(key)] = string(value)
				}
			}
			r.open(tag, attrs)
		case html.EndTagToken:
			name, _ := z.TagName()
			r.close(atom.Lookup(name))
		}
	}
	return r.finish()
}

// renderer turns tags into what a page does.
type renderer struct {
	page
	skip   atom.Atom // the element whose text people do not see
	href   string    // of the link that is open
	linked strings.Builder
	lists  []int // the numbers of open lists; -1 is one with bullets
	cells  int   // of the table row so far
}

// hidden are elements whose text is none.
var hidden = map[atom.Atom]bool{atom.Script: true, atom.Style: true, atom.Title: true, atom.Noscript: true, atom.Iframe: true,
	atom.Noembed: true, atom.Noframes: true, atom.Template: true}

// blocks start and end a line; with true, a paragraph.
var blocks = map[atom.Atom]bool{
	atom.P: true, atom.H1: true, atom.H2: true, atom.H3: true, atom.H4: true, atom.H5: true, atom.H6: true, atom.Ul: true, atom.Ol: true,
	atom.Blockquote: true, atom.Pre: true, atom.Table: true, atom.Dl: true, atom.Figure: true,
	atom.Div: false, atom.Section: false, atom.Article: false, atom.Header: false, atom.Footer: false, atom.Address: false, atom.Li: false,
	atom.Tr: false, atom.Dt: false, atom.Dd: false, atom.Form: false, atom.Fieldset: false, atom.Caption: false, atom.Center: false,
	atom.Main: false, atom.Nav: false, atom.Aside: false, atom.Body: false, atom.Html: false, atom.Head: false,
}

func (r *renderer) open(tag atom.Atom, attrs map[string]string) {
	if r.skip != 0 {
		return
	}
	if hidden[tag] {
		r.skip = tag
		return
	}
	r.block(tag)
	switch tag {
	case atom.Br:
		r.newLine()
	case atom.Hr:
		r.line()
		r.word("----------------------------------------")
		r.line()
	case atom.A:
		r.link()
		r.href = target(attrs["href"])
	case atom.Img:
		if alt := strings.TrimSpace(attrs["alt"]); alt != "" {
			r.text("[" + alt + "]")
		}
	case atom.Ul:
		r.push(-1)
	case atom.Ol:
		first, err := strconv.Atoi(attrs["start"])
		if err != nil || first < 0 || first > 1e6 {
			first = 1
		}
		r.push(first)
	case atom.Li:
		r.bullet()
	case atom.Blockquote:
		r.quotes++
	case atom.Pre:
		r.pre++
	case atom.Tr:
		r.cells = 0
	case atom.Td, atom.Th:
		if r.cells++; r.cells > 1 && r.begun() {
			r.text(" | ")
		}
	}
}

// target is a link's address, if it is one that people can follow.
func target(href string) string {
	href = strings.TrimSpace(href)
	for _, scheme := range []string{"http:", "https:", "mailto:", "ftp:", "tel:"} {
		if len(href) > len(scheme) && strings.EqualFold(href[:len(scheme)], scheme) {
			return strings.Map(func(c rune) rune {
				if unicode.IsSpace(c) || unicode.IsControl(c) {
					return -1
				}
				return c
			}, href)
		}
	}
	return ""
}

func (r *renderer) close(tag atom.Atom) {
	if r.skip != 0 {
		if tag == r.skip {
			r.skip = 0
		}
		return
	}
	switch tag {
	case atom.A:
		r.link()
	case atom.Ul, atom.Ol:
		if len(r.lists) > 0 {
			r.lists = r.lists[:len(r.lists)-1]
		}
	}
	if tag == atom.Blockquote {
		r.line() // the empty line after it is no longer of the quote
		r.quotes = max(0, r.quotes-1)
	}
	r.block(tag)
	if tag == atom.Pre {
		r.pre = max(0, r.pre-1)
	}
	r.indent = r.listIndent()
}

// block ends the line before a block and after it.
func (r *renderer) block(tag atom.Atom) {
	paragraph, is := blocks[tag]
	if !is {
		return
	}
	r.line()
	if paragraph && (len(r.lists) == 0 || tag != atom.Ul && tag != atom.Ol) {
		r.blank()
	}
}

func (r *renderer) push(first int) {
	if len(r.lists) < 100 {
		r.lists = append(r.lists, first)
	}
	r.indent = r.listIndent()
}

// listIndent is how far the text of the innermost list stands in.
func (r *renderer) listIndent() int { return 2 * min(len(r.lists), maxNesting) }

// bullet starts an item of a list.
func (r *renderer) bullet() {
	mark := "-"
	if n := len(r.lists); n > 0 && r.lists[n-1] >= 0 {
		mark = strconv.Itoa(r.lists[n-1]) + "."
		r.lists[n-1]++
	}
	r.indent = max(0, r.listIndent()-2)
	r.word(mark)
	r.indent = max(2, r.listIndent())
	r.space = true
}

// link ends the link that is open, with where it leads if its text does not say so.
func (r *renderer) link() {
	href, text := r.href, strings.TrimSpace(r.linked.String())
	r.href = ""
	r.linked.Reset()
	if href == "" {
		return
	}
	bare := func(s string) string {
		s = strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(strings.ToLower(s), "mailto:"), "https://"), "http://")
		return strings.TrimSuffix(s, "/")
	}
	if bare(text) != bare(href) {
		r.space = true
		r.word("<" + href + ">")
	}
}

// text adds text as HTML has it: white space counts as one space.
func (r *renderer) text(s string) {
	s = strings.Map(func(c rune) rune {
		switch {
		case c == '\u00ad' || c == '\u200b' || c == '\ufeff' || c == '\u034f': // not to be seen
			return -1
		case c == '\n' || c == '\t' || c == '\r':
			return c
		case unicode.IsSpace(c):
			return ' '
		case unicode.IsControl(c):
			return -1
		}
		return c
	}, s)
	if r.href != "" && r.linked.Len() < 4096 {
		r.linked.WriteString(s)
	}
	if r.pre > 0 {
		r.verbatim(s)
		return
	}
	for s != "" {
		n := strings.IndexAny(s, " \t\r\n")
		if n == 0 {
			r.space = true
			s = strings.TrimLeft(s, " \t\r\n")
			continue
		}
		if n < 0 {
			n = len(s)
		}
		r.word(s[:n])
		s = s[n:]
	}
}
