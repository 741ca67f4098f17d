package dir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// faults makes the n-th call, or all from the n-th on, fail.
type faults struct {
	mu       sync.Mutex
	calls    []string
	at       int // 0: no fault
	sticky   bool
	removals bool // removals count, and fail too; else all can be undone
	nfs      bool // the file system cannot refuse to replace
	err      error
}

func (f *faults) call(what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, what)
	if f.at != 0 && (len(f.calls) == f.at || f.sticky && len(f.calls) > f.at) {
		return f.err
	}
	return nil
}

// begin counts calls from here on.
func (f *faults) begin(at int) { f.mu.Lock(); f.calls, f.at = nil, at; f.mu.Unlock() }

// heal ends the faults, and tells whether there was one.
func (f *faults) heal() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	fired := f.at != 0 && len(f.calls) >= f.at
	f.at = 0
	return fired
}

func (f *faults) files() files {
	fs := system
	fs.create = func(path string) (*os.File, error) {
		if err := f.call("create " + path); err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return system.create(path)
	}
	fs.write = func(file *os.File, p []byte) (int, error) {
		if err := f.call("write " + file.Name()); err != nil {
			n, _ := system.write(file, p[:len(p)/2])
			return n, &os.PathError{Op: "write", Path: file.Name(), Err: err}
		}
		return system.write(file, p)
	}
	fs.copy = func(dst, src *os.File, offset, length int64) error {
		if err := f.call("copy " + dst.Name()); err != nil {
			return err
		}
		return system.copy(dst, src, offset, length)
	}
	fs.sync = func(file *os.File) error {
		if err := f.call("sync " + file.Name()); err != nil {
			return err
		}
		return system.sync(file)
	}
	fs.open = func(path string, flags int) (*os.File, error) {
		if err := f.call("open " + path); err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return system.open(path, flags)
	}
	fs.reuse = func(path string) (*os.File, int64, error) {
		if err := f.call("reuse " + path); err != nil {
			return nil, 0, err
		}
		return system.reuse(path)
	}
	fs.truncate = func(file *os.File, size int64) error {
		if err := f.call("truncate " + file.Name()); err != nil {
			return err
		}
		return system.truncate(file, size)
	}
	fs.close = func(file *os.File) error {
		err := f.call("close " + file.Name())
		return errors.Join(err, system.close(file))
	}
	fs.rename = func(from, to string) error {
		if err := f.call("rename " + to); err != nil {
			return err
		}
		return system.rename(from, to)
	}
	fs.noReplace = func(from, to string) error {
		if f.nfs {
			return unix.EINVAL
		}
		if err := f.call("rename " + to); err != nil {
			return err
		}
		return system.noReplace(from, to)
	}
	fs.exchange = func(x, y string) error {
		if f.nfs {
			return unix.EINVAL
		}
		if err := f.call("exchange " + y); err != nil {
			return err
		}
		return system.exchange(x, y)
	}
	fs.link = func(from, to string) error {
		if err := f.call("link " + to); err != nil {
			return err
		}
		return system.link(from, to)
	}
	fs.remove = func(path string) error {
		if f.removals {
			if err := f.call("remove " + path); err != nil {
				return &os.PathError{Op: "remove", Path: path, Err: err}
			}
		}
		return system.remove(path)
	}
	fs.mkdir = func(path string) error {
		if err := f.call("mkdir " + path); err != nil {
			return err
		}
		return system.mkdir(path)
	}
	return fs
}

// step is what is tried under faults. It returns an error, or what it did is in force.
type step struct {
	name string
	// prepare sets the stage; run is tried until it works; check looks at the outcome.
	run func(ctx context.Context, x *world) error
	// want is what the spool holds in the end: see world.look.
	want string
	// inForce tells that the step may be done although an error was returned: doing it
	// again then changes nothing.
	inForce bool
}

// world is a spool with one owner of each kind.
type world struct {
	t     *testing.T
	s     *Spool
	in    spool.Owner
	out   spool.OutgoingOwner
	entry spool.Entry
	// second follows entry, where a step needs it.
	second spool.Entry
	chunk  *spool.Chunk
	puts   int
}

