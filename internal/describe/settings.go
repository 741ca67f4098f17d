package describe

import (
	"maps"
	"strings"
	"sync"

	"github.com/mlist/mlist/internal/list"
	"github.com/mlist/mlist/internal/templates"
	"github.com/mlist/mlist/sdk/wire"
)

// maxKept bounds the lists whose settings are kept in the form in which stages get them.
const maxKept = 500

// kept are settings, by all that they come of.
type kept struct {
	mu  sync.Mutex
	all map[keptKey]shared
}

type keptKey struct {
	revision, address string
	texts             *templates.Set
	language          string
}

// shared are a list's settings as stages get them with a post, and with an envelope.
type shared struct{ post, envelope *wire.Settings }

// settings are those of the list, for a post whose author reads the language.
func (d *Describer) settings(texts *templates.Set, l *list.List, language string) shared {
	if l.Revision == "" { // nobody says when they change
		return share(texts, l, language)
	}
	k := keptKey{l.Revision, l.Address.String(), texts, language}
	d.kept.mu.Lock()
	s, ok := d.kept.all[k]
	d.kept.mu.Unlock()
	if ok {
		return s
	}
	s = share(texts, l, language)
	d.kept.mu.Lock()
	defer d.kept.mu.Unlock()
	if d.kept.all == nil {
		d.kept.all = map[keptKey]shared{}
	}
	for old := range d.kept.all { // one of them, whichever
		if len(d.kept.all) < maxKept {
			break
		}
		delete(d.kept.all, old)
	}
	d.kept.all[k] = s
	return s
}

func share(texts *templates.Set, l *list.List, language string) shared {
	all := texts.Settings(l, language)
	few := maps.Clone(all)
	maps.DeleteFunc(few, func(name, text string) bool { return text == "" || strings.HasPrefix(name, templates.Prefix) })
	return shared{wire.NewSettings(all), wire.NewSettings(few)}
}
