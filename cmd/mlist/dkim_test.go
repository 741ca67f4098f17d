package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestAKeyIsForWhoRunsMlist(t *testing.T) {
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 {
		uid, gid = 54321, 54322 // root may give it to anybody
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := writeKey(path, []byte("secret"), uid, gid); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) != uid || int(st.Gid) != gid || info.Mode().Perm() != 0o600 {
		t.Errorf("%s, of %d:%d, want %d:%d", info.Mode(), st.Uid, st.Gid, uid, gid)
	}
	if err := writeKey(path, []byte("another"), -1, -1); err == nil {
		t.Error("a key was overwritten")
	}
}
