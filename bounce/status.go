package bounce

import (
	"bytes"
	"mime"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// parseStatus reads the groups of fields (RFC 3464 2.1) into report: one about the
// message, then one a recipient. Groups should have an empty line between them; a field
// that a group of this kind has already begins a new one, too.
func parseStatus(text []byte, report *Report) {
	p := parser{report: report}
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
}

type parser struct {
	report   *Report
	current  Recipient
	original string // Original-Recipient
	final    bool   // current has a Final-Recipient
	about    bool   // current has anything about a recipient
	expired  bool   // its Action says that it was tried for too long
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
		p.current.Final, p.final, p.about = mailbox(value), true, true
	case "original-recipient":
		if p.original != "" || p.final && p.current.Action != "" && p.current.Status != "" {
			p.group()
		}
		p.original, p.about = mailbox(value), true
	case "action":
		p.current.Action, p.about = action(value), true
		p.expired = strings.HasPrefix(strings.ToLower(value), "expire")
	case "status":
		p.current.Status, p.about = statusCode().FindString(value), true
	case "diagnostic-code":
		p.current.Diagnostic = untyped(value)
	case "remote-mta":
		p.current.RemoteMTA = untyped(value)
	}
}

// action is the word of an Action, in the one spelling.
func action(value string) string {
	word := strings.ToLower(firstWord(value))
	for _, known := range []string{"fail", "delay", "deliver", "relay", "expand"} {
		if strings.HasPrefix(word, known) {
			return map[string]string{"fail": "failed", "delay": "delayed", "deliver": "delivered", "relay": "relayed", "expand": "expanded"}[known]
		}
	}
	for _, failed := range []string{"expire", "undeliver", "reject", "bounce", "drop", "return"} {
		if strings.HasPrefix(word, failed) {
			return "failed"
		}
	}
	return "" // another word: the status says what it means
}

// group ends a group of fields, and keeps it if it is about a recipient.
func (p *parser) group() {
	r, about, original := p.current, p.about, p.original
	if p.expired && r.Status == "" {
		r.Status = "4.4.7"
	}
	p.current, p.original, p.final, p.about, p.expired = Recipient{}, "", false, false, false
	if !about && r.Message {
		p.report.Scope = ScopeMessage
	}
	r.Address = sentTo(original, r.Final)
	if !about || r.Address == "" || len(p.report.Recipients) >= maxRecipients {
		return
	}
	p.report.add(r)
}

// sentTo is the address as the sender wrote it: Original-Recipient where it is an address
// at all. Some MTAs leave it in the encoding of ORCPT (RFC 3461 section 4: xtext).
func sentTo(original, final string) string {
	if decoded := unxtext(original); decoded != original && (decoded == final || !strings.Contains(original, "@")) {
		original = decoded
	}
	if isAddress(original) || !isAddress(final) && original != "" {
		return original
	}
	return final
}

var xtextEscape = pattern(`\+[0-9A-F]{2}`)

func unxtext(s string) string {
	return clean(xtextEscape().ReplaceAllStringFunc(s, func(m string) string {
		n, err := strconv.ParseUint(m[1:], 16, 8)
		if err != nil || n >= utf8.RuneSelf {
			return m
		}
		return string(rune(n))
	}))
}

// add completes a recipient and keeps it; a second word on the same address adds nothing.
func (report *Report) add(r Recipient) {
	if r.Action == "failed" || r.Action == "delayed" || r.Action == "" {
		if r.Action != "" && strings.HasPrefix(r.Status, "2.") {
			r.Status = "" // a success that failed: the word is surer
		}
		r.Status = statusOf(r.Status, r.Diagnostic, r.Action)
	}
	if r.Action == "" && r.Status != "" {
		r.Action = map[byte]string{'5': "failed", '4': "delayed", '2': "delivered"}[r.Status[0]]
	}
	if r.Action == "delayed" && strings.HasPrefix(r.Status, "5.") {
		r.Status = "4" + r.Status[1:] // "delayed" is what counts
	}
	if r.Failed() || r.Delayed() {
		r.Class = Classify(r.Status, r.Diagnostic)
	}
	if !strings.Contains(r.Address, "@") || strings.ContainsAny(r.Address[:1], "|/@") { // a name without its host, a command or file, or an address of X.400
		if report.Unnamed.Action == "" && (r.Failed() || r.Delayed()) {
			r.Address, r.Final = "", ""
			report.Unnamed = r
		}
		return
	}
	for i := range report.Recipients {
		if known := &report.Recipients[i]; strings.EqualFold(known.Address, r.Address) {
			if known.Delayed() && r.Failed() {
				*known = r
			}
			return
		}
	}
	report.Recipients = append(report.Recipients, r)
}

