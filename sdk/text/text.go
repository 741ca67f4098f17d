// Package text fills in the placeholders of texts that people write for a list: footers,
// notices, answers.
//
// A placeholder is %(name)s, where a name has letters, digits and '_'. Of a number,
// %(days|day|days)s is the first word where it is 1, else the second. Lines of their own
// choose what stays:
//
//	%(if reason)
//	The reason: %(reason)s
//	%(else)
//	No reason was given.
//	%(end)
//
// stays as the second line where reason has a value, as the fourth where it has none. There is
// no other language in it: a text can neither run nor read anything, and is no longer than
// itself and its values. A value is never looked through for placeholders, and carries no
// control characters.
package text

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Fill returns the text with its placeholders filled in. value tells what a name stands for; a
// placeholder that it does not know stays as it is written, and so does what only looks like
// one. Lines of the result end in LF.
func Fill(text string, value func(name string) (string, bool)) string {
	var b strings.Builder
	skip, open := false, false
	for line := range strings.Lines(strings.ReplaceAll(text, "\r\n", "\n")) {
		switch word, name := directive(line); {
		case word == "if" && !open:
			v, _ := value(name)
			open, skip = true, v == ""
		case word == "else" && open:
			skip = !skip
		case word == "end" && open:
			open, skip = false, false
		case !skip:
			fillLine(&b, line, value)
		}
	}
	return b.String()
}

func fillLine(b *strings.Builder, line string, value func(name string) (string, bool)) {
	for {
		before, name, rest, found := next(line)
		b.WriteString(before)
		if !found {
			return
		}
		base, forms, _ := strings.Cut(name, "|")
		one, many, plural := strings.Cut(forms, "|")
		if v, ok := value(base); ok && plural {
			if v != "1" {
				one = many
			}
			b.WriteString(one)
		} else if ok {
			b.WriteString(Clean(v))
		} else {
			b.WriteString("%(" + name + ")s")
		}
		line = rest
	}
}

// forms are the two words of a number behind its name.
var forms = regexp.MustCompile(`^\|[^%()|]+\|[^%()|]+\)s`)

// next finds the first placeholder of a line.
func next(line string) (before, name, rest string, found bool) {
	for at := 0; ; {
		i := strings.Index(line[at:], "%(")
		if i < 0 {
			return line, "", "", false
		}
		i += at
		end := i + 2
		for end < len(line) && isName(line[end]) {
			end++
		}
		if m := forms.FindString(line[end:]); end > i+2 && m != "" {
			return line[:i], line[i+2:end] + m[:len(m)-2], line[end+len(m):], true
		}
		if end > i+2 && strings.HasPrefix(line[end:], ")s") {
			return line[:i], line[i+2 : end], line[end+2:], true
		}
		at = i + 2
	}
}

func isName(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' }

// directive reads a line that chooses; word is "" of any other.
func directive(line string) (word, name string) {
	line = strings.TrimSpace(line)
	switch line {
	case "%(else)", "%(end)":
		return line[2 : len(line)-1], ""
	}
	name, ok := strings.CutPrefix(line, "%(if ")
	if !ok || !strings.HasSuffix(name, ")") {
		return "", ""
	}
	name = strings.TrimSpace(strings.TrimSuffix(name, ")"))
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r >= 0x80 || !isName(byte(r)) }) {
		return "", ""
	}
	return "if", name
}

// Error is something wrong with a text.
type Error struct {
	Line int // from 1
	What string
}

func (e *Error) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.What) }

