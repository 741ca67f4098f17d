package listen

import (
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"testing"
)

// inherit makes a socket as a parent holds it, in the hands of an Inherited.
func inherit(t *testing.T, address string) (*Inherited, net.Listener) {
	t.Helper()
	network, addr, err := Split(address)
	if err != nil {
		t.Fatal(err)
	}
	parent, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { parent.Close() })
	f, err := parent.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	in := &Inherited{files: map[string]*os.File{}, used: map[string]bool{}}
	if err := in.add(f); err != nil {
		t.Fatal(err)
	}
	return in, parent
}

func TestWhoConnectsWhileNobodyServesIsServedByTheNext(t *testing.T) {
	path := t.TempDir() + "/s"
	in, _ := inherit(t, "unix:"+path)
	set := Set{Inherited: in}
	if got := in.Unused(); !slices.Equal(got, []string{"unix:" + path}) {
		t.Errorf("before: unused %q", got)
	}
	if _, err := set.Change([]string{"unix:" + path}, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := in.Unused(); len(got) != 0 {
		t.Errorf("unused %q", got)
	}
	set.Close()
	// Between two processes of mlist.
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	next := Set{Inherited: in}
	opened, err := next.Change([]string{"unix:" + path}, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	got, err := opened[0].Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	said := make([]byte, 5)
	if _, err := io.ReadFull(got, said); err != nil || string(said) != "hello" {
		t.Errorf("%q, %v", said, err)
	}
}

func TestAnInheritedSocketIsForItsAddressOnly(t *testing.T) {
	dir := t.TempDir()
	in, parent := inherit(t, "tcp:127.0.0.1:0")
	set := Set{Inherited: in}
	defer set.Close()
	opened, err := set.Change([]string{"tcp:" + parent.Addr().String(), "unix:" + dir + "/s"}, 0o600)
	if err != nil || len(opened) != 2 {
		t.Fatalf("%v, %v", opened, err)
	}
	if _, err := os.Stat(dir + "/s"); err != nil {
		t.Error(err)
	}
}

func TestWhatIsForAnotherProcessIsNotTaken(t *testing.T) {
	for _, tt := range []struct {
		pid, fds string
		fails    bool
	}{
		{"", "", false},
		{"1", "2", false},
		{"self", "many", true},
		{"self", "-1", true},
		{"self", "100000", true},
	} {
		if tt.pid == "self" {
			tt.pid = strconv.Itoa(os.Getpid())
		}
		t.Setenv("LISTEN_PID", tt.pid)
		t.Setenv("LISTEN_FDS", tt.fds)
		in, err := Inherit()
		if (err != nil) != tt.fails || in.Unused() != nil {
			t.Errorf("%q %q: %v, %v", tt.pid, tt.fds, in, err)
		}
		if os.Getenv("LISTEN_FDS") != "" {
			t.Error("a child would take them for its own")
		}
	}
}
