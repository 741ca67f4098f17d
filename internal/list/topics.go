package list

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Topic is a kind of post that members may choose to receive: one line of the setting
// topics.
type Topic struct{ Name, Pattern string }

// maxTopicName is the longest name of a topic, in octets.
const maxTopicName = 64

// ParseTopic reads a line "name: pattern".
func ParseTopic(line string) (Topic, error) {
	name, pattern, ok := strings.Cut(line, ":")
	t := Topic{strings.TrimSpace(name), strings.TrimSpace(pattern)}
	if !ok || t.Name == "" || t.Pattern == "" {
		return t, fmt.Errorf("%q: want a name, a colon and a regular expression", line)
	}
	if !validTopic(t.Name) {
		return t, fmt.Errorf("topic %q: a name has at most %d octets, and no comma", t.Name, maxTopicName)
	}
	if _, err := regexp.Compile("(?i)" + t.Pattern); err != nil {
		return t, fmt.Errorf("topic %s: pattern %q: %w", t.Name, t.Pattern, err)
	}
	return t, nil
}

// validTopic tells whether a topic can be called so: X-Topics has names with commas
// between them.
func validTopic(name string) bool {
	return name != "" && name == strings.TrimSpace(name) && len(name) <= maxTopicName && utf8.ValidString(name) &&
		!strings.ContainsFunc(name, func(r rune) bool { return r == ',' || unicode.IsControl(r) })
}

// validTopics checks what a member chose: names, a line each.
func validTopics(lines string) bool {
	if lines == "" {
		return true
	}
	for name := range strings.SplitSeq(lines, "\n") {
		if !validTopic(name) {
			return false
		}
	}
	return len(lines) <= 64*maxTopicName
}

// ChooseTopics makes a member's choice of names: each must be a topic of the list, and
// is written as the list writes it.
func (s *Settings) ChooseTopics(names []string) (string, error) {
	var chosen []string
	for _, name := range names {
		name = strings.TrimSpace(name)
		found := ""
		for _, line := range s.Topics {
			if t, err := ParseTopic(line); err == nil && strings.EqualFold(t.Name, name) {
				found = t.Name
			}
		}
		if found == "" {
			return "", fmt.Errorf("no topic %q: the list's setting topics names them", name)
		}
		chosen = append(chosen, found)
	}
	return strings.Join(chosen, "\n"), nil
}
