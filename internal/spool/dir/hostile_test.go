package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/segment"
	"github.com/mlist/mlist/internal/spool"
)

// These tests treat the spool as operators, other programs and odd disks do.

func putFor(t *testing.T, s *Spool, q spool.Queue, id spool.ID, list string) spool.ID {
	t.Helper()
	d, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Write([]byte("Subject: x\n\n")); err != nil {
		t.Fatal(err)
	}
	if id, err = d.Put(t.Context(), q, id, spool.Envelope{List: list}); err != nil {
		t.Fatal(err)
	}
	return id
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func ownBoth(t *testing.T, s *Spool) (spool.Owner, spool.OutgoingOwner) {
	t.Helper()
	in, err := s.Own(t.Context(), spool.Incoming, segment.All, "test")
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.OwnOutgoing(t.Context(), segment.All, "test")
	if err != nil {
		t.Fatal(err)
	}
	return in, out
}

func commitOne(t *testing.T, in spool.Owner, recipients ...string) spool.Entry {
	t.Helper()
	e, err := in.Next(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	p, err := in.Prepare(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	w, err := p.Content("plain")
	if err == nil {
		err = w.Close()
	}
	for _, r := range recipients {
		if err == nil {
			err = p.AddChunk(t.Context(), spool.Chunk{List: e.List, Variant: "plain", Recipients: []string{r + "." + e.List}})
		}
	}
	if err == nil {
		err = p.Commit(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// A caller that gives one id to two lists breaks a promise. Nobody's mail may pay for it.
func TestOneIDForTwoListsLosesNothing(t *testing.T) {
	s := storage(t.TempDir()).Open(t).(*Spool)
	in, out := ownBoth(t, s)
	id := putFor(t, s, spool.Incoming, "", "a@l.test")
	putFor(t, s, spool.Incoming, id, "b@l.test")
	commitOne(t, in, "r")
	commitOne(t, in, "r")
	sent := map[string]int{}
	first, err := out.Next(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	sent[first.Recipients[0]]++
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	second, err := out.Next(ctx)
	if err == nil {
		sent[second.Recipients[0]]++
		if err := out.Settle(t.Context(), second, spool.Settlement{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Settle(t.Context(), first, spool.Settlement{}); err != nil {
		t.Fatal(err)
	}
	for len(sent) < 2 {
		c, err := out.Next(soon(t))
		if err != nil {
			t.Fatalf("sent %v, and then: %v", sent, err)
		}
		if sent[c.Recipients[0]]++; sent[c.Recipients[0]] > 1 {
			t.Fatalf("%s came twice", c.Recipients[0])
		}
		if err := out.Settle(t.Context(), c, spool.Settlement{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := (&world{t: t, s: s}).look(); got != "" {
		t.Fatalf("left: %s", got)
	}
}

func TestForeignFilesAmongOwnersStay(t *testing.T) {
	s := storage(t.TempDir()).Open(t).(*Spool)
	path := s.path(ownersDir, "README")
	if err := os.WriteFile(path, []byte("do not touch\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ownBoth(t, s)
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
}

func TestTmpEmptiedUnderARunningProcess(t *testing.T) {
	for _, what := range []string{"", "*", "*/*"} {
		t.Run("tmp/"+what, func(t *testing.T) {
			path := t.TempDir()
			s := storage(path).Open(t).(*Spool)
			in, _ := ownBoth(t, s)
			putFor(t, s, spool.Incoming, "", "a@l.test")
			gone, _ := filepath.Glob(filepath.Join(path, tempDir, what))
			if len(gone) == 0 {
				t.Fatal("nothing to remove")
			}
			for _, p := range gone {
				if err := os.RemoveAll(p); err != nil {
					t.Fatal(err)
				}
			}
			putFor(t, s, spool.Incoming, "", "b@l.test")
			commitOne(t, in, "r")
			// What this process writes is again safe from the sweeping of others.
			temp, err := s.temp("kept")
			if err == nil {
				err = os.WriteFile(temp, nil, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			other := storage(path).Open(t).(*Spool)
			putFor(t, other, spool.Incoming, "", "c@l.test")
			if _, err := os.Stat(temp); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAPostThatLostItsFilesInTmpIsNotCommitted(t *testing.T) {
	for _, what := range []string{"chunks/*", "content.plain"} {
		t.Run(what, func(t *testing.T) {
			s := storage(t.TempDir()).Open(t).(*Spool)
			in, _ := ownBoth(t, s)
			putFor(t, s, spool.Incoming, "", "a@l.test")
			e, err := in.Next(soon(t))
			if err != nil {
				t.Fatal(err)
			}
			p, err := in.Prepare(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			w, err := p.Content("plain")
			if err == nil {
				err = w.Close()
			}
			for range 2 {
				if err == nil {
					err = p.AddChunk(t.Context(), spool.Chunk{Variant: "plain", Recipients: []string{"r"}})
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			files, _ := filepath.Glob(filepath.Join(p.(*prepared).dir, what))
			if len(files) == 0 || os.Remove(files[0]) != nil {
				t.Fatalf("nothing to remove: %v", files)
			}
			if err := p.Commit(t.Context()); err == nil {
				t.Fatal("a post with less than was written has been committed")
			}
			if done, err := in.Finished(t.Context(), e); done || err != nil {
				t.Fatalf("finished: %v, %v", done, err)
			}
		})
	}
}

func TestOrphansInHeldAndFailedAreSwept(t *testing.T) {
	s := storage(t.TempDir()).Open(t).(*Spool)
	for _, q := range []spool.Queue{spool.Held, spool.Failed} {
		id := putFor(t, s, q, "", "a@l.test")
		with := entryName{id, segment.KeyOf("a@l.test")}
		young, old := entryName{s.newID(), 7}, entryName{s.newID(), 7}
		for _, n := range []entryName{with, young, old} {
			if err := s.writeSide(q, n, state{}, note{reason: "r"}); err != nil {
				t.Fatal(err)
			}
			if n == young {
				continue
			}
			long := time.Now().Add(-2 * orphanAge)
			if err := os.Chtimes(s.sidePath(q, n, state{}), long, long); err != nil {
				t.Fatal(err)
			}
		}
		for e, err := range s.Entries(t.Context(), q) {
			if err != nil || e.ID != id {
				t.Fatalf("entry %+v, %v", e, err)
			}
		}
		for n, want := range map[entryName]bool{with: true, young: true, old: false} {
			if there, err := exists(s.sidePath(q, n, state{})); err != nil || there != want {
				t.Errorf("%s: %s.why is there: %v, want %v (%v)", q, n, there, want, err)
			}
		}
	}
}

// One id may come again after its entry went to failed: outbound gives the same id to the
// same bounce.
func TestParkWhereTheSameEntryIsParked(t *testing.T) {
	s := storage(t.TempDir()).Open(t).(*Spool)
	in, _ := ownBoth(t, s)
	id := spool.ID("")
	for _, reason := range []string{"first", "second"} {
		id = putFor(t, s, spool.Incoming, id, "a@l.test")
		e, err := in.Next(soon(t))
		if err == nil {
			err = in.Park(t.Context(), e, spool.Failed, reason, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := (&world{t: t, s: s}).look(); got != "failed:second" {
		t.Fatalf("the spool holds %q", got)
	}
}

func TestADamagedEntryDoesNotReplaceAGoodOneInFailed(t *testing.T) {
	s := storage(t.TempDir()).Open(t).(*Spool)
	id := putFor(t, s, spool.Failed, "", "a@l.test")
	n := entryName{id, segment.KeyOf("a@l.test")}
	if err := os.WriteFile(s.path(spool.Incoming, n.String()), []byte("cut"), 0o600); err != nil {
		t.Fatal(err)
	}
	in, _ := ownBoth(t, s)
	putFor(t, s, spool.Incoming, "", "b@l.test")
	if e, err := in.Next(soon(t)); err != nil || e.List != "b@l.test" {
		t.Fatalf("next is %+v, %v", e, err)
	}
	got := map[string]int{}
	for e, err := range s.Entries(t.Context(), spool.Failed) {
		if err != nil {
			t.Fatal(err)
		}
		got[e.List]++
		if e.List == "" && !strings.Contains(e.Reason, string(id)) {
			t.Errorf("the reason %q does not tell whose it was", e.Reason)
		}
	}
	if got["a@l.test"] != 1 || got[""] != 1 {
		t.Fatalf("failed has %v", got)
	}
}

// With a full disk neither the work nor the deferral succeeds, and the caller can only
// release. That must not become a busy loop, nor stop other lists.
func TestReleaseAfterAFailedDeferralWaits(t *testing.T) {
	f := &faults{err: unix.ENOSPC, sticky: true}
	s, err := open(t.TempDir(), Options{}, f.files())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	in, _ := ownBoth(t, s)
	for _, how := range []string{"defer", "park"} {
		putFor(t, s, spool.Incoming, "", how+"@l.test")
		e, err := in.Next(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		f.begin(1)
		if how == "defer" {
			err = in.Defer(t.Context(), e, time.Now().Add(time.Hour), "busy")
		} else {
			err = in.Park(t.Context(), e, spool.Failed, "bad", nil)
		}
		f.heal()
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		in.Release(e)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if e, err := in.Next(ctx); err == nil {
			t.Fatalf("%s was handed out again at once after a failed %s", e.List, how)
		}
		cancel()
	}
	putFor(t, s, spool.Incoming, "", "c@l.test")
	if e, err := in.Next(soon(t)); err != nil || e.List != "c@l.test" {
		t.Fatalf("next is %+v, %v", e, err)
	}
}

// A sector that cannot be read is one list's misfortune.
func TestAnEntryThatCannotBeReadDoesNotStopTheQueue(t *testing.T) {
	var sick atomic.Value
	sick.Store("")
	fs := system
	fs.open = func(path string, flags int) (*os.File, error) {
		if bad := sick.Load().(string); bad != "" && strings.Contains(path, bad) {
			return nil, &os.PathError{Op: "open", Path: path, Err: unix.EIO}
		}
		return system.open(path, flags)
	}
	s, err := open(t.TempDir(), Options{}, fs)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sick.Store(string(putFor(t, s, spool.Incoming, "", "a@l.test")))
	putFor(t, s, spool.Incoming, "", "a@l.test")
	in, _ := ownBoth(t, s)
	if e, err := in.Next(soon(t)); err != nil || string(e.ID) == sick.Load() {
		t.Fatalf("next is %+v, %v", e, err)
	}
}

// An entry that fails at once after an operator's retry keeps the new reason.
func TestRetryThatFailsAtOnceKeepsItsReason(t *testing.T) {
	var during atomic.Value
	during.Store(func() {})
	fs := system
	fs.sync = func(f *os.File) error {
		if strings.HasSuffix(f.Name(), "/"+string(spool.Failed)) {
			during.Swap(func() {}).(func())()
		}
		return system.sync(f)
	}
	s, err := open(t.TempDir(), Options{}, fs)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// The owner is another process: nothing of what it does waits for the operator.
	owner := storage(s.root).Open(t).(*Spool)
	in, _ := ownBoth(t, owner)
	id := putFor(t, s, spool.Incoming, "", "a@l.test")
	park := func(reason string) {
		e, err := in.Next(soon(t))
		if err == nil {
			err = in.Park(t.Context(), e, spool.Failed, reason, nil)
		}
		if err != nil {
			t.Error(err)
		}
	}
	park("first")
	e, err := s.Find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	during.Store(func() { park("second") })
	if err := s.Retry(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if got := (&world{t: t, s: s}).look(); got != "failed:second" {
		t.Fatalf("the spool holds %q", got)
	}
}

func TestOnePostThatCannotBeRemovedDoesNotKeepTheOthers(t *testing.T) {
	var sick atomic.Value
	sick.Store("none")
	fs := system
	fs.remove = func(path string) error {
		if strings.Contains(path, sick.Load().(string)) && strings.Contains(path, contentPrefix) {
			return &os.PathError{Op: "remove", Path: path, Err: unix.EIO}
		}
		return system.remove(path)
	}
	s, err := open(t.TempDir(), Options{}, fs)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	in, out := ownBoth(t, s)
	for i := range 20 {
		putFor(t, s, spool.Incoming, "", "a@l.test")
		e := commitOne(t, in, "r")
		if i == 10 {
			sick.Store(string(e.ID))
		}
	}
	for range 20 {
		c, err := out.Next(soon(t))
		if err == nil {
			err = out.Settle(t.Context(), c, spool.Settlement{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil { // which works once more
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(s.path(spool.Outgoing, "")); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

func TestASpoolOnTwoFileSystemsIsRefused(t *testing.T) {
	fs := system
	fs.device = func(path string) (uint64, error) {
		if filepath.Base(path) == string(spool.Held) {
			return 7, nil
		}
		_, err := system.device(path)
		return 8, err
	}
	path := t.TempDir()
	_, err := open(path, Options{}, fs)
	if err == nil || !strings.Contains(err.Error(), filepath.Join(path, "held")+" is on another file system") {
		t.Fatalf("error %v", err)
	}
}

// The directories may have been made by a start that was killed before it synced them.
func TestEveryStartSyncsTheDirectories(t *testing.T) {
	path := t.TempDir()
	storage(path).Open(t)
	f := &faults{}
	s, err := open(path, Options{}, f.files())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if calls := strings.Join(f.calls, "\n") + "\n"; !strings.Contains(calls, "sync "+path+"\n") ||
		!strings.Contains(calls, "sync "+filepath.Dir(path)+"\n") {
		t.Errorf("calls:\n%s", calls)
	}
}

// One who waits for the lock while its file is removed must not get that, when another
// has locked the file that took its place.
func TestTheLockIsTheOneOnDisk(t *testing.T) {
	s := storage(t.TempDir()).Open(t).(*Spool)
	path := s.path(ownersDir, lockFile)
	unlock, err := s.lockAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx := soon(t)
	type outcome struct {
		unlock func()
		err    error
	}
	waiter := make(chan outcome, 1)
	go func() {
		unlock, err := s.lockAll(ctx)
		waiter <- outcome{unlock, err}
	}()
	for openFiles(t, path) < 2 {
		if ctx.Err() != nil {
			t.Fatal("the other does not wait")
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	unlockNew, err := s.lockAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	select {
	case <-waiter:
		t.Fatal("two have the lock")
	case <-time.After(100 * time.Millisecond): // it would take 2
	}
	unlockNew()
	w := <-waiter
	if w.err != nil {
		t.Fatal(w.err)
	}
	w.unlock()
}

// openFiles is how often this process has a file open.
func openFiles(t *testing.T, path string) (n int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && to == path {
			n++
		}
	}
	return n
}

// Waiting that is in memory alone ends when the clock is put back, and not hours later.
func TestAClockThatIsPutBackEndsHolds(t *testing.T) {
	for _, tt := range []struct {
		wall, real time.Duration
		back       bool
	}{
		{time.Second, time.Second, false},
		{30*time.Second - 10*time.Millisecond, 30 * time.Second, false}, // slewed
		{time.Hour, time.Second, false},
		{-time.Hour, time.Second, true},
		{0, 30 * time.Second, true},
	} {
		if got := steppedBack(tt.wall, tt.real); got != tt.back {
			t.Errorf("%v on the wall in %v: %v", tt.wall, tt.real, got)
		}
	}
	now := time.Now()
	hours := now.Add(2 * time.Hour) // what five seconds look like after it
	t.Run("of entries", func(t *testing.T) {
		tb := newTable(8)
		held, deferred := entryName{makeID(1, 1), 1}, entryName{makeID(2, 2), 2}
		tb.add(held, state{}, now)
		tb.give(tb.take(), state{}, hours.UnixMicro(), now)
		tb.add(deferred, stateAt(1, hours), now)
		tb.wake(now)
		if tb.take() != nil {
			t.Fatal("it did not wait")
		}
		tb.endHolds()
		tb.wake(now)
		if it := tb.take(); it == nil || it.name != held {
			t.Fatalf("got %+v", it)
		}
		if it := tb.take(); it != nil {
			t.Fatalf("%+v was not due", it)
		}
	})
	t.Run("of chunks", func(t *testing.T) {
		s := storage(t.TempDir()).Open(t).(*Spool)
		in, out := ownBoth(t, s)
		putFor(t, s, spool.Incoming, "", "a@l.test")
		commitOne(t, in, "r1", "r2")
		for range 2 {
			c, err := out.Next(soon(t))
			if err != nil {
				t.Fatal(err)
			}
			if c.Name == "000001" {
				out.Release(c, hours)
			}
		}
		o := out.(*outgoing)
		o.mu.Lock()
		o.turns.endHolds()
		o.cond.Broadcast()
		o.mu.Unlock()
		c, err := out.Next(soon(t))
		if err != nil || c.Name != "000001" {
			t.Fatalf("got %+v, %v", c, err)
		}
	})
}

// A large message is never in memory as a whole.
func TestALargeDraftKeepsTheHeapBounded(t *testing.T) {
	s := storage(t.TempDir()).Open(t).(*Spool)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	d, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	const size = 40 << 20
	if _, err := io.CopyN(d, zeros{}, size); err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{"a@l.test", "b@l.test"} {
		if _, err := d.Put(t.Context(), spool.Incoming, "", spool.Envelope{List: list}); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	// All that was ever allocated, so that it does not matter when garbage is collected.
	if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
		t.Errorf("a message of %d bytes took %d bytes of heap", size, used)
	}
	for e, err := range s.Entries(t.Context(), spool.Incoming) {
		if err != nil || e.Size != size {
			t.Errorf("entry %+v, %v", e, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// As many lists with mail as there are keys, which is more than a table has room for.
func TestATableOfManyListsIsQuick(t *testing.T) {
	start := time.Now()
	s := &Spool{}
	tb := newTable(64)
	for i := range 20000 {
		tb.add(entryName{s.newID(), segment.Key(i)}, state{}, start)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Fatalf("20000 lists took %v", took)
	}
	for n := range 20000 {
		it := tb.take()
		if it == nil {
			t.Fatalf("only %d lists were served", n)
		}
		tb.drop(it, start)
	}
}

// Posts that wait for long make room for new ones.
func TestANewPostDoesNotWaitForThoseThatAreDeferred(t *testing.T) {
	const most = 8
	s, err := Open(t.TempDir(), Options{MaxReady: most, Rescan: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	in, out := ownBoth(t, s)
	for i := range 3 * most {
		list := fmt.Sprintf("l%d@l.test", i)
		putFor(t, s, spool.Incoming, "", list)
		commitOne(t, in, "r")
		c, err := out.Next(soon(t))
		if err != nil {
			t.Fatalf("post %d: %v", i, err)
		}
		if c.List != list {
			t.Fatalf("post %d: got a chunk of %s", i, c.List)
		}
		r := spool.Settlement{Deferred: c.Recipients, Due: time.Now().Add(24 * time.Hour)}
		if err := out.Settle(t.Context(), c, r); err != nil {
			t.Fatal(err)
		}
	}
}

// However many posts wait for a time, those that do not are found without waiting for
// the slow look.
func TestDeferredPostsDoNotHideOthers(t *testing.T) {
	s, err := Open(t.TempDir(), Options{MaxReady: 16, Rescan: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const posts = 200
	later := time.Now().Add(24 * time.Hour)
	for i := range posts {
		n := entryName{s.newID(), segment.Key(i)}
		file := chunkFile{name: "000001"}
		if i%10 != 9 {
			file.state = stateAt(1, later)
		}
		data := chunkBytes(&spool.Chunk{Variant: "plain", Recipients: []string{fmt.Sprint(i)}})
		err := os.MkdirAll(s.chunksPath(n), 0o700)
		if err == nil {
			err = os.WriteFile(s.chunkPath(n, file.String()), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	out, err := s.OwnOutgoing(t.Context(), segment.All, "test")
	if err != nil {
		t.Fatal(err)
	}
	for i := range posts / 10 {
		c, err := out.Next(soon(t))
		if err == nil {
			err = out.Settle(t.Context(), c, spool.Settlement{})
		}
		if err != nil {
			t.Fatalf("chunk %d of %d: %v", i, posts/10, err)
		}
	}
}
