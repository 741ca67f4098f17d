package checks

import (
	"log/slog"
	"regexp"
	"strings"
	"sync"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/message"
)

// Bounds of the cache, over all lists: settings kept, and octets of their text.
const (
	maxCached       = 1024
	maxCachedOctets = 8 << 20
)

// patterns matches addresses against settings that are lists of addresses and of
// patterns that start with ^. It compiles a setting's text once. Patterns are RE2:
// the time they take is linear, whatever an administrator writes.
type patterns struct {
	mu     sync.RWMutex
	cache  map[string]*matcher // by the setting's text
	octets int
}

// matcher is one setting, compiled.
type matcher struct {
	exact    map[string]bool // by key
	patterns []*regexp.Regexp
	matches  []match // of a setting that is a list of those
}

func newPatterns() *patterns { return &patterns{cache: map[string]*matcher{}} }

// match tells whether the setting of that name names addr.
func (c *patterns) match(l sdk.List, setting, addr string) bool {
	text := l.String(setting)
	if text == "" {
		return false
	}
	return c.compiled(text, func() *matcher { return compile(l, setting, text) }).match(message.AddressKey(addr))
}

// compiled returns what is kept for a text, or makes it.
func (c *patterns) compiled(text string, compile func() *matcher) *matcher {
	c.mu.RLock()
	m := c.cache[text]
	c.mu.RUnlock()
	if m != nil {
		return m
	}
	m = compile()
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.cache[text]; ok {
		return m
	}
	if len(c.cache) >= maxCached || c.octets+len(text) > maxCachedOctets {
		// Settings change rarely and few lists are busy: starting over is simple and enough.
		clear(c.cache)
		c.octets = 0
	}
	c.cache[text] = m
	c.octets += len(text)
	return m
}

// compile ignores a pattern that is none, and says so: a bad line must not stop a
// list's mail.
func compile(l sdk.List, setting, text string) *matcher {
	m := &matcher{exact: map[string]bool{}}
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case line[0] != '^':
			m.exact[message.AddressKey(line)] = true
		default:
			// The group makes ^ count for every alternative, as Mailman has it.
			re, err := regexp.Compile("(?i)^(?:" + line + ")")
			if err != nil {
				slog.Warn("bad pattern ignored", "list", l.Address, "setting", setting, "pattern", line, "error", err)
				continue
			}
			m.patterns = append(m.patterns, re)
		}
	}
	return m
}

func (m *matcher) match(key string) bool {
	if m.exact[key] {
		return true
	}
	for _, re := range m.patterns {
		if re.MatchString(key) {
			return true
		}
	}
	return false
}
