package htmltext

import (
	"strings"
	"unicode/utf8"
)

// pageWidth is where lines are broken, in characters.
const pageWidth = 76

// page is text that is being written, broken into lines.
type page struct {
	out    strings.Builder
	limit  int
	full   bool
	col    int  // characters on the line so far, its prefix too
	space  bool // a space comes before the next word
	gap    int  // an empty line comes before the next one; in so many quotes, and one
	indent int  // of the text of a list
	quotes int  // quotes that are open
	pre    int  // elements with text as it is that are open
}

// begun tells whether the line has something on it.
func (p *page) begun() bool { return p.col > 0 }

// word writes a word, on the next line if this one is full. Words that no space is
// between stay together.
func (p *page) word(w string) {
	n := utf8.RuneCountInString(w)
	if p.begun() && p.space && p.col+1+n > pageWidth {
		p.line()
	}
	if !p.begun() {
		p.start()
	} else if p.space {
		p.out.WriteByte(' ')
		p.col++
	}
	p.out.WriteString(w)
	p.col += n
	p.space = false
	p.full = p.full || p.out.Len() > p.limit
}

// start writes what stands before every line: quotes, and room for the list.
func (p *page) start() {
	if p.gap > 0 {
		p.out.WriteString(strings.TrimRight(quoteMarks(min(p.gap-1, p.quotes)), " ") + "\n")
	}
	prefix := quoteMarks(p.quotes) + strings.Repeat(" ", p.indent)
	p.out.WriteString(prefix)
	p.col = len(prefix)
	p.gap, p.space = 0, false
}

// line ends the line, if there is something on it.
func (p *page) line() {
	if p.begun() {
		p.out.WriteByte('\n')
		p.col = 0
	}
	p.space = false
}

// newLine ends the line, or leaves an empty one.
func (p *page) newLine() {
	if p.begun() {
		p.line()
		return
	}
	p.blank()
}

// quoteMarks start a line that is quoted so many times.
func quoteMarks(quotes int) string { return strings.Repeat("> ", min(quotes, maxNesting)) }

// blank leaves one empty line between what was written and what will be.
func (p *page) blank() {
	switch {
	case p.out.Len() == 0:
	case p.gap == 0:
		p.gap = p.quotes + 1
	default:
		p.gap = min(p.gap, p.quotes+1)
	}
}

// verbatim writes text with its line ends and spaces.
func (p *page) verbatim(s string) {
	for line := range strings.Lines(s) {
		text := strings.TrimRight(line, "\r\n")
		text = strings.ReplaceAll(text, "\t", "    ")
		if text != "" {
			p.word(text)
		}
		if strings.HasSuffix(line, "\n") {
			p.newLine()
		}
	}
}

// finish returns the text, and whether it is all of it.
func (p *page) finish() (string, bool) {
	p.line()
	text := p.out.String()
	if len(text) <= p.limit {
		return text, !p.full
	}
	return strings.ToValidUTF8(text[:p.limit], ""), false
}
