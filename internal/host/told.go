package host

import (
	"context"
	"errors"
	"fmt"
	"sync"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/proto"
	"github.com/mlist/mlist/sdk/wire"
)

// told is which shared settings a process has been told, by their names. It is a guess: the
// process says so when it has forgotten some, and is told again.
type told struct {
	mu    sync.Mutex
	names map[string]struct{}
}

// maxTold bounds the names; there is no harm in telling again.
const maxTold = 1000

func (t *told) has(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.names[name]
	return ok
}

func (t *told) add(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.names == nil || len(t.names) >= maxTold {
		t.names = map[string]struct{}{}
	}
	t.names[name] = struct{}{}
}

// ask calls the process, and tells it the list's settings where it does not know them.
func (p *process) ask(ctx context.Context, post *wire.Post, stages []string, withBody bool) (*proto.HandleReply, error) {
	if p.told == nil || post.Shared == nil {
		return p.send(ctx, wire.Request(post, stages, withBody))
	}
	name := post.Shared.Revision()
	tell := !p.told.has(name)
	reply, err := p.send(ctx, wire.RequestByRevision(post, stages, withBody, tell))
	if err == nil && reply.GetUnknownRevision() && !tell {
		tell = true
		reply, err = p.send(ctx, wire.RequestByRevision(post, stages, withBody, tell))
	}
	if err == nil && tell && !reply.GetUnknownRevision() {
		p.told.add(name)
	}
	return reply, err
}

// errTooLarge is that a request is never sent.
var errTooLarge = errors.New("the request is too large")

func (p *process) send(ctx context.Context, req *proto.HandleRequest) (*proto.HandleReply, error) {
	if n := protobuf.Size(req); n > sdk.MaxMessage {
		return nil, fmt.Errorf("%w: it has %d bytes, at most %d can be sent", errTooLarge, n, sdk.MaxMessage)
	}
	return p.rpc.Handle(ctx, req)
}
