package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	gorunner "github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/proto"
	"github.com/mlist/mlist/sdk/wire"
)

// process is one run of a plugin's program, from start to end.
type process struct {
	*runnerHandle
	name, version string
	stages        []*proto.Stage
	needs         []string
	declared      wire.Needs
	told          *told // nil if it remembers no settings
	answers       answers
	services      *services // nil if it needs none
	rpc           proto.PluginClient
	output        *stderrLog
	launched      time.Time
	removed       atomic.Bool // this side takes it out of service: its end is nobody's fault
	silent        silence

	mu     sync.Mutex
	begun  int // calls so far
	active int // calls under way
	shared int // the last call that began while another was under way
}

// runnerHandle is the process and go-plugin's client of it.
type runnerHandle struct {
	*runner
	client *plugin.Client
	conns  *connections
	sdir   string // go-plugin's directory for the socket
}

// launch starts a program, and returns when it has described itself. Every start has a
// new command and client: go-plugin's cannot be used twice.
func (l *launcher) launch(ctx context.Context, path string) (*process, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timing.start)
	defer cancel()
	if err := checkPin(path, l.pins); err != nil {
		return nil, fmt.Errorf("plugin %s: %w", path, err)
	}
	// Something that cleans up may have taken the directory; the next start of mlist
	// would otherwise be the first that works. 0700, as before.
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return nil, fmt.Errorf("plugin %s: sockets: %w", path, err)
	}
	p := &process{launched: time.Now(), silent: silence{ch: make(chan struct{})}}
	p.output = newStderrLog(l.logger.With("plugin", filepath.Base(path)))
	p.runnerHandle = l.prepare(path, p.output)
	err := p.connect(ctx)
	if err == nil {
		err = p.describe(ctx, l)
	}
	if err == nil {
		err = l.offer(p)
	}
	if err != nil {
		err = p.startError(ctx, err)
		p.abandon()
		return nil, fmt.Errorf("plugin %s: %w", path, err)
	}
	p.output.logTo(l.logger.With("plugin", p.name))
	return p, nil
}

// prepare makes the command and its client. AutoMTLS is off: the socket lies in a
// directory that only this user can enter, and TLS would cost every call.
func (l *launcher) prepare(path string, output io.Writer) *runnerHandle {
	cmd := exec.Command(path)
	cmd.Env = l.environment()
	h := &runnerHandle{runner: newRunner(cmd, l.memory, l.timing.term), conns: &connections{}}
	h.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  plugin.HandshakeConfig{ProtocolVersion: sdk.ProtocolVersion, MagicCookieKey: sdk.CookieKey, MagicCookieValue: sdk.CookieValue},
		Plugins:          plugin.PluginSet{sdk.PluginSet: &dispensed{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		SkipHostEnv:      true,
		StartTimeout:     2 * l.timing.start, // the context of launch ends before
		Logger:           silent(),
		Stderr:           output,
		SyncStdout:       output, // of plugins in Go that are not built on the SDK
		SyncStderr:       output,
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(sdk.MaxMessage), grpc.MaxCallSendMsgSize(sdk.MaxMessage)),
			grpc.WithChainStreamInterceptor(h.conns.remember),
			grpc.WithChainUnaryInterceptor(lostIsUnavailable),
			grpc.WithStaticStreamWindowSize(sdk.Window), grpc.WithStaticConnWindowSize(4 * sdk.Window),
			grpc.WithNoProxy(), grpc.WithDisableServiceConfig(),
		},
		UnixSocketConfig:    &plugin.UnixSocketConfig{TempDir: l.dir},
		PluginLogBufferSize: 4096,
		RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, socketDir string) (gorunner.Runner, error) {
			cmd.Env = append(cmd.Env, spec.Env...)
			h.sdir = socketDir
			return h.runner, nil
		},
	})
	return h
}

// lostIsUnavailable gives a call whose connection was closed by this side the code of one
// whose plugin died. gRPC says Canceled if the process's owner hears of the death, and
// closes the connection, before the call does; the caller gave nothing up.
func lostIsUnavailable(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := call(ctx, method, req, reply, cc, opts...)
	if s := status.Convert(err); s.Code() == codes.Canceled && s.Message() == "grpc: the client connection is closing" && ctx.Err() == nil {
		return status.Error(codes.Unavailable, s.Message())
	}
	return err
}

// silent is a logger that makes go-plugin skip its parsing of the plugin's output,
// which fails on JSON of unexpected types. Only one of level Off does; hclog's null
// logger has another.
func silent() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Off, Output: io.Discard})
}

// environment is what a plugin inherits: not this process's secrets, nor what a
// service manager said to it.
func (l *launcher) environment() []string {
	env := []string{"GOGC=200", "GOMAXPROCS=2", sdk.GraceKey + "=" + l.timing.grace.String()}
	// MLIST_DNS_FILE names a file that stands in for DNS, where mail is tried without the net.
	for _, key := range []string{"PATH", "TZ", "LANG", "MLIST_DNS_FILE"} {
		if v, ok := os.LookupEnv(key); ok {
			env = append(env, key+"="+v)
		}
	}
	if l.memory > 0 {
		// The Go runtime works harder to stay below this; the limit itself kills.
		env = append(env, "GOMEMLIMIT="+strconv.FormatInt(l.memory/5*4, 10))
	}
	return env
}

