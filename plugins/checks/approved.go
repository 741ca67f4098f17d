package checks

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"mime/quotedprintable"
	"regexp"
	"slices"
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
	"github.com/mlist/mlist/sdk/password"
)

// Moderators can let their own post through, or one that they send on, with the list's
// password, or one for this post alone: in a header field, or as the first line of the text,
// "Approved: PASSWORD".

// noteOnce is the note with the hash of the one-time password that the post used.
const noteOnce = "approved.once"

// whoApproved is what noteAccepted says of a post with a right password: no rule is asked any more.
const whoApproved = "approved"

// passwordFields are the fields that may have it.
var passwordFields = []string{"Approved", "Approve", "X-Approved", "X-Approve"}

var passwordLine = regexp.MustCompile(`(?i)^(?:x-)?approved?\s*:\s*(.*)$`)

// approved lets a post with the right password pass everything.
func approved(_ context.Context, v *view) (finding, error) {
	fields, line, err := v.passwords()
	if err != nil {
		return finding{}, err
	}
	for _, text := range append(fields, line) {
		if hash := v.once(text); hash != "" {
			v.Notes[noteOnce] = hash
			return finding{effect: allow, who: whoApproved}, nil
		}
	}
	for _, text := range append(fields, line) {
		if password.Check(v.List.String("moderator_password"), text) {
			return finding{effect: allow, who: whoApproved}, nil
		}
	}
	return finding{}, nil
}

// once returns the hash of a one-time password of the list, or "".
func (v *view) once(text string) string {
	if hash := password.HashOnce(text); hash != "" && slices.Contains(v.List.Lines(sdk.OneTimePasswords), hash) {
		return hash
	}
	return ""
}

// right tells whether a password is one that lets the post through.
func (v *view) right(text string) bool {
	return v.once(text) != "" || password.Check(v.List.String("moderator_password"), text)
}

// hasPasswords tells whether the list has any.
func (v *view) hasPasswords() bool {
	return v.List.String("moderator_password") != "" || v.List.String(sdk.OneTimePasswords) != ""
}

// passwords returns what the post has in the places of a password: one for each field,
// and the first line.
func (v *view) passwords() (fields []string, line string, err error) {
	if !v.hasPasswords() {
		return nil, "", nil
	}
	for _, name := range passwordFields {
		if text := strings.TrimSpace(message.DecodeText(v.Header.Get(name))); text != "" {
			fields = append(fields, text)
		}
	}
	lines, err := v.text()
	if err != nil || len(lines) == 0 {
		return fields, "", err
	}
	if m := passwordLine.FindStringSubmatch(lines[0]); m != nil {
		line = strings.TrimSpace(m[1])
	}
	return fields, line, nil
}

// stripPassword takes a password out of a post that goes on, the right one and one that
// is mistyped: of the header, of the text's first line, and of other texts that say the
// same in another form, such as HTML. If the right one is where nothing may be changed,
// the post does not go on.
func stripPassword(_ context.Context, v *view) (sdk.Verdict, error) {
	_, line, err := v.passwords()
	if err != nil {
		return sdk.Verdict{}, err
	}
	for _, name := range passwordFields {
		if v.Header.Has(name) {
			v.Header.Remove(name)
		}
	}
	if line == "" {
		return sdk.Accept, nil
	}
	s := newStripper(v, line)
	root, err := v.structure()
	if err != nil {
		return sdk.Verdict{}, err
	}
	if err := s.part(root, false); err != nil {
		return sdk.Verdict{}, err
	}
	if s.stuck && s.right {
		reason := "The post has the moderators' password in a part that may not be changed, or is too long to be searched; it would go out to the list."
		if v.Approved {
			return sdk.Reject("password-stays", reason), nil
		}
		return sdk.Hold("password-stays", reason), nil
	}
	// From the end, so that the places before stay where they are.
	slices.Reverse(s.splices)
	for _, splice := range s.splices {
		if err := v.Body.Splice(splice); err != nil {
			return sdk.Verdict{}, fmt.Errorf("take the password out: %w", err)
		}
	}
	return sdk.Accept, nil
}

// maxSearched is how long a text may be that is searched for a password.
const maxSearched = 1 << 20

// stripper takes one password out of the texts of a post.
type stripper struct {
	*view
	right       bool
	plain, html form
	past        bool // the first plain text is behind
	stuck       bool // it could not be taken out somewhere
	splices     []message.Splice
}

// form finds a password, alone and with its name before it, as one kind of text writes it.
type form struct{ alone, named *regexp.Regexp }

func newForm(pattern string) form {
	return form{regexp.MustCompile(pattern), regexp.MustCompile(passwordName + pattern)}
}

// passwordName is what stands before a password in a text, HTML perhaps.
const passwordName = `(?i:(?:x-)?approved?\s*:)(?:\s|&nbsp;|<[^<>]*>)*`

func newStripper(v *view, text string) stripper {
	s := stripper{view: v, right: v.right(text)}
	if len(text) <= password.MaxLength { // else it is no password, and is taken out with its line alone
		s.plain, s.html = newForm(regexp.QuoteMeta(text)), newForm(htmlPattern(text))
	}
	return s
}

