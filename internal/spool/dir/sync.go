package dir

import "sync"

// syncer syncs a directory for many callers at once. Each waits for a sync that
// began after its call; those that come while one is under way share the next.
type syncer struct {
	path string
	fs   *files

	running sync.Mutex // held during a sync
	mu      sync.Mutex
	next    *batch // waits for running; nil if no one does
	began   int64  // syncs so far
	ended   int64  // the number of the last one that went well
}

type batch struct {
	done chan struct{}
	err  error
}

func (d *syncer) sync() error {
	d.mu.Lock()
	if b := d.next; b != nil {
		d.mu.Unlock()
		<-b.done
		return b.err
	}
	b := &batch{done: make(chan struct{})}
	d.next = b
	d.mu.Unlock()

	d.running.Lock()
	d.mu.Lock()
	d.next = nil // whoever comes now may be too late for this sync
	d.began++
	number := d.began
	d.mu.Unlock()
	b.err = d.fs.syncDir(d.path)
	if b.err == nil {
		d.mu.Lock()
		d.ended = number
		d.mu.Unlock()
	}
	d.running.Unlock()
	close(b.done)
	return b.err
}

// mark is a moment, for since.
func (d *syncer) mark() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.began
}

// since tells whether a sync has begun after a moment, and gone well.
func (d *syncer) since(mark int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ended > mark
}
