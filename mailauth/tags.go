package mailauth

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// tags is a tag=value list (RFC 6376 3.2): DKIM and ARC fields, key and DMARC records.
type tags map[string]string

// parseTags reads a list. A tag that is there twice, one without a value part, or a name
// that is none makes the whole list invalid. Folds are white space in it.
func parseTags(s string) (tags, error) {
	t := tags{}
	s = trim(s)
	for spec := range strings.SplitSeq(strings.TrimSuffix(s, ";"), ";") {
		spec = trim(spec)
		name, value, ok := strings.Cut(spec, "=")
		name = trim(name)
		if !ok || !isTagName(name) {
			return nil, fmt.Errorf("%.40q is no tag", spec)
		}
		if _, twice := t[name]; twice {
			return nil, fmt.Errorf("tag %s is there twice", name)
		}
		if len(t) == maxTags {
			return nil, fmt.Errorf("more than %d tags", maxTags)
		}
		t[name] = trim(value)
	}
	return t, nil
}

// isTagName: a letter, then letters, digits and underscores.
func isTagName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if letter := c|0x20 >= 'a' && c|0x20 <= 'z'; !letter && (i == 0 || c != '_' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != ""
}

func trim(s string) string { return strings.Trim(s, " \t\r\n") }

// has tells whether all the tags are there with a value.
func (t tags) has(names ...string) error {
	for _, n := range names {
		if t[n] == "" {
			return fmt.Errorf("tag %s is missing", n)
		}
	}
	return nil
}

// list splits a value at colons, without white space around the items.
func (t tags) list(name string) []string {
	var items []string
	for item := range strings.SplitSeq(t[name], ":") {
		items = append(items, trim(item))
	}
	return items
}

// base64 decodes a value, in which white space may stand anywhere.
func (t tags) base64(name string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(stripSpace(t[name]))
	if err != nil {
		return nil, fmt.Errorf("tag %s: no base64", name)
	}
	return b, nil
}

func stripSpace(s string) string {
	if !strings.ContainsAny(s, " \t\r\n") {
		return s
	}
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n", r) {
			return -1
		}
		return r
	}, s)
}

// unquote decodes DKIM's quoted-printable (RFC 6376 2.11), in which white space means nothing.
func unquote(s string) (string, bool) {
	s = stripSpace(s)
	if strings.IndexByte(s, '=') < 0 {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '=' {
			b.WriteByte(s[i])
			continue
		}
		if len(s) < i+3 {
			return "", false
		}
		octet, err := hex.DecodeString(s[i+1 : i+3])
		if err != nil {
			return "", false
		}
		b.Write(octet)
		i += 2
	}
	return b.String(), true
}

var errNumber = errors.New("no number")

// number reads a decimal number of at most 18 digits; a longer one counts as the largest.
// ok is false if there is no such tag.
func (t tags) number(name string) (n int64, ok bool, err error) {
	s, ok := t[name]
	if !ok {
		return 0, false, nil
	}
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, true, fmt.Errorf("tag %s: %w", name, errNumber)
	}
	for i := range len(s) {
		if n > 1e17 {
			return 1 << 62, true, nil
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true, nil
}
