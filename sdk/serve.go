package sdk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/mlist/mlist/sdk/proto"
)

// Serve serves the stages to the mlist that started this program, and does not return:
// the program ends when mlist says so, or ends itself. Call it first thing in main.
//
// From then on, standard output goes where standard error goes: to mlist's log, as do
// log and log/slog.
func Serve(name, version string, stages ...Stage) {
	s, err := NewServer(name, version, stages...)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(2)
	}
	if os.Getenv(CookieKey) != CookieValue {
		fmt.Fprintf(os.Stderr, "%s %s is a plugin of mlist, with the stages %s.\nIt is not run by hand: put it in the plugin directory.\n",
			name, version, s.names())
		os.Exit(2)
	}
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err := holdLifeline(); err != nil {
		slog.Error(err.Error())
		os.Exit(1)
	}
	restore, err := divertStdout()
	if err != nil {
		slog.Error(err.Error())
		os.Exit(1)
	}
	s.served = sync.OnceFunc(restore)
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{ProtocolVersion: ProtocolVersion, MagicCookieKey: CookieKey, MagicCookieValue: CookieValue},
		Plugins:         plugin.PluginSet{PluginSet: &servedPlugin{server: s}},
		GRPCServer:      newGRPCServer,
		Logger:          hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: os.Stderr}),
	})
	os.Exit(0)
}

func (s *Server) names() string {
	names := make([]string, len(s.stages))
	for i, st := range s.stages {
		names[i] = st.Name
	}
	return strings.Join(names, ", ")
}

// newGRPCServer raises gRPC's own limit, 4 MiB, which a large header block and splices
// could meet. Its windows do not follow how long messages take: on a unix socket the pings for
// that cost more than the calls.
func newGRPCServer(opts []grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(opts, grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxSendMsgSize(MaxMessage),
		grpc.StaticStreamWindowSize(Window), grpc.StaticConnWindowSize(4*Window))...)
}

// holdLifeline ends this process, and those it started, when mlist is gone. Without a
// lifeline (someone debugs the plugin by hand) it does nothing.
func holdLifeline() error {
	value := os.Getenv(LifelineKey)
	if value == "" {
		return nil
	}
	fd, err := strconv.Atoi(value)
	if err != nil || fd < 3 {
		return fmt.Errorf("%s=%q is no file descriptor", LifelineKey, value)
	}
	unix.CloseOnExec(fd)
	// Non-blocking, so that waiting for its end does not take a thread.
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("lifeline: %w", err)
	}
	go hang(os.NewFile(uintptr(fd), "lifeline"))
	// A service manager that stops mlist sends SIGTERM to all its processes at once. The
	// plugin is still needed then, until mlist has finished what it was at; so the
	// lifeline decides. Notify and not Ignore: what is ignored stays so in programs
	// that a handler starts.
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, unix.SIGTERM)
	go func() {
		for range ignored {
		}
	}()
	return nil
}

// hang waits for the lifeline's end.
func hang(lifeline *os.File) {
	_, _ = lifeline.Read(make([]byte, 1)) // nothing is ever written
	if unix.Getpgrp() == os.Getpid() {
		_ = unix.Kill(-os.Getpid(), unix.SIGKILL) // this process too
	}
	os.Exit(0)
}

// divertStdout keeps the real standard output for go-plugin's one line of handshake,
// and sends everything else that is printed, by this program or one that it starts, to
// standard error. restore is called when the handshake is over: go-plugin has by then
// put pipes in the place of os.Stdout and os.Stderr that block when nobody reads them.
func divertStdout() (restore func(), err error) {
	fd, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("standard output: %w", err)
	}
	if err := unix.Dup2(2, 1); err != nil {
		return nil, fmt.Errorf("standard output: %w", err)
	}
	handshake, stderr := os.NewFile(uintptr(fd), "handshake"), os.Stderr
	os.Stdout = handshake
	return func() {
		os.Stdout, os.Stderr = stderr, stderr
		_ = handshake.Close() // nothing is buffered
	}, nil
}

// servedPlugin is the plugin's side of go-plugin's glue.
type servedPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	server *Server
}

// GRPCServer implements plugin.GRPCPlugin.
func (p *servedPlugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	proto.RegisterPluginServer(s, p.server)
	return nil
}

// GRPCClient implements plugin.GRPCPlugin.
func (p *servedPlugin) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this side serves")
}
