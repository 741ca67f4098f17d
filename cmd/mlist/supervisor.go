package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// supervisor is who started mlist and wants to hear how it is, by the protocol of
// sd_notify(3). Without one, nothing is said.
type supervisor struct {
	socket string
	// beat is how often it is to be told that all is well; 0 is never. Silence of twice
	// that ends the process.
	beat time.Duration
}

// findSupervisor takes the variables out of the environment: plugins are not to speak for mlist.
func findSupervisor() *supervisor {
	s := &supervisor{socket: os.Getenv("NOTIFY_SOCKET")}
	micros, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if pid := os.Getenv("WATCHDOG_PID"); err == nil && micros > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		s.beat = time.Duration(micros) * time.Microsecond / 2
	}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		os.Unsetenv(name)
	}
	return s
}

// tell says something. What cannot be told is no reason to end: the supervisor decides
// what it makes of silence.
func (s *supervisor) tell(lines ...string) {
	if s == nil || s.socket == "" {
		return
	}
	// A name that begins with @ is in Linux's abstract space: net knows that, too.
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = c.Write([]byte(strings.Join(lines, "\n")))
}

// reloading says that mlist is busy with its configuration since now.
func (s *supervisor) reloading() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return
	}
	s.tell("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
}

// grace is the time that a start is given again and again while it has not ended.
const grace = 2 * time.Minute

// takesLong asks for time, until ctx ends, beyond that which is granted to a start: the
// tables of a large store may be brought up to date in it, which is not to be cut off.
func (s *supervisor) takesLong(ctx context.Context) {
	if s == nil || s.socket == "" {
		return
	}
	tick := time.NewTicker(grace / 4)
	defer tick.Stop()
	for ctx.Err() == nil {
		s.tell(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", grace.Microseconds()))
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// watchOver tells that all is well while the check, which may block, comes back without
// an error.
func (s *supervisor) watchOver(ctx context.Context, check func() error) {
	if s == nil || s.beat == 0 {
		return
	}
	tick := time.NewTicker(s.beat)
	defer tick.Stop()
	for {
		if check() == nil {
			s.tell("WATCHDOG=1")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
