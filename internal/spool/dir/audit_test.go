package dir

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
	"github.com/mlist/mlist/internal/spool/spooltest"
)

// auditor watches the order of the calls that change the spool, and holds it against
// the rules of docs/spool.md ("What must be synced when"): what a power cut may take
// is what no sync has covered that began after it.
type auditor struct {
	root   string
	deaf   string // it does not hear of syncs of such paths, to prove that it would notice
	mu     sync.Mutex
	serial int
	dirty  map[string]int            // files, by their last write
	made   map[string]map[string]int // names that appeared in a directory
	gone   map[string]map[string]int // names that went from it
	spare  map[string]string         // files that were a queue's, and where
	wrong  []string
}

func newAuditor(root string) *auditor {
	return &auditor{root: root, dirty: map[string]int{}, made: map[string]map[string]int{}, gone: map[string]map[string]int{}, spare: map[string]string{}}
}

func (a *auditor) blame(format string, args ...any) {
	a.wrong = append(a.wrong, strings.ReplaceAll(fmt.Sprintf(format, args...), a.root+"/", ""))
}

func (a *auditor) name(in map[string]map[string]int, path string) {
	dir := filepath.Dir(path)
	if in[dir] == nil {
		in[dir] = map[string]int{}
	}
	a.serial++
	in[dir][filepath.Base(path)] = a.serial
}

// appears is told of each name that is made.
func (a *auditor) appears(path string) {
	a.name(a.made, path)
	delete(a.gone[filepath.Dir(path)], filepath.Base(path))
}

// moves is told of each rename, after it. Rule 1: what becomes visible is synced.
func (a *auditor) moves(from, to string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for f := range a.dirty {
		if !a.visible(filepath.Dir(to)) {
			break
		}
		if f == from || strings.HasPrefix(f, from+"/") {
			a.blame("rule 1: %s is renamed to %s, and %s was not synced", from, to, f)
			delete(a.dirty, f)
		}
	}
	for d, names := range a.made {
		if (d == from || strings.HasPrefix(d, from+"/")) && len(names) > 0 && a.visible(filepath.Dir(to)) {
			a.blame("rule 1: %s is renamed to %s, and %d names in %s were not synced", from, to, len(names), d)
			delete(a.made, d)
		}
	}
	a.name(a.gone, from)
	delete(a.made[filepath.Dir(from)], filepath.Base(from))
	a.appears(to)
	if was, ok := a.spare[from]; ok && !a.visible(filepath.Dir(to)) {
		a.spare[to] = was
	} else if a.visible(filepath.Dir(from)) && !a.visible(filepath.Dir(to)) {
		a.spare[to] = from
		a.leaves(from)
	}
	delete(a.spare, from)
}

// reuses is told when a file is to be written anew. Rule 5: its old name is gone for good.
func (a *auditor) reuses(path string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	was := a.spare[path]
	if _, unsynced := a.gone[filepath.Dir(was)][filepath.Base(was)]; unsynced || was == "" {
		a.blame("rule 5: %s is written anew, and a power cut may bring back %q", path, was)
	}
}

// links is told of each new name of a file, after it. Rule 1 again.
func (a *auditor) links(from, to string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, unsynced := a.dirty[from]; unsynced {
		a.blame("rule 1: %s gets the name %s, and was not synced", from, to)
	}
	a.appears(to)
}

// removed is told of each removal, after it. Rule 4: a post goes for good after its entry.
func (a *auditor) removed(path string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.name(a.gone, path)
	delete(a.made[filepath.Dir(path)], filepath.Base(path))
	delete(a.dirty, path)
	a.leaves(path)
}

// leaves is told of each name that goes from the queues.
func (a *auditor) leaves(path string) {
	if small, ok := strings.CutSuffix(path, doneSuffix); ok {
		a.forgotten(path, small)
		if _, unsynced := a.gone[filepath.Dir(small)][filepath.Base(small)]; unsynced {
			a.blame("rule 4: %s is removed, and a power cut may bring back its chunk", path)
		}
		return
	}
	post := filepath.Dir(path)
	if filepath.Dir(post) != filepath.Join(a.root, string(spool.Outgoing)) || !strings.HasPrefix(filepath.Base(path), contentPrefix) {
		return
	}
	a.forgotten(path, post)
	if _, unsynced := a.gone[post][chunksDir]; unsynced {
		a.blame("rule 4: %s is removed, and a power cut may bring back its chunks", path)
	}
}

