package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mlist/mlist/sdk"
	"github.com/mlist/mlist/sdk/proto"
	"github.com/mlist/mlist/sdk/wire"
)

// errSlow is a call that did not come back in time.
var errSlow = errors.New("no answer")

// handle runs stages of the program on a post, and judges the reply as mlist does.
func (c *check) handle(ctx context.Context, p *program, s sample, stages ...string) error {
	post, done, err := c.corpus.post(s)
	if err != nil {
		return err
	}
	defer done()
	return c.run(ctx, p, post, stages)
}

func (c *check) run(ctx context.Context, p *program, post *wire.Post, stages []string) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	reply, err := p.rpc.Handle(ctx, wire.Request(post, stages, c.needBody(stages)))
	if status.Code(err) == codes.DeadlineExceeded {
		return fmt.Errorf("%w within %s", errSlow, c.Timeout)
	}
	if err != nil {
		return fmt.Errorf("%s%s", words(err), p.fate())
	}
	if _, err := wire.Apply(post, c.needs, stages, reply); err != nil {
		return fmt.Errorf("its reply is invalid: %w", err)
	}
	return nil
}

func (c *check) needBody(stages []string) bool {
	for _, s := range c.stages {
		if slices.Contains(stages, s.GetName()) && slices.Contains(s.GetNeeds(), "body") {
			return true
		}
	}
	return false
}

// messages shows every stage every sample. A program that died is started again.
func (c *check) messages(ctx context.Context) {
	var p *program
	defer func() {
		if p != nil {
			p.end()
		}
	}()
	for _, stage := range c.names() {
		for _, s := range samples {
			if p != nil && p.dead() {
				p.end()
				p = nil
			}
			if p == nil {
				if p = c.begin(ctx); p == nil {
					return
				}
			}
			err := c.handle(ctx, p, s, stage)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				c.breaks(stage, "A post %s fails: %v. mlist would try it again and again.", s.name, err)
			}
			if errors.Is(err, errSlow) {
				p.end() // it may never come back, and costs a timeout each time
				p = nil
				break
			}
		}
	}
	c.output(p)
}

// output looks at what the program printed where it should not.
func (c *check) output(p *program) {
	if p == nil {
		return
	}
	if said := p.stdout.rest.quote(); said != "" {
		c.advise("", "It prints on standard output after the handshake, which is not for that; standard error goes to mlist's log%s.", said)
	}
}

// calls are several at once, several stages in one, and one for a stage that is not there.
func (c *check) calls(ctx context.Context) {
	p := c.begin(ctx)
	if p == nil {
		return
	}
	defer p.end()
	if err := c.handle(ctx, p, ordinary, c.names()...); err != nil {
		c.breaks("", "One call for all its stages fails: %v.", err)
	}
	c.unknown(ctx, p)
	for _, stage := range c.names() {
		if n, err := c.together(ctx, p, stage, 16); err != nil {
			c.breaks(stage, "Of 16 posts at once, %d fail; one says: %v.", n, err)
		}
	}
}

func (c *check) unknown(ctx context.Context, p *program) {
	post, done, err := c.corpus.post(ordinary)
	if err != nil {
		c.breaks("", "The check could not go on: %v.", err)
		return
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	if _, err := p.rpc.Handle(ctx, wire.Request(post, []string{"no-such-stage"}, true)); err == nil {
		c.breaks("", "It answers a call for a stage that it does not have; that must be an error.")
	}
}

// together hands n posts to a stage at once, and returns how many failed and why one did.
func (c *check) together(ctx context.Context, p *program, stage string, n int) (failed int, why error) {
	var all sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		post, done, err := c.corpus.post(ordinary)
		if err != nil {
			errs[i] = err
			continue
		}
		all.Go(func() {
			defer done()
			errs[i] = c.run(ctx, p, post, []string{stage})
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			failed, why = failed+1, err
		}
	}
	return failed, why
}

// revisions are settings that travel once, of a program that says it remembers them.
func (c *check) revisions(ctx context.Context) {
	if !slices.Contains(c.uses, sdk.CapRevisions) {
		return
	}
	p := c.begin(ctx)
	if p == nil {
		return
	}
	defer p.end()
	told := false
	for _, tell := range []bool{false, true, false} {
		known, err := c.byRevision(ctx, p, tell)
		switch {
		case err != nil:
			c.breaks("", "A post whose list's settings have a revision fails: %v.", err)
			return
		case tell && !known:
			c.breaks("", "It does not know a revision that is in the same request; mlist would try the post again and again.")
		case !tell && known && !told:
			c.breaks("", "It handles a post whose list's settings have a revision that it was never told; the reply must say unknown_revision.")
		}
		told = told || tell
	}
}

// byRevision hands over a post with its settings by name; it tells whether the program knew them.
func (c *check) byRevision(ctx context.Context, p *program, tell bool) (known bool, err error) {
	post, done, err := c.corpus.post(ordinary)
	if err != nil {
		return false, err
	}
	defer done()
	post.Shared = wire.NewSettings(map[string]string{"description": "of the check", "subject_prefix": "[check] "})
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	reply, err := p.rpc.Handle(ctx, wire.RequestByRevision(post, c.names(), c.needBody(c.names()), tell))
	if err != nil {
		return false, fmt.Errorf("%s%s", words(err), p.fate())
	}
	if reply.GetUnknownRevision() {
		if len(reply.GetResults()) > 0 {
			return false, errors.New("the reply says unknown_revision, and has results")
		}
		return false, nil
	}
	if _, err := wire.Apply(post, c.needs, c.names(), reply); err != nil {
		return false, fmt.Errorf("its reply is invalid: %w", err)
	}
	return true, nil
}

// cancellation gives up on calls at different moments, by cancelling and by deadline,
// and wants the program to be well after that.
func (c *check) cancellation(ctx context.Context) {
	p := c.begin(ctx)
	if p == nil {
		return
	}
	defer p.end()
	post, done, err := c.corpus.post(huge)
	if err != nil {
		c.breaks("", "The check could not go on: %v.", err)
		return
	}
	defer done()
	for _, stage := range c.names() {
		for i := range 8 {
			after := time.Duration(i*i) * time.Millisecond
			giveUp, cancel := context.WithCancel(ctx)
			if i%2 == 1 {
				giveUp, cancel = context.WithTimeout(ctx, after)
			}
			timer := time.AfterFunc(after, cancel)
			_, _ = p.rpc.Handle(giveUp, wire.Request(post, []string{stage}, c.needBody([]string{stage}))) // it may be done already
			timer.Stop()
			cancel()
		}
	}
	select { // what still runs then is late
	case <-time.After(grace + grace/4):
	case <-ctx.Done():
		return
	}
	short, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	if _, err := p.rpc.Health(short, &proto.HealthRequest{}); err != nil {
		c.breaks("", "It is not well %s after calls were cancelled or had passed their deadline; mlist would replace it: %s%s.", grace, words(err), p.fate())
	}
	for _, stage := range c.names() {
		if err := c.handle(ctx, p, ordinary, stage); err != nil {
			c.breaks(stage, "After calls were cancelled, a post %s fails: %v.", ordinary.name, err)
		}
	}
}
