package digest

import (
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// fromHTML takes the text out of HTML for those who have no other form of it. It goes over
// the HTML once, and keeps no tree of it.
func fromHTML(source string) string {
	var b strings.Builder
	var hidden atom.Atom
	space := false
	line := func() {
		if s := b.String(); s != "" && !strings.HasSuffix(s, "\n\n") {
			b.WriteByte('\n')
		}
		space = false
	}
	for z := html.NewTokenizer(strings.NewReader(source)); ; {
		switch z.Next() {
		case html.ErrorToken:
			return b.String()
		case html.TextToken:
			if hidden != 0 {
				continue
			}
			text := string(z.Text())
			for i, word := range strings.Fields(text) {
				if (i > 0 || space || strings.TrimLeft(text, " \t\r\n") != text) && b.Len() > 0 && !strings.HasSuffix(b.String(), "\n") {
					b.WriteByte(' ')
				}
				b.WriteString(word)
			}
			space = strings.TrimRight(text, " \t\r\n") != text
		case html.StartTagToken, html.SelfClosingTagToken:
			name, _ := z.TagName()
			switch tag := atom.Lookup(name); tag {
			case atom.Script, atom.Style, atom.Title, atom.Template, atom.Noscript:
				if hidden == 0 {
					hidden = tag
				}
			case atom.Br, atom.Div, atom.Tr, atom.Li, atom.H1, atom.H2, atom.H3, atom.H4, atom.Pre, atom.Blockquote, atom.Hr, atom.Table, atom.Ul, atom.Ol:
				line()
			case atom.P:
				line()
				line()
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			switch tag := atom.Lookup(name); {
			case tag == hidden:
				hidden = 0
			case tag == atom.P, tag == atom.Div, tag == atom.Tr, tag == atom.Li:
				line()
			}
		}
	}
}
