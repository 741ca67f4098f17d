package host

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/proto"
	"github.com/mlist/mlist/sdk/wire"
)

// Members reads who is on a list.
type Members interface {
	// Members yields the members that the filter chooses; the last error ends it. It may
	// be given words that are no role, mode or status.
	Members(ctx context.Context, listID int64, f sdk.MemberFilter) iter.Seq2[sdk.Member, error]
}

// State reads what plugins keep for lists. What they change comes back with Run, and is
// for its caller to commit.
type State interface {
	// PluginState returns the value of a key as it was before the post of entry was
	// committed, if it was, and else as it is.
	PluginState(ctx context.Context, listID int64, entry, plugin, key string) (value []byte, ok bool, err error)
}

// services answers what one plugin process asks, on a socket that only it is told of. A
// socket of its own ends with it, and whatever it does costs nobody else.
type services struct {
	members Members
	state   State
	readers *semaphore.Weighted // of all plugins: the store has only so many streams
	logger  *slog.Logger

	plugin string
	path   string
	token  string
	server *grpc.Server
	serve  sync.WaitGroup

	mu    sync.Mutex
	last  uint64
	calls map[string]*inquiry
}

// inquiry is a Handle call under way, as far as the plugin may ask about it.
type inquiry struct {
	ctx     context.Context
	listID  int64
	entry   string
	before  func(ctx context.Context) error // to be waited for before state is read, or nil
	pending []wire.StateEdit
	reading *semaphore.Weighted // one stream at a time
}

// socketPrefix begins the names of the sockets, and of all else in the run directory.
const socketPrefix = "plugin-dir-host"

// maxReaders is how many streams of members are open at once: the store has some more,
// which delivery needs.
const maxReaders = 4

// offer starts the services of a process, if it needs any.
func (l *launcher) offer(p *process) error {
	if !p.wants(sdk.CapMembers) && !p.wants(sdk.CapState) {
		return nil
	}
	s := &services{members: l.members, state: l.state, readers: l.readers, logger: l.logger.With("plugin", p.name), plugin: p.name,
		path: filepath.Join(l.dir, socketPrefix+rand.Text()[:8]), token: rand.Text(), calls: map[string]*inquiry{}}
	listener, err := net.Listen("unix", s.path)
	if err != nil {
		return fmt.Errorf("socket for what it asks: %w", err)
	}
	s.server = grpc.NewServer(grpc.MaxRecvMsgSize(64<<10), grpc.WaitForHandlers(true), grpc.MaxConcurrentStreams(100),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			if err := s.admit(ctx); err != nil {
				return nil, err
			}
			return handle(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			if err := s.admit(stream.Context()); err != nil {
				return err
			}
			return handle(srv, stream)
		}))
	proto.RegisterHostServer(s.server, &hostServer{services: s})
	s.serve.Go(func() { _ = s.server.Serve(listener) }) // it ends with close
	p.services = s
	return nil
}

// close ends everything that the plugin asks, and waits for it.
func (s *services) close() {
	if s == nil {
		return
	}
	s.server.Stop()
	s.serve.Wait()
	_ = os.Remove(s.path) // gone with its listener, as a rule
}

// admit lets only the process itself in.
func (s *services) admit(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	token := strings.Join(md.Get(sdk.TokenKey), "")
	if subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) != 1 {
		return status.Error(codes.Unauthenticated, "wrong token")
	}
	return nil
}

