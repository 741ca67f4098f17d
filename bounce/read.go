package bounce

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"

	"github.com/mlist/mlist/internal/address"
	"github.com/mlist/mlist/sdk/message"
)

// decode undoes the transfer encoding as far as it is sound.
func decode(raw []byte, encoding string) []byte {
	var r io.Reader
	switch encoding {
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, bytes.NewReader(raw))
	case "quoted-printable":
		r = quotedprintable.NewReader(bytes.NewReader(raw))
	default:
		return raw
	}
	text, _ := io.ReadAll(io.LimitReader(r, maxMessage)) // what comes before an error is still worth reading
	return text
}

// returnedTypes are those of parts that are the message that comes back, or its header.
var returnedTypes = map[string]bool{"message/rfc822": true, "message/global": true, "text/rfc822-headers": true, "message/global-headers": true}

// text is what the MTA says to people: every text part before the returned message, in
// UTF-8. HTML counts where there is no plain text.
func (m *mail) text() string {
	var plain, rich strings.Builder
	for _, p := range m.parts {
		if returnedTypes[p.Type] {
			break
		}
		switch {
		case p.Type == "text/html" && rich.Len() < maxBodyText:
			rich.WriteString(stripHTML(toUTF8(m.content(p), p.Params["charset"])) + "\n\n")
		case strings.HasPrefix(p.Type, "multipart/") && plain.Len() < maxBodyText:
			plain.WriteString(unwrapped(toUTF8(m.content(p), "")) + "\n\n")
		case (strings.HasPrefix(p.Type, "text/") || p == m.root) && p.Type != "text/html" && plain.Len() < maxBodyText:
			plain.WriteString(toUTF8(m.content(p), p.Params["charset"]) + "\n\n")
		}
	}
	text := plain.String()
	if strings.TrimSpace(text) == "" {
		text = rich.String()
	}
	if len(text) > maxBodyText {
		text = strings.ToValidUTF8(text[:maxBodyText], "")
	}
	return strings.ReplaceAll(text, "\r\n", "\n")
}

// unwrapped is the text of a multipart whose boundary is wrong: without its boundaries and the
// fields of its parts.
func unwrapped(text string) string {
	var b strings.Builder
	head := false
	for line := range strings.Lines(text) {
		bare := strings.TrimRight(line, "\r\n")
		switch {
		case strings.HasPrefix(bare, "--") && len(bare) > 4 && !strings.Contains(bare, " "):
			head = true
			b.WriteString("\n")
		case head && (strings.HasPrefix(strings.ToLower(bare), "content-") || strings.HasPrefix(bare, "boundary=") || strings.HasPrefix(bare, "\t") || strings.HasPrefix(bare, " ")):
		default:
			head = false
			b.WriteString(line)
		}
	}
	return b.String()
}

// toUTF8 decodes octets; without a charset, or with a wrong one, they are UTF-8 or else
// windows-1252.
func toUTF8(octets []byte, charset string) string {
	octets = octets[:min(len(octets), maxBodyText)]
	name := strings.ToLower(strings.Trim(charset, ` "'`))
	if name != "" && name != "utf-8" && name != "us-ascii" {
		if e, err := htmlindex.Get(name); err == nil {
			if text, err := e.NewDecoder().Bytes(octets); err == nil {
				return strings.ToValidUTF8(string(text), "\uFFFD")
			}
		}
	}
	if utf8.Valid(octets) {
		return string(octets)
	}
	text, err := charmap.Windows1252.NewDecoder().Bytes(octets)
	if err != nil {
		return strings.ToValidUTF8(string(octets), "\uFFFD")
	}
	return string(text)
}

var tag = pattern(`(?i)</?(html|body|div|p|br|table|td|span|pre|font|a|b|h[1-6])[ />]`)

// stripHTML is the text of a page, a line for each block.
func stripHTML(page string) string {
	if !strings.Contains(page, "<") || !tag().MatchString(page) {
		return page // it is only called so
	}
	var b strings.Builder
	skip := 0
	for z := html.NewTokenizer(strings.NewReader(page)); ; {
		switch z.Next() {
		case html.ErrorToken:
			return b.String()
		case html.TextToken:
			if skip == 0 {
				b.WriteString(strings.NewReplacer("\r", " ", "\n", " ", "\u00a0", " ").Replace(string(z.Text())))
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			name, _ := z.TagName()
			switch a := atom.Lookup(name); a {
			case atom.Style, atom.Script, atom.Head, atom.Title:
				skip++
			case atom.Br:
				b.WriteString("\n")
			case atom.Td, atom.Th:
				b.WriteString("\t")
			case atom.P, atom.Div, atom.Table, atom.Tr, atom.Li, atom.H1, atom.H2, atom.H3, atom.Hr, atom.Pre, atom.Blockquote:
				b.WriteString("\n\n")
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			switch atom.Lookup(name) {
			case atom.Style, atom.Script, atom.Head, atom.Title:
				skip = max(skip-1, 0)
			case atom.P, atom.Div, atom.Table, atom.Tr, atom.Li, atom.H1, atom.H2, atom.H3:
				b.WriteString("\n")
			}
		}
	}
}

// returned is the header of the message that came back; empty if it did not come along.
func (m *mail) returned() *message.Header {
	for _, p := range m.parts {
		if !returnedTypes[p.Type] {
			continue
		}
		text := m.content(p)
		block, _, err := message.Split(bytes.NewReader(text), int64(len(text)))
		if err == nil && len(block) > 0 {
			return message.ParseHeader(block)
		}
	}
	// In plain text it follows a line that says so, perhaps in margin.
	if _, rest := cutReturned(m.text()); rest != "" {
		var block strings.Builder
		for line := range strings.Lines(rest) {
			line = strings.TrimLeft(strings.TrimRight(line, "\r\n"), "> |")
			if line == "" && block.Len() > 0 {
				break
			}
			if line != "" && (headerLine().MatchString(line) || block.Len() > 0 && !strings.Contains(line, ":")) {
				if !headerLine().MatchString(line) {
					line = " " + line
				}
				block.WriteString(line + "\r\n")
			}
		}
		return message.ParseHeader([]byte(block.String()))
	}
	return message.ParseHeader(nil)
}

// ours are the addresses that cannot be the recipient: to whom the bounce came, who wrote it,
// and of which list the message is that came back. Of authors it is unlikely only: they wrote
// that message, or are what the far end's mail system calls the address of the bounce.
func (m *mail) ours() (ours, authors map[string]bool) {
	add := func(to map[string]bool, h *message.Header, fields ...string) {
		for _, box := range h.Mailboxes(fields...) {
			a, err := address.Parse(box.Address)
			if err != nil || len(to) >= maxRecipients {
				continue
			}
			to[a.Key()] = true
			for _, c := range address.Candidates(a) { // dev-bounces@ is of dev@
				to[c.List.Key()] = true
			}
		}
	}
	ours, authors = map[string]bool{}, map[string]bool{}
	returned := m.returned()
	add(authors, m.header, "Delivered-To", "X-Original-To", "Envelope-To")
	add(authors, returned, "From", "Reply-To")
	kept := map[string]bool{}
	add(kept, m.header, "To", "Cc", "From", "Sender", "Reply-To", "Return-Path", "Errors-To")
	add(kept, returned, "Sender", "Return-Path", "Errors-To", "X-BeenThere", "X-Mailing-List", "List-Post", "List-Unsubscribe", "List-Help", "List-Subscribe", "List-Owner")
	for key := range kept {
		delete(authors, key)
		ours[key] = true
	}
	for key := range authors {
		ours[key] = true
	}
	return ours, authors
}
