package message

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// maxEncoded is the longest encoded word, in octets (RFC 2047 section 2).
const maxEncoded = 75

const (
	wordB   = "=?utf-8?b?"
	wordQ   = "=?utf-8?q?"
	wordEnd = "?="
)

// room is what is left free on the first line for a field name that is not known yet.
const room = 26

// EncodeText encodes unstructured text that is not ASCII (RFC 2047 section 5 (1)).
// Line breaks and other control characters become spaces; text that would read as an
// encoded word is encoded too, so DecodeText gives the text back.
func EncodeText(text string) string {
	text = spaceControls(toUTF8(text))
	if isASCII(text) && !strings.Contains(text, "=?") {
		return text
	}
	return encodeText(text, room, false)
}

// EncodePhrase encodes text for the display name of an address (RFC 2047 section 5 (3)):
// as it is, as a quoted string or as encoded words.
func EncodePhrase(text string) string {
	text = strings.Trim(spaceControls(toUTF8(text)), " \t")
	switch {
	case text == "":
		return ""
	case !isASCII(text), strings.Contains(text, "=?"), longestWord(text) > maxWord:
		return encodeRun(text, room)
	case isAtoms(text):
		return text
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

func longestWord(text string) int {
	longest := 0
	for word := range strings.FieldsSeq(text) {
		longest = max(longest, len(word))
	}
	return longest
}

// isAtoms tells whether text is RFC 5322 atoms with single spaces between them.
func isAtoms(text string) bool {
	for i := range len(text) {
		if c := text[i]; c == ' ' && text[i-1] == ' ' || c != ' ' && !isAtext(c) {
			return false
		}
	}
	return true
}

func isAtext(c byte) bool {
	return isAlnum(c) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// token is a word of unstructured text with the white space before it.
type token struct {
	space, word string
	kind        tokenKind
}

type tokenKind int

const (
	plain   tokenKind = iota
	special           // has to be encoded
	encoded           // is an encoded word already, and meant as one
)

// encodeText encodes the words that need it and those between them, and leaves the
// text before and after readable. With keep, encoded words in text stay what they are.
// used octets of the first line are taken.
func encodeText(text string, used int, keep bool) string {
	tokens := tokenise(text, keep)
	var b strings.Builder
	for i := 0; i < len(tokens); {
		t := tokens[i]
		if t.kind != special {
			b.WriteString(t.space)
			b.WriteString(t.word)
			i++
			continue
		}
		end := runEnd(tokens, i)
		run, space := joinTokens(tokens[i:end]), t.space
		// White space between two encoded words does not count, so what is meant to
		// be seen goes into the word.
		if i > 0 && tokens[i-1].kind == encoded {
			run, space = t.space+run, " "
		}
		if end < len(tokens) && tokens[end].kind == encoded {
			run += tokens[end].space
			tokens[end].space = " "
		}
		b.WriteString(space)
		b.WriteString(encodeRun(run, used+b.Len()))
		i = end
	}
	return b.String()
}

func tokenise(text string, keep bool) []token {
	var tokens []token
	for text != "" {
		var t token
		t.space = text[:len(text)-len(strings.TrimLeft(text, " \t"))]
		text = text[len(t.space):]
		n := strings.IndexAny(text, " \t")
		if n < 0 {
			n = len(text)
		}
		t.word, text = text[:n], text[n:]
		switch {
		case keep && isEncodedWord(t.word):
			t.kind = encoded
		case !isASCII(t.word), !keep && strings.Contains(t.word, "=?"), len(t.word) > maxWord:
			t.kind = special
		}
		tokens = append(tokens, t)
	}
	return tokens
}

// runEnd returns the end of the run that starts with the special token i: up to the
// last special one before an encoded one.
func runEnd(tokens []token, i int) int {
	end := i + 1
	for j := end; j < len(tokens) && tokens[j].kind != encoded; j++ {
		// Text between two runs stays readable when it is long; this also keeps the
		// search from going over the same text for every run.
		if j-end > 8 {
			break
		}
		if tokens[j].kind == special {
			end = j + 1
		}
	}
	return end
}

// joinTokens is the text of tokens, without the first one's white space.
func joinTokens(tokens []token) string {
	var b strings.Builder
	for i, t := range tokens {
		if i > 0 {
			b.WriteString(t.space)
		}
		b.WriteString(t.word)
	}
	return b.String()
}

// encodeRun encodes all of text, as words of at most maxEncoded octets with a space
// between them; the first leaves used octets free where it can. The characters used
// are those allowed in a phrase (RFC 2047 section 5 (3)), the strictest place.
func encodeRun(text string, used int) string {
	var b strings.Builder
	q := qLen(text) <= (len(text)+2)/3*6 // people can read Q, so it may be longer by half
	for limit := max(maxEncoded-used, 40); text != ""; limit = maxEncoded {
		n := cut(text, limit-len(wordQ)-len(wordEnd), q)
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		if q {
			b.WriteString(wordQ)
			writeQ(&b, text[:n])
		} else {
			b.WriteString(wordB)
			b.WriteString(base64.StdEncoding.EncodeToString([]byte(text[:n])))
		}
		b.WriteString(wordEnd)
		text = text[n:]
	}
	return b.String()
}

// cut returns how many octets of text fit: whole characters only (RFC 2047 section 5).
func cut(text string, limit int, q bool) int {
	n, size := 0, 0
	for n < len(text) {
		_, w := utf8.DecodeRuneInString(text[n:])
		if q {
			size += qLen(text[n : n+w])
		} else {
			size = (n + w + 2) / 3 * 4
		}
		if size > limit {
			break
		}
		n += w
	}
	return n
}

func isQSafe(c byte) bool { return isAlnum(c) || strings.IndexByte("!*+-/", c) >= 0 }

func qLen(s string) int {
	n := 0
	for i := range len(s) {
		if n++; s[i] != ' ' && !isQSafe(s[i]) {
			n += 2
		}
	}
	return n
}

func writeQ(b *strings.Builder, s string) {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		switch c := s[i]; {
		case c == ' ':
			b.WriteByte('_')
		case isQSafe(c):
			b.WriteByte(c)
		default:
			b.Write([]byte{'=', hex[c>>4], hex[c&15]})
		}
	}
}