// Check finds the first thing in a text that Fill would leave as it is, or that is no text. Its
// error is an [*Error].
func Check(text string, known func(name string) bool) error {
	n, open := 0, 0 // open: where the %(if …) is
	fail := func(format string, args ...any) error { return &Error{n, fmt.Sprintf(format, args...)} }
	for line := range strings.Lines(text) {
		n++
		if err := checkOctets(line); err != "" {
			return fail("%s", err)
		}
		switch word, name := directive(line); word {
		case "if":
			if open > 0 {
				return fail("%%(if %s) within that of line %d", name, open)
			}
			if open = n; !known(name) {
				return fail("no placeholder %s here", name)
			}
			continue
		case "else", "end":
			if open == 0 {
				return fail("%%(%s) without %%(if …) before", word)
			}
			if word == "end" {
				open = 0
			}
			continue
		}
		for {
			before, name, rest, found := next(line)
			if i := strings.Index(before, "%("); i >= 0 {
				return fail("%.20q: want %%(name)s, or %%(if name), %%(else) or %%(end) on a line of its own", strings.TrimSpace(before[i:]))
			}
			if !found {
				break
			}
			if base, _, _ := strings.Cut(name, "|"); !known(base) {
				return fail("no placeholder %%(%s)s here", base)
			}
			line = rest
		}
	}
	if open > 0 {
		return &Error{open, "%(if …) without %(end)"}
	}
	return nil
}

// checkOctets says why a line is no text; "" if it is.
func checkOctets(line string) string {
	if whole, ended := strings.CutSuffix(line, "\n"); ended {
		line = strings.TrimSuffix(whole, "\r")
	}
	for i, r := range line {
		switch {
		case r == unicode.ReplacementChar && !strings.HasPrefix(line[i:], "\uFFFD"):
			return fmt.Sprintf("octet %#x is not UTF-8", line[i])
		case r != '\t' && unicode.IsControl(r):
			return fmt.Sprintf("control character %q", r)
		}
	}
	return ""
}

// Clean makes s fit for a text part: UTF-8, with LF and without other control characters.
func Clean(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\r\n", "\n"), "\r", "\n")
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
}

// Line makes s one line of at most so many octets, which shapes no text around it: no control
// characters, no other ends of lines, none that turn the direction of what follows.
func Line(s string, most int) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), r == '\u2028', r == '\u2029', r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069':
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD")))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// Letter takes a text apart whose first line is "Subject: …", followed by an empty line. Without
// such a line the subject is "".
func Letter(s string) (subject, body string) {
	first, rest, _ := strings.Cut(s, "\n")
	subject, ok := strings.CutPrefix(first, "Subject:")
	if !ok {
		return "", s
	}
	return strings.TrimSpace(subject), strings.TrimPrefix(rest, "\n")
}

// List is what texts may say of the list that they are for.
type List struct{ Address, Name, Description string }

// ListNames are the placeholders that List.Value knows.
var ListNames = []string{"display_name", "list_address", "list_name", "list_domain", "description", "request_address", "join_address", "leave_address", "owner_address"}

// Value is what a placeholder stands for.
func (l List) Value(name string) (string, bool) {
	local, domain := l.Address, ""
	if at := strings.LastIndexByte(l.Address, '@'); at >= 0 {
		local, domain = l.Address[:at], l.Address[at+1:]
	}
	switch name {
	case "display_name":
		return l.Name, true
	case "list_address":
		return l.Address, true
	case "list_name":
		return local, true
	case "list_domain":
		return domain, true
	case "description":
		return l.Description, true
	case "request_address", "join_address", "leave_address", "owner_address":
		return local + "-" + strings.TrimSuffix(name, "_address") + l.Address[len(local):], true
	}
	return "", false
}

// Personal are the placeholders that stand for the member whose copy it is.
var Personal = []string{"user_address", "user_delivered_to", "user_name", "user_name_or_address"}

// Without takes out the lines that have one of the named placeholders: what a copy for many
// cannot say it does not begin to say.
func Without(text string, names ...string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !has(line, names) {
			b.WriteString(line)
		}
	}
	return b.String()
}

func has(line string, names []string) bool {
	for {
		_, name, rest, found := next(line)
		if !found || slices.Contains(names, name) {
			return found
		}
		line = rest
	}
}
