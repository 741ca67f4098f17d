package dir

import "os"

// opened is a file of a post that was read, and is kept open for who reads it next: the next
// chunk of a pack, the next transaction with the same content.
type opened struct {
	*os.File
	info  os.FileInfo
	users int // those who read it, and the post that keeps it
}

// maxKept bounds the files that are kept open.
const maxKept = 128

// open opens the file that has this name now, like openRegular. What the post keeps is used
// again if it is that file, or else is kept from now on. Who has read it says so by left.
func (o *outgoing) open(keep **opened, path string) (*opened, error) {
	there, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	f := *keep
	if f != nil && os.SameFile(there, f.info) {
		f.users++
		o.mu.Unlock()
		return f, nil
	}
	o.mu.Unlock()
	f = &opened{users: 1}
	if f.File, f.info, err = o.s.fs.openRegular(path); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.turns.letGo(keep)
	if o.turns.kept < maxKept && !o.ending {
		o.turns.kept++
		f.users++
		*keep = f
	}
	return f, nil
}

// left is said once by each who has opened a file.
func (o *outgoing) left(f *opened) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f.leave()
}

// letGo has nothing kept there: a file that is removed takes its room on the disk until it is
// closed.
func (t *turns) letGo(keep **opened) {
	if f := *keep; f != nil {
		*keep = nil
		t.kept--
		f.leave()
	}
}

// leave closes the file after the last who uses it.
func (f *opened) leave() {
	if f.users--; f.users == 0 {
		_ = f.Close() // it was only read
	}
}
