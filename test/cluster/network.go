package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// network is hosts that are network namespaces, on one switch that is another.
type network struct {
	prefix string // of the names of all that is made
	hosts  []string
}

// errMissing says what this machine lacks.
var errMissing = errors.New("hosts are made of network namespaces, which needs root (or CAP_NET_ADMIN and CAP_SYS_ADMIN), ip (Debian's iproute2), and a kernel with veth and bridge")

func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// newNetwork makes hosts with addresses 10.99.0.1 and on. Nothing of it is in the machine's own
// namespace.
func newNetwork(hosts ...string) (*network, error) {
	n := &network{prefix: fmt.Sprintf("mlist%d-", os.Getpid()), hosts: hosts}
	if err := n.make(); err != nil {
		return nil, errors.Join(errMissing, err, n.remove())
	}
	return n, nil
}

func (n *network) name(host string) string { return n.prefix + host }

func (n *network) make() error {
	sw := n.name("switch")
	steps := [][]string{{"netns", "add", sw}, {"-n", sw, "link", "add", "br0", "type", "bridge"}, {"-n", sw, "link", "set", "br0", "up"}}
	for i, h := range n.hosts {
		ns := n.name(h)
		steps = append(steps, []string{"netns", "add", ns},
			[]string{"-n", ns, "link", "add", "eth0", "type", "veth", "peer", "name", h, "netns", sw},
			[]string{"-n", ns, "addr", "add", address(i) + "/24", "dev", "eth0"},
			[]string{"-n", ns, "link", "set", "eth0", "up"}, []string{"-n", ns, "link", "set", "lo", "up"},
			[]string{"-n", sw, "link", "set", "dev", h, "master", "br0"}, []string{"-n", sw, "link", "set", "dev", h, "up"})
	}
	for _, s := range steps {
		if err := ip(s...); err != nil {
			return err
		}
	}
	return nil
}

// address is that of host number i.
func address(i int) string { return fmt.Sprintf("10.99.0.%d", i+1) }

// unplug takes a host off the switch: what it sends is lost, and nobody tells it so.
func (n *network) unplug(host string) error {
	return ip("-n", n.name("switch"), "link", "set", "dev", host, "nomaster")
}

func (n *network) plug(host string) error {
	return ip("-n", n.name("switch"), "link", "set", "dev", host, "master", "br0")
}

// kill ends all that runs on a host, as when it loses its power.
func (n *network) kill(host string) error {
	for range 100 { // what is about to be started is not there yet
		out, err := exec.Command("ip", "netns", "pids", n.name(host)).Output()
		if err != nil {
			return fmt.Errorf("ip netns pids %s: %w", host, err)
		}
		pids := strings.Fields(string(out))
		if len(pids) == 0 {
			return nil
		}
		for _, text := range pids {
			pid, err := strconv.Atoi(text)
			if err == nil {
				err = unix.Kill(pid, unix.SIGKILL)
			}
			if err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
		time.Sleep(20 * time.Millisecond) // they end
	}
	return fmt.Errorf("%s does not end", host)
}

func (n *network) remove() error {
	var errs []error
	for _, h := range append([]string{"switch"}, n.hosts...) {
		if _, err := os.Stat(filepath.Join("/run/netns", n.name(h))); err == nil {
			errs = append(errs, ip("netns", "del", n.name(h)))
		}
	}
	return errors.Join(errs...)
}

// in runs f on a host: what it listens on and what it starts is there.
func (n *network) in(host string, f func() error) (err error) {
	runtime.LockOSThread() // the thread ends with its goroutine if it cannot go back
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(own)
	there, err := unix.Open(filepath.Join("/run/netns", n.name(host)), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(there)
	if err := unix.Setns(there, unix.CLONE_NEWNET); err != nil {
		return err
	}
	err = f()
	if back := unix.Setns(own, unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, back)
	}
	runtime.UnlockOSThread()
	return err
}
