package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"

	"github.com/mlist/mlist/sdk/proto"
)

// Settings are settings that many posts have alike, under a name that stands for them and no
// others. They do not change.
type Settings struct {
	name string
	all  map[string]string
}

// NewSettings takes a map over. Its name comes of what is in it.
func NewSettings(all map[string]string) *Settings {
	all = texts(all)
	h := sha256.New()
	add := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		add(name)
		add(all[name])
	}
	return &Settings{name: hex.EncodeToString(h.Sum(nil)[:16]), all: all}
}

// Revision is the name.
func (s *Settings) Revision() string { return s.name }

// Settings are all of the list's settings, as they travel to a plugin that remembers none.
func (p *Post) Settings() map[string]string {
	own := texts(p.List.Settings)
	if p.Shared == nil || len(p.Shared.all) == 0 {
		return own
	}
	all := maps.Clone(p.Shared.all)
	maps.Copy(all, own)
	return all
}

// RequestByRevision is Request to a plugin that uses sdk.CapRevisions: shared settings go by
// their name, and only if told, with what it means.
func RequestByRevision(p *Post, stages []string, withBody, told bool) *proto.HandleRequest {
	if p.Shared == nil || len(p.Shared.all) == 0 {
		return Request(p, stages, withBody)
	}
	plain := *p
	plain.Shared = nil
	req := Request(&plain, stages, withBody)
	req.List.Revision = p.Shared.name
	if told {
		req.List.Shared = p.Shared.all
	}
	return req
}
