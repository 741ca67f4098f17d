package headers

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// tag is what a mail program puts before the subject of a reply or a forward.
type tag struct {
	text  string // with its colon
	reply bool
}

// tagWords are the tags in use, in lower case; true for replies. One-letter tags are
// left out: "R: a question" is a fine subject.
var tagWords = map[string]bool{
	"re": true, "aw": true, "antw": true, "antwort": true, // English and most others, German, Dutch
	"sv": true, "svar": true, "vs": true, // Danish, Norwegian and Swedish; Finnish
	"odp": true, "odg": true, "ynt": true, "vá": true, "atb": true, "ats": true, // Polish, Croatian, Turkish, Hungarian, Welsh, Latvian
	"rif": true, "res": true, "bls": true, "yan": true, "απ": true, "σχετ": true, // Italian, Portuguese, Indonesian, Azerbaijani, Greek
	"הת": true, "השב": true, "رد": true, "отв": true, "ответ": true, // Hebrew, Arabic, Russian
	"回复": true, "回覆": true, "答复": true, "答覆": true, "答": true, "返信": true, "회신": true, // Chinese, Japanese, Korean
	"fwd": false, "fw": false, "wg": false, "tr": false, "rv": false, "enc": false, "vb": false, "vl": false,
	"doorst": false, "i̇lt": false, "ilt": false, "pd": false, "továbbítás": false, "πρθ": false, "הועבר": false,
	"转发": false, "轉寄": false, "转寄": false, "転送": false, "전달": false,
}

// split takes tags, and the prefix wherever it stands among them, off a subject.
func (p prefix) split(subject string) (tags []tag, rest string) {
	rest = strings.TrimSpace(subject)
	for {
		if r, ok := p.cut(rest); ok {
			rest = strings.TrimLeftFunc(r, unicode.IsSpace)
			continue
		}
		t, n := readTag(rest)
		if n == 0 {
			return tags, rest
		}
		tags = append(tags, t)
		rest = strings.TrimLeftFunc(rest[n:], unicode.IsSpace)
	}
}

// readTag reads a tag at the start of s, such as "Re:", "RE[2]:" or "AW :"; n is its
// length, 0 if there is none.
func readTag(s string) (t tag, n int) {
	end := 0
	for letters := 0; letters < 12; letters++ {
		r, size := utf8.DecodeRuneInString(s[end:])
		if !unicode.IsLetter(r) {
			break
		}
		end += size
	}
	reply, ok := tagWords[strings.ToLower(s[:end])]
	if !ok {
		return tag{}, 0
	}
	after := trimCount(s[end:])
	after = strings.TrimLeft(after, " \u00a0")
	switch {
	case strings.HasPrefix(after, ":"):
		after = after[1:]
	case strings.HasPrefix(after, "："):
		after = after[len("："):]
	default:
		return tag{}, 0
	}
	n = len(s) - len(after)
	return tag{text: s[:n], reply: reply}, n
}

// trimCount takes off how often a reply was replied to: [2], (2), ^2 or *2.
func trimCount(s string) string {
	if s == "" || strings.IndexByte("[(^*", s[0]) < 0 {
		return s
	}
	digits := strings.TrimLeft(s[1:], "0123456789")
	if len(digits) == len(s)-1 {
		return s
	}
	switch s[0] {
	case '[':
		if strings.HasPrefix(digits, "]") {
			return digits[1:]
		}
		return s
	case '(':
		if strings.HasPrefix(digits, ")") {
			return digits[1:]
		}
		return s
	}
	return digits
}