// open lets the plugin ask about a post until closed.
func (s *services) open(ctx context.Context, p *wire.Post) (call string, closed context.CancelFunc) {
	if s == nil {
		return "", func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	q := &inquiry{ctx: ctx, listID: p.ListID, entry: p.Entry, before: p.BeforeState, reading: semaphore.NewWeighted(1)}
	for _, e := range p.State {
		if e.Plugin == s.plugin {
			q.pending = append(q.pending, e)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	call = strconv.FormatUint(s.last, 10)
	s.calls[call] = q
	return call, func() {
		s.mu.Lock()
		delete(s.calls, call)
		s.mu.Unlock()
		cancel()
	}
}

// find returns the call that a request names.
func (s *services) find(call string) (*inquiry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.calls[call]; q != nil {
		return q, nil
	}
	return nil, status.Errorf(codes.FailedPrecondition, "call %.40q is not under way", call)
}

// hostServer is the service Host.
type hostServer struct {
	proto.UnimplementedHostServer
	*services
}

// GetState implements proto.HostServer.
func (h *hostServer) GetState(ctx context.Context, req *proto.GetStateRequest) (*proto.GetStateReply, error) {
	q, err := h.find(req.GetCall())
	if err != nil {
		return nil, err
	}
	if h.state == nil {
		return nil, status.Error(codes.Unimplemented, "this mlist keeps no state")
	}
	if err := sdk.CheckStateKey(req.GetKey()); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	ctx, end := q.within(ctx)
	defer end()
	if q.before != nil {
		if err := q.before(ctx); err != nil {
			return nil, h.failed(ctx, "state", q, err)
		}
	}
	value, ok, err := h.state.PluginState(ctx, q.listID, q.entry, h.plugin, req.GetKey())
	if err != nil {
		return nil, h.failed(ctx, "state", q, err)
	}
	for _, e := range q.pending {
		if e.Key == req.GetKey() {
			value, ok = e.Apply(value)
		}
	}
	return &proto.GetStateReply{Found: ok, Value: value}, nil
}

// within returns a context that ends when the call does, too.
func (q *inquiry) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(q.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// failed logs why something could not be answered: the plugin is told that, too, but may
// keep it to itself.
func (h *hostServer) failed(ctx context.Context, what string, q *inquiry, err error) error {
	if ctx.Err() != nil || q.ctx.Err() != nil {
		return status.Error(codes.Canceled, "the call is over")
	}
	h.logger.Warn("plugin asked in vain", "for", what, "entry", q.entry, "err", err)
	return status.Error(codes.Unavailable, printable(cut(err.Error(), 1000)))
}

// pieceSize is how many members travel at once.
const pieceSize = 200

// Members implements proto.HostServer. A plugin that stops reading blocks Send, which
// nothing but the end of the stream ends; so this returns when the call is over, and
// what reads the store then fails and is waited for.
func (h *hostServer) Members(req *proto.MembersRequest, stream grpc.ServerStreamingServer[proto.MembersReply]) error {
	q, err := h.find(req.GetCall())
	if err != nil {
		return err
	}
	if h.members == nil {
		return status.Error(codes.Unimplemented, "this mlist tells no members")
	}
	ctx, end := q.within(stream.Context())
	defer end()
	if err := q.reading.Acquire(ctx, 1); err != nil {
		return status.FromContextError(err).Err()
	}
	if err := h.readers.Acquire(ctx, 1); err != nil {
		q.reading.Release(1)
		return status.FromContextError(err).Err()
	}
	done := make(chan error, 1)
	h.serve.Go(func() {
		defer q.reading.Release(1)
		defer h.readers.Release(1)
		done <- h.send(ctx, q, req, stream)
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return status.Error(codes.Canceled, "the call is over")
	}
}

func (h *hostServer) send(ctx context.Context, q *inquiry, req *proto.MembersRequest, stream grpc.ServerStreamingServer[proto.MembersReply]) error {
	f := sdk.MemberFilter{Roles: req.GetRoles(), Modes: req.GetModes(), Statuses: req.GetStatuses()}
	piece := &proto.MembersReply{}
	for m, err := range h.members.Members(ctx, q.listID, f) {
		if err != nil {
			return h.failed(ctx, "members", q, err)
		}
		piece.Members = append(piece.Members, wire.Member(m))
		if len(piece.Members) < pieceSize {
			continue
		}
		if err := stream.Send(piece); err != nil {
			return err
		}
		piece = &proto.MembersReply{}
	}
	if len(piece.Members) == 0 {
		return nil
	}
	return stream.Send(piece)
}
