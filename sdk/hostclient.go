package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/mlist/mlist/sdk/proto"
)

// TokenKey is the metadata in which a plugin sends its token to the service Host.
const TokenKey = "mlist-token"

// UseHost says who answers what handlers ask of mlist. Configure does so for a plugin
// that mlist started; tests may.
func (s *Server) UseHost(h proto.HostClient) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.host = h
}

// dialHost connects to mlist's socket; the connection lasts as long as the process.
func (s *Server) dialHost(path, token string) error {
	if path == "" {
		return nil
	}
	conn, err := grpc.NewClient("unix:"+path,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the socket is private
		grpc.WithAuthority("mlist"), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage)),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return call(metadata.AppendToOutgoingContext(ctx, TokenKey, token), method, req, reply, conn, opts...)
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return open(metadata.AppendToOutgoingContext(ctx, TokenKey, token), desc, conn, method, opts...)
		}))
	if err != nil {
		return fmt.Errorf("connect to mlist: %w", err)
	}
	s.UseHost(proto.NewHostClient(conn))
	return nil
}

// hostError says what mlist answered without gRPC's words around it, and keeps that a
// context ended.
func hostError(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
	st := status.Convert(err)
	switch st.Code() {
	case codes.DeadlineExceeded:
		return fmt.Errorf("%s: %w", what, context.DeadlineExceeded)
	case codes.Canceled:
		return fmt.Errorf("%s: %w", what, context.Canceled)
	}
	return fmt.Errorf("%s: %s", what, strings.ToValidUTF8(st.Message(), "\uFFFD"))
}

func isEnd(err error) bool { return errors.Is(err, io.EOF) }

func readMember(m *proto.Member) Member {
	return Member{Address: m.GetAddress(), DisplayName: m.GetDisplayName(), Membership: readMembership(m.GetMembership())}
}

func readMembership(m *proto.Membership) Membership {
	return Membership{Role: m.GetRole(), Action: m.GetAction(), Mode: m.GetMode(), Status: m.GetStatus(),
		NoOwnPosts: m.GetNoOwnPosts(), NoDuplicates: m.GetNoDuplicates(), AcknowledgePosts: m.GetAcknowledgePosts()}
}