// htmlNames are characters that HTML has names for, and programs use them.
var htmlNames = map[rune]string{'&': "amp", '<': "lt", '>': "gt", '"': "quot", '\'': "apos", '\u00a0': "nbsp"}

// htmlPattern is a text however HTML may write it: each character as it is, by number or by name,
// and tags between them.
func htmlPattern(text string) string {
	var b strings.Builder
	for i, r := range text {
		if i > 0 {
			b.WriteString("(?:<[^<>]*>)*")
		}
		fmt.Fprintf(&b, "(?:%s|&#0*%d;|&#[xX]0*(?i:%x);", regexp.QuoteMeta(string(r)), r, r)
		if name := htmlNames[r]; name != "" {
			b.WriteString("|&" + name + ";")
		}
		if r == ' ' { // lines are broken there, or kept from that
			b.WriteString("|[\\s\u00a0]+|&nbsp;|&#0*160;|&#[xX]0*(?i:a0);")
		}
		b.WriteString(")")
	}
	return b.String()
}

func (s *stripper) part(p *message.Part, protected bool) error {
	protected = protected || p.Type == "multipart/signed" || p.Type == "multipart/encrypted"
	for _, child := range p.Parts {
		if err := s.part(child, protected); err != nil {
			return err
		}
	}
	if !strings.HasPrefix(p.Type, "text/") || p.End <= p.Start {
		return nil
	}
	first := p.Type == "text/plain" && !s.past
	s.past = s.past || first
	if p.End-p.Start > maxSearched {
		s.stuck = true
		return nil
	}
	raw := make([]byte, p.End-p.Start)
	if _, err := s.Body.ReadAt(raw, p.Start); err != nil && err != io.EOF {
		return fmt.Errorf("read a part: %w", err)
	}
	text, damaged := decodeAll(p.Encoding, raw)
	form := s.plain
	if p.Type == "text/html" {
		form = s.html
	}
	changed := s.without(text, form, first)
	stays, err := s.stays(p, changed, form)
	if err != nil {
		return err
	}
	s.stuck = s.stuck || stays
	if bytes.Equal(changed, text) {
		return nil
	}
	if protected || damaged != nil || p.Protected(s.Body) {
		s.stuck = true
		return nil
	}
	s.splices = append(s.splices, message.Splice{Offset: p.Start, Delete: int64(len(raw)), Insert: encodeAll(p.Encoding, changed, s.Header.LineEnd())})
	return nil
}

// without is a text without the password.
func (s *stripper) without(text []byte, form form, first bool) []byte {
	if first {
		rest := bytes.TrimPrefix(text, []byte(byteOrderMark))
		for len(rest) > 0 {
			line, after := cutLine(rest)
			if len(bytes.TrimSpace(line)) > 0 {
				if passwordLine.Match(bytes.TrimSpace(line)) {
					text = slices.Concat(text[:len(text)-len(rest)], after)
				}
				break
			}
			rest = after
		}
	}
	if form.named == nil {
		return text
	}
	text = form.named.ReplaceAllLiteral(text, nil)
	if s.right {
		text = form.alone.ReplaceAllLiteral(text, nil)
	}
	return text
}

// stays tells whether somebody who reads a text finds the password in it: in a charset in which
// its octets are others, it could not be taken out.
func (s *stripper) stays(p *message.Part, text []byte, form form) (bool, error) {
	if form.alone == nil {
		return false, nil
	}
	decoded := message.Part{Params: p.Params, End: int64(len(text))}
	readable, _, err := decoded.Text(message.NewBody(bytes.NewReader(text), 0, decoded.End), decoded.End)
	return form.alone.MatchString(readable), err
}

// cutLine cuts text after its first line end.
func cutLine(text []byte) (line, after []byte) {
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		return text[:i+1], text[i+1:]
	}
	return text, nil
}

// decodeAll returns what can be decoded, also with an error.
func decodeAll(encoding string, raw []byte) ([]byte, error) {
	switch encoding {
	case "base64":
		return io.ReadAll(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(raw)))
	case "quoted-printable":
		return io.ReadAll(quotedprintable.NewReader(bytes.NewReader(raw)))
	}
	return raw, nil
}

// lineOctets is how long a line of base64 is (RFC 2045 6.8).
const lineOctets = 76

// encodeAll is the reverse of decodeAll, with line ends as the message has them.
func encodeAll(encoding string, text []byte, eol string) []byte {
	var out bytes.Buffer
	switch encoding {
	case "base64":
		code := base64.StdEncoding.EncodeToString(text)
		for len(code) > lineOctets {
			out.WriteString(code[:lineOctets] + eol)
			code = code[lineOctets:]
		}
		out.WriteString(code)
	case "quoted-printable":
		w := quotedprintable.NewWriter(&out)
		w.Write(text) // a bytes.Buffer takes everything
		w.Close()
		if eol == "\n" {
			return bytes.ReplaceAll(out.Bytes(), []byte("\r\n"), []byte("\n"))
		}
	default:
		return text
	}
	return out.Bytes()
}
