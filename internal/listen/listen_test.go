package listen

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// leave makes a socket on which nobody answers, as a killed daemon leaves it.
func leave(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
}

func TestASocketIsTakenOverOnlyWhenNobodyAnswers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	leave(t, path)
	first, err := Open("unix:"+path, 0o660)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	if _, err := Open("unix:"+path, 0o600); err == nil || !strings.Contains(err.Error(), "another program answers") {
		t.Errorf("beside one that answers: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close the socket is there: %v", err)
	}
}

func TestCloseLeavesAnotherDaemonsSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := Open("unix:"+path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(path)
	second, err := Open("unix:"+path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	first.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the second one's socket is gone: %v", err)
	}
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	for _, tt := range []struct {
		in   []string
		want string
	}{
		{[]string{"unix:/run/a.sock", "tcp:127.0.0.1:8024", "tcp:[::1]:8024"}, ""},
		{nil, ""},
		{[]string{"unix:run/a.sock"}, "absolute path"},
		{[]string{"unix:/" + strings.Repeat("a", 107)}, "at most 107"},
		{[]string{"tcp:8024"}, "tcp:HOST:PORT"},
		{[]string{"/run/a.sock"}, "unix:PATH or tcp:HOST:PORT"},
		{[]string{"tcp:a:1", "tcp:a:1"}, "twice"},
	} {
		err := Check(tt.in)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want %q", tt.in, err, tt.want)
		}
	}
}

func TestAFileThatIsNoSocketStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("unix:"+path, 0o600); err == nil {
		t.Error("a file that is no socket was taken over")
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Errorf("the file holds %q", b)
	}
}

func TestASetChanges(t *testing.T) {
	dir := t.TempDir()
	a, b := "unix:"+dir+"/a", "unix:"+dir+"/b"
	answers := func(name string) bool {
		c, err := net.Dial("unix", dir+"/"+name)
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	var s Set
	defer s.Close()
	if opened, err := s.Change([]string{a}, 0o600); err != nil || len(opened) != 1 {
		t.Fatalf("%d opened, error %v", len(opened), err)
	}
	if opened, err := s.Change([]string{a, b}, 0o660); err != nil || len(opened) != 1 || opened[0].Addr().String() != dir+"/b" {
		t.Fatalf("one more: %v, error %v", opened, err)
	}
	if info, err := os.Stat(dir + "/a"); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the one that stays has mode %v, error %v", info.Mode(), err)
	}
	if _, err := s.Change([]string{b, "unix:" + dir + "/c", "unix:" + dir + "/none/d"}, 0o660); err == nil {
		t.Error("a directory that is missing was no error")
	}
	if !answers("a") || !answers("b") || answers("c") {
		t.Error("after an error not everything is as it was")
	}
	if _, err := s.Change([]string{b}, 0o660); err != nil || answers("a") || !answers("b") {
		t.Errorf("one less: error %v", err)
	}
	if got := s.Addrs(); len(got) != 1 || got[0].String() != dir+"/b" {
		t.Errorf("addresses %v", got)
	}
}
