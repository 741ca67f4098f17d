package postfix

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

// spellings are the forms in which a domain may stand in Postfix's tables and in mail: as it
// is, and with A-labels (xn--) where it has letters that are not ASCII.
func spellings(domain string) []string {
	if ascii, err := idna.Lookup.ToASCII(domain); err == nil && ascii != domain {
		return []string{domain, ascii}
	}
	return []string{domain}
}

// holds tells whether a domain is in a list of domains, in any spelling.
func (p *Instance) holds(ctx context.Context, param, domain string) (bool, error) {
	value, err := p.Param(ctx, param)
	if err != nil {
		return false, err
	}
	flags, err := p.Param(ctx, "parent_domain_matches_subdomains")
	if err != nil {
		return false, err
	}
	parents := param == "relay_domains" && slices.Contains(split(flags), param)
	for _, d := range spellings(domain) {
		if in, err := p.match(ctx, split(value), d, parents); err != nil {
			return false, fmt.Errorf("%s: %w", param, err)
		} else if in {
			return true, nil
		}
	}
	return false, nil
}

// match goes through the patterns of a list of domains as Postfix does: domains, tables, files
// with more patterns, and any of these with ! before it. The first that fits decides.
func (p *Instance) match(ctx context.Context, patterns []string, domain string, parents bool) (bool, error) {
	for _, item := range patterns {
		pattern := strings.TrimLeft(item, "!")
		fits, err := p.fits(ctx, pattern, domain, parents)
		if err != nil {
			return false, err
		}
		if fits {
			return (len(item)-len(pattern))%2 == 0, nil
		}
	}
	return false, nil
}

func (p *Instance) fits(ctx context.Context, pattern, domain string, parents bool) (bool, error) {
	switch {
	case strings.HasPrefix(pattern, "/"):
		text, err := os.ReadFile(pattern)
		if err != nil {
			return false, err
		}
		var inside []string
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "#") {
				inside = append(inside, split(line)...)
			}
		}
		return p.match(ctx, inside, domain, parents)
	case strings.Contains(pattern, ":") && !strings.HasPrefix(pattern, "["):
		for d := domain; ; {
			found, err := p.lookup(ctx, pattern, d)
			if err != nil || found != "" {
				return err == nil, err
			}
			_, rest, ok := strings.Cut(d, ".")
			if !parents || !ok {
				return false, nil
			}
			d = rest
		}
	case strings.EqualFold(pattern, domain):
		return true, nil
	case strings.HasPrefix(pattern, "."):
		return !parents && hasSuffixFold(domain, pattern), nil
	}
	return parents && hasSuffixFold(domain, "."+pattern), nil
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}

// first is what the first table of a parameter that has a key says, and which one that is.
// Tables in the directory but are not asked, unless it is "".
func (p *Instance) first(ctx context.Context, param, key, but string) (value, table string, err error) {
	tables, err := p.Param(ctx, param)
	if err != nil {
		return "", "", err
	}
	for _, table := range split(tables) {
		if but != "" && strings.Contains(table, ":"+but+"/") {
			continue
		}
		if value, err := p.lookup(ctx, table, key); err != nil || value != "" {
			return value, table, err
		}
	}
	return "", "", nil
}

// swallower is the table of transport_maps that has a next hop for every address of a domain
// that it is asked for as a whole, before Postfix asks any table for the domain: one of
// regular expressions, say. "" if there is none, or none before mlist's, which are in a directory.
func (p *Instance) swallower(ctx context.Context, domain, own string) (string, error) {
	_, table, err := p.first(ctx, "transport_maps", "mlist-nobody-bounces+nobody=example.com@"+domain, own)
	return table, err
}