// connect starts the process, shakes hands and connects. go-plugin does that without
// regard to a context; killing the process is what stops it.
func (p *process) connect(ctx context.Context) error {
	done := make(chan error, 1)
	go func() {
		client, err := p.client.Client()
		if err == nil {
			var raw any
			raw, err = client.Dispense(sdk.PluginSet)
			p.rpc, _ = raw.(proto.PluginClient)
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		p.slay()
		<-done
		return ctx.Err()
	}
}

func (p *process) describe(ctx context.Context, l *launcher) error {
	d, err := p.rpc.Describe(ctx, &proto.DescribeRequest{MlistVersion: l.version, Capabilities: l.capabilities()})
	if err != nil {
		return fmt.Errorf("describe: %w", err)
	}
	p.name, p.version, p.stages, p.needs = d.GetName(), d.GetVersion(), d.GetStages(), d.GetNeeds()
	p.declared = wire.NeedsOf(d)
	if slices.Contains(d.GetUses(), sdk.CapRevisions) || p.wants(sdk.CapRevisions) {
		p.told = &told{}
	}
	if !isWord(p.name) || len(p.version) > 64 || p.version != printable(p.version) {
		return fmt.Errorf("describe: %.100q version %.100q is no name and version", p.name, p.version)
	}
	if err := l.refuse(p.name, p.needs); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, s := range p.stages {
		if !isWord(s.GetName()) {
			return fmt.Errorf("describe: %.100q is no name for a stage", s.GetName())
		}
		if seen[s.GetName()] {
			return fmt.Errorf("describe: stage %s is there twice", s.GetName())
		}
		seen[s.GetName()] = true
	}
	return nil
}

// needBody tells whether one of the stages wants to see the body. Every process is asked
// anew: a program that was replaced on disk may have come to want it.
func (p *process) needBody(stages []string) bool {
	return slices.ContainsFunc(stages, func(s string) bool { return p.declared.Has(s, "body") })
}

// isWord tells whether a name can stand in configuration and logs.
func isWord(name string) bool {
	return name != "" && len(name) <= 64 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == ""
}

// configure hands over the tables of the configuration.
func (p *process) configure(ctx context.Context, l *launcher, tables map[string][]byte) error {
	ctx, cancel := context.WithTimeout(ctx, l.timing.start)
	defer cancel()
	req := &proto.ConfigureRequest{Config: tables, Hostname: l.hostname}
	if p.services != nil {
		req.HostSocket, req.HostToken = p.services.path, p.services.token
	}
	reply, err := p.rpc.Configure(ctx, req)
	if err != nil {
		return fmt.Errorf("plugin %s: configure: %w", p.name, p.death(ctx, err))
	}
	var problems []error
	for _, problem := range reply.GetProblems() {
		problems = append(problems, fmt.Errorf("plugin %s: %s", p.name, printable(cut(problem, 1000))))
	}
	return errors.Join(problems...)
}

// startError says in one line why a plugin did not start: what the process did and
// printed, where that is known, is of more use than how go-plugin puts it.
func (p *process) startError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("not ready after %s%s", time.Since(p.launched).Round(time.Millisecond), p.said())
		}
		return ctx.Err()
	}
	select {
	case <-p.done:
		if p.fell() {
			return fmt.Errorf("ended before it was ready: %s%s", p.status(), p.said())
		}
	case <-time.After(100 * time.Millisecond):
	}
	line, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	return fmt.Errorf("%s%s", printable(cut(line, 1000)), p.said())
}

// death makes an error of gRPC say how the process died, if it did. gRPC notices first;
// the rest is known in a moment.
func (p *process) death(ctx context.Context, err error) error {
	if status.Code(err) == codes.Unavailable {
		select {
		case <-p.done:
			return fmt.Errorf("the plugin died: %s%s", p.status(), p.said())
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return errors.New(words(err))
}

// said quotes what the plugin printed last.
func (p *process) said() string {
	if cause, _ := p.output.last(); cause != "" {
		return ": " + cause
	}
	return ""
}

// abandon ends a process that never served.
func (p *process) abandon() {
	p.slay()
	p.release()
}

// stop ends a process: it may finish what it is at, then it is asked to end, then
// made to. When force ends, it goes at once.
func (p *process) stop(force context.Context, l *launcher) {
	select {
	case <-p.done:
	default:
		p.removed.Store(true)
		ctx, cancel := context.WithTimeout(force, l.timing.drain)
		_, err := p.rpc.Drain(ctx, &proto.DrainRequest{})
		cancel()
		if err != nil {
			l.logger.Debug("plugin did not drain", "plugin", p.name, "pid", p.pid, "err", err)
			_ = p.Kill(force) // returns no error
		}
	}
	// go-plugin now asks it to shut down, and has no deadline for that. One that is not
	// built on go-plugin does not understand, and is sent a signal a little later.
	t := time.AfterFunc(l.timing.term/4, func() { _ = p.Kill(force) }) // returns no error
	defer t.Stop()
	defer context.AfterFunc(force, p.slay)()
	p.release()
}

// release lets go-plugin end its part, and waits for the process.
func (p *process) release() {
	p.client.Kill()
	if p.ID() != "" {
		<-p.done
	}
	p.services.close()
	p.conns.close()
	if p.sdir != "" {
		_ = os.RemoveAll(p.sdir) // the whole run directory goes in the end
	}
}

// health asks whether the plugin is well.
func (p *process) health(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := p.rpc.Health(ctx, &proto.HealthRequest{})
	return err
}
