package mime

import (
	"strings"

	"golang.org/x/net/html/charset"

	"github.com/mlist/mlist/sdk/htmltext"
	"github.com/mlist/mlist/sdk/message"
)

// maxHTML is how large a part is that is made text, in octets as it is encoded.
const maxHTML = 2 << 20

// plain makes text of the HTML in n that stays.
func (f *filter) plain(n *node) error {
	if n.sealed || n.gone {
		return nil
	}
	if e := n.end(); e != n {
		return f.plain(e)
	}
	for _, c := range n.live() {
		if err := f.plain(c); err != nil {
			return err
		}
	}
	p := n.part
	if p.Type != "text/html" || p.Disposition == "attachment" || len(n.parts) > 0 {
		return nil
	}
	if p.End-p.Start > maxHTML {
		f.note("kept", "a part of HTML of more than 2 MB")
		return nil
	}
	source, err := f.source(p)
	if err != nil {
		return err
	}
	text, ok := htmltext.Render(source, f.room/4) // every octet may have to be encoded
	if !ok {
		f.note("kept", "too much HTML")
		return nil
	}
	f.room -= 4*len(text) + 1000
	n.text = []byte(text)
	return nil
}

// source is a part's HTML in UTF-8. Where the part does not say its charset the HTML may.
func (f *filter) source(p *message.Part) (string, error) {
	if p.Params["charset"] != "" {
		text, _, err := p.Text(f.post.Body, maxHTML)
		return text, err
	}
	content, _, err := p.Content(f.post.Body, maxHTML)
	if err != nil {
		return "", err
	}
	e, _, certain := charset.DetermineEncoding(content, "text/html")
	if !certain {
		text, _, err := p.Text(f.post.Body, maxHTML)
		return text, err
	}
	text, err := e.NewDecoder().Bytes(content)
	if err != nil {
		return strings.ToValidUTF8(string(content), "\uFFFD"), nil
	}
	return strings.ToValidUTF8(string(text), "\uFFFD"), nil
}
