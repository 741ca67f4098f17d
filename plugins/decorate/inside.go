package decorate

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	"github.com/mlist/mlist/sdk/message"
)

// Bounds of what text is put inside of, below what mlist allows one post: what is beyond
// takes it as parts of its own.
const (
	maxInside       = 1 << 20 // octets of a part, and of all that is put into one post
	maxForms        = 10      // of one text
	maxPlaceholders = 100     // in all forms together
)

// joinForms makes header and footer part of HTML, and of every form of an alternative. It
// changes nothing and returns false if one of the forms cannot take them.
func (e *editor) joinForms() (bool, error) {
	forms, ok := textForms(e.root)
	if !ok || len(forms) > maxForms || len(forms)*e.placeholders() > maxPlaceholders {
		return false, nil
	}
	var splices []message.Splice
	inserted := 0
	for _, p := range forms {
		s, ok, err := e.inside(p)
		if err != nil || !ok {
			return false, err
		}
		splices = append(splices, s...)
		for _, x := range s {
			inserted += len(x.Insert)
		}
	}
	if inserted > maxInside {
		return false, nil
	}
	// From the end of the body, so that the offsets of those before stay right; of two at one
	// place, the later first.
	slices.Reverse(splices)
	slices.SortStableFunc(splices, func(a, b message.Splice) int { return int(b.Offset - a.Offset) })
	for _, s := range splices {
		if err := e.post.Body.Splice(s); err != nil {
			return false, err
		}
	}
	return true, nil
}

// textForms are the texts that are one and the same to the reader: the part itself, those
// of an alternative, and the root of a related (RFC 2387: what its images belong to).
func textForms(p *message.Part) ([]*message.Part, bool) {
	if p.Disposition == "attachment" {
		return nil, false
	}
	switch p.Type {
	case "text/plain", "text/html":
		return []*message.Part{p}, true
	case "multipart/related":
		if len(p.Parts) == 0 || p.Params["start"] != "" {
			return nil, false
		}
		return textForms(p.Parts[0])
	case "multipart/alternative":
		var all []*message.Part
		for _, child := range p.Parts {
			forms, ok := textForms(child)
			if !ok {
				return nil, false
			}
			all = append(all, forms...)
		}
		return all, len(all) > 0
	}
	return nil, false
}

// placeholders is how many of them one form takes.
func (e *editor) placeholders() int {
	n := 0
	for _, f := range e.own {
		n += strings.Count(e.before, f.ascii) + strings.Count(e.after, f.ascii)
	}
	return n
}

// insertion is text to be put into a part, at a place in its decoded content.
type insertion struct {
	at   int
	text []byte
}

// inside makes the splices that put header and footer into a part.
func (e *editor) inside(p *message.Part) ([]message.Splice, bool, error) {
	size := p.End - p.Start
	// A placeholder has no form for base64, nor for HTML in quoted-printable.
	if size > maxInside || len(e.own) > 0 && (p.Encoding == "base64" || p.Type == "text/html" && p.Encoding == "quoted-printable") {
		return nil, false, nil
	}
	raw := make([]byte, size)
	if size > 0 {
		if _, err := e.post.Body.ReadAt(raw, p.Start); err != nil {
			return nil, false, err
		}
	}
	content, places, ok := decodeRaw(p.Encoding, raw)
	if !ok {
		return nil, false, nil
	}
	eol := lineEnd(raw, bytes.IndexByte(raw, '\n'), e.post.Header.LineEnd())
	var ins []insertion
	if p.Type == "text/html" {
		ins, ok = e.htmlInsertions(p, content, eol)
	} else {
		ins, ok = e.textInsertions(p, content, eol)
	}
	if !ok {
		return nil, false, nil
	}
	if p.Encoding == "base64" {
		for _, in := range slices.Backward(ins) {
			content = slices.Insert(content, in.at, in.text...)
		}
		return []message.Splice{{Offset: p.Start, Delete: size, Insert: wrapBase64(content, 0, eol)}}, true, nil
	}
	var out []message.Splice
	for _, in := range ins {
		at := places[in.at]
		if p.Encoding == "quoted-printable" {
			in.text = quotedInsertion(raw, at, e.quotedPrintable(p.Params["charset"], in.text, eol), eol)
		}
		out = append(out, message.Splice{Offset: p.Start + int64(at), Insert: in.text})
	}
	return out, true, nil
}

// decodeRaw decodes content; places tell where each octet of it, and its end, stands in raw.
func decodeRaw(encoding string, raw []byte) (content []byte, places []int, ok bool) {
	switch encoding {
	case "7bit", "8bit", "binary":
		places = make([]int, len(raw)+1)
		for i := range places {
			places[i] = i
		}
		return raw, places, true
	case "base64":
		var digits []byte
		for _, c := range raw {
			switch {
			case isDigit(c) || c == '=':
				digits = append(digits, c)
			case c > ' ':
				return nil, nil, false
			}
		}
		content, err := base64.StdEncoding.DecodeString(string(digits))
		return content, nil, err == nil
	case "quoted-printable":
		for i := 0; i < len(raw); i++ {
			if raw[i] != '=' {
				content, places = append(content, raw[i]), append(places, i)
				continue
			}
			rest := bytes.TrimLeft(raw[i+1:], " \t")
			skipped := len(raw) - i - len(rest)
			if soft := len(rest) - len(bytes.TrimPrefix(bytes.TrimPrefix(rest, []byte("\r")), []byte("\n"))); soft > 0 || len(rest) == 0 {
				i += skipped + soft - 1
				continue
			}
			if i+2 >= len(raw) || unhex(raw[i+1]) < 0 || unhex(raw[i+2]) < 0 {
				return nil, nil, false
			}
			content, places = append(content, byte(unhex(raw[i+1])<<4|unhex(raw[i+2]))), append(places, i)
			i += 2
		}
		return content, append(places, len(raw)), true
	}
	return nil, nil, false
}

