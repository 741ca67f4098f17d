package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/proto"
	"github.com/mlist/mlist/sdk/wire"
)

// A plugin that dies takes every call with it that it is at, and mostly one post is why.
// Each of them is then tried once more with the plugin to itself: the one that kills it
// again is to blame, and the others have lost nothing but time. A post that was alone
// with the plugin from the start is to blame at once.

// everyone is the turn of a call that is alone with its plugin; others take 1.
const everyone = 1 << 30

// handle asks the plugin for its reply to a post. A death that may be another post's
// doing, or this side's, does not count until it happens again.
func (g *generation) handle(ctx context.Context, c *group, p *wire.Post) (*proto.HandleReply, error) {
	reply, doubt, err := g.attempt(ctx, c, p, 1)
	if !doubt {
		return reply, err
	}
	reply, _, again := g.attempt(ctx, c, p, everyone)
	if errors.Is(again, ErrDown) && !errors.Is(again, ErrClosed) {
		// It does not come back. This post may be why, so it must not go uncharged.
		return nil, err
	}
	return reply, again
}

// attempt is one call. doubt tells that its error may have nothing to do with the post.
func (g *generation) attempt(ctx context.Context, c *group, p *wire.Post, turn int64) (reply *proto.HandleReply, doubt bool, err error) {
	if err := c.plugin.turns.Acquire(ctx, turn); err != nil {
		return nil, false, c.fail(err)
	}
	defer c.plugin.turns.Release(turn)
	proc, err := c.plugin.get(ctx, g.timeout)
	if err != nil {
		return nil, false, c.fail(err)
	}
	ask, closed := proc.services.open(ctx, p)
	defer closed()
	p.Call = ask
	req := wire.Request(p, c.stages, proc.needBody(c.stages) && p.Body != nil)
	if n := protobuf.Size(req); n > sdk.MaxMessage {
		return nil, false, c.fail(fmt.Errorf("the request has %d bytes, at most %d can be sent", n, sdk.MaxMessage))
	}
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	call, begun := proc.begin(), time.Now()
	reply, err = proc.rpc.Handle(ctx, req)
	c.plugin.tally.add(time.Since(begun), err != nil)
	c.plugin.counters.calls.Add(1)
	alone := proc.finish(call)
	if err == nil {
		return reply, false, nil
	}
	lost := status.Code(err) == codes.Unavailable && ctx.Err() == nil
	err = g.explain(ctx, c, proc, err)
	return nil, lost && (!alone || proc.removed.Load()), err
}

// begin counts a call in, and returns its number.
func (p *process) begin() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begun++
	if p.active++; p.active > 1 {
		p.shared = p.begun
	}
	return p.begun
}

// finish counts a call out, and tells whether it has been the only one all the time.
func (p *process) finish(call int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active--
	return p.shared < call && p.begun == call
}
