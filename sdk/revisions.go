package sdk

import (
	"maps"

	"github.com/mlist/mlist/sdk/proto"
)

// Limits of what a plugin keeps of the settings that many posts have alike. mlist sends again
// what is not there.
const (
	maxRevisions     = 500
	maxRevisionBytes = 8 << 20
)

// revisions are such settings, by the name that mlist gave them.
type revisions struct {
	settings map[string]map[string]string
	bytes    int
}

// settings returns all of a list's settings, in a map that is the caller's own; ok is false if
// they have a name that says nothing here.
func (s *Server) settings(l *proto.List) (all map[string]string, ok bool) {
	if l.GetRevision() == "" {
		return l.GetSettings(), true
	}
	shared := l.GetShared()
	s.mu.Lock()
	if len(shared) > 0 {
		s.known.keep(l.GetRevision(), shared)
	} else {
		shared = s.known.settings[l.GetRevision()]
	}
	s.mu.Unlock()
	if shared == nil {
		return nil, false
	}
	all = maps.Clone(shared)
	maps.Copy(all, l.GetSettings())
	return all, true
}

// keep remembers settings, and forgets others, whichever, where there is no room.
func (r *revisions) keep(name string, settings map[string]string) {
	if r.settings[name] != nil {
		return
	}
	if r.settings == nil {
		r.settings = map[string]map[string]string{}
	}
	size := sizeOf(settings)
	for old, s := range r.settings {
		if len(r.settings) < maxRevisions && r.bytes+size <= maxRevisionBytes {
			break
		}
		r.bytes -= sizeOf(s)
		delete(r.settings, old)
	}
	r.settings[name] = settings
	r.bytes += size
}

// entry is about what one setting takes beside its text, in octets.
const entry = 64

func sizeOf(settings map[string]string) int {
	n := 0
	for name, text := range settings {
		n += entry + len(name) + len(text)
	}
	return n
}