// forgotten is told when the content of a post goes.
func (a *auditor) forgotten(path, post string) {
	for _, q := range []spool.Queue{spool.Incoming, spool.Bounces, spool.Held, spool.Failed} {
		dir, name := filepath.Join(a.root, string(q)), filepath.Base(post)
		if _, unsynced := a.gone[dir][name]; unsynced {
			a.blame("rule 4: %s is removed, and a power cut may bring back its entry in %s", path, q)
		}
		if there, _ := exists(filepath.Join(dir, name)); there {
			a.blame("rule 4: %s is removed, and its entry is in %s", path, q)
		}
	}
}

// ack is told when a method has returned. Rule 2: what it made is there for good. Rule 3:
// what it took from a queue (if it had to) has gone for good.
func (a *auditor) ack(what string, takes bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for dir, names := range a.made {
		for n := range names {
			if a.visible(dir) && !strings.HasSuffix(n, doneSuffix) { // like a chunk that went
				a.blame("rule 2: %s was acknowledged, and %s/%s was not synced", what, dir, n)
				delete(names, n)
			}
		}
	}
	for dir, names := range a.gone {
		for n := range names {
			if _, st, err := parseName(n); takes && a.visible(dir) && err == nil && !st.side {
				a.blame("rule 3: %s was acknowledged, and %s/%s may come back", what, dir, n)
				delete(names, n)
			}
		}
	}
}

// visible tells whether what is in a directory counts: what is in tmp does not.
func (a *auditor) visible(dir string) bool {
	rel, err := filepath.Rel(a.root, dir)
	top, _, _ := strings.Cut(rel, "/")
	return err == nil && top != tempDir && top != ownersDir
}

