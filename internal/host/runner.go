package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlist/mlist/sdk"
)

// runner owns one operating system process. It is what go-plugin is given in the place
// of its own way to run commands, which waits without a deadline, knows nothing of
// grandchildren, and leaves processes behind when this one is killed.
//
// Three things see to it that none is left behind. The lifeline, a pipe whose writing
// end only this process has, ends when it does, and the SDK then kills the plugin's
// whole process group. For a plugin that is not built on the SDK, the kernel sends
// SIGTERM when the thread that started it ends: which is why one goroutine keeps that
// thread until the plugin is gone. And while this process lives, it kills the group.
type runner struct {
	cmd            *exec.Cmd
	memory         int64
	term           time.Duration
	stdout, stderr *os.File // our ends
	lifeline       *os.File

	drained  chan struct{} // closed when go-plugin has read all output
	done     chan struct{} // closed when the process is gone and its output read
	mu       sync.Mutex
	pid      int  // 0 before the start
	killed   bool // before the start: do not start
	asked    bool // this side wanted it to end
	reaped   bool // the pid may be someone else's now
	state    *os.ProcessState
	drainOne sync.Once
	lifeOne  sync.Once
}

func newRunner(cmd *exec.Cmd, memory int64, term time.Duration) *runner {
	return &runner{cmd: cmd, memory: memory, term: term, drained: make(chan struct{}), done: make(chan struct{})}
}

// Start implements go-plugin's runner.Runner.
func (r *runner) Start(context.Context) error {
	var files [6]*os.File // out, err and lifeline, each reading and writing end
	for i := 0; i < len(files); i += 2 {
		var err error
		if files[i], files[i+1], err = os.Pipe(); err != nil {
			closeAll(files[:])
			return fmt.Errorf("pipe: %w", err)
		}
	}
	r.stdout, r.stderr, r.lifeline = files[0], files[2], files[5]
	r.cmd.Stdin, r.cmd.Stdout, r.cmd.Stderr = nil, files[1], files[3]
	r.cmd.ExtraFiles = []*os.File{files[4]} // descriptor 3
	r.cmd.Env = append(r.cmd.Env, sdk.LifelineKey+"=3")
	r.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGTERM}
	started := make(chan error)
	go r.own(started)
	err := <-started
	closeAll([]*os.File{files[1], files[3], files[4]})
	if err != nil {
		closeAll([]*os.File{r.stdout, r.stderr, r.lifeline})
	}
	return err
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close() // pipes: nothing is lost
		}
	}
}

// own starts the process, waits for its end, and cleans up. It keeps its thread.
func (r *runner) own(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := r.begin()
	started <- err
	if err != nil {
		close(r.done)
		return
	}
	// Wait without reaping, so that the process group's number is still taken when the
	// rest of the group is killed.
	for {
		err := unix.Waitid(unix.P_PID, r.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	r.mu.Lock()
	_ = unix.Kill(-r.pid, unix.SIGKILL) // ESRCH: it was alone
	_ = r.cmd.Wait()                    // what it says is in the state
	r.reaped, r.state = true, r.cmd.ProcessState
	r.mu.Unlock()
	r.cutLifeline()
	// A grandchild that left the group can keep the pipes open for as long as it likes.
	select {
	case <-r.drained:
	case <-time.After(200 * time.Millisecond):
	}
	closeAll([]*os.File{r.stdout, r.stderr})
	close(r.done)
}

func (r *runner) begin() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.killed {
		return errors.New("stopped before it started")
	}
	if err := r.cmd.Start(); err != nil {
		return err
	}
	r.pid = r.cmd.Process.Pid
	if err := limit(r.pid, r.memory); err != nil {
		_ = unix.Kill(-r.pid, unix.SIGKILL)
		_ = r.cmd.Wait() // it was killed
		return err
	}
	return nil
}

// reserve is what the limit on memory adds: the kernel counts address space, and a Go
// program takes this much of it (measured) before it has used a tenth.
const reserve = 128 << 20

// openFiles is how many files a plugin may have open: some for each call under way, and far
// fewer than would keep others from opening theirs.
const openFiles = 1024

// limit bounds a process's memory, so that one that eats it dies alone, and its open
// files; and forbids core dumps, which would hold people's mail.
func limit(pid int, memory int64) error {
	limits := map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_NOFILE: openFiles}
	if memory > 0 {
		limits[unix.RLIMIT_DATA] = uint64(memory) + reserve
	}
	for resource, n := range limits {
		err := unix.Prlimit(pid, resource, &unix.Rlimit{Cur: n, Max: n}, nil)
		if err != nil && !errors.Is(err, unix.ESRCH) { // gone already, which is noticed soon
			return fmt.Errorf("prlimit: %w", err)
		}
	}
	return nil
}

// Wait implements runner.Runner; go-plugin calls it when it has read all output.
func (r *runner) Wait(context.Context) error {
	r.drainOne.Do(func() { close(r.drained) })
	<-r.done
	return nil
}

// Kill implements runner.Runner: it asks the process to end, and then makes it.
func (r *runner) Kill(ctx context.Context) error {
	r.mu.Lock()
	r.asked = true
	r.mu.Unlock()
	r.cutLifeline()
	r.signal(unix.SIGTERM)
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
	case <-time.After(r.term):
	}
	r.slay()
	return nil
}

// slay kills the process and its group, now, or forbids its start.
func (r *runner) slay() {
	r.mu.Lock()
	r.killed, r.asked = true, true
	r.mu.Unlock()
	r.signal(unix.SIGKILL)
}

// signal sends a signal to the process group, if there is one.
func (r *runner) signal(sig unix.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pid != 0 && !r.reaped {
		_ = unix.Kill(-r.pid, sig) // ESRCH: it has just ended
	}
}

func (r *runner) cutLifeline() {
	r.lifeOne.Do(func() {
		if r.lifeline != nil {
			_ = r.lifeline.Close() // never written
		}
	})
}

// dead tells whether the process has ended, be it a moment ago and not cleaned up after.
func (r *runner) dead() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pid == 0 || r.reaped {
		return true
	}
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, r.pid, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
	return err == nil && info.Signo != 0
}

// status tells how the process ended, once done is closed.
func (r *runner) status() string {
	if r.state == nil {
		return "not started"
	}
	return r.state.String()
}

// fell tells whether the process ended by itself, once done is closed. go-plugin asks
// it to end as soon as its output does, so having been asked is not enough.
func (r *runner) fell() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state != nil && (!r.asked || r.state.Exited())
}

// Stdout implements runner.Runner.
func (r *runner) Stdout() io.ReadCloser { return r.stdout }

// Stderr implements runner.Runner.
func (r *runner) Stderr() io.ReadCloser { return r.stderr }

// Name implements runner.Runner.
func (r *runner) Name() string { return r.cmd.Path }

// ID implements runner.Runner.
func (r *runner) ID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pid == 0 {
		return ""
	}
	return strconv.Itoa(r.pid)
}

// Diagnose implements runner.Runner.
func (r *runner) Diagnose(context.Context) string { return "" }

// PluginToHost implements runner.Runner.
func (r *runner) PluginToHost(network, address string) (string, string, error) {
	if network != "unix" {
		return "", "", fmt.Errorf("it listens on %s; only a unix socket is private", network)
	}
	return network, address, nil
}

// HostToPlugin implements runner.Runner.
func (r *runner) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}