// unhex is the value of a digit; negative if it is none.
func unhex(c byte) int {
	if c >= 'a' && c <= 'f' {
		c -= 'a' - 'A'
	}
	return strings.IndexByte("0123456789ABCDEF", c)
}

// quotedInsertion fits what is encoded into a place in quoted-printable. Within a line, soft
// line breaks stand around it.
func quotedInsertion(raw []byte, at int, out []byte, eol string) []byte {
	if bytes.HasSuffix(bytes.TrimRight(raw[:at], " \t"), []byte("=")) {
		out = append([]byte(eol), out...) // a soft line break that lacks its line end
	} else if at > 0 && raw[at-1] != '\n' && !bytes.HasPrefix(out, []byte(eol)) {
		out = append([]byte("="+eol), out...)
	}
	if at < len(raw) && !bytes.HasSuffix(out, []byte(eol)) {
		out = append(out, "="+eol...)
	}
	return out
}

// textInsertions are header and footer for a plain text.
func (e *editor) textInsertions(p *message.Part, content []byte, eol string) ([]insertion, bool) {
	flowed := editor{post: e.post, root: p}
	var ins []insertion
	for _, d := range []struct {
		text string
		at   int
		gap  string
	}{{e.before, 0, ""}, {e.after, len(content), flowed.gap(content, eol)}} {
		if d.text == "" {
			continue
		}
		_, ok := encode(p.Params["charset"], d.text)
		if !ok || p.Encoding == "7bit" && !isASCII(d.text) || longLine(d.text) {
			return nil, false
		}
		ins = append(ins, insertion{d.at, append([]byte(d.gap), flowed.write(p.Params["charset"], d.text, eol)...)})
	}
	return ins, true
}

// htmlInsertions are header and footer for HTML: what is not ASCII is in references to
// characters, so that the charset has to be like ASCII and no more.
func (e *editor) htmlInsertions(p *message.Part, content []byte, eol string) ([]insertion, bool) {
	if charset := strings.ToLower(p.Params["charset"]); charset != "" {
		if _, ok := encode(charset, "<p>&#1;"); !ok {
			return nil, false
		}
	}
	lower := asciiLower(content)
	var ins []insertion
	if e.before != "" {
		at, ok := bodyStart(lower)
		if !ok {
			return nil, false
		}
		ins = append(ins, insertion{at, e.asHTML(e.before, eol)})
	}
	if e.after != "" {
		ins = append(ins, insertion{bodyEnd(lower), e.asHTML(e.after, eol)})
	}
	if len(ins) == 2 && ins[0].at > ins[1].at {
		return nil, false
	}
	return ins, true
}

func asciiLower(text []byte) []byte {
	out := bytes.Clone(text)
	for i, c := range out {
		if c >= 'A' && c <= 'Z' {
			out[i] = c + 'a' - 'A'
		}
	}
	return out
}

// bodyEnd is where text goes that is to be last: before the last </body>, or else </html>.
func bodyEnd(lower []byte) int {
	for _, tag := range []string{"</body", "</html"} {
		if i := bytes.LastIndex(lower, []byte(tag)); i >= 0 {
			return i
		}
	}
	return len(lower)
}

// bodyStart is where text goes that is to be first: after <body …>. A piece of HTML that has
// no such frame takes it at its start; one with a frame that is not whole takes none.
func bodyStart(lower []byte) (int, bool) {
	i := bytes.Index(lower, []byte("<body"))
	if i < 0 {
		framed := bytes.Contains(lower, []byte("<html")) || bytes.Contains(lower, []byte("<head")) || bytes.Contains(lower, []byte("<!doctype"))
		return 0, !framed
	}
	quote := byte(0)
	for j := i; j < len(lower); j++ {
		switch c := lower[j]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '>':
			return j + 1, true
		}
	}
	return 0, false
}

// asHTML writes text as a block of HTML, in ASCII.
func (e *editor) asHTML(text, eol string) []byte {
	var b bytes.Buffer
	b.WriteString(`<div class="mlist-text">`)
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if i > 0 {
			b.WriteString("<br>" + eol)
		}
		for _, r := range line {
			switch {
			case r == '<' || r == '>' || r == '&' || r == '"' || r == '\'' || r >= 0x7f:
				b.WriteString("&#" + strconv.Itoa(int(r)) + ";")
			default:
				b.WriteRune(r)
			}
		}
	}
	b.WriteString("</div>" + eol)
	html := b.Bytes()
	for _, f := range e.own {
		html = bytes.ReplaceAll(html, []byte(f.ascii), []byte(f.html))
	}
	return html
}
