package outbound

import (
	"sync"
	"time"

	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/mailauth"
)

// keysFor is how long a key is used before its file is read again.
const keysFor = time.Minute

// keys are those that copies are signed with.
type keys struct {
	mu    sync.Mutex
	known map[spool.SignKey]knownKey
}

type knownKey struct {
	*mailauth.Key
	read time.Time
}

// load returns the keys that a chunk asks for.
func (k *keys) load(wanted []spool.SignKey, now time.Time) ([]*mailauth.Key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]*mailauth.Key, len(wanted))
	for i, w := range wanted {
		known, ok := k.known[w]
		if !ok || now.Sub(known.read) > keysFor {
			key, err := mailauth.KeyFile{Domain: w.Domain, Selector: w.Selector, Path: w.File}.Load()
			if err != nil {
				return nil, err
			}
			if k.known == nil || len(k.known) >= 1000 {
				k.known = map[spool.SignKey]knownKey{}
			}
			known = knownKey{key, now}
			k.known[w] = known
		}
		out[i] = known.Key
	}
	return out, nil
}
