package dir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mlist/mlist/internal/spool"
)

// What must hold when a spool is opened, and who owns it.

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
