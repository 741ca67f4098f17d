package host

import (
	"context"
	"errors"
	"sync"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/mlist/mlist/sdk/proto"
)

// dispensed is the host's side of go-plugin's glue.
type dispensed struct {
	plugin.NetRPCUnsupportedPlugin
}

// GRPCClient implements plugin.GRPCPlugin.
func (*dispensed) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return proto.NewPluginClient(conn), nil
}

// GRPCServer implements plugin.GRPCPlugin.
func (*dispensed) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("this side calls")
}

// connections remembers the connections that go-plugin makes: when it fails right
// after connecting, it forgets to close them.
type connections struct {
	mu    sync.Mutex
	conns map[*grpc.ClientConn]struct{}
}

// remember is a grpc.StreamClientInterceptor; go-plugin opens a stream on every
// connection first thing.
func (c *connections) remember(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string,
	streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	c.mu.Lock()
	if c.conns == nil {
		c.conns = map[*grpc.ClientConn]struct{}{}
	}
	c.conns[conn] = struct{}{}
	c.mu.Unlock()
	return streamer(ctx, desc, conn, method, opts...)
}

func (c *connections) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		_ = conn.Close() // closed already, as a rule
	}
}
