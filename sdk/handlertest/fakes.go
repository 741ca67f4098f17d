package handlertest

import (
	"context"
	"io"
	"slices"

	"google.golang.org/grpc"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/proto"
	"github.com/mlist/mlist/sdk/wire"
)

// fakeHost answers what a handler asks of mlist from a Case.
type fakeHost struct{ c Case }

// GetState implements proto.HostClient.
func (f fakeHost) GetState(ctx context.Context, req *proto.GetStateRequest, _ ...grpc.CallOption) (*proto.GetStateReply, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	value, ok := f.c.State[req.GetKey()]
	return &proto.GetStateReply{Found: ok, Value: []byte(value)}, nil
}

// Members implements proto.HostClient.
func (f fakeHost) Members(ctx context.Context, req *proto.MembersRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[proto.MembersReply], error) {
	s := &memberStream{ctx: ctx}
	fits := func(words []string, word string) bool { return len(words) == 0 || slices.Contains(words, word) }
	for _, m := range f.c.Members {
		m.Role, m.Mode, m.Status = orElse(m.Role, "member"), orElse(m.Mode, "regular"), orElse(m.Status, "enabled")
		if fits(req.GetRoles(), m.Role) && fits(req.GetModes(), m.Mode) && fits(req.GetStatuses(), m.Status) {
			s.left = append(s.left, wire.Member(m))
		}
	}
	return s, nil
}

// memberStream is the part of a stream that a handler sees.
type memberStream struct {
	grpc.ClientStream
	ctx  context.Context
	left []*proto.Member
}

// Recv implements grpc.ServerStreamingClient.
func (s *memberStream) Recv() (*proto.MembersReply, error) {
	if err := s.ctx.Err(); err != nil {
		return nil, err
	}
	if len(s.left) == 0 {
		return nil, io.EOF
	}
	m := s.left[0]
	s.left = s.left[1:]
	return &proto.MembersReply{Members: []*proto.Member{m}}, nil
}

// stateAfter is the case's state with what the handler changed; not if the post was not
// accepted.
func stateAfter(c Case, p *wire.Post, verdict sdk.Verdict) map[string]string {
	out := map[string]string{}
	for k, v := range c.State {
		out[k] = v
	}
	if verdict.Kind != sdk.KindAccept {
		return out
	}
	for _, e := range p.State {
		if value, ok := e.Apply([]byte(out[e.Key])); ok {
			out[e.Key] = string(value)
		} else {
			delete(out, e.Key)
		}
	}
	return out
}