var (
	statusCode = pattern(`\b[245]\.\d{1,3}\.\d{1,3}\b`)
	replyCode  = pattern(`^\s*(?:[\[<(]?\w[\w.-]*[\])>]?:? )?([45])\d\d\b`)
	// enhanced is a status in running text: no part of a longer number, such as an
	// internet address or a version.
	enhanced = pattern(`(?:^|[^\w.])#?([45]\.\d{1,3}\.\d{1,3})(?:$|[^\w.]|\.(?:$|[^\w]))`)
	reply    = pattern(`(?:^|[^\w.])([45])[0-7]\d(?:$|[^\w.])`)
)

// statusOf is the status to show: that of the report, unless it is missing, or is vague
// and the diagnostic says more.
func statusOf(status, diagnostic, action string) string {
	found := ""
	if code := replyCode().FindStringSubmatch(diagnostic); code != nil {
		// Only next to a reply code: an address such as 5.2.0.1 has the same look.
		rest := diagnostic[len(code[0]):]
		if m := enhanced().FindStringSubmatch(rest[:min(len(rest), 16)]); m != nil && m[1][0] == code[1][0] {
			found = m[1]
		}
		if status == "" && found == "" {
			status = code[1] + ".0.0"
		}
	} else if m := enhanced().FindStringSubmatch(diagnostic[:min(len(diagnostic), 200)]); m != nil {
		found = m[1]
	}
	switch {
	case status == "" && found != "":
		return found
	case strings.HasSuffix(status, ".0.0") && found != "" && found[0] == status[0]:
		return found
	case status == "" && action == "failed":
		return "5.0.0"
	case status == "" && action == "delayed":
		return "4.0.0"
	}
	return status
}

func firstWord(s string) string {
	if f := strings.Fields(s); len(f) > 0 {
		return f[0]
	}
	return ""
}

// untyped takes the type off a value such as "dns; mx.example.org".
func untyped(s string) string {
	if kind, rest, ok := strings.Cut(s, ";"); ok && !strings.ContainsAny(strings.TrimSpace(kind), " \t@") {
		return strings.TrimSpace(rest)
	}
	return s
}

// mailbox takes type, comment, quotes and angle brackets off an address.
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
	s = strings.TrimSpace(s)
	for _, prefix := range []string{"mailto:", "smtp:", "rfc822;"} {
		if len(s) > len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
			s = s[len(prefix):]
		}
	}
	if strings.Contains(s, "=?") { // words of a header, which have no place in an address
		if decoded, err := new(mime.WordDecoder).DecodeHeader(s); err == nil {
			s = clean(decoded)
		}
	}
	// A source route (RFC 5321 4.1.1.3): @relay,@relay2:user@domain.
	if strings.HasPrefix(s, "@") {
		if i := strings.LastIndexByte(s, ':'); i >= 0 {
			s = s[i+1:]
		}
	}
	if len(s) > 2 && s[0] == '\'' && s[len(s)-1] == '\'' {
		s = s[1 : len(s)-1]
	}
	return strings.TrimRight(strings.TrimSpace(s), ".>")
}

var utf8Escape = pattern(`\\x\{([0-9A-Fa-f]{1,6})\}`)

// unescapeUTF8 reads \x{HEX} (RFC 6533 section 3).
func unescapeUTF8(s string) string {
	return clean(utf8Escape().ReplaceAllStringFunc(s, func(m string) string {
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