// sync covers what came before it began.
func (a *auditor) sync(f *os.File) error {
	path := f.Name()
	a.mu.Lock()
	a.serial++
	began := a.serial
	a.mu.Unlock()
	if err := system.sync(f); err != nil || a.deaf != "" && strings.Contains(strings.TrimPrefix(path, a.root), a.deaf) {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.dirty[path] < began {
		delete(a.dirty, path)
	}
	for _, names := range []map[string]int{a.made[path], a.gone[path]} {
		for n, at := range names {
			if at < began {
				delete(names, n)
			}
		}
	}
	return nil
}

func (a *auditor) writes(path string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.serial++
	a.dirty[path] = a.serial
}

func (a *auditor) files() files {
	fs := system
	fs.sync = a.sync
	fs.create = func(path string) (*os.File, error) {
		f, err := system.create(path)
		if err == nil {
			a.writes(path)
			a.mu.Lock()
			a.appears(path)
			a.mu.Unlock()
		}
		return f, err
	}
	fs.mkdir = func(path string) error {
		err := system.mkdir(path)
		if err == nil {
			a.mu.Lock()
			a.appears(path)
			a.mu.Unlock()
		}
		return err
	}
	fs.write = func(f *os.File, p []byte) (int, error) { a.writes(f.Name()); return system.write(f, p) }
	fs.copy = func(dst, src *os.File, offset, length int64) error {
		a.writes(dst.Name())
		return system.copy(dst, src, offset, length)
	}
	fs.link = func(from, to string) error {
		err := system.link(from, to)
		if err == nil {
			a.links(from, to)
		}
		return err
	}
	for _, move := range []*func(from, to string) error{&fs.rename, &fs.noReplace} {
		do := *move
		*move = func(from, to string) error {
			err := do(from, to)
			if err == nil {
				a.moves(from, to)
			}
			return err
		}
	}
	fs.reuse = func(path string) (*os.File, int64, error) {
		f, size, err := system.reuse(path)
		if err == nil {
			a.reuses(path)
		}
		return f, size, err
	}
	fs.truncate = func(f *os.File, size int64) error { a.writes(f.Name()); return system.truncate(f, size) }
	fs.exchange = func(x, y string) error {
		err := system.exchange(x, y)
		if err == nil {
			a.moves(x, y)
			a.mu.Lock()
			a.appears(x) // what y was
			a.mu.Unlock()
		}
		return err
	}
	fs.remove = func(path string) error {
		err := system.remove(path)
		if err == nil {
			a.removed(path)
		}
		return err
	}
	return fs
}

// audited is storage that an auditor watches.
type audited struct{ *auditor }

func (a audited) Open(t *testing.T) spool.Spool {
	t.Helper()
	s, err := open(a.root, Options{}, a.files())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// The whole suite under the rules that hold at every instant (1 and 4).
func TestSuiteKeepsTheOrderOfSyncs(t *testing.T) {
	spooltest.Run(t, func(t *testing.T) spooltest.Storage {
		a := newAuditor(t.TempDir())
		t.Cleanup(func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			for _, w := range a.wrong {
				t.Error(w)
			}
		})
		return audited{a}
	})
}

// A life of an entry, step by step, under all rules.
func TestWhatIsAcknowledgedIsSynced(t *testing.T) {
	a := newAuditor(t.TempDir())
	walk(t, a)
	for _, w := range a.wrong {
		t.Error(w)
	}
}

// The auditor notices each sync that is missing.
func TestTheAuditorNoticesAMissingSync(t *testing.T) {
	for deaf, rule := range map[string]string{
		"/draft-": "rule 1", "/entry-": "rule 1", "/state-": "rule 1", "/chunk-": "rule 1",
		"/content.": "rule 1", "/chunks/": "rule 1", "/chunks": "rule 1",
		"/small-": "rule 1", "/entry.": "rule 1", "/incoming": "rule 2", "/held": "rule 2", "/outgoing": "rule 2", "/bounces": "rule 4",
	} {
		t.Run(deaf, func(t *testing.T) {
			t.Parallel()
			a := newAuditor(t.TempDir())
			a.deaf = deaf
			walk(t, a)
			if all := strings.Join(a.wrong, "\n"); !strings.Contains(all, rule) {
				t.Errorf("%s was not noticed, only:\n%s", rule, all)
			}
		})
	}
}

// walk takes entries through every step there is.
func walk(t *testing.T, a *auditor) {
	t.Helper()
	s := audited{a}.Open(t).(*Spool)
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		a.ack(what, what == "done" || what == "park" || what == "retry of a parked entry" || what == "remove")
	}
	in, out := ownBoth(t, s)
	bounces, err := s.Own(t.Context(), spool.Bounces, segment.All, "test")
	if err != nil {
		t.Fatal(err)
	}
	take := func(o spool.Owner) spool.Entry {
		t.Helper()
		e, err := o.Next(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for _, size := range []int{10, 2 * inMemory} {
		d, err := s.Create(t.Context())
		if err == nil {
			_, err = d.Write(make([]byte, size))
		}
		if err != nil {
			t.Fatal(err)
		}
		for range 2 + size/inMemory/2 {
			_, err := d.Put(t.Context(), spool.Incoming, "", spool.Envelope{List: "dev@l.test"})
			check("put", err)
		}
		check("close of a draft", d.Close())
	}
	check("done", in.Done(t.Context(), take(in)))
	e := take(in)
	check("defer", in.Defer(t.Context(), e, time.Now().Add(time.Hour), "busy"))
	check("retry", s.Retry(t.Context(), e))
	e = take(in)
	check("park", in.Park(t.Context(), e, spool.Held, "why", nil))
	e.Queue = spool.Held
	check("retry of a parked entry", s.Retry(t.Context(), e, spool.FlagApproved))
	commitOne(t, in, "r1", "r2", "r2b") // the last two share a file
	check("commit", nil)
	commitNew(t, in, "r3")
	check("commit with a new entry", nil)
	check("done", in.Done(t.Context(), take(in)))
	e = take(in)
	check("park", in.Park(t.Context(), e, spool.Failed, "why", nil))
	e.Queue = spool.Failed
	check("remove", s.Remove(t.Context(), e))
	for i := range 5 {
		c, err := out.Next(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if c.Recipients[0][:2] == "r2" {
			check("progress", out.Progress(c, 0))
		}
		var r spool.Settlement
		if i == 0 {
			r = spool.Settlement{Deferred: c.Recipients, Due: time.Now().Add(time.Hour)}
		}
		check("settle", out.Settle(t.Context(), c, r))
		if i == 0 {
			check("retry of chunks", s.RetryChunks(t.Context(), c.Post))
		}
	}
	putFor(t, s, spool.Bounces, "", "dev@l.test")
	check("put", nil)
	commitOne(t, bounces, "r") // a post made of it goes by the same rules
	check("commit", nil)
	c, err := out.Next(soon(t)) // of a small post
	if err != nil {
		t.Fatal(err)
	}
	check("progress", out.Progress(c, 0))
	check("settle", out.Settle(t.Context(), c, spool.Settlement{}))
	for _, deferred := range [][]string{{"r"}, nil} {
		putFor(t, s, spool.Bounces, "", "dev@l.test")
		check("put", nil)
		commitOne(t, bounces, "r")
		check("commit", nil)
		if c, err = out.Next(soon(t)); err != nil {
			t.Fatal(err)
		}
		check("settle", out.Settle(t.Context(), c, spool.Settlement{Deferred: deferred}))
		if deferred != nil {
			if c, err = out.Next(soon(t)); err != nil {
				t.Fatal(err)
			}
			check("settle", out.Settle(t.Context(), c, spool.Settlement{}))
		}
	}
	check("close", out.Close())
	if left, _ := os.ReadDir(s.path(spool.Outgoing, "")); len(left) > 0 {
		t.Errorf("left in outgoing: %v", left)
	}
}
