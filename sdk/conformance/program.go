package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/proto"
)

// How patient the kit is; mlist is about as patient.
const (
	startPatience = 10 * time.Second // until the handshake
	endPatience   = 3 * time.Second  // from being asked to end
	answerIn      = 5 * time.Second  // for calls that have nothing to do
	grace         = 2 * time.Second  // for a call to return after its context ended
)

// program is one run of the program. It is not run through go-plugin, which would hide
// what exactly is wrong with a handshake, and knows one way to end a process only.
type program struct {
	cmd      *exec.Cmd
	dir      string // for its socket
	stdout   *firstLine
	stderr   *tail
	lifeline *os.File // our end; closing it is the end of mlist
	done     chan struct{}
	conn     *grpc.ClientConn
	rpc      proto.PluginClient
	service  *service
}

// start starts the program and shakes hands. The error is a sentence without its end.
func start(ctx context.Context, path string) (*program, error) {
	p, err := launch(path)
	if err != nil {
		return nil, err
	}
	if err := p.shake(ctx); err != nil {
		p.end()
		return nil, err
	}
	return p, nil
}

func launch(path string) (*program, error) {
	// Not where TMPDIR says: a socket's path has room for 107 octets.
	dir, err := os.MkdirTemp("/tmp", "mlist-check-")
	if err != nil {
		return nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	defer func() { _ = read.Close() }() // the program has its own
	served, err := serve(dir)
	if err != nil {
		return nil, errors.Join(err, write.Close(), os.RemoveAll(dir))
	}
	p := &program{cmd: exec.Command(path), dir: dir, stdout: newFirstLine(), stderr: &tail{}, lifeline: write, done: make(chan struct{}), service: served}
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	p.cmd.ExtraFiles = []*os.File{read} // descriptor 3
	p.cmd.Env = append(environment(), sdk.CookieKey+"="+sdk.CookieValue, sdk.LifelineKey+"=3", sdk.GraceKey+"="+grace.String(),
		"PLUGIN_PROTOCOL_VERSIONS="+strconv.Itoa(sdk.ProtocolVersion), "PLUGIN_UNIX_SOCKET_DIR="+dir)
	p.cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = 200 * time.Millisecond // a grandchild may hold its output open
	if err := p.cmd.Start(); err != nil {
		served.close()
		_ = write.Close() // nobody reads it
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	go func() {
		_ = p.cmd.Wait() // ProcessState says the same
		close(p.done)
	}()
	return p, nil
}

// environment is what a program gets of this one's, in mlist as here.
func environment() []string {
	var env []string
	for _, key := range []string{"PATH", "TZ", "LANG"} {
		if v, ok := os.LookupEnv(key); ok {
			env = append(env, key+"="+v)
		}
	}
	return env
}

// shake waits for the line of the handshake and connects.
func (p *program) shake(ctx context.Context) error {
	var line string
	select {
	case line = <-p.stdout.line:
	case <-p.done:
		select {
		case line = <-p.stdout.line: // and ended right after
		default:
			return fmt.Errorf("it ended (%s) before its handshake%s", p.cmd.ProcessState, p.stderr.quote())
		}
	case <-time.After(startPatience):
		return fmt.Errorf("it printed no handshake within %s%s", startPatience, p.stderr.quote())
	case <-ctx.Done():
		return ctx.Err()
	}
	socket, err := parseHandshake(line)
	if err != nil {
		return err
	}
	p.conn, err = grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(sdk.MaxMessage), grpc.MaxCallSendMsgSize(sdk.MaxMessage)))
	if err != nil {
		return fmt.Errorf("its socket %q: %w", socket, err)
	}
	p.rpc = proto.NewPluginClient(p.conn)
	return nil
}

