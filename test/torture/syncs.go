package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// under is the first argument with which this program, instead of torturing, runs another
// whose syncs fail: "under SOCKET COMMAND ARGUMENTS".
const under = "under"

// syncs has the kernel ask us at each fsync and fdatasync of the daemons (seccomp's user
// notification), and answers some with EIO in place of the call. Nothing in the daemons
// knows of it, SQLite's syncs fail like the spool's, and it needs no root.
type syncs struct {
	listener *net.UnixListener
	chance   atomic.Uint64 // of failing, in millionths
	asked    atomic.Int64
	failed   atomic.Int64
	running  sync.WaitGroup
	rnd      *rand.Rand
	mu       sync.Mutex // of rnd
}

func newSyncs(dir string, seed uint64) (*syncs, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "syncs.sock")})
	if err != nil {
		return nil, err
	}
	s := &syncs{listener: l, rnd: rand.New(rand.NewPCG(seed, 3))}
	s.running.Go(s.accept)
	return s, nil
}

// command is what daemons are to be run under.
func (s *syncs) command() ([]string, error) {
	self, err := os.Executable()
	return []string{self, under, s.listener.Addr().String()}, err
}

// close ends it, once the daemons have ended.
func (s *syncs) close() {
	s.listener.Close()
	s.running.Wait()
}

func (s *syncs) accept() {
	for {
		c, err := s.listener.AcceptUnix()
		if err != nil {
			return // closed
		}
		fd, err := receiveFD(c)
		c.Close()
		if err != nil {
			fmt.Fprintln(os.Stderr, "torture: a daemon's syncs:", err)
			continue
		}
		s.running.Go(func() { s.answer(fd) })
	}
}

// notification and response are the kernel's struct seccomp_notif and seccomp_notif_resp.
type notification struct {
	id, pid, nr, ip uint64 // pid has flags, and nr the architecture, in the upper half
	args            [6]uint64
}

type response struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

// answer decides about each sync of a daemon until that has ended.
func (s *syncs) answer(fd int) {
	defer unix.Close(fd)
	for {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); err != nil && err != unix.EINTR {
			return
		}
		if poll[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0 {
			return
		}
		if poll[0].Revents&unix.POLLIN == 0 {
			continue
		}
		var n notification
		if ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)) != 0 {
			continue // the thread was killed while it asked
		}
		r := response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		s.asked.Add(1)
		if s.fails() {
			r.flags, r.err = 0, -int32(unix.EIO)
			s.failed.Add(1)
		}
		ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r)) // fails if the thread was killed meanwhile
	}
}

func (s *syncs) fails() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rnd.Uint64N(1_000_000) < s.chance.Load()
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) syscall.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	return errno
}

// receiveFD reads the descriptor that runUnder sends.
func receiveFD(c *net.UnixConn) (int, error) {
	c.SetDeadline(time.Now().Add(10 * time.Second))
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := c.ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		return 0, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return 0, fmt.Errorf("%d control messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return 0, fmt.Errorf("%d descriptors, %v", len(fds), err)
	}
	return fds[0], nil
}

// runUnder becomes the command, and has the kernel ask at socket what to do about its syncs.
func runUnder(socket string, command []string) error {
	runtime.LockOSThread() // the filter is this thread's, and so the new program's
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket})
	if err != nil {
		return err
	}
	fd, err := askAtSyncs()
	if err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	_, _, err = c.WriteMsgUnix([]byte("x"), unix.UnixRights(fd), nil)
	if err = errors.Join(err, c.Close()); err != nil {
		return err
	}
	return syscall.Exec(command[0], command, os.Environ())
}

// askAtSyncs sets the filter, and returns where the kernel asks.
func askAtSyncs() (int, error) {
	const (
		load    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		isEqual = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret     = unix.BPF_RET | unix.BPF_K
	)
	filter := []unix.SockFilter{
		{Code: load, K: 0}, // the number of the call
		{Code: isEqual, K: unix.SYS_FSYNC, Jt: 2},
		{Code: isEqual, K: unix.SYS_FDATASYNC, Jt: 1},
		{Code: ret, K: unix.SECCOMP_RET_ALLOW},
		{Code: ret, K: unix.SECCOMP_RET_USER_NOTIF},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 0, err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return 0, errno
	}
	return int(fd), nil
}

// sickness makes syncs fail with a chance, or not at all.
func (s *syncs) sickness(chance float64) { s.chance.Store(uint64(chance * 1_000_000)) }

func (s *syncs) String() string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf(", %d of %d syncs failed", s.failed.Load(), s.asked.Load())
}