var steps = []step{
	{"put", func(ctx context.Context, x *world) error { return x.put(ctx, 10) }, "incoming incoming", false},
	{"put a large message", func(ctx context.Context, x *world) error { return x.put(ctx, 2*inMemory) }, "incoming incoming", false},
	{"defer", func(ctx context.Context, x *world) error {
		return x.in.Defer(ctx, x.entry, time.Now().Add(time.Hour), "busy")
	}, "incoming:busy:1", false},
	{"park", func(ctx context.Context, x *world) error {
		return x.in.Park(ctx, x.entry, spool.Held, "why", nil)
	}, "held:why", false},
	{"commit", func(ctx context.Context, x *world) error {
		return x.commit(ctx, nil, []string{"r1", "r2"})
	}, "r1 r2", true},
	{"commit of several", func(ctx context.Context, x *world) error {
		var group []spool.Prepared
		for _, e := range []*spool.Entry{&x.entry, &x.second} {
			if e.ID == "" {
				continue // it was committed
			}
			done, err := x.in.Finished(ctx, *e)
			if err == nil && done {
				if err = x.in.Done(ctx, *e); err == nil {
					*e = spool.Entry{}
				}
			}
			if err != nil {
				return err
			}
			if done {
				continue
			}
			p, err := x.in.Prepare(ctx, *e)
			if err != nil {
				return err
			}
			w, err := p.Content("plain")
			if err == nil {
				err = w.Close()
			}
			if err == nil {
				err = p.AddChunk(ctx, spool.Chunk{Variant: "plain", Recipients: []string{"r"}})
			}
			if err != nil {
				return errors.Join(err, p.Abort())
			}
			group = append(group, p)
		}
		n, err := x.in.Commit(ctx, group...)
		for _, e := range []*spool.Entry{&x.entry, &x.second} {
			if n > 0 && e.ID != "" {
				*e = spool.Entry{}
				n--
			}
		}
		return err
	}, "r r", true},
	{"commit with a new entry", func(ctx context.Context, x *world) error {
		return x.commit(ctx, &spool.Envelope{List: x.entry.List, Notes: map[string]string{"new": "yes"}}, []string{"r1", "r2"})
	}, "incoming r1 r2", true},
	{"commit of chunks that share a file", func(ctx context.Context, x *world) error {
		return x.commit(ctx, nil, []string{"r1"}, []string{"r2"}, []string{"r3"})
	}, "r1 r2 r3", true},
	{"progress in a chunk that shares its file", func(ctx context.Context, x *world) error {
		return x.out.Progress(x.chunk, 0)
	}, "r1 r2", false},
	{"done", func(ctx context.Context, x *world) error { return x.in.Done(ctx, x.entry) }, "", true},
	{"settle", func(ctx context.Context, x *world) error {
		return x.out.Settle(ctx, x.chunk, spool.Settlement{})
	}, "", false},
	{"settle with a deferral", func(ctx context.Context, x *world) error {
		return x.out.Settle(ctx, x.chunk, spool.Settlement{Deferred: []string{"r2"}, Due: time.Now().Add(time.Hour)})
	}, "r2", false},
	{"settle of a directory", func(ctx context.Context, x *world) error {
		return x.out.Settle(ctx, x.chunk, spool.Settlement{})
	}, "", false},
	{"settle of a directory, with a deferral", func(ctx context.Context, x *world) error {
		return x.out.Settle(ctx, x.chunk, spool.Settlement{Deferred: []string{"r2"}, Due: time.Now().Add(time.Hour)})
	}, "r2", false},
	{"first progress of a small post", func(ctx context.Context, x *world) error { return x.out.Progress(x.chunk, 0) }, "r2", true},
	{"pause of a small post", func(ctx context.Context, x *world) error { return x.s.PausePost(ctx, x.chunk.Post) }, "r1 r2", true},
	{"retry of a parked entry", func(ctx context.Context, x *world) error {
		e, err := x.s.Find(ctx, x.entry.ID)
		if err != nil {
			return err
		}
		return x.s.Retry(ctx, e, spool.FlagApproved)
	}, "incoming[approved]", true},
	{"remove a parked entry", func(ctx context.Context, x *world) error {
		x.entry.Queue = spool.Held
		if err := x.s.Remove(ctx, x.entry); err != nil && !errors.Is(err, spool.ErrNotFound) {
			return err
		}
		return nil
	}, "", true},
	{"retry the chunks of a post", func(ctx context.Context, x *world) error {
		return x.s.RetryChunks(ctx, x.chunk.Post)
	}, "r2", false},
	{"remove a post", func(ctx context.Context, x *world) error {
		if err := x.s.RemovePost(ctx, x.chunk.Post); err != nil && !errors.Is(err, spool.ErrNotFound) {
			return err
		}
		return nil
	}, "", true},
}

