package command

import (
	"regexp"
	"strings"
)

// said are the lines of a text that its author wrote, cleaned as Command.Line is, without those that
// are empty. What is quoted does not count, nor the line above it that says who wrote that; the
// signature ends it, and so does what programs put above a message that they do not quote. A text
// that is signed within (RFC 9580 7) counts without what is around it; whoever signed it.
func said(text string) []string {
	var out []string
	signed, head := false, false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if signed {
			line = strings.TrimPrefix(line, "- ")
		}
		if line == "-- " || line == "--" {
			break
		}
		line = strings.TrimSpace(line)
		switch {
		case head: // its fields, as "Hash: SHA256"
			head = line != ""
		case line == "-----BEGIN PGP SIGNED MESSAGE-----" && len(out) == 0 && !signed:
			signed, head = true, true
		case strings.HasPrefix(line, "-----"), strings.HasPrefix(line, "_____"):
			return out
		case strings.HasPrefix(line, ">"):
			out = withoutAttribution(out)
		case clean(line) != "":
			out = append(out, line)
		}
	}
	return out
}

// when is a date or a time of day, or an address that is cut.
var when = regexp.MustCompile(`\b(19|20)\d\d\b|\d[:.]\d\d\b|<[^>]*$`)

// withoutAttribution takes off the end "On Tuesday, 24 Nov 2026, Ann wrote:", which may be in two lines.
func withoutAttribution(lines []string) []string {
	n := len(lines)
	if n == 0 || !strings.HasSuffix(lines[n-1], ":") {
		return lines
	}
	if n > 1 && !when.MatchString(lines[n-1]) && when.MatchString(lines[n-2]) {
		n--
	}
	return lines[:n-1]
}
