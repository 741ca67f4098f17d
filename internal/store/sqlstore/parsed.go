package sqlstore

import (
	"crypto/rand"
	"encoding/json"
	"strconv"
	"sync"

	"github.com/mlist/mlist/internal/list"
)

// maxParsed bounds the settings that are kept parsed.
const maxParsed = 500

// parsed keeps settings parsed, by the text in which they are stored: it is read each time, so
// that nothing here is ever old.
type parsed struct {
	mu     sync.Mutex
	styles *list.Styles // from which they were parsed
	all    map[parsedKey]parsedSettings
	prefix string
	last   uint64
}

type parsedKey struct{ style, text string }

type parsedSettings struct {
	settings list.Settings
	revision string
}

// settings are those of a list with the text, and what names them.
func (p *parsed) settings(styles *list.Styles, style, text string) (list.Settings, string, error) {
	k := parsedKey{style, text}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.styles == styles {
		if s, ok := p.all[k]; ok {
			return s.settings, s.revision, nil
		}
	}
	var overrides map[string]string
	if err := json.Unmarshal([]byte(text), &overrides); err != nil {
		return list.Settings{}, "", err
	}
	settings, err := styles.Stored(style, overrides)
	if err != nil {
		return settings, "", err
	}
	if p.styles != styles || p.all == nil {
		p.styles, p.all = styles, map[parsedKey]parsedSettings{}
	}
	for old := range p.all { // one of them, whichever
		if len(p.all) < maxParsed {
			break
		}
		delete(p.all, old)
	}
	if p.prefix == "" {
		p.prefix = rand.Text() + "."
	}
	p.last++
	revision := p.prefix + strconv.FormatUint(p.last, 10)
	p.all[k] = parsedSettings{settings, revision}
	return settings, revision, nil
}
