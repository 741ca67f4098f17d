package message

import "strings"

// Word is what a structured field says before its parameters, without comments and in small
// letters: "auto-replied" of "Auto-Replied (on holiday); owner=x". Of several words it is the
// first.
func Word(value string) string {
	value, _, _ = strings.Cut(value, ";")
	var b strings.Builder
	depth := 0
	for _, c := range value {
		switch {
		case c == '(':
			depth++
			b.WriteByte(' ')
		case c == ')' && depth > 0:
			depth--
		case depth == 0:
			b.WriteRune(c)
		}
	}
	words := strings.Fields(b.String())
	if len(words) == 0 {
		return ""
	}
	return strings.ToLower(words[0])
}
