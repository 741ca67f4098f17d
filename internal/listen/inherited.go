package listen

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Inherited are sockets on which whoever started the process listens for it, as systemd
// does by a socket unit: while mlist is started anew, connections wait there and are not
// refused. One is used where its address is configured; its path and mode stay with who
// made it. A nil *Inherited holds nothing.
type Inherited struct {
	mu    sync.Mutex
	files map[string]*os.File // by address, as Split takes it
	used  map[string]bool
}

// firstFD is where sd_listen_fds(3) has them begin.
const firstFD = 3

// Inherit takes the sockets over that the environment tells of, and the variables out of
// it, so that no child takes them for its own. It is for once, at the start of a process.
func Inherit() (*Inherited, error) {
	pid, count := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(name)
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil // not for us
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > 1000 {
		return nil, fmt.Errorf("inherited sockets: LISTEN_FDS is %q", count)
	}
	in := &Inherited{files: map[string]*os.File{}, used: map[string]bool{}}
	for fd := firstFD; fd < firstFD+n; fd++ {
		unix.CloseOnExec(fd)
		if err := in.add(os.NewFile(uintptr(fd), "inherited socket")); err != nil {
			return nil, fmt.Errorf("inherited socket %d: %w", fd, err)
		}
	}
	return in, nil
}

func (in *Inherited) add(f *os.File) error {
	l, err := net.FileListener(f) // works on a copy
	if err != nil {
		return err
	}
	defer l.Close()
	in.files[l.Addr().Network()+":"+l.Addr().String()] = f
	return nil
}

// open returns a listener on the inherited socket of that address, if there is one. It
// can be closed and opened again: the socket itself stays.
func (in *Inherited) open(address string) (*Listener, error) {
	if in == nil {
		return nil, nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	network, addr, err := Split(address)
	if err != nil {
		return nil, err
	}
	address = network + ":" + addr
	f := in.files[address]
	if f == nil {
		return nil, nil
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("listen on the inherited %s: %w", address, err)
	}
	in.used[address] = true
	return &Listener{Listener: l}, nil
}

// Unused are the addresses of those that nobody has opened yet: who connects there waits
// for ever.
func (in *Inherited) Unused() []string {
	if in == nil {
		return nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	var out []string
	for address := range in.files {
		if !in.used[address] {
			out = append(out, address)
		}
	}
	slices.Sort(out)
	return out
}
