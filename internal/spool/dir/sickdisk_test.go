package dir

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/internal/spool"
)

// Disks in trouble: one entry that fails must not stop the others.

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

func TestOnePostThatCannotBeRemovedDoesNotKeepTheOthers(t *testing.T) {
	var sick atomic.Value
	sick.Store("none")
	fs := system
	isSick := func(path string) error {
		if strings.Contains(path, sick.Load().(string)) && strings.HasSuffix(path, doneSuffix) {
			return &os.PathError{Op: "remove", Path: path, Err: unix.EIO}
		}
		return nil
	}
	fs.remove = func(path string) error {
		if err := isSick(path); err != nil {
			return err
		}
		return system.remove(path)
	}
	fs.rename = func(from, to string) error {
		if err := isSick(from); err != nil {
			return err
		}
		return system.rename(from, to)
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