// commit makes a post of the entry, with these chunks, and a new entry if there is one; of an entry that was made one before, the rest.
func (x *world) commit(ctx context.Context, more *spool.Envelope, chunks ...[]string) error {
	if done, err := x.in.Finished(ctx, x.entry); err != nil {
		return err
	} else if done {
		return x.in.Done(ctx, x.entry)
	}
	p, err := x.in.Prepare(ctx, x.entry)
	if err != nil {
		return err
	}
	w, err := p.Content("plain")
	if err == nil {
		_, _ = w.Write([]byte("x")) // Close tells
		err = w.Close()
	}
	for _, recipients := range chunks {
		if err == nil {
			err = p.AddChunk(ctx, spool.Chunk{Variant: "plain", Recipients: recipients})
		}
	}
	if err == nil && more != nil {
		_, err = p.AddEntry(ctx, *more, []byte("x"))
	}
	if err != nil {
		return errors.Join(err, p.Abort())
	}
	return p.Commit(ctx)
}

func (x *world) put(ctx context.Context, size int) error {
	d, err := x.s.Create(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err := d.Write(make([]byte, size)); err != nil {
		return err
	}
	for x.puts < 2 {
		if _, err := d.Put(ctx, spool.Incoming, "", spool.Envelope{List: "dev@l.test"}); err != nil {
			return err
		}
		x.puts++
	}
	return nil
}

// look tells what the spool holds, in words.
func (x *world) look() string {
	var words []string
	for _, q := range []spool.Queue{spool.Incoming, spool.Bounces, spool.Held, spool.Failed} {
		for e, err := range x.s.Entries(x.t.Context(), q) {
			if err != nil {
				x.t.Fatal(err)
			}
			w := string(q)
			if e.Reason != "" {
				w += ":" + e.Reason
			}
			if e.Tries > 0 {
				w += fmt.Sprint(":", e.Tries)
			}
			if len(e.Flags) > 0 {
				w += fmt.Sprint(e.Flags)
			}
			words = append(words, w)
		}
	}
	var recipients []string // in no order: that of the chunks' keys is any
	for c, err := range x.s.Chunks(x.t.Context(), true) {
		if err != nil {
			x.t.Fatal(err)
		}
		recipients = append(recipients, c.Recipients...)
	}
	slices.Sort(recipients)
	return strings.Join(append(words, recipients...), " ")
}

func newWorld(t *testing.T, f *faults, name string) *world {
	t.Helper()
	s, err := open(t.TempDir(), Options{}, f.files())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	x := &world{t: t, s: s}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	check := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	if strings.HasPrefix(name, "put") {
		return x
	}
	x.puts = 1
	check(x.put(ctx, 10))
	x.in, err = s.Own(ctx, spool.Incoming, segment.All, "test")
	check(err)
	x.entry, err = x.in.Next(ctx)
	check(err)
	if strings.Contains(name, "several") {
		x.puts = 1
		check(x.put(ctx, 10))
		for ok := false; !ok; runtime.Gosched() { // until the owner has heard of it
			x.second, ok, err = x.in.Following(ctx, x.entry)
			check(err)
		}
	}
	if strings.Contains(name, "parked") {
		check(x.in.Park(ctx, x.entry, spool.Held, "why", nil))
	}
	if strings.HasPrefix(name, "settle") || strings.Contains(name, "post") {
		for _, st := range steps {
			if st.name == "commit" {
				check(st.run(ctx, x))
			}
		}
		x.out, err = s.OwnOutgoing(ctx, segment.All, "test")
		check(err)
		x.chunk, err = x.out.Next(ctx)
		check(err)
	}
	if strings.HasPrefix(name, "progress") {
		for _, st := range steps {
			if st.name == "commit of chunks that share a file" {
				check(st.run(ctx, x))
			}
		}
		x.out, err = s.OwnOutgoing(ctx, segment.All, "test")
		check(err)
		for x.chunk == nil || x.chunk.Recipients[0] != "r3" {
			x.chunk, err = x.out.Next(ctx)
			check(err)
		}
	}
	if out, ok := x.out.(*outgoing); ok && strings.Contains(name, "of a directory") && out.out[x.chunk.ID()].file.small {
		_, err := out.spread(x.chunk, out.out[x.chunk.ID()])
		check(err)
	}
	if strings.HasPrefix(name, "retry the chunks") {
		check(x.out.Settle(ctx, x.chunk, spool.Settlement{Deferred: []string{"r2"}, Due: time.Now().Add(time.Hour)}))
	}
	return x
}

func TestEachCallFails(t *testing.T) {
	modes := []struct {
		name string
		faults
	}{
		{"once, with no space left", faults{err: unix.ENOSPC, removals: true}},
		{"once, with an error of the disk", faults{err: unix.EIO, removals: true}},
		{"for ever, but removals work", faults{err: unix.ENOSPC, sticky: true}},
		{"for ever, removals too", faults{err: unix.EIO, sticky: true, removals: true}},
		{"once, on NFS", faults{err: unix.EIO, removals: true, nfs: true}},
		{"for ever, on NFS", faults{err: unix.EIO, removals: true, nfs: true, sticky: true}},
	}
	for _, st := range steps {
		for i := range modes {
			t.Run(st.name+" "+modes[i].name, func(t *testing.T) {
				t.Parallel()
				fired := true
				n := 0
				for fired {
					n++
					f := &faults{err: modes[i].err, sticky: modes[i].sticky, removals: modes[i].removals, nfs: modes[i].nfs}
					fired = failAt(t, st, n, f)
				}
				if n < 2 && canFail(st, modes[i].removals) {
					t.Fatal("no call was made to fail")
				}
			})
		}
	}
}

// canFail tells whether a step makes any call that can fail.
func canFail(st step, removals bool) bool {
	return removals || st.name != "settle" && st.name != "settle of a directory"
}

// failAt has the n-th call fail, and tells whether there was one.
func failAt(t *testing.T, st step, n int, f *faults) bool {
	t.Helper()
	x := newWorld(t, f, st.name)
	before := x.look()
	f.begin(n)
	err := st.run(t.Context(), x)
	fired := f.heal()
	if !fired && err != nil {
		t.Fatalf("without a fault: %v", err)
	}
	undone := !(f.sticky && f.removals) // what failed was taken back
	isPut := strings.HasPrefix(st.name, "put")
	if err != nil {
		// Of what was tried nothing may be left, unless it is in force already: a
		// commit whose last sync failed, which Finished recognises; a removal whose sync
		// failed; what could not be undone.
		got := x.look()
		switch {
		case isPut:
			if extra := len(strings.Fields(got)) - x.puts; extra != 0 && (undone || extra != 1) {
				t.Fatalf("call %d failed (%v): the spool holds %q after %d puts", n, err, got, x.puts)
			}
		case got == before || got == st.want && (f.sticky || st.inForce):
		case strings.HasPrefix(st.name, "commit") && (got == before+" "+st.want || got == before+" r1 r2" || got == before+" r1 r2 r3"): // Finished tells
		case strings.Contains(st.name, "several") && slices.Contains([]string{"incoming incoming r", "incoming r", "incoming r r"}, got): // the same
		case !undone && f.nfs && strings.Contains(got, before) && strings.Contains(got, st.want): // a link, and no unlink
		default:
			t.Fatalf("call %d failed (%v): the spool holds %q, before it was %q", n, err, got, before)
		}
		if !errors.Is(err, f.err) {
			t.Fatalf("call %d failed: error %v does not tell why", n, err)
		}
		if err := st.run(t.Context(), x); err != nil {
			t.Fatalf("call %d failed, and when all works again: %v", n, err)
		}
	}
	if got := x.look(); got != st.want && !(isPut && !undone && got == st.want+" incoming") &&
		!(f.nfs && !undone && got == st.want+" "+before) {
		t.Fatalf("call %d failed (%v): the spool holds %q, want %q", n, err, got, st.want)
	}
	// What stays in tmp goes with the process.
	left, _ := filepath.Glob(filepath.Join(x.s.root, tempDir, "*", "*-*"))
	left = slices.DeleteFunc(left, func(path string) bool { return strings.HasPrefix(filepath.Base(path), "spare-") })
	if len(left) > 0 && !f.removals {
		t.Fatalf("call %d failed (%v): tmp has %v", n, err, left)
	}
	if err := x.s.Close(); err != nil {
		t.Fatal(err)
	}
	return fired
}

func TestPutSyncsBeforeAndAfterItRenames(t *testing.T) {
	f := &faults{}
	s, err := open(t.TempDir(), Options{}, f.files())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	x := &world{t: t, s: s, puts: 1}
	if err := x.put(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	x.puts = 1
	f.begin(0)
	if err := x.put(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range f.calls {
		op, path, _ := strings.Cut(c, " ")
		got = append(got, op+" "+strings.Split(strings.TrimPrefix(path, s.root+"/"), "/")[0])
	}
	want := "create tmp, write tmp, write tmp, sync tmp, close tmp, rename incoming, open incoming, sync incoming"
	if strings.Join(got, ", ") != want {
		t.Errorf("calls  %s\nwanted %s", strings.Join(got, ", "), want)
	}
}
