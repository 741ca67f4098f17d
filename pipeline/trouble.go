package pipeline

import (
	"sync"
	"time"
)

// trouble is what keeps posts waiting at present, though they cannot help it: a store that
// is locked, a disk that is full.
type trouble struct {
	mu    sync.Mutex
	what  string
	since time.Time
}

// Trouble tells what keeps posts waiting at present, and since when; "" if nothing does.
func (d *Daemon) Trouble() (what string, since time.Time) {
	d.trouble.mu.Lock()
	defer d.trouble.mu.Unlock()
	return d.trouble.what, d.trouble.since
}

// met notes a failure that is the machine's.
func (t *trouble) met(cause error, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.what == "" {
		t.since = now
	}
	t.what = cause.Error()
}

// over notes that work went through to its end.
func (t *trouble) over() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.what = ""
}
