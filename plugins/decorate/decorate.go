// Package decorate puts a list's footer and header around the text of its posts.
//
// It changes posts by splices and never re-serialises them: the author's octets stay
// what they are. Where the text allows it, footer and header join it; where it does
// not, they become parts of their own. HTML takes them escaped, within its body; an
// alternative takes them in each of its forms, or none. Base64 is written anew where it is
// a form of an alternative, or HTML. A text that ends in the footer already, quoted or
// not, gets no second one. Signed and encrypted posts are left alone.
package decorate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/text"
)

// Stages returns the stage that this package fills.
func Stages() []sdk.Stage {
	return []sdk.Stage{{
		Name:     "footer",
		Help:     "puts the list's footer after the text, and its header before it",
		Body:     true,
		AtSMTP:   true, // what it breaks counts for stage dmarc
		Personal: true,
		Handler:  Handler{},
	}}
}

// Handler decorates posts. It reads the list's settings footer and header, and leaves
// a note "footer" where it leaves a post as it is.
type Handler struct{}

// Handle implements sdk.Handler.
func (Handler) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	own, err := personalFields(p)
	if err != nil {
		return sdk.Verdict{}, fmt.Errorf("put footer on %s: %w", p.Entry, err)
	}
	header, footer := p.List.String("header"), p.List.String("footer")
	if len(own) == 0 || countPersonal(header)+countPersonal(footer) > maxPlaceholders {
		own = nil
		header, footer = text.Without(header, text.Personal...), text.Without(footer, text.Personal...)
	}
	d := decoration{before: expand(p.List, own, header), after: expand(p.List, own, footer)}
	for _, f := range own {
		if strings.Contains(d.before+d.after, f.ascii) {
			d.own = append(d.own, f)
		}
	}
	if d.before == "" && d.after == "" {
		return sdk.Accept, nil
	}
	root, _, err := message.ParseStructure(p.Header, p.Body)
	if err != nil {
		return sdk.Verdict{}, fmt.Errorf("put footer on %s: %w", p.Entry, err)
	}
	e := editor{post: p, root: root, decoration: d}
	skipped, err := e.decorate()
	if err != nil {
		return sdk.Verdict{}, fmt.Errorf("put footer on %s: %w", p.Entry, err)
	}
	if skipped != "" {
		if p.Notes == nil {
			p.Notes = make(map[string]string)
		}
		p.Notes["footer"] = "skipped: " + skipped
	}
	return sdk.Accept, nil
}

// decoration is what goes before and after the text: UTF-8, lines ended by LF, the
// last one too. "" is nothing.
type decoration struct {
	before, after string
	own           []personalField // that stand in them
}

// editor decorates one post.
type editor struct {
	decoration
	post *sdk.Post
	root *message.Part
}

// decorate chooses the way for this kind of message. It returns why it left the post
// as it is, or "".
func (e *editor) decorate() (skipped string, err error) {
	if quoted, err := e.endsSo(); err != nil {
		return "", err
	} else if quoted {
		e.after = ""
	}
	switch root := e.root; {
	case e.before == "" && e.after == "":
		return "there already", nil
	case root.Protected(e.post.Body):
		return "signed", nil
	case root.Type == "message/partial":
		return "part of a larger message", nil // RFC 2046 5.2.2: its parts are put together later
	case root.Type == "multipart/mixed":
		return e.addParts()
	case strings.HasPrefix(root.Type, "multipart/") && root.Open < 0:
		return "no boundary", nil
	case root.Type == "text/html" || root.Type == "multipart/alternative":
		if done, err := e.joinForms(); done || err != nil {
			return "", err
		}
	case root.Type == "text/plain" && root.Disposition != "attachment":
		if done, err := e.joinText(); done || err != nil {
			return "", err
		}
	}
	return e.wrap()
}

// endsSo tells whether a plain text, or the plain form of an alternative, ends in the
// footer already: quoted in a reply, most often. Once is enough.
func (e *editor) endsSo() (bool, error) {
	p := e.root
	if p.Type == "multipart/alternative" && len(p.Parts) > 0 {
		p = p.Parts[0]
	}
	want := bareLines(e.after)
	if p.Type != "text/plain" || len(want) == 0 || p.End-p.Start > maxInside {
		return false, nil
	}
	text, cut, err := p.Text(e.post.Body, maxInside)
	if err != nil || cut {
		return false, err
	}
	have := bareLines(text)
	return len(have) >= len(want) && slices.Equal(have[len(have)-len(want):], want), nil
}

// bareLines are the lines that are not empty, without marks of quotation.
func bareLines(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(strings.TrimLeft(line, "> \t|")); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// expand fills in the placeholders of a setting. A line end is added where the last
// line has none; text of nothing but white space is no text.
func expand(l sdk.List, own []personalField, text string) string {
	text = l.Fill(text, func(name string) (string, bool) {
		for _, f := range own {
			if f.name == name {
				return f.ascii, true
			}
		}
		return "", false
	})
	if strings.TrimSpace(text) == "" {
		return ""
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}

// splice is Body.Splice with the arguments in a row.
func (e *editor) splice(offset, del int64, insert []byte) error {
	return e.post.Body.Splice(message.Splice{Offset: offset, Delete: del, Insert: insert})
}
