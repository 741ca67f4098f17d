package bounce

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
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
	text, _ := io.ReadAll(r) // what comes before an error is still worth reading
	return text
}

// parseStatus reads the groups of fields (RFC 3464 2.1): one about the message, then one
// a recipient. Groups should have an empty line between them; a field that a group of
// this kind has already begins a new one, too.
func parseStatus(text []byte) Report {
	p := parser{report: Report{Scope: ScopeRecipients}}
	var name, value string
	for line := range bytes.Lines(text) {
		s := strings.TrimRight(string(line), "\r\n")
		switch {
		case strings.TrimLeft(s, " \t") == "":
			p.field(name, value)
			p.group()
			name, value = "", ""
		case s[0] == ' ' || s[0] == '\t':
			if len(value) <= maxText { // of one with endless folds the start is enough
				value += " " + strings.TrimLeft(s, " \t")
			}
		default:
			p.field(name, value)
			n, v, _ := strings.Cut(s, ":")
			name, value = strings.ToLower(strings.TrimSpace(n)), v
		}
	}
	p.field(name, value)
	p.group()
	return p.report
}

type parser struct {
	report  Report
	current Recipient
	final   bool // current has a Final-Recipient
	about   bool // current has anything about a recipient
}

func (p *parser) field(name, value string) {
	value = clean(value)
	switch name {
	case "reporting-mta":
		p.report.Reporter = untyped(value)
	case "original-envelope-id":
		p.report.EnvelopeID = value
	case strings.ToLower(ScopeField):
		p.current.Message = strings.EqualFold(value, string(ScopeMessage))
	case "final-recipient":
		if p.final {
			p.group()
		}
		p.current.Address, p.final, p.about = mailbox(value), true, true
	case "original-recipient":
		if p.current.Original != "" || p.final && p.current.Action != "" && p.current.Status != "" {
			p.group()
		}
		p.current.Original, p.about = mailbox(value), true
	case "action":
		p.current.Action, p.about = strings.ToLower(firstWord(value)), true
	case "status":
		p.current.Status, p.about = statusCode.FindString(value), true
	case "diagnostic-code":
		p.current.Diagnostic = untyped(value)
	case "remote-mta":
		p.current.RemoteMTA = untyped(value)
	}
}

// group ends a group of fields, and keeps it if it is about a recipient.
func (p *parser) group() {
	r, about := p.current, p.about
	p.current, p.final, p.about = Recipient{}, false, false
	if r.Address == "" {
		r.Address = r.Original
	}
	if !about && r.Message {
		p.report.Scope = ScopeMessage
	}
	if !about || r.Address == "" || len(p.report.Recipients) >= maxRecipients {
		return
	}
	if r.Status == "" {
		r.Status = statusOf(r.Diagnostic)
	}
	if r.Action == "" && r.Status != "" {
		r.Action = map[byte]string{'5': "failed", '4': "delayed", '2': "delivered"}[r.Status[0]]
	}
	p.report.Recipients = append(p.report.Recipients, r)
}

var (
	statusCode = regexp.MustCompile(`\b[245]\.\d{1,3}\.\d{1,3}\b`)
	replyCode  = regexp.MustCompile(`^\s*([45])\d\d\b`)
)

// statusOf finds a status in a diagnostic such as "550 5.1.1 no such user".
func statusOf(diagnostic string) string {
	reply := replyCode.FindStringSubmatch(diagnostic)
	if reply == nil {
		return ""
	}
	// Only behind a reply code: an address such as 5.2.0.1 has the same look.
	if rest := strings.TrimLeft(diagnostic, " ")[3:]; rest != "" {
		if code := statusCode.FindString(firstWord(rest[1:])); strings.HasPrefix(code, reply[1]) {
			return code
		}
	}
	return reply[1] + ".0.0"
}

func firstWord(s string) string {
	if f := strings.Fields(s); len(f) > 0 {
		return f[0]
	}
	return ""
}

// untyped takes the type off a value such as "dns; mx.example.org".
func untyped(s string) string {
	if kind, rest, ok := strings.Cut(s, ";"); ok && !strings.ContainsAny(strings.TrimSpace(kind), " \t") {
		return strings.TrimSpace(rest)
	}
	return s
}

// mailbox takes type, comment and angle brackets off an address.
func mailbox(s string) string {
	kind, _, typed := strings.Cut(s, ";")
	s = untyped(s)
	if typed && strings.EqualFold(strings.TrimSpace(kind), "utf-8") {
		s = unescapeUTF8(s)
	}
	if i := strings.IndexByte(s, '<'); i >= 0 {
		s, _, _ = strings.Cut(s[i+1:], ">")
	}
	if i := strings.Index(s, " ("); i >= 0 {
		s = s[:i]
	}
	return strings.TrimSpace(s)
}

var utf8Escape = regexp.MustCompile(`\\x\{([0-9A-Fa-f]{1,6})\}`)

// unescapeUTF8 reads \x{HEX} (RFC 6533 section 3).
func unescapeUTF8(s string) string {
	return clean(utf8Escape.ReplaceAllStringFunc(s, func(m string) string {
		n, err := strconv.ParseUint(m[3:len(m)-1], 16, 32)
		if err != nil || !utf8.ValidRune(rune(n)) {
			return m
		}
		return string(rune(n))
	}))
}

// clean makes text safe to store and show: UTF-8, one line, no control characters, of
// bounded length.
func clean(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	s = strings.ToValidUTF8(s, "?")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}
