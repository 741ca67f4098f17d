package conformance

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/mlist/mlist/sdk/proto"
)

// drain drains the program while posts are with it: those are finished, and then it
// ends when asked to.
func (c *check) drain(ctx context.Context) {
	p := c.begin(ctx)
	if p == nil {
		return
	}
	defer p.end()
	stage, ended := c.names()[0], make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = c.together(ctx, p, stage, 8)
	}()
	// Which of them were there before Drain is chance, and those that came later may be
	// refused: what counts is that it returns, and that nothing ends before.
	short, cancel := context.WithTimeout(ctx, c.Timeout+answerIn)
	defer cancel()
	_, err := p.rpc.Drain(short, &proto.DrainRequest{})
	<-ended
	if err != nil {
		c.breaks("", "Drain fails: %s%s.", words(err), p.fate())
	} else if p.dead() {
		c.breaks("", "It ends at Drain; it must wait for calls under way, return, and be there until it is asked to end.")
	}
	c.shutdown(ctx, p)
}

// shutdown asks the program to end, in the ways and the order in which mlist does.
func (c *check) shutdown(ctx context.Context, p *program) {
	short, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	err := p.conn.Invoke(short, "/plugin.GRPCController/Shutdown", &emptypb.Empty{}, &emptypb.Empty{})
	if status.Code(err) != codes.Unimplemented && p.ends(endPatience) {
		return
	}
	if status.Code(err) == codes.Unimplemented {
		c.advise("", "It has no plugin.GRPCController/Shutdown, with which go-plugin asks a program to end; it gets a signal instead.")
	} else {
		c.breaks("", "It does not end within %s of plugin.GRPCController/Shutdown.", endPatience)
	}
	_ = p.lifeline.Close() // never written
	p.signal(unix.SIGTERM)
	if !p.ends(endPatience) {
		c.breaks("", "It does not end within %s of the end of its lifeline and SIGTERM: only SIGKILL ends it.", endPatience)
	}
}

// terminate signals the program as a service manager does that stops all of mlist.
func (c *check) terminate(ctx context.Context) {
	p := c.begin(ctx)
	if p == nil {
		return
	}
	defer p.end()
	p.signal(unix.SIGTERM)
	if p.ends(endPatience / 6) {
		c.advise("", "It ends at SIGTERM. A service manager sends that to mlist and its plugins at once, and mlist still needs them "+
			"to finish what it is at. The end of the lifeline, not the signal, says that mlist is gone.")
		return
	}
	for _, stage := range c.names() {
		if err := c.handle(ctx, p, ordinary, stage); err != nil {
			c.breaks(stage, "After SIGTERM it lives on, but a post %s fails: %v.", ordinary.name, err)
		}
	}
}

// lifeline ends the pipe as the end of mlist does, kill -9 included.
func (c *check) lifeline(ctx context.Context) {
	p := c.begin(ctx)
	if p == nil {
		return
	}
	defer p.end()
	_ = p.lifeline.Close() // never written
	if p.ends(endPatience) {
		if !p.gone() {
			c.breaks("", "Processes that it started outlive it when mlist is killed.")
		}
		return
	}
	c.breaks("", "It outlives mlist: it must end when the pipe ends whose descriptor is in MLIST_PLUGIN_LIFELINE, and has not within %s.", endPatience)
}

// kill kills the program while posts are with it, and wants the next start to work.
func (c *check) kill(ctx context.Context) {
	p := c.begin(ctx)
	if p == nil {
		return
	}
	stage, ended := c.names()[0], make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = c.together(ctx, p, stage, 8) // most fail, of course
	}()
	p.end()
	<-ended
	if p = c.begin(ctx); p == nil {
		return
	}
	defer p.end()
	for _, stage := range c.names() {
		if err := c.handle(ctx, p, ordinary, stage); err != nil && !errors.Is(err, context.Canceled) {
			c.breaks(stage, "Started again after kill -9, it fails at a post %s: %v.", ordinary.name, err)
		}
	}
}
