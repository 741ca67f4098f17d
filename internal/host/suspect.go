package host

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mlist/mlist/sdk/proto"
	"github.com/mlist/mlist/sdk/wire"
)

// A plugin that dies takes every call with it that it is at, and mostly one post is why.
// Each of them is then tried once more with the plugin to itself: the one that kills it
// again is to blame, and the others have lost nothing but time. A post that was alone
// with the plugin from the start is to blame at once.
//
// So it goes with a process that answers nothing at all any more, such as one that was
// sent SIGSTOP: a post that ran out of time there may have had no part in it.

// everyone is the turn of a call that is alone with its plugin; others take 1.
const everyone = 1 << 30

// handle asks the plugin for its reply to a post. A death that may be another post's
// doing, or this side's, does not count until it happens again.
func (g *generation) handle(ctx context.Context, c *group, p *wire.Post) (answer, error) {
	reply, doubt, err := g.attempt(ctx, c, p, 1)
	if !doubt || p.AtSMTP { // who waits at SMTP time waits for no second try
		return reply, err
	}
	reply, _, again := g.attempt(ctx, c, p, everyone)
	if errors.Is(again, ErrDown) && !errors.Is(again, ErrClosed) {
		// It does not come back. This post may be why, so it must not go uncharged.
		return answer{}, err
	}
	return reply, again
}

// answer is a reply, and what the process that gave it had said of its needs.
type answer struct {
	reply *proto.HandleReply
	needs wire.Needs
}

// attempt is one call. doubt tells that its error may have nothing to do with the post.
func (g *generation) attempt(ctx context.Context, c *group, p *wire.Post, turn int64) (a answer, doubt bool, err error) {
	if err := c.plugin.turns.Acquire(ctx, turn); err != nil {
		return a, false, c.fail(err)
	}
	defer c.plugin.turns.Release(turn)
	proc, err := c.plugin.get(ctx, g.timeout)
	if err != nil {
		return a, false, c.fail(err)
	}
	ask, closed := proc.services.open(ctx, p)
	defer closed()
	p.Call = ask
	patient := ctx
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	call, begun := proc.begin(), time.Now()
	reply, err := proc.ask(ctx, p, c.stages, proc.needBody(c.stages) && p.Body != nil)
	c.plugin.tally.add(time.Since(begun), err != nil)
	c.plugin.counters.calls.Add(1)
	alone := proc.finish(call)
	if err == nil {
		return answer{reply, proc.declared}, false, nil
	}
	if errors.Is(err, errTooLarge) {
		return a, false, c.fail(err)
	}
	lost := status.Code(err) == codes.Unavailable && ctx.Err() == nil
	doubt = lost && (!alone || proc.removed.Load())
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && patient.Err() == nil {
		doubt = proc.isSilent(patient, c.plugin.timing.answer)
	}
	return a, doubt, g.explain(ctx, c, proc, p.AtSMTP, err)
}

// silence is closed when a process was found to answer nothing at all.
type silence struct {
	once sync.Once
	ch   chan struct{}
}

// isSilent asks a process, at which a call ran out of time, whether it is there at all. If
// it is not, its owner hears of it, and it gets no more calls.
func (p *process) isSilent(ctx context.Context, patience time.Duration) bool {
	err := p.health(ctx, patience)
	if err == nil || ctx.Err() != nil || status.Code(err) == codes.FailedPrecondition { // it answers
		return false
	}
	p.silent.once.Do(func() { close(p.silent.ch) })
	return true
}

// useless tells whether a process has ended, or answers nothing any more.
func (p *process) useless() bool {
	select {
	case <-p.silent.ch:
		return true
	default:
		return p.dead()
	}
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
