package headers

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mlist/mlist/sdk"
)

// prefix is what stands before the subject: its text for this post, and how to find
// it, with any number, in the subject of an answer.
type prefix struct {
	text    string
	pattern []piece
}

// piece is one step of a pattern: a number, white space, or one character.
type piece struct {
	number, space bool
	char          rune
}

// newPrefix fills in the setting subject_prefix: %(display_name)s, %(list_name)s, and
// %d or %05d for the post's number. Other text stays as it is; %% is a percent sign.
func newPrefix(l sdk.List, number int64) prefix {
	var text strings.Builder
	var pattern []piece
	literal := func(s string) {
		text.WriteString(s)
		for _, r := range s {
			pattern = append(pattern, piece{char: r, space: unicode.IsSpace(r)})
		}
	}
	for s := strings.TrimSpace(l.String("subject_prefix")); s != ""; {
		if width, n := numberVerb(s); n > 0 {
			fmt.Fprintf(&text, "%0*d", width, number)
			pattern = append(pattern, piece{number: true})
			s = s[n:]
			continue
		}
		switch {
		case strings.HasPrefix(s, "%%"):
			literal("%")
			s = s[2:]
		case strings.HasPrefix(s, "%(display_name)s"):
			literal(l.Name())
			s = s[len("%(display_name)s"):]
		case strings.HasPrefix(s, "%(list_name)s"):
			literal(l.Local())
			s = s[len("%(list_name)s"):]
		default:
			_, n := utf8.DecodeRuneInString(s)
			literal(s[:n])
			s = s[n:]
		}
	}
	p := prefix{text: text.String(), pattern: pattern}
	if !searchable(pattern) {
		p.pattern = nil
		for _, r := range p.text {
			p.pattern = append(p.pattern, piece{char: r, space: unicode.IsSpace(r)})
		}
	}
	return p
}

// searchable tells whether the pattern has a character of its own: a prefix that is only
// a number would be found, whatever its number, in "2001: a space odyssey".
func searchable(pattern []piece) bool {
	return slices.ContainsFunc(pattern, func(p piece) bool {
		return !p.number && !p.space && (unicode.IsLetter(p.char) || strings.ContainsRune("[](){}<>【】「」", p.char))
	})
}

// numberVerb reads %d or %05d at the start of s: its width, and its length or 0.
func numberVerb(s string) (width, n int) {
	if s[0] != '%' {
		return 0, 0
	}
	i := 1
	for i < len(s) && i < 4 && s[i] >= '0' && s[i] <= '9' {
		width = width*10 + int(s[i]-'0')
		i++
	}
	if i == len(s) || s[i] != 'd' {
		return 0, 0
	}
	return min(width, 20), i + 1
}

// cut takes the prefix off the start of s.
func (p prefix) cut(s string) (rest string, ok bool) {
	rest = s
	for _, step := range p.pattern {
		switch {
		case step.space:
			rest = strings.TrimLeftFunc(rest, unicode.IsSpace)
		case step.number:
			rest = strings.TrimLeftFunc(rest, unicode.IsSpace)
			digits := strings.TrimLeft(rest, "0123456789")
			if len(digits) == len(rest) {
				return s, false
			}
			rest = strings.TrimLeftFunc(digits, unicode.IsSpace)
		default:
			r, n := utf8.DecodeRuneInString(rest)
			if n == 0 || unicode.ToLower(r) != unicode.ToLower(step.char) {
				return s, false
			}
			rest = rest[n:]
		}
	}
	if len(p.pattern) == 0 {
		return s, false
	}
	// A prefix "Dev" is not in "Development".
	last, _ := utf8.DecodeLastRuneInString(s[:len(s)-len(rest)])
	next, _ := utf8.DecodeRuneInString(rest)
	if rest != "" && isWord(last) && isWord(next) {
		return s, false
	}
	return rest, true
}

func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
