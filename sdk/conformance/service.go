package conformance

import (
	"context"
	"crypto/rand"
	"net"
	"path/filepath"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/proto"
)

// service answers what a program asks of mlist: a list with three members, and no state.
// It is as strict as mlist about who asks, and about which post.
type service struct {
	proto.UnimplementedHostServer
	path, token string
	server      *grpc.Server
	serving     sync.WaitGroup
}

func serve(dir string) (*service, error) {
	s := &service{path: filepath.Join(dir, "host"), token: rand.Text(), server: grpc.NewServer()}
	listener, err := net.Listen("unix", s.path)
	if err != nil {
		return nil, err
	}
	proto.RegisterHostServer(s.server, s)
	s.serving.Go(func() { _ = s.server.Serve(listener) }) // it ends with close
	return s, nil
}

func (s *service) close() {
	s.server.Stop()
	s.serving.Wait()
}

// admit wants the token, and the name that the check gives its calls.
func (s *service) admit(ctx context.Context, call string) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if strings.Join(md.Get(sdk.TokenKey), "") != s.token {
		return status.Error(codes.Unauthenticated, "wrong token")
	}
	if !strings.HasPrefix(call, "check") {
		return status.Errorf(codes.FailedPrecondition, "call %.40q is not under way", call)
	}
	return nil
}

// Members implements proto.HostServer.
func (s *service) Members(req *proto.MembersRequest, stream grpc.ServerStreamingServer[proto.MembersReply]) error {
	if err := s.admit(stream.Context(), req.GetCall()); err != nil {
		return err
	}
	for _, name := range []string{"ann", "bob", "eve"} {
		m := &proto.Member{Address: name + "@example.org", DisplayName: name,
			Membership: &proto.Membership{Role: "member", Mode: "regular", Status: "enabled"}}
		if err := stream.Send(&proto.MembersReply{Members: []*proto.Member{m}}); err != nil {
			return err
		}
	}
	return nil
}

// GetState implements proto.HostServer.
func (s *service) GetState(ctx context.Context, req *proto.GetStateRequest) (*proto.GetStateReply, error) {
	if err := s.admit(ctx, req.GetCall()); err != nil {
		return nil, err
	}
	if err := sdk.CheckStateKey(req.GetKey()); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &proto.GetStateReply{}, nil
}
