package message

import "strings"

// The lexical tokens of RFC 5322 3.2 that addresses and MIME fields share.

// quoteEnd returns the index after the quote that ends the quoted string at pos; -1.
func quoteEnd(s string, pos int) int {
	for i := pos + 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// commentEnd returns the index after the parenthesis that ends the comment at pos; -1.
func commentEnd(s string, pos int) int {
	depth := 0
	for i := pos; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// literalLen is the length of the domain literal that s starts with, 1 if it is none.
func literalLen(s string) int {
	for i := 1; i < min(len(s), 64); i++ {
		switch c := s[i]; {
		case c == ']':
			return i + 1
		case !isAlnum(c) && c != ':' && c != '.' && c != '-':
			return 1
		}
	}
	return 1
}

// unquote takes the quotes of quoted strings off; every quote in word belongs to one.
func unquote(word string) string {
	if strings.IndexByte(word, '"') < 0 {
		return word
	}
	var b strings.Builder
	quoted := false
	for i := 0; i < len(word); i++ {
		switch {
		case word[i] == '"':
			quoted = !quoted
			continue
		case word[i] == '\\' && quoted && i+1 < len(word):
			i++
		}
		b.WriteByte(word[i])
	}
	return b.String()
}

// asAddress returns word if it looks like local@domain with its @ at at; "".
func asAddress(word string, at int) string {
	if at <= 0 || at == len(word)-1 {
		return ""
	}
	for i := range len(word) {
		if word[i] < ' ' || word[i] == 0x7f {
			return ""
		}
	}
	return word
}
