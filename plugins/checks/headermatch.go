package checks

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// match is one line of header_matches, or of bounce_matching_headers.
type match struct {
	action, field string
	pattern       *regexp.Regexp
}

// matchActions are what a match may do.
var matchActions = []string{"hold", "reject", "discard", "accept", "defer"}

// parseMatch reads ACTION FIELD: PATTERN.
func parseMatch(line string) (match, error) {
	action, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	if !slices.Contains(matchActions, action) {
		return match{}, fmt.Errorf("%q: want ACTION FIELD: PATTERN, where ACTION is one of %s", line, strings.Join(matchActions, ", "))
	}
	m, err := parseFieldMatch(rest)
	m.action = action
	return m, err
}

// parseFieldMatch reads FIELD: PATTERN.
func parseFieldMatch(line string) (match, error) {
	field, pattern, ok := strings.Cut(line, ":")
	field, pattern = strings.TrimSpace(field), strings.TrimSpace(pattern)
	if !ok || field == "" || pattern == "" || strings.ContainsAny(field, " \t") {
		return match{}, fmt.Errorf("%q: want FIELD: PATTERN", line)
	}
	re, err := regexp.Compile("(?i)" + pattern)
	if err != nil {
		return match{}, fmt.Errorf("%q: %w", line, err)
	}
	return match{field: field, pattern: re}, nil
}

// headerMatch goes through the site's lines and then the list's, as they are ordered. A
// line that says "defer" is only recorded, and the search goes on.
func (p *patterns) headerMatch(_ context.Context, v *view) (finding, error) {
	lines := slices.Concat(v.config.HeaderMatches, v.List.Lines("header_matches"))
	if len(lines) == 0 {
		return finding{}, nil
	}
	var deferred []string
	for _, m := range p.matches(v.List, "header_matches", strings.Join(lines, "\n"), parseMatch) {
		found, err := v.has(m)
		if err != nil {
			return finding{}, err
		}
		if !found {
			continue
		}
		reason := fmt.Sprintf("The field %s matches %s.", m.field, strings.TrimPrefix(m.pattern.String(), "(?i)"))
		if m.action != "defer" {
			return acts(m.action, "header-match", strings.Join(append(deferred, reason), " "), "header-match"), nil
		}
		deferred = append(deferred, reason)
	}
	if len(deferred) == 0 {
		return finding{}, nil
	}
	return acts("defer", "header-match", strings.Join(deferred, " "), ""), nil
}

// suspiciousHeader goes by the setting of old that Mailman kept.
func (p *patterns) suspiciousHeader(_ context.Context, v *view) (finding, error) {
	text := v.List.String("bounce_matching_headers")
	if text == "" {
		return finding{}, nil
	}
	for _, m := range p.matches(v.List, "bounce_matching_headers", text, parseFieldMatch) {
		found, err := v.has(m)
		if err != nil {
			return finding{}, err
		}
		if found {
			return decided(sdk.Hold("suspicious-header", fmt.Sprintf("The field %s matches %s.", m.field, strings.TrimPrefix(m.pattern.String(), "(?i)")))), nil
		}
	}
	return finding{}, nil
}

// has tells whether a field of the message, or of one of its parts, matches.
func (v *view) has(m match) (bool, error) {
	if m.in(v.Header) {
		return true, nil
	}
	if v.Body == nil || !strings.HasPrefix(strings.ToLower(strings.TrimSpace(v.Header.Get("Content-Type"))), "multipart/") {
		return false, nil
	}
	root, err := v.structure()
	if err != nil {
		return false, err
	}
	return m.inParts(root), nil
}

func (m match) inParts(p *message.Part) bool {
	for _, child := range p.Parts {
		if m.in(child.Header) || m.inParts(child) {
			return true
		}
	}
	return false
}

// in asks of every field of that name, unfolded and decoded (RFC 2047).
func (m match) in(h *message.Header) bool {
	for _, value := range h.Values(m.field) {
		if m.pattern.MatchString(message.DecodeText(value)) {
			return true
		}
	}
	return false
}

// matches compiles a text of matches once. One that is none is ignored, and said so: a
// bad line must not stop a list's mail.
func (p *patterns) matches(l sdk.List, setting, text string, parse func(string) (match, error)) []match {
	return p.compiled(setting+"\n"+text, func() *matcher {
		m := &matcher{}
		for line := range strings.SplitSeq(text, "\n") {
			if strings.TrimSpace(line) == "" {
				continue
			}
			one, err := parse(line)
			if err != nil {
				slog.Warn("bad pattern ignored", "list", l.Address, "setting", setting, "error", err)
				continue
			}
			m.matches = append(m.matches, one)
		}
		return m
	}).matches
}
