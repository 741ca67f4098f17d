package message

import "strings"

// Mailbox is one address in a header field.
type Mailbox struct {
	Name    string // decoded
	Address string // local@domain as written
}

// String returns the mailbox for a header field, its name quoted or encoded as needed.
func (m Mailbox) String() string {
	address := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, m.Address)
	if name := EncodePhrase(m.Name); name != "" {
		return name + " <" + address + ">"
	}
	return address
}

// ParseMailboxes reads an address field's value as tolerantly as it can: groups are
// flattened, junk is skipped, and what looks like an address is found.
func ParseMailboxes(value string) []Mailbox {
	p := mailboxParser{in: value, quotes: true, comments: true}
	for p.pos < len(p.in) {
		p.step()
	}
	p.finish()
	return p.found
}

// mailboxParser goes over the value once. What has a start but no end is taken for
// single characters, and the end is not looked for again: this keeps it linear.
type mailboxParser struct {
	in       string
	pos      int
	quotes   bool // a quoted string that starts here may end
	comments bool

	words   []mailWord // outside angle brackets
	angle   []string   // what angle brackets held
	comment string     // the last comment: the name in "ann@example.org (Ann)"
	open    bool       // the last word goes on: nothing was between
	found   []Mailbox
}

// mailWord is a run of characters and quoted strings without white space.
type mailWord struct {
	start, end int // where it stands in the value
	at         int // index in the value of its last @ outside quotes; -1
}

func (p *mailboxParser) step() {
	switch c := p.in[p.pos]; c {
	case ' ', '\t', '\r', '\n':
		p.pos++
		p.open = false
	case ',', ';':
		p.pos++
		p.finish()
	case ':':
		p.pos++
		p.words, p.comment, p.open = nil, "", false // the name of a group
	case '(':
		p.readComment()
	case '<':
		p.readAngle()
	case '>':
		p.pos++
		p.open = false
	case '"':
		p.readQuoted()
	default:
		p.readAtom()
	}
}

// take puts the next n octets to the word at hand, or starts a new one; at is where
// in them the last @ is, or -1.
func (p *mailboxParser) take(n, at int) {
	if !p.open {
		p.words = append(p.words, mailWord{start: p.pos, at: -1})
		p.open = true
	}
	w := &p.words[len(p.words)-1]
	if at >= 0 {
		w.at = p.pos + at
	}
	p.pos += n
	w.end = p.pos
}

// readAtom reads up to the next special character. An encoded word is taken whole:
// some programs leave commas in it. So is a domain literal, which may have colons.
func (p *mailboxParser) readAtom() {
	rest := p.in[p.pos:]
	if w, ok := parseWord(rest); ok && !strings.ContainsAny(rest[:w.size], " \t\r\n\"<>()@") {
		p.take(w.size, -1)
		return
	}
	n := 1
	for ; n < len(rest) && strings.IndexByte(" \t\r\n,;:()<>\"", rest[n]) < 0; n++ {
		if rest[n] == '=' && n+1 < len(rest) && rest[n+1] == '?' {
			break
		}
		if rest[n-1] == '@' && rest[n] == '[' {
			n += literalLen(rest[n:]) - 1
		}
	}
	p.take(n, strings.LastIndexByte(rest[:n], '@'))
}

func (p *mailboxParser) readQuoted() {
	end := -1
	if p.quotes {
		end = quoteEnd(p.in, p.pos)
	}
	if end < 0 {
		p.quotes = false
		p.pos++
		p.open = false
		return
	}
	p.take(end-p.pos, -1)
}

func (p *mailboxParser) readComment() {
	p.open = false
	end := -1
	if p.comments {
		end = commentEnd(p.in, p.pos)
	}
	if end < 0 {
		p.comments = false
		p.pos++
		return
	}
	p.comment = unescape(p.in[p.pos+1 : end-1])
	p.pos = end
}

// readAngle reads up to the closing bracket, or to the comma or next bracket if that
// comes first outside quotes.
func (p *mailboxParser) readAngle() {
	p.open = false
	start := p.pos + 1
	i := start
	for i < len(p.in) && p.in[i] != '>' && p.in[i] != '<' {
		if p.in[i] == '"' && p.quotes {
			if end := quoteEnd(p.in, i); end > 0 {
				i = end
				continue
			}
			p.quotes = false
		}
		i++
	}
	p.angle = append(p.angle, p.in[start:i])
	p.pos = i
	if i < len(p.in) && p.in[i] == '>' {
		p.pos++
	}
}

// finish makes mailboxes of what was read since the last separator.
func (p *mailboxParser) finish() {
	n := len(p.found)
	for _, text := range p.angle {
		if a := angleAddress(text); a != "" {
			p.found = append(p.found, Mailbox{Address: a})
		}
	}
	if len(p.found) > n {
		p.found[n].Name = p.name()
	} else {
		p.bare()
	}
	p.words, p.angle, p.comment, p.open = p.words[:0], p.angle[:0], "", false
}

// name is the display name before the angle brackets.
func (p *mailboxParser) name() string {
	if len(p.words) == 0 {
		return strings.TrimSpace(DecodeText(p.comment))
	}
	texts := make([]string, len(p.words))
	for i, w := range p.words {
		texts[i] = unquote(p.in[w.start:w.end])
	}
	return strings.TrimSpace(DecodeText(strings.Join(texts, " ")))
}

// bare finds addresses among words without angle brackets.
func (p *mailboxParser) bare() {
	n := len(p.found)
	for _, a := range p.addresses() {
		p.found = append(p.found, Mailbox{Address: a})
	}
	if len(p.found) > n {
		p.found[n].Name = strings.TrimSpace(DecodeText(p.comment))
	}
}

// addresses returns the words that look like local@domain; if none does, all words
// together may: "ann @ example.org".
func (p *mailboxParser) addresses() []string {
	var found []string
	apart := false
	for _, w := range p.words {
		if a := asAddress(p.in[w.start:w.end], w.at-w.start); a != "" {
			found = append(found, a)
		} else if w.at >= 0 {
			apart = true
		}
	}
	if len(found) > 0 || !apart {
		return found
	}
	var b strings.Builder
	at := -1
	for _, w := range p.words {
		if w.at >= 0 {
			at = b.Len() + w.at - w.start
		}
		b.WriteString(p.in[w.start:w.end])
	}
	if a := asAddress(b.String(), at); a != "" {
		found = append(found, a)
	}
	return found
}

// angleAddress reads what stood between angle brackets: an address, perhaps with
// white space or comments, an old source route or "mailto:" before it.
func angleAddress(text string) string {
	q := mailboxParser{in: text, quotes: true, comments: true}
	for q.pos < len(q.in) {
		switch q.in[q.pos] {
		case ',', ';', '<':
			q.words, q.open = q.words[:0], false
			q.pos++
		default:
			q.step()
		}
	}
	if found := q.addresses(); len(found) > 0 {
		return found[0]
	}
	return ""
}
