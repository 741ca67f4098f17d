package headers

import (
	"context"
	"regexp"
	"strings"
	"sync"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// topics is stage "topics". As in Mailman, a topic's pattern is looked for in Subject and
// Keywords, whatever the case, and in lines "Subject: …" and "Keywords: …" at the start of
// the text: the first line that looks like no header field ends the search. Of several
// lines of the setting with one name, one is enough.
//
// It writes X-Topics, and the note "topics.hits", a line for each topic that the post has,
// for stage recipients.
type topics struct {
	mu    sync.Mutex
	known map[string]*regexp.Regexp // by the pattern's text
}

// Bounds of what is looked at and kept.
const (
	maxTopicText  = 64 << 10 // octets of a post
	maxTopicLines = 1000     // of the body, whatever the setting says
	maxPatterns   = 1000     // compiled ones that are kept
	maxHits       = 200      // topics of one post
)

// Handle implements sdk.Handler.
func (t *topics) Handle(_ context.Context, p *sdk.Post) (sdk.Verdict, error) {
	if !p.List.Bool("topics_enabled") {
		return sdk.Accept, nil
	}
	text, err := topicText(p)
	if err != nil {
		return sdk.Verdict{}, err
	}
	var hits []string
	for _, line := range p.List.Lines("topics") {
		name, pattern, _ := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		re := t.compile(strings.TrimSpace(pattern))
		if re != nil && len(hits) < maxHits && !contains(hits, name) && re.MatchString(text) {
			hits = append(hits, name)
		}
	}
	p.Header.Remove("X-Topics") // the author's own would tell members' filters lies
	if len(hits) > 0 {
		p.Header.Append("X-Topics", strings.Join(hits, ", "))
	}
	if p.Notes == nil {
		p.Notes = map[string]string{}
	}
	p.Notes["topics.hits"] = strings.Join(hits, "\n")
	return sdk.Accept, nil
}

// compile returns a pattern's expression; nil if it is none. The setting was checked when
// it was made.
func (t *topics) compile(pattern string) *regexp.Regexp {
	t.mu.Lock()
	defer t.mu.Unlock()
	if re, ok := t.known[pattern]; ok {
		return re
	}
	re, err := regexp.Compile("(?im)" + pattern)
	if err != nil || pattern == "" {
		re = nil
	}
	if t.known == nil || len(t.known) >= maxPatterns {
		t.known = map[string]*regexp.Regexp{}
	}
	t.known[pattern] = re
	return re
}

// topicText is what patterns are looked for in: a line for each Subject and Keywords.
func topicText(p *sdk.Post) (string, error) {
	var b strings.Builder
	add := func(value string) {
		if room := maxTopicText - b.Len(); room > 0 {
			value = strings.Join(strings.Fields(value), " ")
			b.WriteString(strings.ToValidUTF8(value[:min(len(value), room)], "") + "\n")
		}
	}
	for _, name := range []string{"Subject", "Keywords"} {
		for _, value := range p.Header.Values(name) {
			add(message.DecodeText(value[:min(len(value), maxTopicText)]))
		}
	}
	limit := min(p.List.Int("topics_bodylines_limit"), maxTopicLines)
	if limit <= 0 || p.Body == nil {
		return b.String(), nil
	}
	lines, err := firstText(p, limit)
	if err != nil {
		return "", err
	}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.ContainsAny(name, " \t") {
			break
		}
		if strings.EqualFold(name, "Subject") || strings.EqualFold(name, "Keywords") {
			add(message.DecodeText(value))
		}
	}
	return b.String(), nil
}

// firstText returns up to limit lines, without empty ones, of the start of the first plain
// text in the post that is no attachment, decoded.
func firstText(p *sdk.Post, limit int) ([]string, error) {
	root, _, err := message.ParseStructure(p.Header, p.Body)
	if err != nil {
		return nil, err
	}
	part := plainText(root)
	if part == nil {
		return nil, nil
	}
	text, _, err := part.Text(p.Body, maxTopicText)
	if err != nil {
		return nil, err
	}
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			if lines = append(lines, line); len(lines) == limit {
				break
			}
		}
	}
	return lines, nil
}

func plainText(p *message.Part) *message.Part {
	if p.Disposition == "attachment" {
		return nil
	}
	if len(p.Parts) == 0 && p.Type == "text/plain" {
		return p
	}
	for _, child := range p.Parts {
		if found := plainText(child); found != nil {
			return found
		}
	}
	return nil
}
