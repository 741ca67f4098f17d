package config

import "strings"

// lines is where the keys of a file are: line numbers, from 1, by key path.
type lines map[string]int

// of returns the line of a key, or of the nearest table around it, or 0.
func (l lines) of(path string) int {
	for path != "" {
		if n, ok := l[path]; ok {
			return n
		}
		path = path[:max(0, strings.LastIndexByte(path, '.'))]
	}
	return 0
}

// finder walks over TOML that the library has read without complaint, only to see
// where its keys are: the library tells that for errors of its own alone. What it does
// not understand ends the walk; a key with escapes in it is not found.
type finder struct {
	s       string
	i       int
	counted int // newlines before this are in line
	line    int
	at      lines
}

func findLines(text string) lines {
	f := &finder{s: strings.TrimPrefix(text, "\ufeff"), line: 1, at: lines{}}
	var table []string
	for f.statement(&table) {
	}
	return f.at
}

// statement passes one table header, or one key and its value.
func (f *finder) statement(table *[]string) bool {
	f.space()
	if f.peek() == '[' {
		for f.peek() == '[' {
			f.i++
		}
		parts, ok := f.key()
		if !ok {
			return false
		}
		f.record(parts)
		*table = parts
		for f.peek() == ']' {
			f.i++
		}
		return true
	}
	return f.pair(*table)
}

// pair passes key = value.
func (f *finder) pair(table []string) bool {
	parts, ok := f.key()
	if !ok || f.peek() != '=' {
		return false
	}
	path := append(table[:len(table):len(table)], parts...)
	f.record(path)
	f.i++
	return f.value(path)
}

// record keeps the line of a path and of those above it that are new.
func (f *finder) record(path []string) {
	f.line += strings.Count(f.s[f.counted:f.i], "\n")
	f.counted = f.i
	for n := len(path); n > 0; n-- {
		p := keyPath(path[:n]...)
		if _, ok := f.at[p]; ok {
			return
		}
		f.at[p] = f.line
	}
}

func (f *finder) peek() byte {
	if f.i < len(f.s) {
		return f.s[f.i]
	}
	return 0
}

// space passes blanks, line ends and comments.
func (f *finder) space() {
	for f.i < len(f.s) {
		switch f.s[f.i] {
		case ' ', '\t', '\r', '\n':
			f.i++
		case '#':
			f.until("\n")
		default:
			return
		}
	}
}

func (f *finder) blanks() {
	for f.peek() == ' ' || f.peek() == '\t' {
		f.i++
	}
}

// until passes everything before the first of the characters.
func (f *finder) until(chars string) {
	n := strings.IndexAny(f.s[f.i:], chars)
	if n < 0 {
		n = len(f.s) - f.i
	}
	f.i += n
}

// key passes a key with its dots, and the blanks behind it.
func (f *finder) key() (parts []string, ok bool) {
	for {
		f.blanks()
		start := f.i
		if c := f.peek(); c == '"' || c == '\'' {
			f.quoted()
			if f.i-start < 2 {
				return nil, false
			}
			parts = append(parts, f.s[start+1:f.i-1])
		} else {
			f.until(".=] \t\r\n#")
			if f.i == start {
				return nil, false
			}
			parts = append(parts, f.s[start:f.i])
		}
		f.blanks()
		if f.peek() != '.' {
			return parts, true
		}
		f.i++
	}
}

// quoted passes a string of any of the four kinds.
func (f *finder) quoted() {
	quote := f.s[f.i : f.i+1]
	if long := strings.Repeat(quote, 3); strings.HasPrefix(f.s[f.i:], long) {
		quote = long
	}
	for f.i += len(quote); f.i < len(f.s) && !strings.HasPrefix(f.s[f.i:], quote); f.i++ {
		if f.s[f.i] == '\\' && quote[0] == '"' {
			f.i++
		}
	}
	f.i = min(f.i+len(quote), len(f.s))
	// A long string may end in one or two quotes of its own before the closing three.
	for n := 0; len(quote) == 3 && n < 2 && f.peek() == quote[0]; n++ {
		f.i++
	}
}

// value passes a value, and records the keys within it.
func (f *finder) value(path []string) bool {
	f.blanks()
	switch f.peek() {
	case '"', '\'':
		f.quoted()
		return true
	case '[':
		return f.items(']', func() bool { return f.value(path) })
	case '{':
		return f.items('}', func() bool { return f.pair(path) })
	}
	start := f.i
	f.until(",]}\r\n#")
	return f.i > start
}

// items passes what stands between brackets.
func (f *finder) items(end byte, one func() bool) bool {
	for f.i++; ; {
		f.space()
		switch f.peek() {
		case end:
			f.i++
			return true
		case ',':
			f.i++
		default:
			if !one() {
				return false
			}
		}
	}
}