// parseHandshake reads go-plugin's line: core protocol, version, network, address and
// protocol, divided by bars.
func parseHandshake(line string) (socket string, err error) {
	want := fmt.Sprintf("1|%d|unix|PATH|grpc", sdk.ProtocolVersion)
	f := strings.Split(strings.TrimSpace(line), "|")
	switch {
	case len(f) < 5:
		return "", fmt.Errorf("the first line on its standard output must be %s, and nothing may come before; it is %.100q", want, line)
	case f[0] != "1":
		return "", fmt.Errorf("its handshake has the core protocol %.20q, want 1: %s", f[0], want)
	case f[1] != strconv.Itoa(sdk.ProtocolVersion):
		return "", fmt.Errorf("it speaks version %.20q of the contract, this mlist speaks %d", f[1], sdk.ProtocolVersion)
	case f[2] != "unix":
		return "", fmt.Errorf("it listens on %.20q; only a unix socket, in the directory PLUGIN_UNIX_SOCKET_DIR, is private", f[2])
	case f[4] != "grpc":
		return "", fmt.Errorf("it speaks %.20q, want grpc", f[4])
	}
	return f[3], nil
}

func (p *program) describe(ctx context.Context) (*proto.DescribeReply, error) {
	return p.rpc.Describe(ctx, &proto.DescribeRequest{MlistVersion: "check", Capabilities: sdk.Capabilities})
}

func (p *program) configure(ctx context.Context, tables map[string][]byte) (*proto.ConfigureReply, error) {
	return p.rpc.Configure(ctx, &proto.ConfigureRequest{Config: tables, Hostname: hostname,
		HostSocket: p.service.path, HostToken: p.service.token})
}

// signal sends a signal to the program and what it started.
func (p *program) signal(sig unix.Signal) {
	_ = unix.Kill(-p.cmd.Process.Pid, sig) // ESRCH: it has just ended
}

// ends waits for the program's end.
func (p *program) ends(patience time.Duration) bool {
	select {
	case <-p.done:
		return true
	case <-time.After(patience):
		return false
	}
}

func (p *program) dead() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// gone waits until nothing is left of what the program started.
func (p *program) gone() bool {
	for range 100 {
		if unix.Kill(-p.cmd.Process.Pid, 0) != nil {
			return true
		}
		time.Sleep(endPatience / 100)
	}
	return false
}

// end ends the program, however it is, and waits for that.
func (p *program) end() {
	p.signal(unix.SIGKILL)
	<-p.done
	_ = p.lifeline.Close() // may have been cut before
	if p.conn != nil {
		_ = p.conn.Close() // only its memory is left
	}
	p.service.close()
	_ = os.RemoveAll(p.dir) // of a temporary directory
}

// fate says how the program died, if it did: gRPC notices first.
func (p *program) fate() string {
	if !p.ends(500 * time.Millisecond) {
		return ""
	}
	return fmt.Sprintf("; the program died: %s%s", p.cmd.ProcessState, p.stderr.quote())
}

// firstLine takes what a program prints, hands on the first line, and remembers how the
// rest began.
type firstLine struct {
	line chan string
	mu   sync.Mutex
	have []byte
	sent bool
	rest tail
}

func newFirstLine() *firstLine { return &firstLine{line: make(chan string, 1)} }

// Write implements io.Writer.
func (f *firstLine) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sent {
		return f.rest.Write(b)
	}
	f.have = append(f.have, b...)
	line, rest, ok := bytes.Cut(f.have, []byte("\n"))
	if ok || len(f.have) > 4096 {
		f.sent = true
		f.line <- string(line)
		_, _ = f.rest.Write(rest) // cannot fail
	}
	return len(b), nil
}

// tail keeps the end of what a program prints.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if n := len(t.text); n > 8192 {
		t.text = append([]byte(nil), t.text[n-4096:]...)
	}
	return len(b), nil
}

// quote quotes the last line, as the end of a sentence.
func (t *tail) quote() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := bytes.TrimSpace(t.text)
	if len(text) == 0 {
		return ""
	}
	return fmt.Sprintf("; it said %.300q", text[bytes.LastIndexByte(text, '\n')+1:])
}
